"""Time and memory of a loss of each cloud of points, against one cloud of all of them.

Forward and backward, interleaved, as ratios within a round; in processes of their own with fresh
and with reused memory, as ``speed`` does it. Memory is the peak beyond the logits, gradient
included.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.memory import peak_of
from benchmarks.speed import MEMORY, ROOT, about, child
from benchmarks.timing import clock
from benchmarks.workloads import draw
from lovasz import lovasz_softmax

OUTPUT = ROOT / "benchmarks" / "results" / "clouds.json"
# Points, classes and clouds.
WORKLOADS = {"scenes": (300_000, 20, 12), "regions": (100_000, 20, 5_000)}
QUICK = {"scenes": (3_000, 3, 2)}
METHODS = ("histogram", "sort")
CALLS = ("one cloud", "clouds", "in any order")


def calls_of(
    points: int, clouds: int, method: str
) -> dict[str, Callable[[Tensor, Tensor], Tensor]]:
    """The losses that are compared; clouds have different sizes."""
    generator = torch.Generator().manual_seed(1)
    index = torch.randint(clouds, (points,), generator=generator)
    ends = index.bincount(minlength=clouds).cumsum(0)
    loss = partial(lovasz_softmax, method=method)
    of_each = partial(loss, per_image=True)
    in_any_order = partial(of_each, batch_index=index, batch_size=clouds)
    return dict(zip(CALLS, (loss, partial(of_each, offsets=ends), in_any_order), strict=True))


def times(shape: tuple[int, int, int], method: str, threads: int, rounds: int) -> dict:
    """Milliseconds with one cloud, and the others as ratios to it, round by round."""
    points, classes, clouds = shape
    torch.set_num_threads(threads)
    calls = calls_of(points, clouds, method)
    logits, target = draw((points, classes))
    found: dict[str, list[float]] = {name: [] for name in CALLS}
    for _ in range(rounds + 1):
        for name, call in calls.items():
            found[name].append(sum(clock(call, logits, target)))
    base = found["one cloud"][1:]
    ratios = {
        name: statistics.median(a / b for a, b in zip(seconds[1:], base, strict=True))
        for name, seconds in found.items()
    }
    return {"ms": 1e3 * statistics.median(base), "ratios": ratios}


def memory(shape: tuple[int, int, int], method: str, name: str) -> int:
    """Bytes that one call takes at most, beyond the logits, in one thread."""
    points, classes, clouds = shape
    torch.set_num_threads(1)
    call = calls_of(points, clouds, method)[name]
    small = draw((30, 3))
    torch.autograd.grad(calls_of(30, 2, method)[name](*small), small[0])  # what is loaded once
    logits, target = draw((points, classes))
    return peak_of(lambda: torch.autograd.grad(call(logits, target), logits))


def table(found: dict) -> str:
    """One row for each workload, method, number of threads and kind of memory."""
    lines = [
        "| points | method | threads | memory | one cloud | clouds | in any order |"
        " peak: one cloud | clouds | in any order |",
        "|---" * 10 + "|",
    ]
    for row in found["rows"]:
        points, classes, clouds = row["shape"]
        cells = [
            f"{row['name']}: {points:,} × {classes}, {clouds:,} clouds",
            row["method"],
            str(row["threads"]),
            row["memory"],
            f"{row['ms']:.1f} ms",
            *(f"{row['ratios'][name]:.2f}" for name in CALLS[1:]),
            *(f"{row['peak_bytes'][name] / 1e6:,.1f} MB" for name in CALLS),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main(arguments: list[str]) -> None:
    """Measure, print the table, write the JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks clouds", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="tiny inputs, one round")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--output", type=Path, default=OUTPUT)
    options = parser.parse_args(arguments)
    rows = []
    for name, shape in (QUICK if options.quick else WORKLOADS).items():
        for method in METHODS:
            common = {"shape": shape, "method": method}
            peaks = {
                call: child("clouds", {"measure": "memory", **common, "name": call})
                for call in CALLS
            }
            for threads in options.threads:
                for kind, environment in MEMORY.items():
                    rounds = 1 if options.quick else options.rounds
                    asked = {"measure": "times", **common, "threads": threads, "rounds": rounds}
                    found = child("clouds", asked, environment)
                    about_row = {"name": name, **common, "threads": threads, "memory": kind}
                    rows.append({**about_row, **found, "peak_bytes": peaks})
    result = {"about": about(), "rows": rows}
    print(table(result))
    options.output.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    measure = {"times": times, "memory": memory}[asked.pop("measure")]
    print(json.dumps(measure(**asked)))
