"""Time of the fused loss with soft labels of every kind, as ratios to hard labels.

Cross-entropy and Lovász-Softmax, forward and backward, interleaved, as ratios within a round; in
processes of their own with fresh and with reused memory, as ``speed`` has them.
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
import torch.nn.functional as F
from torch import Tensor

from benchmarks.speed import MEMORY, ROOT, about, child
from benchmarks.timing import clock
from benchmarks.workloads import draw
from lovasz import SoftDice, cross_entropy_dice, cross_entropy_lovasz_softmax

OUTPUT = ROOT / "benchmarks" / "results" / "soft.json"
WORKLOADS = {
    "cityscapes": (2, 19, 512, 1024),
    "ade": (1, 150, 512, 512),
    "volume": (2, 14, 96, 96, 96),
}
QUICK = {"images": (1, 5, 16, 24)}
HARD = "hard labels"
TITLES = {
    HARD: "hard labels",
    "smoothed": "label smoothing",
    "two maps": "two label maps",
    "dense": "floating labels",
    "with Dice": "hard, and Dice",
    "Dice": "cross-entropy and Dice",
    "torch": "`F.cross_entropy`",
}


def ways(target: Tensor, classes: int) -> dict[str, Callable[[Tensor, Tensor], Tensor]]:
    """Losses of logits, each with the labels that it takes; what they are given is not used."""
    both = cross_entropy_lovasz_softmax
    other = target.flip(0).roll(1, -1)
    hot = [F.one_hot(labels, classes).movedim(-1, 1) for labels in (target, other)]
    dense = (0.7 * hot[0] + 0.3 * hot[1]).contiguous()
    mixed = partial(both, target=[target, other], target_weight=[0.7, 0.3])
    return {
        HARD: both,
        "smoothed": partial(both, lovasz_label_smoothing=0.1),
        "two maps": lambda logits, _: mixed(logits),
        "dense": lambda logits, _: both(logits, dense),
        "with Dice": partial(both, region=SoftDice()),
        "Dice": cross_entropy_dice,
        "torch": F.cross_entropy,
    }


def times(shape: list[int], threads: int, rounds: int) -> dict[str, dict[str, float]]:
    """Milliseconds of each way, and ratios to hard labels."""
    torch.set_num_threads(threads)
    logits, target = draw(tuple(shape))
    found: dict[str, list[float]] = {}
    chosen = ways(target, shape[1])
    for _ in range(rounds):
        for name, loss in chosen.items():
            found.setdefault(name, []).append(sum(clock(loss, logits, target)))
    return {
        name: {
            "ms": 1e3 * statistics.median(spent),
            "ratio": statistics.median(a / b for a, b in zip(spent, found[HARD], strict=True)),
        }
        for name, spent in found.items()
    }


def table(found: dict) -> str:
    """One row for each workload, number of threads and kind of memory."""
    facts = found["about"]
    lines = [
        f"{facts['machine']}, kernels {facts['level']}, torch {facts['torch']}, {facts['date']}.",
        "",
        "| logits | threads, memory | " + " | ".join(TITLES.values()) + " |",
        "|---" * (2 + len(TITLES)) + "|",
    ]
    for row in found["rows"]:
        shape = " × ".join(map(str, row["shape"]))
        kept = row["ways"]
        cells = [f"{kept[name]['ratio']:.2f}" for name in TITLES if name != HARD]
        first = f"{kept[HARD]['ms']:.0f} ms"
        where = f"{row['threads']}, {row['memory']}"
        lines.append(f"| {shape} | {where} | " + " | ".join([first, *cells]) + " |")
    return "\n".join(lines)


def main(arguments: list[str]) -> None:
    """Measure, print the table, write the JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks soft", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="tiny inputs")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, nargs="+", default=[1])
    parser.add_argument("--output", type=Path, default=OUTPUT)
    options = parser.parse_args(arguments)
    found: dict = {"about": about(), "rows": []}
    for shape in (QUICK if options.quick else WORKLOADS).values():
        for threads in options.threads:
            for kind, environment in MEMORY.items():
                asked = {"shape": shape, "threads": threads, "rounds": options.rounds}
                row = {"shape": shape, "threads": threads, "memory": kind}
                found["rows"].append({**row, "ways": child("soft", asked, environment)})
        options.output.write_text(json.dumps(found, indent=1) + "\n")
    print(table(found))


if __name__ == "__main__":
    print(json.dumps(times(**json.loads(sys.argv[1]))))
