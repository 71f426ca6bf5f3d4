"""The operators of channels on the CPU, by the compiled kernels; the rest goes to the reference."""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from lovasz.core import native
from lovasz.core.bins import check_bins
from lovasz.core.links import function_of
from lovasz.kernels import channels
from lovasz.kernels.contract import check_pixels
from lovasz.kernels.problems import (
    LABEL_TYPES,
    SCORE_TYPES,
    SORTED_SCORES,
    add_entropy,
    add_pixel_mass,
    add_pixel_weight,
    address,
    check,
    entropy_of,
    gradient_of,
    make_problem,
    narrow,
    pixels_contiguous,
    readable,
    sort_exactly,
)
from lovasz.kernels.validity import raise_for_channel_labels

_LINKS = {"sigmoid": 1, "hinge": 2, "elu": 3}


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
    """``lovasz::count_channels`` for CPU tensors."""
    tensors = {"pixel_weight": pixel_weight, "class_weight": positive_weight, "group": group}
    check_pixels("count_channels", scores, target, link, **tensors)
    check_bins("lovasz::count_channels", bins)
    kernels = _kernels(scores, target, link, group)
    if kernels is None:
        options = (ignore_index, per_image, link, entropy, positive_weight, pixel_weight)
        return channels.count_channels(scores, target, bins, *options, group, groups)
    count = scores.shape[1]
    groups = scores.shape[0] if per_image else 1
    counts = torch.zeros((groups, count, 2, bins), dtype=torch.int64)
    invalid = torch.zeros(groups, dtype=torch.int64)
    scores, target = readable(scores), pixels_contiguous(target)
    problem = _problem(scores, target, bins, ignore_index, per_image, link)
    kept = add_entropy(problem, entropy, positive_weight, 0.0)
    kept += add_pixel_weight(problem, pixel_weight) + add_pixel_mass(problem, pixel_weight)
    result = native.CountResult(counts.data_ptr(), invalid.data_ptr())
    check(kernels.lovasz_count(problem, result, torch.get_num_threads()))
    if result.bad_labels:
        _raise_for_labels(target, ignore_index, link, entropy)
    del kept
    sums = entropy_of(result, entropy)
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
    """The gradient from slopes by bin, for CPU tensors."""
    kernels = _kernels(scores, target, link, group)
    if kernels is None:
        options = (ignore_index, link, entropy_scale, positive_weight, group, factors, pixel_weight)
        return channels.push_channels(scores, target, slopes, *options)
    gradient, out = gradient_of(scores, kernels)
    scores, target = readable(scores), pixels_contiguous(target)
    slopes = slopes.to(torch.float32).contiguous()
    groups, _, _, bins = slopes.shape
    problem = _problem(scores, target, bins, ignore_index, groups > 1, link)
    kept = add_entropy(problem, entropy_scale is not None, positive_weight, 0.0)
    kept += add_pixel_weight(problem, pixel_weight)
    scale = 0.0 if entropy_scale is None else entropy_scale.item()
    threads = torch.get_num_threads()
    factors, factor = narrow(factors)
    check(kernels.lovasz_push(problem, slopes.data_ptr(), factor, scale, address(out), threads))
    del kept, factors
    return gradient if out is gradient else gradient.copy_(out)


def exact_channels(
    scores: Tensor,
    target: Tensor,
    ignore_index: int | None,
    per_image: bool,
    link: str,
    alpha: float,
    beta: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """``lovasz::exact_channels`` for CPU tensors."""
    check_pixels("exact_channels", scores, target, link)
    kernels = _kernels(scores, target, link, None)
    if kernels is None or scores.numel() > SORTED_SCORES:
        options = (ignore_index, per_image, link, alpha, beta)
        return channels.exact_channels(scores, target, *options)
    scores, target = readable(scores), pixels_contiguous(target)
    problem = _problem(scores, target, 0, ignore_index, per_image, link)
    extended, bad_labels = sort_exactly(kernels, problem, alpha, beta)
    if bad_labels:
        _raise_for_labels(target, ignore_index, link)
    losses, slopes, positives, pixels, invalid = extended
    return losses, slopes, positives, pixels, invalid


def push_ranked_channels(
    scores: Tensor,
    target: Tensor,
    slopes: Tensor,
    ignore_index: int | None,
    link: str,
    factors: Tensor | None = None,
) -> Tensor:
    """The gradient from slopes by pixel, for CPU tensors."""
    kernels = _kernels(scores, target, link, None)
    if kernels is None:
        return channels.push_ranked_channels(scores, target, slopes, ignore_index, link, factors)
    gradient, out = gradient_of(scores, kernels)
    scores, target = readable(scores), pixels_contiguous(target)
    slopes = slopes.to(torch.float32).contiguous()
    per_image = factors is not None and factors.shape[0] > 1
    problem = _problem(scores, target, 0, ignore_index, per_image, link)
    threads = torch.get_num_threads()
    factors, factor = narrow(factors)
    check(kernels.lovasz_push_exact(problem, slopes.data_ptr(), factor, address(out), threads))
    del factors
    return gradient if out is gradient else gradient.copy_(out)


def _raise_for_labels(
    target: Tensor, ignore_index: int | None, link: str, entropy: bool = False
) -> None:
    labels = target.to(torch.int64)
    bad = (labels != 0) & (labels != 1) & (labels != ignore_index)
    raise_for_channel_labels(function_of(link, entropy), labels[bad], ignore_index)


def _kernels(scores: Tensor, target: Tensor, link: str, group: Tensor | None) -> ctypes.CDLL | None:
    """The library, if it can do this."""
    known = scores.dtype in SCORE_TYPES and target.dtype in LABEL_TYPES
    if group is not None or link not in _LINKS or not known or scores.numel() == 0:
        return None
    return native.load()


def _problem(
    scores: Tensor, target: Tensor, bins: int, ignore_index: int | None, per_image: bool, link: str
) -> native.Problem:
    no_lse = scores.new_empty(0, dtype=torch.float32)
    problem = make_problem(scores, target, no_lse, bins, ignore_index, per_image)
    problem.link = _LINKS[link]
    problem.target_class_stride = target.stride(1)
    return problem
