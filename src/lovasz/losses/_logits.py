"""Probabilities that are given where logits are expected: nothing fails, and little is learned."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from lovasz.core.shapes import Layout

#: Functions that have been warned of.
TOLD: set[str] = set()

#: How many pixels are, and how many have to be there: fewer are probabilities by chance.
_MOST, _LEAST = 256, 4
_TOLERANCE = {torch.float64: 1e-4, torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 5e-2}


def warn_of_probabilities(name: str, link: str, scores: Tensor, layout: Layout) -> None:
    """Warn once of each function that is given probabilities in one of its first calls.

    Args:
        name: of the function.
        link: of a loss of logits, see ``core.links``.
        scores: as the user gave them, on the CPU.
        layout: of the scores.
    """
    softmax = link == "softmax"
    if name in TOLD or not _are_probabilities(scores.detach(), layout, softmax=softmax):
        return
    TOLD.add(name)
    what = "that sum to 1 over the classes" if softmax else "alone"
    layer = "softmax" if softmax else "sigmoid"
    warnings.warn(
        f"{name}: expected logits, got numbers in [0, 1] {what}, as probabilities are: leave out"
        f" the {layer} before the loss, or take lovasz_{layer}_from_probabilities (told once)",
        UserWarning,
        stacklevel=6,
    )


def _are_probabilities(scores: Tensor, layout: Layout, *, softmax: bool) -> bool:
    """Whether some pixels of the first image have probabilities, and not all the same."""
    if layout.points:
        some = scores[:_MOST].float()
    elif layout.channels:
        some = scores[:1].flatten(2)[..., :_MOST].float().movedim(1, -1).flatten(0, 1)
    else:
        some = scores[:1].flatten()[:_MOST].float()
    if len(some) < _LEAST:
        return False
    low, high = float(some.min()), float(some.max())
    if not (0 <= low < high <= 1):
        return False
    sums = some.sum(1) if softmax else torch.ones(())
    return bool(((sums - 1).abs() <= _TOLERANCE[scores.dtype]).all())
