"""What is said on the CPU of labels and probabilities that no loss can be computed from."""

from __future__ import annotations

from typing import NoReturn

import torch
from torch import Tensor

from lovasz.core.links import function_of

# The label of pixels that are masked, where no ignore_index is given.
SPARE_LABEL = -(2**62)

# Probabilities may leave [0, 1] by the rounding of a 16-bit softmax.
PROBABILITY_TOLERANCE = 1e-2


def split_target(target: Tensor, ignore_index: int | None) -> tuple[Tensor, Tensor]:
    """Labels as int64 and which pixels count, both (N, L)."""
    labels = target.to(torch.int64)
    if ignore_index is None:
        return labels, torch.ones_like(labels, dtype=torch.bool)
    return labels, labels != ignore_index


def bad_labels(labels: Tensor, valid: Tensor, classes: int) -> Tensor:
    """Which labels are neither a class nor ignored."""
    return valid & ((labels < 0) | (labels >= classes))


def outside(probabilities: Tensor) -> Tensor:
    """Which probabilities are none; written so that NaN is outside too."""
    low, high = -PROBABILITY_TOLERANCE, 1 + PROBABILITY_TOLERANCE
    return ~((probabilities >= low) & (probabilities <= high))


def raise_for_labels(name: str, target: Tensor, classes: int, ignore_index: int | None) -> NoReturn:
    """Say which label is neither a class nor ``ignore_index``; there must be one."""
    labels, valid = split_target(target, ignore_index)
    bad = bad_labels(labels, valid, classes)
    raise ValueError(
        f"{name}: expected every label to be in [0, {classes - 1}] or equal to"
        f" ignore_index={_said(ignore_index)}, got {int(labels[bad][0])}"
        f" (and {int(bad.sum()) - 1} more outside)"
    )


def raise_for_channel_labels(name: str, bad: Tensor, ignore_index: int | None) -> NoReturn:
    """Say which label of a channel is neither 0 nor 1 nor ``ignore_index``; there must be one."""
    raise ValueError(
        f"{name}: expected every label to be 0 or 1 or equal to"
        f" ignore_index={_said(ignore_index)}, got {int(bad[0])} (and {len(bad) - 1} more)"
    )


def _said(ignore_index: int | None) -> int | None:
    return None if ignore_index == SPARE_LABEL else ignore_index


def raise_for_probabilities(candidates: Tensor, link: str) -> None:
    """Say which of the numbers is no probability, if it is a number."""
    # NaN is not raised for: it makes the loss NaN, as it does for logits.
    beyond = outside(candidates) & ~candidates.isnan()
    if bool(beyond.any()):
        name = function_of(link)
        raise ValueError(
            f"{name}: expected probabilities in [0, 1] (use"
            f" {name.removesuffix('_from_probabilities')} for logits),"
            f" got {float(candidates[beyond][0]):g}"
        )
