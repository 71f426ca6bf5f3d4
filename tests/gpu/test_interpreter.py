"""Runs ``interpreted*.py`` in processes of their own, where Triton interprets the kernels."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

# The longest first.
NAMES = [
    "interpreted",
    *(f"interpreted_{part}" for part in ("shared", "channels", "weigh", "losses")),
]


def interpret(name):
    here = Path(__file__)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    # Triton decides when it is imported whether it interprets.
    return subprocess.run(
        [*command, here.with_name(f"{name}.py")],
        cwd=here.parents[2],
        env=os.environ | {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def results():
    """One process for each core: interpreting is Python."""
    pytest.importorskip("triton", reason="Triton is not installed")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(zip(NAMES, pool.map(interpret, NAMES), strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_kernels_in_the_interpreter(name, results):
    assert results[name].returncode == 0, results[name].stdout + results[name].stderr
    assert " passed" in results[name].stdout


def test_every_file_is_interpreted():
    assert {path.stem for path in Path(__file__).parent.glob("interpreted*.py")} == set(NAMES)
