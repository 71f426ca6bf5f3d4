"""Runs ``interpreted*.py`` in processes of their own, where Triton interprets the kernels."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    "name",
    [
        "interpreted.py",
        "interpreted_channels.py",
        "interpreted_losses.py",
        "interpreted_shared.py",
        "interpreted_weigh.py",
    ],
)
def test_kernels_in_the_interpreter(name):
    pytest.importorskip("triton", reason="Triton is not installed")
    here = Path(__file__)
    # Triton decides when it is imported whether it interprets.
    result = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            here.with_name(name),
        ],
        cwd=here.parents[2],
        env=os.environ | {"TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert " passed" in result.stdout
