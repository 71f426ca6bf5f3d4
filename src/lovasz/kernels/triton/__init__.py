"""The operators on CUDA and ROCm devices, by Triton kernels; the rest goes to the reference.

The rest is float64 scores, and soft labels whose errors are sorted.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType

import torch
from torch import Tensor

from lovasz.kernels import reference
from lovasz.kernels.soft import is_soft
from lovasz.kernels.triton.availability import launches, supported
from lovasz.kernels.triton.inputs import (
    Clouds,
    CrossEntropy,
    Labels,
    SoftLabels,
    SoftWeights,
    Weights,
)


def histogram(
    scores: Tensor,
    target: Tensor,
    bins: int,
    ignore_index: int | None,
    per_image: bool,
    link: str,
    cross_entropy: bool = False,
    class_weight: Tensor | None = None,
    smoothing: float = 0.0,
    pixel_weight: Tensor | None = None,
    segment_ids: Tensor | None = None,
    segments: int = 1,
    upsample: str | None = None,
    size: Sequence[int] | None = None,
    mixture: Tensor | None = None,
    label_smoothing: float = 0.0,
    regions: bool = False,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """``lovasz::histogram`` for CUDA tensors."""
    general = regions or is_soft(target, mixture, label_smoothing)
    launch = _launches("chunks" if upsample else "soft" if general else "histograms", scores)
    if launch is None:
        return reference.histogram(
            scores, target, bins, ignore_index, per_image, link, cross_entropy, class_weight,
            smoothing, pixel_weight, segment_ids, segments, upsample, size,
            mixture, label_smoothing, regions,
        )  # fmt: skip
    added = CrossEntropy.of(class_weight, smoothing) if cross_entropy else None
    with torch.cuda.device_of(scores):
        clouds = Clouds.of(segment_ids, segments)
        options = (bins, per_image, link, added)
        labels: Labels | SoftLabels = Labels.of(target, ignore_index)
        if general:
            labels = SoftLabels.of(target, mixture, link, ignore_index, label_smoothing)
        if upsample is not None:
            found = launch.histogram(scores, upsample, size, labels, *options, pixel_weight)
        else:
            weights = _weights(pixel_weight, labels, clouds)
            found = launch.histogram(scores, labels, *options, weights, clouds)
        counts, lse, invalid, sums, *summed = found
        invalid = invalid if clouds is None else invalid + clouds.unknown
    none = scores.new_empty(0, dtype=torch.float64)
    return counts, lse, invalid, sums, summed[0] if general else none


def sort_and_extend(
    scores: Tensor,
    target: Tensor,
    ignore_index: int | None,
    per_image: bool,
    link: str,
    alpha: float,
    beta: float,
    symmetric: bool = False,
    pixel_weight: Tensor | None = None,
    segment_ids: Tensor | None = None,
    segments: int = 1,
    upsample: str | None = None,
    size: Sequence[int] | None = None,
    mixture: Tensor | None = None,
    label_smoothing: float = 0.0,
    regions: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """``lovasz::sort_and_extend`` for CUDA tensors."""
    launch = _launches("chunks" if upsample else "sorting", scores)
    if launch is None or is_soft(target, mixture, label_smoothing):
        options = (ignore_index, per_image, link, alpha, beta, symmetric)
        segmented = (pixel_weight, segment_ids, segments, upsample, size)
        soft = (mixture, label_smoothing, regions)
        return reference.sort_and_extend(scores, target, *options, *segmented, *soft)
    with torch.cuda.device_of(scores):
        labels, clouds = Labels.of(target, ignore_index), Clouds.of(segment_ids, segments)
        weights = Weights.of(pixel_weight, labels, clouds)
        tail = (labels, per_image, link, alpha, beta, symmetric, weights)
        if upsample is not None:
            found = launch.sort_and_extend(scores, upsample, size, *tail)
        else:
            found = launch.sort_and_extend(scores, *tail, clouds)
        losses, slopes, positives, pixels, lse, invalid = found
        invalid = invalid if clouds is None else invalid + clouds.unknown
    return losses, slopes, positives, pixels, lse, invalid


def backward(
    scores: Tensor,
    target: Tensor,
    lse: Tensor,
    slopes: Tensor,
    factors: Tensor | None,
    ignore_index: int | None,
    link: str,
    scale: Tensor | None = None,
    class_weight: Tensor | None = None,
    smoothing: float = 0.0,
    segment_ids: Tensor | None = None,
    pixel_weight: Tensor | None = None,
    upsample: str | None = None,
    size: Sequence[int] | None = None,
    mixture: Tensor | None = None,
    label_smoothing: float = 0.0,
    by_regions: Tensor | None = None,
) -> Tensor:
    """``lovasz::backward`` for CUDA tensors."""
    alone = slopes.dim() == 4 and slopes.shape[3] == 0
    general = by_regions is not None or is_soft(target, mixture, label_smoothing)
    launch = _launches("chunks" if upsample else "soft" if general else "gradient", scores)
    if launch is None:
        options = (ignore_index, link, scale, class_weight, smoothing, segment_ids, pixel_weight)
        rest = (upsample, size, mixture, label_smoothing, by_regions)
        return reference.backward(scores, target, lse, slopes, factors, *options, *rest)
    added = None if scale is None else CrossEntropy.of(class_weight, smoothing)
    with torch.cuda.device_of(scores):
        rows = slopes if slopes.dim() == 4 else factors
        clouds = None if rows is None else Clouds.of(segment_ids, rows.shape[0])
        tail = (lse, None if alone else slopes, factors, link, scale, added, pixel_weight)
        labels: Labels | SoftLabels = Labels.of(target, ignore_index)
        sums = {}
        if general:
            labels = SoftLabels.of(target, mixture, link, ignore_index, label_smoothing)
            sums = {"by_regions": by_regions}
        if upsample is not None:
            gradient: Tensor = launch.backward(scores, upsample, size, labels, *tail, **sums)
        else:
            gradient = launch.backward(scores, labels, *tail, clouds, **sums)
    return gradient


def extend(
    counts: Tensor,
    alpha: float,
    beta: float,
    wide: bool,
    scale: int = 1,
    unbounded: bool = False,
    positives: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """``lovasz::extend`` for CUDA tensors."""
    launch = launches("extension") if counts.numel() > 0 else None
    if launch is None:
        return reference.extend(counts, alpha, beta, wide, scale, unbounded, positives)
    with torch.cuda.device_of(counts):
        losses, slopes, present = launch.extend(
            counts, alpha, beta, wide, scale, unbounded, positives
        )
    return losses, slopes, present


def reduce(
    losses: Tensor,
    active: Tensor,
    invalid: Tensor,
    weight: Tensor | None,
    normalize: bool,
    mean: bool,
    per_image: bool,
    wide: bool,
    sums: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """``reference.reduce`` for CUDA tensors, without a gradient."""
    arguments = (losses, active, invalid, weight, normalize, mean, per_image, wide, sums)
    launch = launches("reduction") if active.numel() > 0 else None
    if launch is None or not launch.reduces(active):
        return reference.reduce(*arguments)
    with torch.cuda.device_of(active):
        total, factors, cross_entropy, by_sum = launch.reduce(*arguments)
    return total, factors, cross_entropy, by_sum


def argmax(
    scores: Tensor,
    size: Sequence[int] | None,
    upsample: str | None,
    narrow: bool,
    lines: Tensor | None = None,
    multilabel: bool = False,
) -> Tensor:
    """``lovasz::argmax`` for CUDA tensors; torch has one of scores that are not interpolated."""
    launch = None if upsample is None else _launches("upsampling", scores)
    if launch is None:
        return reference.argmax(scores, size, upsample, narrow, lines, multilabel)
    with torch.cuda.device_of(scores):
        labels: Tensor = launch.argmax(
            scores, size, upsample, narrow=narrow, lines=lines, multilabel=multilabel
        )
    return labels


def _weights(
    pixel_weight: Tensor | None, labels: Labels | SoftLabels, clouds: Clouds | None
) -> Weights | SoftWeights | None:
    """Weights of pixels as the kernels of these labels read them."""
    if isinstance(labels, SoftLabels):
        return SoftWeights.of(pixel_weight, labels)
    return Weights.of(pixel_weight, labels, clouds)


def _launches(module: str, scores: Tensor) -> ModuleType | None:
    """A module of launches, if they can do this."""
    if not supported(scores):
        return None
    return launches(module)
