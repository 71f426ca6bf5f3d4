"""Runs some of ``interpreted*.py`` in a process of its own, in which kernels are interpreted.

A few of the shortest; ``make interpret`` runs all.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.mark.parametrize(
    ("name", "chosen"),
    [
        ("clouds", "wrong or no_cloud"),
        ("soft", "hinge or alone"),
        ("proofs", "elsewhere or too_large or is_kept or recorded"),
    ],
)
def test_kernels(name, chosen):
    pytest.importorskip("triton", reason="Triton is not installed")
    file = HERE / f"interpreted_{name}.py"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", chosen, file],
        cwd=HERE.parents[2],
        # Triton decides when it is imported whether it interprets.
        env=os.environ | {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
