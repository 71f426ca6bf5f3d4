"""Maps from errors to bins: bound, and worst loss and gradient error over stages and classes.

All with the same number of bins and the same float32 errors; the truth is the sorted extension in
float64. ``ours`` is the map of the package.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks import distributions
from lovasz.core.bins import position
from lovasz.core.extension import extend_histogram
from lovasz.core.options import DEFAULT_BINS
from lovasz.core.set_functions import jaccard
from lovasz.kernels.sorting import extend_sorted

Map = Callable[[Tensor], Tensor]
#: classes of `distributions.draw`
COMMON, RARE = 0, 7

MAPS: dict[str, Map] = {
    "m": lambda m: m,
    "sqrt(m)": lambda m: m.sqrt(),
    "(3 sqrt(m) + m) / 4": lambda m: (3 * m.sqrt() + m) / 4,
    "(sqrt(m) + m) / 2": lambda m: (m.sqrt() + m) / 2,
    "arcsin(sqrt(m)) 2 / pi": lambda m: m.sqrt().asin() * (2 / math.pi),
    "(sqrt(m) + 1 - sqrt(1 - m)) / 2": lambda m: (m.sqrt() + 1 - (1 - m).sqrt()) / 2,
    "ours": lambda m: position(torch, m.double(), ONE) / ONE,
}
#: so many bins that their numbers are a map to be plotted
ONE = 2**50


def edges_of(map_: Map, bins: int) -> Tensor:
    """Edges of the bins by bisection of the map."""
    u = torch.linspace(0, 1, bins + 1, dtype=torch.float64)
    low, high = torch.zeros_like(u), torch.ones_like(u)
    for _ in range(60):
        middle = (low + high) / 2
        below = map_(middle) < u
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return torch.cat((u[:1], high[1:-1], u[-1:]))


def errors_of(logits: Tensor, target: Tensor, c: int) -> tuple[Tensor, Tensor, Tensor]:
    """Probability, error and membership of class c."""
    p = logits.softmax(1)[:, c]
    positive = target == c
    return p, torch.where(positive, 1 - p, p), positive


def gradient_of(p: Tensor, positive: Tensor, slopes: Tensor) -> Tensor:
    """Gradient by the logit of the class; those of the others share its deviation."""
    return torch.where(positive, -slopes, slopes) * p * (1 - p)


def deviation(
    map_: Map, edges: Tensor, logits: Tensor, target: Tensor, c: int
) -> tuple[float, float]:
    """Error of the loss and relative error of the gradient of class c."""
    p, errors, positive = errors_of(logits.double(), target, c)
    order = errors.argsort(descending=True)
    rows = (errors[order], positive[order], torch.ones_like(positive))
    exact = extend_sorted(*(row[None, None] for row in rows), jaccard)
    slopes = torch.empty_like(errors).index_copy_(0, order, exact.slopes[0, 0])
    gradient = gradient_of(p, positive, slopes)

    p, errors, positive = errors_of(logits, target, c)
    bins = len(edges) - 1
    index = (map_(errors) * bins).long().clamp(0, bins - 1)
    counts = torch.bincount(positive.long() * bins + index, minlength=2 * bins)
    centres = (edges[1:] + edges[:-1]) / 2
    counts = counts.view(1, 1, 2, bins).double()
    binned = extend_histogram(torch, counts, centres, jaccard)
    binned_gradient = gradient_of(p.double(), positive, binned.slopes[0, 0, positive.long(), index])
    relative = float((binned_gradient - gradient).norm() / gradient.norm())
    return abs(float(binned.losses - exact.losses)), relative


def main(arguments: list[str]) -> None:
    """Print the table of the docs."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks maps", description=__doc__)
    parser.add_argument("--pixels", type=int, default=100_000)
    parser.add_argument("--bins", type=int, default=DEFAULT_BINS)
    options = parser.parse_args(arguments)
    print(f"{options.pixels:,} pixels, {options.bins} bins\n")
    print("| map u(m) | half the widest bin | worst loss error | worst gradient error |")
    print("|---|---|---|---|")
    for name, map_ in MAPS.items():
        edges = edges_of(map_, options.bins)
        results = [
            deviation(map_, edges, *distributions.draw(stage, options.pixels), c)
            for stage in distributions.STAGES
            for c in (COMMON, RARE)
        ]
        bound = float((edges[1:] - edges[:-1]).max() / 2)
        loss, gradient = (max(column) for column in zip(*results, strict=True))
        print(f"| {name} | {bound:.2e} | {loss:.1e} | {gradient:.1e} |", flush=True)
