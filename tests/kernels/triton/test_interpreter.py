"""Runs one of ``interpreted*.py`` in a process of its own, in which kernels are interpreted.

The shortest of them; ``make interpret`` runs the others.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

FILE = Path(__file__).with_name("interpreted_clouds.py")


def test_kernels_of_clouds():
    pytest.importorskip("triton", reason="Triton is not installed")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", FILE],
        cwd=FILE.parents[2],
        # Triton decides when it is imported whether it interprets.
        env=os.environ | {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
