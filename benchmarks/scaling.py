"""Time against pixels and against classes: forward and backward of the default method."""

from __future__ import annotations

import argparse
import json
import resource
import statistics
from pathlib import Path

import torch

from benchmarks.methods import METHODS
from benchmarks.speed import about
from benchmarks.workloads import draw

PIXELS = [10**5, 10**6, 10**7, 5 * 10**7]
CLASSES = [2, 10, 50, 200, 1000]


def spent() -> tuple[float, float]:
    """Milliseconds that this process has taken itself, and the system for it (page faults)."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return 1e3 * usage.ru_utime, 1e3 * usage.ru_stime


def measure(pixels: int, classes: int, rounds: int) -> tuple[float, float]:
    """Median milliseconds of one shape, forward and backward: the process, the system."""
    logits, target = draw((1, classes, pixels))
    # A clock of the system is coarse: small shapes are repeated within a round.
    repeats = max(1, 10**7 // logits.numel())
    times = []
    for _ in range(rounds + 1):
        before = spent()
        for _ in range(repeats):
            torch.autograd.grad(METHODS["lovasz"](logits, target), logits)
        times.append([(b - a) / repeats for a, b in zip(before, spent(), strict=True)])
    own, system = (statistics.median(column) for column in zip(*times[1:], strict=True))
    return own, system


def main(arguments: list[str]) -> None:
    """Measure both lines and write the JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks scaling", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the smallest sizes, once")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, default=None)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    few = 2 if options.quick else None
    shapes = [(pixels, 8) for pixels in PIXELS[:few]]
    shapes += [(10**5, classes) for classes in CLASSES[:few]]
    rows = []
    for pixels, classes in shapes:
        own, system = measure(pixels, classes, 1 if options.quick else options.rounds)
        rows.append({"pixels": pixels, "classes": classes, "ms": own, "system_ms": system})
        each = 1e6 * own / (pixels * classes)
        print(
            f"{pixels:>9} pixels {classes:>5} classes {own:9.1f} ms {each:.2f} ns a score,"
            f" system {system:.1f} ms",
            flush=True,
        )
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(json.dumps({"about": about(), "rows": rows}, indent=1) + "\n")
