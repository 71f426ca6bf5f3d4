"""Time against pixels and against classes: forward and backward of the default method."""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path

import torch

from benchmarks.methods import METHODS
from benchmarks.speed import about, clock
from benchmarks.workloads import draw

PIXELS = [10**5, 10**6, 10**7, 5 * 10**7]
CLASSES = [2, 10, 50, 200, 1000]


def measure(pixels: int, classes: int, rounds: int) -> float:
    """Median milliseconds of one shape."""
    logits, target = draw((1, classes, pixels))
    clock(METHODS["lovasz"], logits, target)
    return 1e3 * statistics.median(
        sum(clock(METHODS["lovasz"], logits, target)) for _ in range(rounds)
    )


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
        milliseconds = measure(pixels, classes, 1 if options.quick else options.rounds)
        rows.append({"pixels": pixels, "classes": classes, "ms": milliseconds})
        each = 1e6 * milliseconds / (pixels * classes)
        print(
            f"{pixels:>9} pixels {classes:>5} classes {milliseconds:9.1f} ms {each:.2f} ns a score"
        )
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(json.dumps({"about": about(), "rows": rows}, indent=1) + "\n")
