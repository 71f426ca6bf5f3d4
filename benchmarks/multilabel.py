"""Time of the multilabel losses against F.binary_cross_entropy_with_logits, as ratios.

Forward and backward, interleaved, with scores of an untrained network ("random") and of one that is
right nearly everywhere ("trained"), because counting depends on where errors lie.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.speed import ROOT, about
from lovasz import binary_cross_entropy_lovasz_sigmoid, lovasz_hinge, lovasz_sigmoid

OUTPUT = ROOT / "benchmarks" / "results" / "multilabel.json"
SHAPES = {"masks": (8, 1, 512, 512), "labels": (8, 19, 128, 128)}
SETS = {"multilabel": True}
METHODS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "binary cross-entropy": lambda x, y: F.binary_cross_entropy_with_logits(x, y.to(x.dtype)),
    "sigmoid": lambda x, y: lovasz_sigmoid(x, y, **SETS),
    "hinge": lambda x, y: lovasz_hinge(x, y, **SETS),
    "elu": lambda x, y: lovasz_hinge(x, y, activation="elu", **SETS),
    "both fused": lambda x, y: binary_cross_entropy_lovasz_sigmoid(x, y, **SETS),
    "exact": lambda x, y: lovasz_sigmoid(x, y, method="sort", **SETS),
}


def draw(shape: tuple[int, ...], stage: str) -> tuple[Tensor, Tensor]:
    """Scores and labels, a tenth of which are 1."""
    generator = torch.Generator().manual_seed(0)
    target = (torch.rand(shape, generator=generator) < 0.1).to(torch.uint8)
    scores = torch.randn(shape, generator=generator)
    if stage == "trained":
        scores.mul_(3).add_(16 * target.float() - 8)
    return scores.requires_grad_(), target


def measure(shape: tuple[int, ...], stage: str, dtype: torch.dtype, rounds: int) -> dict:
    """Milliseconds of the first method, and the others as ratios to it, round by round."""
    scores, target = draw(shape, stage)
    scores = scores.detach().to(dtype).requires_grad_()
    ratios: dict[str, list[float]] = {name: [] for name in METHODS}
    base = []
    for _ in range(rounds + 1):
        taken = {}
        for name, method in METHODS.items():
            began = time.perf_counter()
            torch.autograd.grad(method(scores, target), scores)
            taken[name] = time.perf_counter() - began
        first = next(iter(taken.values()))
        base.append(1e3 * first)
        for name, seconds in taken.items():
            ratios[name].append(seconds / first)
    found = {name: statistics.median(values[1:]) for name, values in ratios.items()}
    return {"ms": statistics.median(base[1:]), "ratios": found}


def table(rows: list[dict]) -> str:
    """One row for each workload, stage, dtype and number of threads."""
    names = list(METHODS)
    lines = [
        "| workload | scores | threads | " + " | ".join(names) + " |",
        "|---" * (3 + len(names)) + "|",
    ]
    for row in rows:
        shape = " × ".join(map(str, row["shape"]))
        ratios = [f"{row['ratios'][name]:.2f}" for name in names[1:]]
        lines.append(
            f"| {row['name']}, {shape} | {row['stage']}, {row['dtype']} | {row['threads']}"
            f" | {row['ms']:.1f} ms | " + " | ".join(ratios) + " |"
        )
    return "\n".join(lines)


def main(arguments: list[str]) -> None:
    """Measure, print the table, write the JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks multilabel", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="tiny inputs, one round")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--output", type=Path, default=OUTPUT)
    options = parser.parse_args(arguments)
    rows = []
    for name, shape in SHAPES.items():
        size = (*shape[:2], 8, 8) if options.quick else shape
        for stage in ("random", "trained"):
            for dtype in (torch.float32, torch.bfloat16):
                for threads in options.threads:
                    torch.set_num_threads(threads)
                    found = measure(size, stage, dtype, 1 if options.quick else options.rounds)
                    kind = str(dtype).removeprefix("torch.")
                    about_row = {"name": name, "shape": size, "stage": stage, "dtype": kind}
                    rows.append({**about_row, "threads": threads, **found})
    print(table(rows))
    options.output.write_text(json.dumps({"about": about(), "rows": rows}, indent=1) + "\n")
