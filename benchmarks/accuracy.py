"""Loss and gradient against float64, for every method, stage of training and number of pixels.

The truth is the sorting method on the same logits in float64, which the tests hold against an
independent oracle.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from benchmarks import distributions
from lovasz import error_bound, lovasz_softmax
from tools import published

# Each gives the losses of the listed classes.
Losses = Callable[[Tensor, Tensor, list[int]], Tensor]


def _ours(method: str) -> Losses:
    def losses(logits: Tensor, target: Tensor, classes: list[int]) -> Tensor:
        return lovasz_softmax(logits, target, classes=classes, reduction="none", method=method)[
            classes
        ]

    return losses


def _published(logits: Tensor, target: Tensor, classes: list[int]) -> Tensor:
    return torch.stack([published.lovasz_softmax(logits, target, classes=[c]) for c in classes])


CONTENDERS: dict[str, Losses] = {
    "histogram": _ours("histogram"),
    "sort": _ours("sort"),
    "published": _published,
}
CLASSES = {"common (30 %)": distributions.COMMON, "rare (0.2 %)": distributions.RARE}


class Accuracy(NamedTuple):
    """Deviation from float64."""

    group: str
    contender: str
    loss_error: float  # absolute; the loss is in [0, 1]
    gradient_error: float  # relative, in the Euclidean norm over all logits


def evaluate(losses: Losses, logits: Tensor, target: Tensor) -> list[tuple[float, Tensor]]:
    """Value and gradient of the loss of each class of CLASSES."""
    logits = logits.detach().requires_grad_()
    values = losses(logits, target, list(CLASSES.values()))
    return [
        (value.item(), torch.autograd.grad(value, logits, retain_graph=True)[0].double())
        for value in values
    ]


def measure(stage: str, pixels: int, seed: int = 0) -> list[Accuracy]:
    """All contenders on the loss of a common and of a rare class."""
    logits, target = distributions.draw(stage, pixels, seed)
    truth = evaluate(CONTENDERS["sort"], logits.double(), target)
    results = []
    for contender, losses in CONTENDERS.items():
        found = evaluate(losses, logits, target)
        for group, (value, gradient), (exact, slope) in zip(CLASSES, found, truth, strict=True):
            deviation = float((gradient - slope).norm() / slope.norm())
            results.append(Accuracy(group, contender, abs(value - exact), deviation))
    return results


def main(arguments: list[str]) -> None:
    """Print the table of the docs."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks accuracy", description=__doc__)
    parser.add_argument("--pixels", type=int, nargs="+", default=[100_000, 1_000_000])
    options = parser.parse_args(arguments)
    print(f"Bound of the histogram method with 1024 bins: {error_bound(1024):.2e}\n")
    names = list(CONTENDERS)
    print("| pixels | stage | class | " + " | ".join(f"{n}: loss, gradient" for n in names) + " |")
    print("|" + "---|" * (3 + len(names)))
    for pixels in options.pixels:
        for stage in distributions.STAGES:
            rows = measure(stage, pixels)
            for group in CLASSES:
                cells = [
                    f"{r.loss_error:.1e}, {r.gradient_error:.1e}" for r in rows if r.group == group
                ]
                print(f"| {pixels:,} | {stage} | {group} | " + " | ".join(cells) + " |", flush=True)
