"""The operators on the CPU, by the compiled kernels; float64 goes to the reference."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from lovasz.core import native
from lovasz.core.bins import bin_centres, check_bins, unbounded_bin_centres
from lovasz.core.links import function_of
from lovasz.kernels import between, reference
from lovasz.kernels.contract import check_counts, check_pixels, check_reduction
from lovasz.kernels.problems import (
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
from lovasz.kernels.validity import raise_for_labels


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
    """``lovasz::count`` for CPU tensors."""
    link = "softmax" if softmax else "probabilities"
    tensors = {"pixel_weight": pixel_weight, "class_weight": entropy_weight, "group": group}
    check_pixels("count", scores, target, link, **tensors)
    check_bins("lovasz::count", bins)
    kernels = native.load()
    options = (ignore_index, per_image, softmax, entropy, entropy_weight, smoothing)
    if kernels is None or group is not None or not _supported(scores, softmax):
        return reference.count(scores, target, bins, *options, pixel_weight, group, groups)
    images, classes, _ = scores.shape
    groups = images if per_image else 1
    counts = torch.zeros((groups, classes, 2, bins), dtype=torch.int64)
    invalid = torch.zeros(groups, dtype=torch.int64)
    lse = torch.empty(target.shape, dtype=torch.float32)
    scores, target = readable(scores), pixels_contiguous(target)
    problem = make_problem(scores, target, lse, bins, ignore_index, per_image)
    kept = add_entropy(problem, entropy, entropy_weight, smoothing)
    kept += add_pixel_weight(problem, pixel_weight) + add_pixel_mass(problem, pixel_weight)
    result = native.CountResult(counts.data_ptr(), invalid.data_ptr())
    check(kernels.lovasz_count(problem, result, torch.get_num_threads()))
    if result.bad_labels:
        raise_for_labels(function_of("softmax", entropy), target, classes, ignore_index)
    del kept
    sums = entropy_of(result, entropy)
    return counts, lse, invalid, sums


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
    """The gradient from slopes by bin, for CPU tensors."""
    kernels = native.load()
    if kernels is None or group is not None or not _supported(scores, softmax):
        options = (ignore_index, softmax, entropy_scale, entropy_weight, smoothing, group, factors)
        return reference.push(scores, target, lse, slopes, *options, pixel_weight)
    gradient, out = gradient_of(scores, kernels)
    scores, target = readable(scores), pixels_contiguous(target)
    slopes, lse = (tensor.to(torch.float32).contiguous() for tensor in (slopes, lse))
    groups, _, _, bins = slopes.shape
    problem = make_problem(scores, target, lse, bins, ignore_index, groups > 1)
    kept = add_entropy(problem, entropy_scale is not None, entropy_weight, smoothing)
    kept += add_pixel_weight(problem, pixel_weight)
    scale = 0.0 if entropy_scale is None else entropy_scale.item()
    threads = torch.get_num_threads()
    factors, factor = narrow(factors)
    check(kernels.lovasz_push(problem, slopes.data_ptr(), factor, scale, address(out), threads))
    del kept, factors
    return gradient if out is gradient else gradient.copy_(out)


def exact(
    scores: Tensor,
    target: Tensor,
    ignore_index: int | None,
    per_image: bool,
    softmax: bool,
    alpha: float,
    beta: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """``lovasz::exact`` for CPU tensors."""
    check_pixels("exact", scores, target, "softmax" if softmax else "probabilities")
    kernels = native.load()
    if kernels is None or not _supported(scores, softmax) or scores.numel() > SORTED_SCORES:
        return reference.exact(scores, target, ignore_index, per_image, softmax, alpha, beta)
    lse = torch.empty(target.shape, dtype=torch.float32)
    scores, target = readable(scores), pixels_contiguous(target)
    problem = make_problem(scores, target, lse, 0, ignore_index, per_image)
    (*extended, invalid), bad_labels = sort_exactly(kernels, problem, alpha, beta)
    if bad_labels:
        raise_for_labels(function_of("softmax"), target, scores.shape[1], ignore_index)
    losses, slopes, positives, pixels = extended
    return losses, slopes, positives, pixels, lse, invalid


def push_ranked(
    scores: Tensor,
    target: Tensor,
    lse: Tensor,
    slopes: Tensor,
    ignore_index: int | None,
    softmax: bool,
    factors: Tensor | None = None,
) -> Tensor:
    """The gradient from slopes by pixel, for CPU tensors."""
    kernels = native.load()
    if kernels is None or not _supported(scores, softmax):
        return reference.push_ranked(scores, target, lse, slopes, ignore_index, softmax, factors)
    gradient, out = gradient_of(scores, kernels)
    scores, target = readable(scores), pixels_contiguous(target)
    slopes, lse = (tensor.to(torch.float32).contiguous() for tensor in (slopes, lse))
    per_image = factors is not None and factors.shape[0] > 1
    problem = make_problem(scores, target, lse, 0, ignore_index, per_image)
    threads = torch.get_num_threads()
    factors, factor = narrow(factors)
    check(kernels.lovasz_push_exact(problem, slopes.data_ptr(), factor, address(out), threads))
    del factors
    return gradient if out is gradient else gradient.copy_(out)


def weigh(
    counts: Tensor,
    alpha: float,
    beta: float,
    wide: bool,
    unit: int = 1,
    unbounded: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """``lovasz::weigh`` for CPU tensors."""
    check_counts("weigh", counts, unit)
    kernels = native.load()
    if kernels is None:
        return between.weigh(counts, alpha, beta, wide, unit, unbounded)
    groups, classes, _, bins = counts.shape
    counts, centres = counts.contiguous(), _centres(bins, unbounded)
    losses = torch.empty((groups, classes), dtype=torch.float64)
    slopes = torch.empty(counts.shape, dtype=torch.float64 if wide else torch.float32)
    seen = torch.empty((2, groups, classes), dtype=torch.bool)
    weighing = native.Weighing(
        counts=counts.data_ptr(),
        centres=centres.data_ptr(),
        losses=losses.data_ptr(),
        slopes=slopes.data_ptr(),
        seen=seen.data_ptr(),
        rows=groups * classes,
        bins=bins,
        unit=unit,
        alpha=alpha,
        beta=beta,
        wide=wide,
    )
    kernels.lovasz_weigh(weighing, torch.get_num_threads())
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
    """``between.reduce`` for CPU tensors, without a gradient."""
    check_reduction("reduce", losses, counting, invalid, weight, sums)
    kernels = native.load()
    if kernels is None:
        options = (normalize, mean, per_image, wide, sums)
        return between.reduce(losses, counting, invalid, weight, *options)
    dtype = torch.float64 if wide else torch.float32
    losses, counting, invalid = losses.contiguous(), counting.contiguous(), invalid.contiguous()
    weight = None if weight is None else weight.to(dtype).contiguous()
    sums = None if sums is None else sums.contiguous()
    total, factors = torch.empty((), dtype=dtype), torch.empty(losses.shape, dtype=dtype)
    entropy, by_sum = (torch.empty((0,) if sums is None else (), dtype=dtype) for _ in range(2))
    reduction = native.Reduction(
        losses=losses.data_ptr(),
        counting=counting.data_ptr(),
        invalid=invalid.data_ptr(),
        weight=None if weight is None else weight.data_ptr(),
        factors=factors.data_ptr(),
        sums=None if sums is None else sums.data_ptr(),
        total=total.data_ptr(),
        entropy=entropy.data_ptr(),
        by_sum=by_sum.data_ptr(),
        groups=losses.shape[0],
        classes=losses.shape[1],
        mean=mean,
        normalize=normalize and weight is not None,
        per_image=per_image,
        wide=wide,
    )
    kernels.lovasz_reduce(reduction)
    return total, factors, entropy, by_sum


@functools.cache
def _centres(bins: int, unbounded: bool) -> Tensor:
    """Made once: it takes a seventh of the time of a small call to `weigh`."""
    return (unbounded_bin_centres if unbounded else bin_centres)(bins)


def _supported(scores: Tensor, softmax: bool) -> bool:
    return softmax and scores.dtype in SCORE_TYPES and scores.numel() > 0


def level() -> str | None:
    """Instruction-set level of the kernels in use, or None without kernels."""
    kernels = native.load()
    return None if kernels is None else str(kernels.lovasz_level(), "ascii")
