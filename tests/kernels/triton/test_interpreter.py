"""Runs some of ``interpreted*.py`` in processes of their own, in which kernels are interpreted.

The losses, by way of the kernels; ``make interpret`` runs the others.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

FILES = [Path(__file__).with_name(f"interpreted_{part}.py") for part in ("losses", "clouds")]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_kernels(file):
    pytest.importorskip("triton", reason="Triton is not installed")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", file],
        cwd=file.parents[2],
        # Triton decides when it is imported whether it interprets.
        env=os.environ | {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
