"""Time of deep supervision, as a ratio to the loss of the largest scale alone.

Forward and backward of logits at 1, 1/2, 1/4 and 1/8 of the resolution of the labels: 1.14 times
the pixels of a volume, 1.33 times those of an image. Runs are interleaved; one thread is measured
in processor time.
"""

from __future__ import annotations

import argparse
import gc
import statistics

import torch
from torch import Tensor

from benchmarks.timing import timer
from benchmarks.workloads import draw
from lovasz import cross_entropy_dice, cross_entropy_lovasz_softmax, deep_supervision

SHAPES = {"volume": (2, 14, 96, 96, 96), "image": (2, 19, 512, 1024)}
QUICK = {"image": (2, 3, 16, 24)}
WEIGHTS = {
    "all four scales": None,
    "nnU-Net's weights": [4 / 7, 2 / 7, 1 / 7, 0.0],
    "the largest": [1.0, 0.0, 0.0, 0.0],
}
LOSSES = {
    "cross_entropy_lovasz_softmax": cross_entropy_lovasz_softmax,
    "cross_entropy_dice": cross_entropy_dice,
}


def outputs(logits: Tensor) -> list[Tensor]:
    """What a network puts out: the largest scale, and the others."""
    scales = [logits]
    for factor in (2, 4, 8):
        every = (slice(None), slice(None)) + (slice(None, None, factor),) * (logits.dim() - 2)
        scales.append(logits.detach()[every].contiguous().requires_grad_())
    return scales


def measure(name: str, shape: tuple[int, ...], rounds: int) -> dict[str, float]:
    """Milliseconds of the largest scale alone, and median ratios to it, round by round."""
    loss = LOSSES[name]
    logits, target = draw(shape)
    scales = outputs(logits)
    calls = {"alone": lambda: torch.autograd.grad(loss(logits, target), logits)}
    for way, weights in WEIGHTS.items():
        calls[way] = lambda weights=weights: torch.autograd.grad(
            deep_supervision(loss, scales, target, weights=weights), scales
        )
    taken: dict[str, list[float]] = {way: [] for way in calls}
    for _ in range(rounds + 1):  # the first is a warm-up
        gc.collect()
        for way, call in calls.items():
            now = timer()
            began = now()
            call()
            taken[way].append(now() - began)
    alone = taken.pop("alone")[1:]
    ratios = {
        way: statistics.median(a / b for a, b in zip(seconds[1:], alone, strict=True))
        for way, seconds in taken.items()
    }
    return {"ms": 1e3 * statistics.median(alone), **ratios}


def table(found: dict[str, dict[str, float]]) -> str:
    """One row for each loss and shape."""
    lines = ["| logits | largest alone | " + " | ".join(WEIGHTS) + " |", "|---" * 5 + "|"]
    for name, row in found.items():
        ratios = [f"{row[way]:.2f}" for way in WEIGHTS]
        lines.append(f"| {name} | {row['ms']:.0f} ms | " + " | ".join(ratios) + " |")
    return "\n".join(lines)


def main(arguments: list[str]) -> None:
    """Print the table."""
    program = "python -m benchmarks deep-supervision"
    parser = argparse.ArgumentParser(prog=program, description=__doc__)
    parser.add_argument("--quick", action="store_true", help="tiny inputs, one round")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    found = {}
    for name in LOSSES:
        for shape in (QUICK if options.quick else SHAPES).values():
            row = f"{name}, {' × '.join(map(str, shape))}"
            found[row] = measure(name, shape, 1 if options.quick else options.rounds)
    print(table(found))
