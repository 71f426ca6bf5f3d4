"""The operators on scores of a lower resolution than the labels, a chunk of the pixels at a time.

The scores of a chunk are enlarged, and the launches of scores of full resolution read them soon
after. Backward they are enlarged again, their gradient takes their place, and is added to that of
low resolution. So memory is little more than a chunk, whatever the number of pixels, and the
log-sum-exp.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from lovasz.core.regions import SUMS
from lovasz.kernels.segments import by_image
from lovasz.kernels.triton import blocks, gradient, histograms, soft, sorting
from lovasz.kernels.triton.axes import Upsampling
from lovasz.kernels.triton.inputs import CrossEntropy, Labels, SoftLabels, SoftWeights, Weights
from lovasz.kernels.triton.shrinking import shrink
from lovasz.kernels.triton.upsampling import enlarge


class Chunk(NamedTuple):
    """Whole images, or some of the pixels of one."""

    images: slice
    first: int
    last: int

    def of(self, tensor: Tensor) -> Tensor:
        """Its part of a tensor (N, ..., L)."""
        return tensor[self.images, ..., self.first : self.last]

    def of_weights(self, weight: Tensor | None) -> Tensor | None:
        """The same of weights, if there are any."""
        return None if weight is None else self.of(weight)

    def of_soft(self, labels: SoftLabels) -> SoftLabels:
        """Its soft labels."""
        return labels.of_images(self.images, self.of(labels.target))


def chunks_of(scores: Tensor, upsampling: Upsampling) -> Iterator[Chunk]:
    """All pixels: as many whole images as fit, or rows of one, or at the least a few pixels."""
    images, classes = scores.shape[:2]
    length, width = upsampling.length, upsampling.axes[2].size
    most = max(blocks.CHUNK_BYTES // (4 * classes), 1)
    if length <= most:
        together = most // length
        for image in range(0, images, together):
            yield Chunk(slice(image, min(image + together, images)), 0, length)
        return
    step = width if width <= most else min(16, most)
    parts = blocks.ceil_div(length, most // step * step)
    size = blocks.ceil_div(blocks.ceil_div(length, parts), step) * step
    for image in range(images):
        for first in range(0, length, size):
            yield Chunk(slice(image, image + 1), first, min(first + size, length))


def histogram(
    scores: Tensor,
    mode: str,
    size: Sequence[int],
    labels: Labels | SoftLabels,
    bins: int,
    per_image: bool,
    link: str,
    cross_entropy: CrossEntropy | None,
    pixel_weight: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """As ``histograms.histogram`` or ``soft.histogram``, of scores (N, C, d, h, w)."""
    upsampling = Upsampling.of(scores, size, mode)
    images, classes = scores.shape[:2]
    groups = histograms.groups_of(images, per_image, None)
    counts = scores.new_zeros((groups, classes, 2, bins), dtype=torch.int64)
    invalid = scores.new_zeros(groups, dtype=torch.int64)
    sums = scores.new_zeros(2 if cross_entropy is not None else 0, dtype=torch.float64)
    shape: tuple[int, ...] = (images, upsampling.length) if link == "softmax" else (0,)
    lse = scores.new_empty(shape, dtype=torch.float64)
    soft_labels = isinstance(labels, SoftLabels)
    shape = (groups, classes, SUMS) if soft_labels else (0,)
    regions = scores.new_zeros(shape, dtype=torch.float64)
    for chunk in chunks_of(scores, upsampling):
        enlarged = enlarge(scores[chunk.images], upsampling, chunk.first, chunk.last)
        options = (bins, per_image, link, cross_entropy, chunk.of_weights(pixel_weight))
        found = _count(enlarged, chunk, labels, *options)
        own_groups = chunk.images if per_image else slice(None)
        counts[own_groups] += found[0]
        invalid[own_groups] += found[2]
        sums += found[3]
        if link == "softmax":
            chunk.of(lse).copy_(found[1])
        if soft_labels:
            regions[own_groups] += found[4]
    return counts, lse, invalid, sums, regions


def _count(
    enlarged: Tensor,
    chunk: Chunk,
    labels: Labels | SoftLabels,
    bins: int,
    per_image: bool,
    link: str,
    cross_entropy: CrossEntropy | None,
    pixel_weight: Tensor | None,
) -> tuple[Tensor, ...]:
    """Count a chunk, with its own weights."""
    options = (bins, per_image, link, cross_entropy)
    most = blocks.CHUNK_COPIES_BYTES
    if isinstance(labels, SoftLabels):
        soft_labels = chunk.of_soft(labels)
        soft_weights = SoftWeights.of(pixel_weight, soft_labels)
        return soft.histogram(enlarged, soft_labels, *options, soft_weights, copies_bytes=most)
    own = labels._replace(target=chunk.of(labels.target))
    weights = Weights.of(pixel_weight, own, None)
    return histograms.histogram(enlarged, own, *options, weights, copies_bytes=most)


def sort_and_extend(
    scores: Tensor,
    mode: str,
    size: Sequence[int],
    labels: Labels,
    per_image: bool,
    link: str,
    alpha: float,
    beta: float,
    symmetric: bool,
    weights: Weights | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """As ``sorting.sort_and_extend``: all pixels at once, as all errors are sorted and stored."""
    upsampling = Upsampling.of(scores, size, mode)
    enlarged = enlarge(scores, upsampling, 0, upsampling.length)
    return sorting.sort_and_extend(
        enlarged, labels, per_image, link, alpha, beta, symmetric, weights
    )


def backward(
    scores: Tensor,
    mode: str,
    size: Sequence[int],
    labels: Labels | SoftLabels,
    lse: Tensor,
    slopes: Tensor | None,
    factors: Tensor | None,
    link: str,
    scale: Tensor | None,
    cross_entropy: CrossEntropy | None,
    pixel_weight: Tensor | None,
    by_regions: Tensor | None = None,
) -> Tensor:
    """As ``gradient.backward`` or ``soft.backward``, of scores (N, C, d, h, w)."""
    upsampling = Upsampling.of(scores, size, mode)
    by_group = slopes is not None and by_image(slopes, factors)
    shrunk = torch.zeros_like(scores, dtype=torch.float32)
    for chunk in chunks_of(scores, upsampling):
        enlarged = enlarge(scores[chunk.images], upsampling, chunk.first, chunk.last)
        rows, rates = slopes, factors
        if slopes is not None and slopes.dim() == 3:
            rows = chunk.of(slopes)
        elif slopes is not None and by_group:
            rows = slopes[chunk.images]
        if factors is not None and by_group:
            rates = factors[chunk.images]
        own_lse = chunk.of(lse) if link == "softmax" else lse
        options = (own_lse, rows, rates, link, scale, cross_entropy, chunk.of_weights(pixel_weight))
        if isinstance(labels, SoftLabels):
            by_sums = by_regions
            if by_regions is not None and len(by_regions) > 1:
                by_sums = by_regions[chunk.images]
            soft.backward(
                enlarged, chunk.of_soft(labels), *options, by_regions=by_sums, in_place=True
            )
        else:
            own = labels._replace(target=chunk.of(labels.target))
            gradient.backward(enlarged, own, *options, in_place=True)
        shrink(enlarged, shrunk[chunk.images], upsampling, chunk.first, chunk.last)
    return shrunk.to(scores.dtype)
