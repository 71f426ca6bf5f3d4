"""What the tests of the stacks share: the examples, and the loss of the labelled pixels alone.

`make stacks` and `make stacks-torchvision` install the frameworks and run these tests. Where a
framework is missing its tests are skipped; those of frameworks that `make test` has too are run by
`make stacks` alone, because they take long to import.
"""

import importlib.util
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from lovasz import cross_entropy_lovasz_softmax

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples" / "stacks"


def require(*packages):
    """Skip a file of tests, without importing anything, if a package is missing."""
    for package in packages:
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed", allow_module_level=True)
    if "LOVASZ_STACKS" not in os.environ:
        pytest.skip("make stacks runs it", allow_module_level=True)


def load(name):
    """An example as a module."""
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(name, *arguments, launcher=()):
    """What an example prints last."""
    command = [sys.executable, *launcher, str(EXAMPLES / f"{name}.py"), *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert result.returncode == 0, result.stderr
    return re.findall(r"^loss .*$", result.stdout, re.M)[-1]


def free_port():
    """A port at which processes can meet."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def numbers(line):
    return [float(number) for number in re.findall(r"\d+\.\d+", line)]


def size_of(network):
    """The sum of the absolute values of the weights, which the examples print."""
    return sum(weight.double().abs().sum().item() for weight in network.parameters())


def of_labelled(logits, target, ignored=255):
    """The loss of those pixels that are not ignored, which it is told nothing about."""
    kept = target != ignored
    return cross_entropy_lovasz_softmax(logits.movedim(1, -1)[kept], target[kept])


def changes(source):
    """The lines of an example that are marked, and its lines without them."""
    changed, plain, replacing = [], [], False
    for line in source.splitlines():
        was = re.fullmatch(r"( *)# was: (.*)", line)
        if was:
            plain.append(was[1] + was[2])
            replacing = True
        elif replacing or line.endswith("# new"):
            changed.append(line)
            replacing = False
        else:
            plain.append(line)
    return changed, plain
