"""The operators in plain torch: the specification, and the fallback of every device.

No Python loop over classes and no host synchronisation (the checks that raise run on the CPU
alone). Memory is a few tensors of the size of the scores. Channels that are sets of their own are
in ``channels``.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from lovasz.core.bins import bin_index
from lovasz.core.links import function_of
from lovasz.core.set_functions import Tversky
from lovasz.kernels import ranking
from lovasz.kernels.precision import wide, wide_dtype
from lovasz.kernels.tables import Groups, finish, histogram, histogram_row, per_group, times
from lovasz.kernels.validity import (
    bad_labels,
    outside,
    raise_for_labels,
    raise_for_probabilities,
    split_target,
)


class Pixels(NamedTuple):
    """What both passes see of every pixel."""

    probabilities: Tensor  # (N, C, L) wide
    errors: Tensor  # (N, C, L) wide, in [0, 1]
    positive: Tensor  # (N, C, L) bool, the pixel is of the class
    valid: Tensor  # (N, 1, L) bool, the pixel is not ignored


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
    """Reference of ``lovasz::count``."""
    arrangement = Groups(per_image, group, groups)
    lse = log_sum_exp(scores) if softmax else scores.new_empty(0, dtype=wide_dtype(scores))
    pixels = look(scores, target, lse, ignore_index, softmax)
    invalid = find_invalid(scores, target, lse, ignore_index, arrangement, softmax, entropy)
    index = bin_index(pixels.errors, bins)
    counts = histogram(index, pixels.positive, pixels.valid, bins, arrangement, pixel_weight)
    if entropy:
        options = (entropy_weight, smoothing, pixel_weight)
        sums = entropy_sums(scores, target, lse, ignore_index, *options)
    else:
        sums = scores.new_empty(0, dtype=torch.float64)
    return counts, lse, invalid, sums


def entropy_sums(
    scores: Tensor,
    target: Tensor,
    lse: Tensor,
    ignore_index: int | None,
    weight: Tensor | None,
    smoothing: float,
    pixel_weight: Tensor | None = None,
) -> Tensor:
    """Sum of the weighted cross-entropies, and of their weights, as torch defines both, (2,)."""
    labels, valid = split_target(target, ignore_index)
    surprise = lse.unsqueeze(1) - wide(scores)
    weight = _entropy_weight(weight, scores)
    labels = labels.clamp(0, scores.shape[1] - 1)
    own = weight[labels]
    summands = (1 - smoothing) * own * surprise.gather(1, labels.unsqueeze(1)).squeeze(1)
    if smoothing > 0:
        share = smoothing / scores.shape[1]
        summands = summands + share * (weight.view(1, -1, 1) * surprise).sum(1)
    both = torch.stack((summands, own.to(summands.dtype)))
    if pixel_weight is not None:
        both = both * pixel_weight.to(both.dtype)
    return torch.where(valid, both, 0.0).sum((1, 2), dtype=torch.float64)


def _entropy_weight(weight: Tensor | None, scores: Tensor) -> Tensor:
    if weight is None:
        return torch.ones(scores.shape[1], dtype=wide_dtype(scores), device=scores.device)
    return weight.to(wide_dtype(scores))


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
    """The gradient from slopes by bin, differentiable in everything that is floating."""
    slopes = times(slopes, factors)
    pixels = look(scores, target, lse, ignore_index, softmax)
    groups, _, _, bins = slopes.shape
    row = histogram_row(pixels.positive, Groups(groups > 1, group, groups))
    index = row * bins + bin_index(pixels.errors.detach(), bins)
    pushed = _pull_back(pixels, slopes.reshape(-1)[index], softmax)
    if entropy_scale is not None:
        weight = _entropy_weight(entropy_weight, scores)
        pushed = pushed + entropy_scale * _entropy_gradient(pixels, target, weight, smoothing)
    if pixel_weight is not None:
        pushed = pushed * pixel_weight.unsqueeze(1).to(pushed.dtype)
    return finish(pushed, pixels.valid, scores)


def _entropy_gradient(pixels: Pixels, target: Tensor, weight: Tensor, smoothing: float) -> Tensor:
    """Derivative of the sum of the cross-entropies by the scores, (N, C, L)."""
    own = weight[target.to(torch.int64).clamp(0, len(weight) - 1)].unsqueeze(1)
    share = smoothing / len(weight) * weight.view(1, -1, 1)
    common = (1 - smoothing) * own + share.sum()
    hit = torch.where(pixels.positive, (1 - smoothing) * own, 0.0)
    return pixels.probabilities * common - hit - share


def rank(
    scores: Tensor,
    target: Tensor,
    ignore_index: int | None,
    per_image: bool,
    softmax: bool,
    group: Tensor | None = None,
    groups: int = 1,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Reference of ``lovasz::rank``."""
    arrangement, dtype = Groups(per_image, group, groups), wide_dtype(scores)
    # Pixels with the same scores have to have the same errors, or one order of a tie would be taken
    # for the mean of both. Torch's own sums depend on where a pixel lies: they are taken in float64
    # and, as those of float64 scores are not rounded afterwards, with the classes of a pixel last.
    scores = scores.to(torch.float64)
    if softmax:
        lse = torch.logsumexp(scores.transpose(1, 2).contiguous(), 2)
    else:
        lse = scores.new_empty(0)
    pixels = look(scores, target, lse, ignore_index, softmax)
    invalid = find_invalid(scores, target, lse, ignore_index, arrangement, softmax)
    errors = _errors(pixels.probabilities.to(dtype), pixels.positive)
    return *ranking.sort_errors(errors, pixels.valid, arrangement), lse.to(dtype), invalid


def exact(
    scores: Tensor,
    target: Tensor,
    ignore_index: int | None,
    per_image: bool,
    softmax: bool,
    alpha: float,
    beta: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Reference of ``lovasz::exact``."""
    errors, order, lse, invalid = rank(scores, target, ignore_index, per_image, softmax)
    positive = positives_of(target, scores.shape[1], ignore_index)
    delta = Tversky(alpha, beta)
    extended = ranking.extend_ranked(errors, order, positive, Groups(per_image), delta)
    return *extended, lse, invalid


def push_ranked(
    scores: Tensor,
    target: Tensor,
    lse: Tensor,
    slopes: Tensor,
    ignore_index: int | None,
    softmax: bool,
    factors: Tensor | None = None,
) -> Tensor:
    """The gradient from slopes by pixel, differentiable like ``push``."""
    pixels = look(scores, target, lse, ignore_index, softmax)
    return finish(_pull_back(pixels, times(slopes, factors), softmax), pixels.valid, scores)


def log_sum_exp(scores: Tensor) -> Tensor:
    """Log-sum-exp over the classes, (N, L), in wide precision."""
    return torch.logsumexp(wide(scores), 1)


def look(
    scores: Tensor, target: Tensor, lse: Tensor, ignore_index: int | None, softmax: bool
) -> Pixels:
    """Probabilities and errors of every pixel and class."""
    labels, valid = split_target(target, ignore_index)
    valid = valid.unsqueeze(1)
    if softmax:
        probabilities = torch.exp(wide(scores) - lse.unsqueeze(1))
    else:
        probabilities = wide(scores)
    positive = positives_of(labels, scores.shape[1], ignore_index)
    return Pixels(probabilities, _errors(probabilities, positive), positive, valid)


def _errors(probabilities: Tensor, positive: Tensor) -> Tensor:
    # Rounding can carry a probability past 1; an error outside [0, 1] would have no bin.
    return torch.where(positive, 1 - probabilities, probabilities).clamp(0.0, 1.0)


def positives_of(target: Tensor, classes: int, ignore_index: int | None) -> Tensor:
    """Which pixels are of which class, (N, C, L) bool."""
    labels, valid = split_target(target, ignore_index)
    index = torch.arange(classes, device=target.device).view(1, -1, 1)
    return (labels.unsqueeze(1) == index) & valid.unsqueeze(1)


def find_invalid(
    scores: Tensor,
    target: Tensor,
    lse: Tensor,
    ignore_index: int | None,
    arrangement: Groups,
    softmax: bool,
    entropy: bool = False,
) -> Tensor:
    """Number of pixels per group that make the loss meaningless; raises for them on the CPU."""
    labels, valid = split_target(target, ignore_index)
    classes = scores.shape[1]
    bad_label = bad_labels(labels, valid, classes)
    bad_score = valid & (~lse.isfinite() if softmax else outside(scores).any(1))
    if scores.device.type == "cpu":
        if bool(bad_label.any()):
            name = function_of("softmax" if softmax else "probabilities", entropy)
            raise_for_labels(name, target, classes, ignore_index)
        if not softmax:
            raise_for_probabilities(scores.transpose(1, 2)[bad_score], "probabilities")
    return per_group(bad_label | bad_score, arrangement)


def _pull_back(pixels: Pixels, slopes: Tensor, softmax: bool) -> Tensor:
    """Derivative by the scores from the derivatives by the errors, (N, C, L)."""
    # The error of a positive falls as its probability rises.
    by_probability = torch.where(pixels.positive, -slopes, slopes)
    if not softmax:
        return by_probability
    p = pixels.probabilities
    return p * (by_probability - (p * by_probability).sum(1, keepdim=True))
