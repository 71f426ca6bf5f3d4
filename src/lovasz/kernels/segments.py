"""Which pixels have a loss of their own, and sums over them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from lovasz.kernels.fixed_point import to_fixed


class Segments(NamedTuple):
    """Groups G of pixels, each with losses of its own.

    All pixels; or those of every image; or, for clouds of points that lie one after the other in
    one image, those with the same number among ``ids``.
    """

    per_image: bool
    ids: Tensor | None = None  # (N, L) int64, N = 1
    number: int = 1  # of clouds, where there are ids

    def count(self, images: int) -> int:
        """Number of groups, G."""
        if self.ids is not None:
            return self.number
        return images if self.per_image else 1


def by_image(slopes: Tensor, factors: Tensor | None) -> bool:
    """Whether images have slopes, or factors of slopes, of their own.

    Slopes (N, C, L) by pixel do not tell: their factors (G, C) do, where there are any.
    """
    rows = slopes if slopes.dim() == 4 else factors
    return rows is not None and rows.shape[0] > 1


def rows_of(positive: Tensor, segments: Segments) -> Tensor:
    """Row of the (G · C · 2, B) histograms in which a pixel is counted for a class, (N, C, L)."""
    images, classes, _ = positive.shape
    first = torch.arange(classes, device=positive.device).view(1, -1, 1) * 2
    if segments.ids is not None:
        first = first + segments.ids.unsqueeze(1) * (2 * classes)
    elif segments.per_image:
        first = first + torch.arange(images, device=positive.device).view(-1, 1, 1) * (2 * classes)
    return first + positive


def histogram_of(
    bins_of: Tensor,
    positive: Tensor,
    valid: Tensor,
    bins: int,
    segments: Segments,
    pixel_weight: Tensor | None,
) -> Tensor:
    """Counts (G, C, 2, B) of the pixels by their bins (N, C, L), in pixels or fixed point."""
    images, classes, _ = positive.shape
    cell = rows_of(positive, segments) * bins + bins_of
    summand = valid.to(torch.int64)
    if pixel_weight is not None:
        summand = torch.where(valid, to_fixed(pixel_weight).view_as(valid), 0)
    groups = segments.count(images)
    counts = torch.zeros(groups * classes * 2 * bins, dtype=torch.int64, device=cell.device)
    counts.scatter_add_(0, cell.reshape(-1), summand.expand_as(cell).reshape(-1))
    return counts.view(groups, classes, 2, bins)


def segment_sum(numbers: Tensor, segments: Segments) -> Tensor:
    """Sum numbers (N, L), or (N, C, L) of the channels of a pixel, by group: (G,) int64."""
    numbers = numbers.to(torch.int64)
    numbers = numbers if numbers.dim() == 2 else numbers.sum(1)
    if segments.ids is not None:
        sums = torch.zeros(segments.number, dtype=torch.int64, device=numbers.device)
        return sums.scatter_add_(0, segments.ids.reshape(-1), numbers.reshape(-1))
    return numbers.sum(1) if segments.per_image else numbers.sum().reshape(1)
