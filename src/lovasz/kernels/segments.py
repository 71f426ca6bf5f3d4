"""Which pixels have a loss of their own, and sums over them."""

from __future__ import annotations

from typing import Any, NamedTuple

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


class Clouds(NamedTuple):
    """Clouds of points as the C++ kernels read them: one after the other."""

    offsets: Tensor  # (G + 1,) int64, where each begins, and where the last one ends
    order: Tensor | None  # (L,) int64, the points in that order; None if they lie so

    @classmethod
    def of(cls, ids: Tensor, number: int) -> Clouds:
        """From segment ids (1, L) on the CPU, which are read."""
        numbers, order = ids[0].contiguous(), None
        if not bool((numbers[1:] >= numbers[:-1]).all()):
            numbers, order = numbers.sort(stable=True)
        offsets = torch.searchsorted(numbers, torch.arange(number + 1))
        if int(offsets[0]) != 0 or int(offsets[-1]) != len(numbers):
            raise ValueError(
                f"lovasz: expected segment_ids in [0, {number - 1}],"
                f" got {int(numbers[0])} to {int(numbers[-1])}"
            )
        return cls(offsets, order)

    @property
    def number(self) -> int:
        """Of clouds."""
        return len(self.offsets) - 1

    def gather(self, *tensors: Any) -> tuple[Any, ...]:
        """Values (1, L) or (1, C, L) of the points in the order of the clouds; as many results."""
        order = self.order
        return tensors if order is None else tuple(_gathered(tensor, order) for tensor in tensors)

    def scatter(self, values: Tensor, out: Tensor) -> Tensor:
        """Put values in the order of the clouds where their points are."""
        if self.order is None:
            return out.copy_(values)
        if (points := _points_first(out)) is None:
            return out.index_copy_(-1, self.order, values)
        points.index_copy_(1, self.order, values.transpose(1, 2))
        return out


def _gathered(tensor: Tensor | None, order: Tensor) -> Tensor | None:
    if tensor is None or len(tensor) == 0:  # what is not given, and no log-sum-exp
        return tensor
    if (points := _points_first(tensor)) is None:
        return tensor.index_select(-1, order)
    return points.index_select(1, order).transpose(1, 2)


def _points_first(tensor: Tensor) -> Tensor | None:
    """(1, L, C) of a tensor (1, C, L) in which the classes of a point lie next to each other."""
    return tensor.transpose(1, 2) if tensor.dim() == 3 and tensor.stride(1) == 1 else None


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
