"""Runs ``interpreted.py`` in a process of its own, where Triton interprets the kernels."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


def test_kernels_in_the_interpreter():
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
            here.with_name("interpreted.py"),
        ],
        cwd=here.parents[2],
        env=os.environ | {"TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert " passed" in result.stdout
