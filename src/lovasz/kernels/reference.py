"""The operators in plain torch: the specification, and the fallback of every device.

No Python loop over classes and no host synchronisation (the checks that raise run on the CPU
alone). Memory is a few tensors of the size of the scores. ``operators`` gives shapes and meanings
of arguments and results.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lovasz.core.bins import LARGEST_ERROR, centres
from lovasz.core.extension import extend_histogram
from lovasz.core.links import MULTICLASS, UNBOUNDED
from lovasz.core.set_functions import SetFunction, Tversky
from lovasz.kernels import cross_entropy as entropy
from lovasz.kernels.pixels import (
    bins_of,
    by_predictions,
    count_invalid,
    errors_of,
    load,
    load_soft,
    predictions_of,
    pull_back,
)
from lovasz.kernels.precision import compute_dtype, to_compute
from lovasz.kernels.segments import Segments, histogram_of, rows_of
from lovasz.kernels.soft import is_soft, read_labels, slopes_of, sums_of
from lovasz.kernels.sorting import extend_pixels, sort_errors
from lovasz.kernels.upsampling import at_target, shrink


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
    """Reference of ``lovasz::histogram``."""
    scores = at_target(scores, upsample, size)
    groups = Segments(per_image, segment_ids, segments)
    lse = log_sum_exp(scores, link)
    soft, summed = None, scores.new_empty((0,), dtype=torch.float64)
    if regions or is_soft(target, mixture, label_smoothing):
        labels = (mixture, label_smoothing, pixel_weight)
        soft = read_labels(scores, target, ignore_index, link, *labels)
        pixels = load_soft(scores, soft, lse, link)
        summed = sums_of(predictions_of(pixels.scores, link)[0], soft, groups, pixel_weight)
    else:
        pixels = load(scores, target, lse, ignore_index, link)
    invalid = count_invalid(
        scores,
        target,
        lse,
        pixels.errors,
        ignore_index,
        link,
        groups,
        soft=soft,
        largest=LARGEST_ERROR if link in UNBOUNDED else 2.0,
        cross_entropy=cross_entropy,
    )
    if bins == 0:  # what is summed alone
        shape = (groups.count(scores.shape[0]), scores.shape[1], 2, 0)
        counts = scores.new_empty(shape, dtype=torch.int64)
    else:
        bin_index = bins_of(pixels, bins, link)
        counts = histogram_of(bin_index, pixels.positive, pixels.valid, bins, groups, pixel_weight)
    if cross_entropy:
        options = (class_weight, smoothing, pixel_weight, soft)
        sums = entropy.sums_of(scores, target, lse, pixels, ignore_index, link, *options)
    else:
        sums = scores.new_empty((0,), dtype=torch.float64)
    return counts, lse, invalid, sums, summed


def extend(
    counts: Tensor,
    alpha: float,
    beta: float,
    wide: bool,
    scale: int = 1,
    unbounded: bool = False,
    positives: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Reference of ``lovasz::extend``."""
    return extend_by(Tversky(alpha, beta), counts, wide, scale, unbounded, positives)


def extend_by(
    set_function: SetFunction,
    counts: Tensor,
    wide: bool,
    scale: int,
    unbounded: bool,
    positives: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """The same for any set function."""
    places = centres(torch, counts.shape[-1], unbounded=unbounded, device=counts.device)
    pixels = counts.to(torch.float64) / scale
    losses, slopes = extend_histogram(torch, pixels, places, set_function, positives)
    sides = counts.any(-1)  # they are never negative
    present = torch.stack((sides.any(-1), sides[..., 1]))
    return losses, slopes if wide else slopes.to(torch.float32), present


def sort(
    scores: Tensor,
    target: Tensor,
    ignore_index: int | None,
    per_image: bool,
    link: str,
    segment_ids: Tensor | None = None,
    segments: int = 1,
    upsample: str | None = None,
    size: Sequence[int] | None = None,
    pixel_weight: Tensor | None = None,
    mixture: Tensor | None = None,
    label_smoothing: float = 0.0,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Reference of ``lovasz::sort``."""
    groups, dtype = Segments(per_image, segment_ids, segments), compute_dtype(scores)
    # Pixels with the same scores have to have the same errors, or one order of a tie would be taken
    # for the mean of both. Torch's own sums depend on where a pixel lies: they are taken in float64
    # and, as those of float64 scores are not rounded afterwards, with the classes of a pixel last.
    scores = at_target(scores, upsample, size).to(torch.float64)
    lse = scores.new_empty((0,))
    if link == "softmax":
        lse = torch.logsumexp(scores.transpose(1, 2).contiguous(), 2)
    soft = None
    if is_soft(target, mixture, label_smoothing):
        labels = (mixture, label_smoothing, pixel_weight)
        soft = read_labels(scores, target, ignore_index, link, *labels)
        pixels = load_soft(scores, soft, lse, link)
    else:
        pixels = load(scores, target, lse, ignore_index, link)
    if link in MULTICLASS and soft is None:
        errors = errors_of(pixels.scores.to(dtype), pixels.positive, link)
    else:
        errors = pixels.errors.to(dtype)
    invalid = count_invalid(scores, target, lse, errors, ignore_index, link, groups, soft=soft)
    return *sort_errors(errors, pixels.valid, groups), lse, invalid, pixels.positive


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
    """Reference of ``lovasz::sort_and_extend``."""
    groups = (segment_ids, segments)
    errors, order, lse, invalid, positive = sort(
        scores, target, ignore_index, per_image, link, *groups, upsample, size, pixel_weight,
        mixture, label_smoothing,
    )  # fmt: skip
    options = (Segments(per_image, *groups), Tversky(alpha, beta), symmetric, pixel_weight)
    return *extend_pixels(errors, order, positive, *options, regions), lse, invalid


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
    """Reference of ``lovasz::backward``, differentiable in scores, slopes and all factors."""
    if factors is not None:
        if slopes.dim() == 3 and segment_ids is not None:
            slopes = slopes * factors[segment_ids].transpose(1, 2)
        else:
            slopes = slopes * factors.view(*factors.shape, *(1,) * (slopes.dim() - 2))
    enlarged, soft = at_target(scores, upsample, size), None
    if by_regions is not None or is_soft(target, mixture, label_smoothing):
        labels = (mixture, label_smoothing, pixel_weight)
        soft = read_labels(enlarged, target, ignore_index, link, *labels)
        pixels = load_soft(enlarged, soft, lse, link)
    else:
        pixels = load(enlarged, target, lse, ignore_index, link)
    if slopes.dim() == 4 and slopes.shape[3] == 0:  # nothing was counted
        slopes = slopes.sum().expand_as(pixels.errors)
    elif slopes.dim() == 4:
        groups, _, _, bins = slopes.shape
        row = rows_of(pixels.positive, Segments(groups > 1, segment_ids, groups))
        index = row * bins + bins_of(pixels, bins, link)
        slopes = slopes.reshape(-1)[index]
    rising = by_predictions(pixels, slopes)
    if by_regions is not None:
        assert soft is not None  # see above
        p, _ = predictions_of(pixels.scores, link)
        segments = Segments(len(by_regions) > 1, segment_ids, len(by_regions))
        rising = rising + slopes_of(p, soft.labels, by_regions, segments)
    gradient = pull_back(pixels, rising, link)
    if scale is not None:
        own = entropy.gradient_of(pixels, target, link, class_weight, smoothing, soft)
        gradient = gradient + scale * own
    if pixel_weight is not None:
        weight = pixel_weight if pixel_weight.dim() == 3 else pixel_weight.unsqueeze(1)
        gradient = gradient * weight.to(gradient.dtype)
    gradient = torch.where(pixels.valid, gradient, 0.0)
    if upsample is not None:
        gradient = shrink(gradient, scores.shape[2:], size, upsample)
    # In the layout of the scores, so that no later pass has to copy it.
    return torch.empty_like(scores).copy_(gradient)


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
    """Total, factors, mean cross-entropy and its derivative by the sum; all of it differentiable.

    NaN for groups with invalid pixels, so that value and gradient tell the same.
    """
    bad = (invalid > 0).unsqueeze(-1)
    dtype = torch.float64 if wide else torch.float32
    ones = active.to(dtype)
    factors = ones if weight is None else ones * weight
    if mean:
        if weight is None or not normalize:
            share = ones.sum(1, keepdim=True).clamp(min=1)
        else:
            share = factors.sum(1, keepdim=True)
            share = share.masked_fill(share <= 0, 1.0)
        factors = factors / share
        if per_image:
            factors = factors / images_of(active, bad).clamp(min=1)
    factors = factors.masked_fill(bad, torch.nan)
    # Images in which nothing counts change nothing, not even the order of this sum.
    total = (losses * factors).sum(1).sum()
    if sums is None:
        return (
            total.to(dtype),
            factors,
            losses.new_empty((0,), dtype=dtype),
            factors.new_empty((0,)),
        )
    summed, weights = sums.unbind()
    divisor = weights.masked_fill(weights <= 0, torch.inf)  # so that the mean of nothing is 0
    return total.to(dtype), factors, (summed / divisor).to(dtype), (1 / divisor).to(dtype)


def images_of(active: Tensor, bad: Tensor) -> Tensor:
    """Images of which a mean is taken, (): those with an active class, and the bad (G, 1)."""
    return (active.any(1, keepdim=True) | bad).sum()


def log_sum_exp(scores: Tensor, link: str) -> Tensor:
    """Log-sum-exp over the classes, (N, L) float64; (0,) without softmax.

    The digits of a float32 end where 1 less a confident probability begins.
    """
    if link != "softmax":
        return scores.new_empty((0,), dtype=torch.float64)
    scores = to_compute(scores)
    most = scores.detach().amax(1, keepdim=True)
    # An infinity less an infinity is no number; what there is to say of it, its exponential says.
    most = torch.where(most.isfinite(), most, 0.0)
    rest = (scores - most).exp().sum(1, dtype=torch.float64).log()
    return most.squeeze(1).double() + rest


def decided_by(
    scores: Tensor, size: Sequence[int] | None, upsample: str | None, lines: Tensor | None
) -> Tensor:
    """Of what ``lovasz::argmax`` takes the largest, (N, C, L)."""
    scores = at_target(scores, upsample, size)
    if lines is None:
        return scores
    factors, offsets = lines.to(compute_dtype(scores)).unsqueeze(2)
    return torch.addcmul(offsets, factors, to_compute(scores))


def argmax(
    scores: Tensor,
    size: Sequence[int] | None,
    upsample: str | None,
    narrow: bool,
    lines: Tensor | None = None,
    multilabel: bool = False,
) -> Tensor:
    """Reference of ``lovasz::argmax``."""
    scores = decided_by(scores, size, upsample, lines)
    if multilabel:
        top, labels = scores, (scores > 0).to(torch.int64)
    else:
        top, labels = scores.max(1)  # NaN is the largest
    return labels.masked_fill(top.isnan(), -1).to(torch.uint8 if narrow else torch.int64)
