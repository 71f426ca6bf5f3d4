"""The operators on CUDA and ROCm devices, by Triton kernels; the rest goes to the reference.

The rest is float64 scores, probabilities of classes, and clouds one by one. ``channels`` has the
operators of channels.
"""

from __future__ import annotations

from types import ModuleType

import torch
from torch import Tensor

from lovasz.core.bins import check_bins
from lovasz.kernels import between, reference
from lovasz.kernels.contract import check_counts, check_pixels, check_reduction
from lovasz.kernels.triton.availability import launches, supported
from lovasz.kernels.triton.inputs import Entropy, Labels, Weights


def _launch(scores: Tensor, softmax: bool) -> ModuleType | None:
    """The launches, if they can do this."""
    return launches("launch") if softmax and supported(scores) else None


def count(
    scores: Tensor,
    target: Tensor,
    bins: int,
    ignore_index: int | None,
    per_image: bool,
    softmax: bool,
    entropy: bool = False,
    entropy_weight: Tensor | None = None,
    smoothing: float = 0.0,
    pixel_weight: Tensor | None = None,
    group: Tensor | None = None,
    groups: int = 1,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """``lovasz::count`` for CUDA tensors."""
    link = "softmax" if softmax else "probabilities"
    tensors = {"pixel_weight": pixel_weight, "class_weight": entropy_weight, "group": group}
    check_pixels("count", scores, target, link, **tensors)
    check_bins("lovasz::count", bins)
    launch = _launch(scores, softmax) if group is None else None
    if launch is None:
        return reference.count(
            scores, target, bins, ignore_index, per_image, softmax, entropy, entropy_weight,
            smoothing, pixel_weight, group, groups,
        )  # fmt: skip
    riding = Entropy.of(entropy_weight, smoothing) if entropy else None
    with torch.cuda.device_of(scores):
        labels = Labels.of(target, ignore_index)
        weights = Weights.of(pixel_weight, labels)
        counts, lse, invalid, sums = launch.count(scores, labels, bins, per_image, riding, weights)
    return counts, lse, invalid, sums


def weigh(
    counts: Tensor,
    alpha: float,
    beta: float,
    wide: bool,
    unit: int = 1,
    unbounded: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """``lovasz::weigh`` for CUDA tensors, of classes and of channels."""
    check_counts("weigh", counts, unit)
    launch = launches("weigh_launch") if counts.numel() > 0 else None
    if launch is None:
        return between.weigh(counts, alpha, beta, wide, unit, unbounded)
    with torch.cuda.device_of(counts):
        losses, slopes, seen = launch.weigh(counts, alpha, beta, wide, unit, unbounded)
    return losses, slopes, seen


def reduce(
    losses: Tensor,
    counting: Tensor,
    invalid: Tensor,
    weight: Tensor | None,
    normalize: bool,
    mean: bool,
    per_image: bool,
    wide: bool,
    sums: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """``between.reduce`` for CUDA tensors, without a gradient."""
    check_reduction("reduce", losses, counting, invalid, weight, sums)
    arguments = (losses, counting, invalid, weight, normalize, mean, per_image, wide, sums)
    launch = launches("weigh_launch") if counting.numel() > 0 else None
    if launch is None or not launch.reduces(counting):
        return between.reduce(*arguments)
    with torch.cuda.device_of(counting):
        total, factors, mean_entropy, by_sum = launch.reduce(*arguments)
    return total, factors, mean_entropy, by_sum


def push(
    scores: Tensor,
    target: Tensor,
    lse: Tensor,
    slopes: Tensor,
    ignore_index: int | None,
    softmax: bool,
    entropy_scale: Tensor | None = None,
    entropy_weight: Tensor | None = None,
    smoothing: float = 0.0,
    group: Tensor | None = None,
    factors: Tensor | None = None,
    pixel_weight: Tensor | None = None,
) -> Tensor:
    """The gradient from slopes by bin, for CUDA tensors."""
    launch = _launch(scores, softmax) if group is None else None
    if launch is None:
        return reference.push(
            scores, target, lse, slopes, ignore_index, softmax, entropy_scale, entropy_weight,
            smoothing, group, factors, pixel_weight,
        )  # fmt: skip
    riding = None if entropy_scale is None else Entropy.of(entropy_weight, smoothing)
    with torch.cuda.device_of(scores):
        labels = Labels.of(target, ignore_index)
        gradient: Tensor = launch.push(
            scores, labels, lse, slopes, factors, entropy_scale, riding, pixel_weight
        )
    return gradient


def exact(
    scores: Tensor,
    target: Tensor,
    ignore_index: int | None,
    per_image: bool,
    softmax: bool,
    alpha: float,
    beta: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """``lovasz::exact`` for CUDA tensors."""
    check_pixels("exact", scores, target, "softmax" if softmax else "probabilities")
    launch = _launch(scores, softmax)
    if launch is None:
        return reference.exact(scores, target, ignore_index, per_image, softmax, alpha, beta)
    with torch.cuda.device_of(scores):
        labels = Labels.of(target, ignore_index)
        losses, slopes, *rest = launch.exact(scores, labels, per_image, alpha, beta)
    positives, pixels, lse, invalid = rest
    of_class = pixels.unsqueeze(-1).repeat(1, positives.shape[1])  # the same for all
    return losses, slopes, positives, of_class, lse, invalid


def push_ranked(
    scores: Tensor,
    target: Tensor,
    lse: Tensor,
    slopes: Tensor,
    ignore_index: int | None,
    softmax: bool,
    factors: Tensor | None = None,
) -> Tensor:
    """The gradient from slopes by pixel, for CUDA tensors."""
    launch = _launch(scores, softmax)
    if launch is None:
        return reference.push_ranked(scores, target, lse, slopes, ignore_index, softmax, factors)
    with torch.cuda.device_of(scores):
        labels = Labels.of(target, ignore_index)
        gradient: Tensor = launch.push(scores, labels, lse, slopes, factors)
    return gradient
