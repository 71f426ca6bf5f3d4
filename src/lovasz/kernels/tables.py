"""What the references share: groups of pixels, histograms over them, and the final gradient."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

# What a pixel of weight 1 counts where pixels have weights: sums of integers have no order.
WEIGHT_UNIT = 2**20


class Groups(NamedTuple):
    """Which pixels have a loss of their own.

    All together; or those of every image; or, for clouds of points that lie one after the other in
    one image, those with the same number in ``group``.
    """

    per_image: bool
    group: Tensor | None = None  # (N, L) int64, N = 1
    groups: int = 1  # clouds, where there is a group


def group_count(images: int, arrangement: Groups) -> int:
    """Number of groups."""
    if arrangement.group is not None:
        return arrangement.groups
    return images if arrangement.per_image else 1


def histogram_row(positive: Tensor, arrangement: Groups) -> Tensor:
    """Row of the (G · C · 2, B) table in which each pixel and class is counted, (N, C, L)."""
    images, classes, _ = positive.shape
    first = torch.arange(classes, device=positive.device).view(1, -1, 1) * 2
    if arrangement.group is not None:
        first = first + arrangement.group.unsqueeze(1) * (2 * classes)
    elif arrangement.per_image:
        first = first + torch.arange(images, device=positive.device).view(-1, 1, 1) * (2 * classes)
    return first + positive


def histogram(
    index: Tensor,
    positive: Tensor,
    valid: Tensor,
    bins: int,
    arrangement: Groups,
    pixel_weight: Tensor | None,
) -> Tensor:
    """Counts (G, C, 2, B) of the pixels by their bins (N, C, L), in pixels or WEIGHT_UNITs."""
    images, classes, _ = positive.shape
    at = histogram_row(positive, arrangement) * bins + index
    mass = valid.to(torch.int64)
    if pixel_weight is not None:
        mass = torch.where(valid, fixed_point(pixel_weight).view_as(valid), 0)
    groups = group_count(images, arrangement)
    counts = torch.zeros(groups * classes * 2 * bins, dtype=torch.int64, device=index.device)
    counts.scatter_add_(0, at.reshape(-1), mass.expand_as(at).reshape(-1))
    return counts.view(groups, classes, 2, bins)


def fixed_point(pixel_weight: Tensor) -> Tensor:
    """Weights in WEIGHT_UNITs, int64; what is no weight counts nothing and is reported."""
    weight = torch.where(good_weight(pixel_weight), pixel_weight, 0.0)
    return (weight.double() * WEIGHT_UNIT).round().to(torch.int64)


def good_weight(pixel_weight: Tensor) -> Tensor:
    """Weights that can be summed: not negative, and at most 2**16."""
    return (pixel_weight >= 0) & (pixel_weight <= 2**16)  # NaN is neither


def per_group(bad: Tensor, arrangement: Groups) -> Tensor:
    """Sum (N, L) numbers by group, (G,) int64."""
    bad = bad.to(torch.int64)
    if arrangement.group is not None:
        sums = torch.zeros(arrangement.groups, dtype=torch.int64, device=bad.device)
        return sums.scatter_add_(0, arrangement.group.reshape(-1), bad.reshape(-1))
    return bad.sum(1) if arrangement.per_image else bad.sum().reshape(1)


def finish(gradient: Tensor, valid: Tensor, scores: Tensor) -> Tensor:
    """Zero for ignored pixels, in dtype and layout of the scores."""
    # The gradient has the layout of the scores, so that no later pass has to copy it.
    return torch.empty_like(scores).copy_(torch.where(valid, gradient, 0.0))


def times(slopes: Tensor, factors: Tensor | None) -> Tensor:
    """Slopes (G, C, 2, B), or (N, C, L) by pixel, times the factors (G, C) of their classes."""
    if factors is None:
        return slopes
    return slopes * factors.view(*factors.shape, *(1,) * (slopes.dim() - 2))
