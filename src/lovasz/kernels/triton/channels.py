"""The operators of channels on CUDA and ROCm devices; the rest goes to the reference."""

from __future__ import annotations

from types import ModuleType

import torch
from torch import Tensor

from lovasz.core.bins import check_bins
from lovasz.kernels import channels
from lovasz.kernels.contract import check_pixels
from lovasz.kernels.triton.availability import launches, supported
from lovasz.kernels.triton.inputs import Entropy, Labels, Weights


def _launch(scores: Tensor) -> ModuleType | None:
    """The launches, if they can do this."""
    return launches("channel_launch") if supported(scores) else None


def count_channels(
    scores: Tensor,
    target: Tensor,
    bins: int,
    ignore_index: int | None,
    per_image: bool,
    link: str,
    entropy: bool = False,
    positive_weight: Tensor | None = None,
    pixel_weight: Tensor | None = None,
    group: Tensor | None = None,
    groups: int = 1,
) -> tuple[Tensor, Tensor, Tensor]:
    """``lovasz::count_channels`` for CUDA tensors."""
    tensors = {"pixel_weight": pixel_weight, "class_weight": positive_weight, "group": group}
    check_pixels("count_channels", scores, target, link, **tensors)
    check_bins("lovasz::count_channels", bins)
    launch = _launch(scores) if group is None else None
    if launch is None:
        options = (ignore_index, per_image, link, entropy, positive_weight, pixel_weight)
        return channels.count_channels(scores, target, bins, *options, group, groups)
    riding = Entropy.of(positive_weight) if entropy else None
    with torch.cuda.device_of(scores):
        labels = Labels.of(target, ignore_index)
        weights = Weights.of(pixel_weight, labels)
        counts, invalid, sums = launch.count(scores, labels, bins, per_image, link, riding, weights)
    return counts, invalid, sums


def push_channels(
    scores: Tensor,
    target: Tensor,
    slopes: Tensor,
    ignore_index: int | None,
    link: str,
    entropy_scale: Tensor | None = None,
    positive_weight: Tensor | None = None,
    group: Tensor | None = None,
    factors: Tensor | None = None,
    pixel_weight: Tensor | None = None,
) -> Tensor:
    """The gradient from slopes by bin, for CUDA tensors."""
    launch = _launch(scores) if group is None else None
    if launch is None:
        options = (ignore_index, link, entropy_scale, positive_weight, group, factors, pixel_weight)
        return channels.push_channels(scores, target, slopes, *options)
    riding = None if entropy_scale is None else Entropy.of(positive_weight)
    with torch.cuda.device_of(scores):
        labels = Labels.of(target, ignore_index)
        tables = (slopes, factors)
        gradient: Tensor = launch.push(
            scores, labels, *tables, link, entropy_scale, riding, pixel_weight
        )
    return gradient


def exact_channels(
    scores: Tensor,
    target: Tensor,
    ignore_index: int | None,
    per_image: bool,
    link: str,
    alpha: float,
    beta: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """``lovasz::exact_channels`` for CUDA tensors."""
    check_pixels("exact_channels", scores, target, link)
    launch = _launch(scores)
    if launch is None:
        options = (ignore_index, per_image, link, alpha, beta)
        return channels.exact_channels(scores, target, *options)
    with torch.cuda.device_of(scores):
        labels = Labels.of(target, ignore_index)
        losses, slopes, *counts, invalid = launch.exact(
            scores, labels, per_image, link, alpha, beta
        )
    positives, pixels = counts
    return losses, slopes, positives, pixels, invalid


def push_ranked_channels(
    scores: Tensor,
    target: Tensor,
    slopes: Tensor,
    ignore_index: int | None,
    link: str,
    factors: Tensor | None = None,
) -> Tensor:
    """The gradient from slopes by pixel, for CUDA tensors."""
    launch = _launch(scores)
    if launch is None:
        return channels.push_ranked_channels(scores, target, slopes, ignore_index, link, factors)
    with torch.cuda.device_of(scores):
        labels = Labels.of(target, ignore_index)
        gradient: Tensor = launch.push(scores, labels, slopes, factors, link)
    return gradient
