"""What losses of soft labels are least at: the example of docs/soft-labels.md.

Ten pixels that are surely of a class and ten that surely are not, all predicted rightly, and ten
of which the label is q: which p for these ten has the smallest loss?
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
from torch import Tensor

from lovasz import (
    dice_loss,
    jaccard_loss,
    jaccard_metric_loss,
    lovasz_sigmoid_from_probabilities,
)

COUNT = 10
LABELS = (0.3, 0.4, 0.5, 0.7, 0.9)
STEPS = 20


def capped(p: Tensor, q: Tensor) -> Tensor:
    """The soft Lovász loss."""
    return lovasz_sigmoid_from_probabilities(p, q, method="sort")


def split(p: Tensor, q: Tensor) -> Tensor:
    """Hard labels with two entries for each pixel."""
    labels = torch.cat((torch.ones_like(q), torch.zeros_like(q))).long()
    weight = torch.cat((q, 1 - q))
    return lovasz_sigmoid_from_probabilities(
        torch.cat((p, p)), labels, method="sort", pixel_weight=weight
    )


def by_sums(loss: Callable[..., Tensor], **options: object) -> Callable[[Tensor, Tensor], Tensor]:
    """A loss of probabilities, without smoothing of the ratio."""
    return lambda p, q: loss(p, q, activation="none", multilabel=False, smooth=0.0, **options)


READINGS = {
    "capped errors": capped,
    "split mass": split,
    "JML": by_sums(jaccard_metric_loss),
    "soft Dice": by_sums(dice_loss),
    "soft Jaccard": by_sums(jaccard_loss),
    "Dice, squared": by_sums(dice_loss, squared=True),
}


def of_the_ten(loss: Callable[[Tensor, Tensor], Tensor], p: float, q: float) -> float:
    """The loss where they are predicted with p and their labels are q."""
    ones, rest = torch.ones(COUNT, dtype=torch.float64), torch.zeros(COUNT, dtype=torch.float64)
    return loss(torch.cat((ones, rest, p * ones)), torch.cat((ones, rest, q * ones))).item()


def least(loss: Callable[[Tensor, Tensor], Tensor], q: float) -> float:
    """The p of the smallest loss."""
    return min(range(STEPS + 1), key=lambda k: of_the_ten(loss, k / STEPS, q)) / STEPS


def table() -> str:
    """Minima, and the losses of four predictions of the label 0.7."""
    lines = ["| | " + " | ".join(READINGS) + " |", "|---" * (1 + len(READINGS)) + "|"]
    for q in LABELS:
        found = (f"{least(loss, q):.2g}" for loss in READINGS.values())
        lines.append(f"| best p for q = {q} | " + " | ".join(found) + " |")
    for p in (0.0, 0.5, 0.7, 1.0):
        found = (f"{of_the_ten(loss, p, 0.7):.3f}" for loss in READINGS.values())
        lines.append(f"| loss of p = {p:g} for q = 0.7 | " + " | ".join(found) + " |")
    return "\n".join(lines)


def main(arguments: list[str]) -> None:
    """Print the table of the docs."""
    program = "python -m benchmarks soft-readings"
    argparse.ArgumentParser(prog=program, description=__doc__).parse_args(arguments)
    print(table())
