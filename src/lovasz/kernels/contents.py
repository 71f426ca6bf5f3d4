"""Labels and probabilities that no loss can be computed from: found everywhere, told on the CPU."""

from __future__ import annotations

from typing import NoReturn

import torch
from torch import Tensor

from lovasz.core.contents import PROBABILITY_TOLERANCE, no_probability, wrong_labels
from lovasz.core.links import MULTICLASS, function_of
from lovasz.kernels.precision import to_compute

# The label of pixels that are masked, where no ignore_index is given.
SPARE_LABEL = -(2**62)
# That of pixels whose label is none, where no number could be told: within compiled code.
NO_LABEL = SPARE_LABEL + 1

# Soft labels may leave [0, 1] as probabilities may.
LABEL_TOLERANCE = PROBABILITY_TOLERANCE


def split_target(target: Tensor, ignore_index: int | None) -> tuple[Tensor, Tensor]:
    """Labels as int64 and which pixels are not ignored, both of the shape of the target."""
    labels = target.to(torch.int64)
    if ignore_index is None:
        return labels, torch.ones_like(labels, dtype=torch.bool)
    return labels, labels != ignore_index


def bad_labels(labels: Tensor, valid: Tensor, link: str, classes: int) -> Tensor:
    """Which labels are neither a class nor ignored; multilabel has the labels 0 and 1."""
    return valid & ((labels < 0) | (labels >= (classes if link in MULTICLASS else 2)))


def outside(probabilities: Tensor) -> Tensor:
    """Which probabilities are none; written so that NaN is outside too."""
    low, high = -PROBABILITY_TOLERANCE, 1 + PROBABILITY_TOLERANCE
    # 16-bit numbers would be compared with limits that are rounded to 16 bits.
    probabilities = to_compute(probabilities)
    return ~((probabilities >= low) & (probabilities <= high))


def raise_for_labels(
    target: Tensor, classes: int, ignore_index: int | None, link: str, cross_entropy: bool
) -> NoReturn:
    """Say which label is neither a class nor ``ignore_index``; there must be one."""
    labels, valid = split_target(target, ignore_index)
    bad = labels[bad_labels(labels, valid, link, classes)]
    ignored = None if ignore_index == SPARE_LABEL else ignore_index
    number = "one that is neither whole nor one-hot" if bad[0] == NO_LABEL else int(bad[0])
    raise ValueError(wrong_labels(link, cross_entropy, classes, ignored, number, len(bad) - 1))


def raise_for_soft_labels(
    target: Tensor, ignore_index: int | None, link: str, cross_entropy: bool
) -> NoReturn:
    """Say which soft label (N, C, L) is none, or whose sum is too large; there must be one."""
    name, labels = function_of(link, cross_entropy), to_compute(target)
    bad = ~((labels >= -LABEL_TOLERANCE) & (labels <= 1 + LABEL_TOLERANCE))
    if link not in MULTICLASS and ignore_index is not None:
        bad = bad & (labels != ignore_index)
    if bool(bad.any()):
        other = f" or equal to ignore_index={ignore_index}" if ignore_index is not None else ""
        raise ValueError(
            f"{name}: expected every soft label to be in [0, 1]{other},"
            f" got {float(labels[bad][0]):g} (and {int(bad.sum()) - 1} more outside)"
        )
    raise ValueError(
        f"{name}: expected the soft labels of a pixel to sum to at most 1 over the classes,"
        f" got {float(labels.sum(1).max()):g}"
    )


def raise_for_probabilities(scores: Tensor, valid: Tensor, link: str) -> None:
    """Say which of the scores (N, C, L) that are not ignored is no probability, if it is a number.

    A NaN is not raised for: it makes the loss NaN, as it does for logits.
    """
    beyond = valid & outside(scores) & ~scores.isnan()
    if bool(beyond.any()):
        raise ValueError(no_probability(link, float(scores[beyond][0])))
