"""Error of loss and gradient of soft labels, in float32 against sorted float64.

Labels smoothed by 0.1, labels of several annotators who disagree about some of the pixels, and hard
ones to compare. Logits are those of `benchmarks.distributions`, and those of networks that have
learned the soft labels: their logarithm and noise.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks import distributions
from lovasz import lovasz_softmax

STAGES = ("random", "trained", "converged", "margin 7, 10% wrong", "margin 13, 10% wrong")
LEARNED = {"learned, noise 1": 1.0, "learned, noise 0.1": 0.1}
SMOOTHING, ANNOTATORS, UNSURE = 0.1, 5, 0.2
SORT = {"method": "sort"}
METHODS: dict[str, dict[str, Any]] = {"histogram": {}, "65,536 bins": {"bins": 2**16}, "sort": SORT}


def annotated(target: Tensor, classes: int) -> Tensor:
    """Means of five annotators who say anything about a fifth of the pixels, (P, C)."""
    generator = torch.Generator().manual_seed(1)
    maps = target.expand(ANNOTATORS, -1).clone()
    unsure = torch.rand(len(target), generator=generator) < UNSURE
    drawn = torch.randint(classes, maps.shape, generator=generator)
    maps[:, unsure] = torch.where(torch.rand(maps.shape, generator=generator) < 0.5, maps, drawn)[
        :, unsure
    ]
    return F.one_hot(maps, classes).double().mean(0)


def labels(target: Tensor, classes: int) -> dict[str, Tensor]:
    """Labels of each kind, (P, C) in float64; hard ones among them."""
    hard = F.one_hot(target, classes).double()
    return {
        "hard": hard,
        "smoothed": (1 - SMOOTHING) * hard + SMOOTHING / classes,
        "annotators": annotated(target, classes),
    }


def cases(pixels: int) -> list[tuple[str, dict[str, tuple[Tensor, Tensor]]]]:
    """For each stage logits in float32 and labels of each kind."""
    found = []
    for stage in STAGES:
        logits, target = distributions.draw(stage, pixels)
        kinds = labels(target, logits.shape[1])
        found.append((stage, {kind: (logits.float(), q) for kind, q in kinds.items()}))
    _, target = distributions.draw(STAGES[0], pixels)
    generator = torch.Generator().manual_seed(2)
    for stage, noise in LEARNED.items():
        of_kind = {}
        for kind, q in labels(target, logits.shape[1]).items():
            drawn = noise * torch.randn(q.shape, generator=generator)
            of_kind[kind] = ((q.clamp(min=1e-4).log() + drawn).float(), q)
        found.append((stage, of_kind))
    return found


def value_and_gradient(call: Callable[[Tensor], Tensor], logits: Tensor) -> tuple[float, Tensor]:
    """In float64, of logits of any dtype."""
    logits = logits.detach().clone().requires_grad_()
    value = call(logits)
    return value.item(), torch.autograd.grad(value, logits)[0].double()


def errors(logits: Tensor, q: Tensor, options: dict[str, Any]) -> tuple[float, float]:
    """Of the loss, and of the gradient relative to its norm."""
    exact, gradient = value_and_gradient(lambda x: lovasz_softmax(x, q, **SORT), logits.double())
    value, other = value_and_gradient(lambda x: lovasz_softmax(x, q.float(), **options), logits)
    return abs(value - exact), float((other - gradient).norm() / gradient.norm())


def table(pixels: int) -> str:
    """Errors of the gradient, and below it the largest of the loss."""
    heads = [
        f"{kind}, {method}" for kind in ("hard", "smoothed", "annotators") for method in METHODS
    ]
    lines = ["| stage | " + " | ".join(heads) + " |", "|---" * (1 + len(heads)) + "|"]
    worst = dict.fromkeys(heads, 0.0)
    for stage, kinds in cases(pixels):
        row = []
        for kind, (logits, q) in kinds.items():
            for method, options in METHODS.items():
                loss, gradient = errors(logits, q, options)
                head = f"{kind}, {method}"
                worst[head] = max(worst[head], loss)
                row.append(f"{100 * gradient:.2g} %")
        lines.append(f"| {stage} | " + " | ".join(row) + " |")
    lines.append("| worst loss | " + " | ".join(f"{worst[head]:.0e}" for head in heads) + " |")
    return "\n".join(lines)


def main(arguments: list[str]) -> None:
    """Print the table of the docs."""
    program = "python -m benchmarks soft-accuracy"
    parser = argparse.ArgumentParser(prog=program, description=__doc__)
    parser.add_argument("--pixels", type=int, default=20_000)
    options = parser.parse_args(arguments)
    print(f"Error of the gradient, {options.pixels:,} pixels\n")
    print(table(options.pixels))
