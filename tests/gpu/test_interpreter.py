"""Runs ``interpreted*.py`` and ``executed.py`` in processes of their own.

In the first Triton interprets the kernels, in the last their PTX is executed.
"""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

# The longest first.
NAMES = [
    "executed",
    "interpreted",
    *(f"interpreted_{part}" for part in ("channels", "weigh", "losses")),
]


def run(name):
    here = Path(__file__)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    # Triton decides when it is imported whether it interprets.
    interpreting = "0" if name == "executed" else "1"
    return subprocess.run(
        [*command, here.with_name(f"{name}.py")],
        cwd=here.parents[2],
        env=os.environ | {"TRITON_INTERPRET": interpreting, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def results():
    """One process for each core: all of this is Python."""
    pytest.importorskip("triton", reason="Triton is not installed")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(zip(NAMES, pool.map(run, NAMES), strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_kernels(name, results):
    assert results[name].returncode == 0, results[name].stdout + results[name].stderr
    assert " passed" in results[name].stdout


def test_every_file_is_run():
    here = Path(__file__).parent
    found = [*here.glob("interpreted*.py"), *here.glob("executed*.py")]
    assert {path.stem for path in found} == set(NAMES)
