"""What a decision costs: ratios to argmax of the same logits, in one thread.

They are interleaved, with fresh and with reused memory, as ``speed`` has them.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.speed import MEMORY, ROOT, about, child
from benchmarks.timing import timer
from lovasz import Decision, image_decision, upsampled_argmax

OUTPUT = ROOT / "benchmarks" / "results" / "decisions.json"
# Two crops of logits, and the part of their resolution that upsampled ones have.
SHAPES = {"cityscapes": (1, 19, 512, 1024), "ade": (1, 150, 512, 512)}
FACTOR = 4


def costs(shape: list[int], rounds: int) -> dict[str, float]:
    """Median ratios of a decision to argmax of the same logits, in one thread."""
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(*shape, generator=generator)
    images, classes, *size = shape
    low = torch.randn(images, classes, *[n // FACTOR for n in size], generator=generator)
    decision, masks = Decision(classes), Decision(classes, multilabel=True)
    for one in (decision, masks):
        one.offsets.copy_(torch.randn(classes, generator=generator))
    last = logits.to(memory_format=torch.channels_last)

    def positive() -> Tensor:
        return (logits > 0).long()

    pairs: dict[str, tuple[Callable[[], Tensor], Callable[[], Tensor]]] = {
        "contiguous": (lambda: logits.argmax(1), lambda: decision(logits)),
        "channels last": (lambda: last.argmax(1), lambda: decision(last)),
        "upsampled": (lambda: upsampled_argmax(low, size), lambda: decision(low, size)),
        "masks": (positive, lambda: masks(logits)),
        "per image": (lambda: logits.argmax(1), lambda: image_decision(logits)),
    }
    ratios: dict[str, list[float]] = {name: [] for name in pairs}
    for _ in range(rounds):
        for name, (base, other) in pairs.items():
            before = seconds(base)
            ratios[name].append(seconds(other) / before)
    return {name: statistics.median(found) for name, found in ratios.items()}


def seconds(call: Callable[[], Tensor]) -> float:
    """Of the second call of two."""
    call()
    now = timer()
    start = now()
    call()
    return now() - start


def table(found: dict) -> str:
    """One row for each crop, one column for each way of deciding; fresh and reused memory."""
    ways = list(next(iter(found["costs"].values()))["fresh"])
    lines = ["| logits | " + " | ".join(ways) + " |", "|---" * (1 + len(ways)) + "|"]
    for name, kinds in found["costs"].items():
        shape = " × ".join(map(str, SHAPES[name]))
        cells = [" / ".join(f"{kinds[kind][way]:.2f}" for kind in MEMORY) for way in ways]
        lines.append("| " + " | ".join([shape, *cells]) + " |")
    measured = found["about"]
    return f"{measured['machine']}, torch {measured['torch']}, {measured['date']}.\n\n" + "\n".join(
        lines
    )


def main(arguments: list[str]) -> None:
    """Measure, print the table and write the JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks decisions", description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--output", type=Path, default=OUTPUT)
    options = parser.parse_args(arguments)
    found = {
        "about": about(),
        "costs": {
            name: {
                kind: child("decisions", {"shape": shape, "rounds": options.rounds}, environment)
                for kind, environment in MEMORY.items()
            }
            for name, shape in SHAPES.items()
        },
    }
    print(table(found))
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    print(json.dumps(costs(**json.loads(sys.argv[1]))))
