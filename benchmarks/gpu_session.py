"""All that a machine with a CUDA or ROCm device is for, in an order in which the first pays most.

The tests that need a device; the kernels under NVIDIA's compute-sanitizer, for races in shared
memory and accesses outside of it; times; the sweep of the constants. Every step has a limit and
writes what it prints into a file of its own, so that a machine that is lent for minutes is used
well: name the steps for one call, and the limit of each.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

import torch

DEVICE_TESTS = [
    f"tests/kernels/triton/test_device{part}.py"
    for part in (
        "",
        "_multilabel",
        "_extension",
        "_clouds",
        "_sorting",
        "_upsampling",
        "_soft",
        "_self_test",
    )
]
#: small inputs that take every way through the kernels: sanitizers are a hundred times slower
SMALL = "(odd or grouped) and not dtype1 and not dtype2 and not elu"
# pytest-benchmark, where it is installed, warns of several processes, and warnings are errors.
PLUGINS = ["-p", "no:cacheprovider", "-p", "no:benchmark"]
# The name of every test at once: of a run that is stopped nothing else is left.
PYTEST = [sys.executable, "-m", "pytest", "-v", "--tb=short", *PLUGINS, *DEVICE_TESTS]
#: processes of the tests: most of their time is Triton's compiler on the host; several tests hold
#: tensors of gigabytes
WORKERS = "2"


def _benchmark(name: str, *options: str) -> list[str]:
    return [sys.executable, "-m", "benchmarks", name, *options]


def steps(output: Path) -> dict[str, list[str]]:
    """Commands by name."""
    sanitized = [*PYTEST, "-k", SMALL]
    sanitizer = ["compute-sanitizer", "--error-exitcode", "1"]
    return {
        "tests": [*PYTEST, "--numprocesses", WORKERS],
        "times": _benchmark("gpu", "--output", str(output / "gpu.json")),
        "racecheck": [*sanitizer, "--tool", "racecheck", *sanitized],
        "memcheck": [*sanitizer, "--tool", "memcheck", *sanitized],
        "tune": _benchmark("gpu-tune", "--output", str(output / "gpu-tune.json")),
    }


def run(name: str, command: list[str], limit: float, output: Path) -> bool:
    """Run a step, keep what it prints, and say how it ended."""
    began = time.monotonic()
    with (output / f"{name}.log").open("w") as log:
        try:
            code = subprocess.run(
                command, stdout=log, stderr=subprocess.STDOUT, timeout=limit, check=False
            ).returncode
            ended = "done" if code == 0 else f"failed with {code}"
        except subprocess.TimeoutExpired:
            ended = f"stopped after {limit:.0f} s"
        except FileNotFoundError:
            ended = f"there is no {command[0]} here"
    last = [line for line in (output / f"{name}.log").read_text().splitlines() if line.strip()][-1:]
    print(f"{name}: {ended}, {time.monotonic() - began:.0f} s | {' '.join(last)}", flush=True)
    return ended == "done"


def main(arguments: list[str]) -> None:
    """Run the steps that are named, and leave with 1 if one of them was not done."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks gpu-session", description=__doc__)
    parser.add_argument("--output", type=Path, required=True, help="folder for logs and results")
    parser.add_argument("--limit", type=float, default=600, help="seconds for a step")
    parser.add_argument("--steps", help="names, separated by commas; default all, in this order")
    options = parser.parse_args(arguments)
    if not torch.cuda.is_available():
        sys.exit(
            "benchmarks gpu-session: there is no CUDA or ROCm device here, so nothing was done"
        )
    options.output.mkdir(parents=True, exist_ok=True)
    known = steps(options.output)
    chosen = options.steps.split(",") if options.steps else list(known)
    if unknown := set(chosen) - known.keys():
        parser.error(f"expected steps among {', '.join(known)}, got {', '.join(sorted(unknown))}")
    done = [run(name, known[name], options.limit, options.output) for name in chosen]
    sys.exit(not all(done))
