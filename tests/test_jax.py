"""Runs some of tests/jax in a process of its own, in plain jax.numpy; `make jax` runs all.

The processes of the other tests fork, and must not have JAX in them.
"""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.mark.skipif(find_spec("jax") is None, reason="JAX is not installed")
def test_in_plain_numpy():
    files = [HERE / "jax" / name for name in ("test_oracle.py", "test_arguments.py")]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files],
        cwd=HERE.parent,
        env=os.environ | {"LOVASZ_JAX": "plain"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
