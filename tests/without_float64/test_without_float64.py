"""Runs ``cases.py`` in a process of its own, because a device cannot be taken from torch again."""

import subprocess
import sys
from pathlib import Path


def test_cases():
    here = Path(__file__)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, here.with_name("cases.py")],
        cwd=here.parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
