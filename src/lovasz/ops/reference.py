"""The operators in plain torch: the specification, and the fallback of every device.

No Python loop over classes and no host synchronisation (the checks that raise run on the CPU
alone). Memory is a few tensors of the size of the scores.
"""

from __future__ import annotations

from typing import NamedTuple, NoReturn

import torch
from torch import Tensor

from lovasz.extension import extend_counts, extend_sorted
from lovasz.ops.bins import bin_centres, bin_index
from lovasz.ops.precision import wide, wide_dtype
from lovasz.set_functions import SetFunction, Tversky

# Probabilities may leave [0, 1] by the rounding of a 16-bit softmax.
PROBABILITY_TOLERANCE = 1e-2


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
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Reference of ``lovasz::count``."""
    lse = log_sum_exp(scores) if softmax else scores.new_empty(0, dtype=wide_dtype(scores))
    pixels = look(scores, target, lse, ignore_index, softmax)
    invalid = find_invalid(scores, target, lse, ignore_index, per_image, softmax)
    row = _histogram_row(pixels.positive, per_image)
    index = row * bins + bin_index(pixels.errors, bins)
    groups, classes = scores.shape[0] if per_image else 1, scores.shape[1]
    counts = torch.zeros(groups * classes * 2 * bins, dtype=torch.int64, device=scores.device)
    ones = pixels.valid.to(torch.int64).expand_as(index)
    counts.scatter_add_(0, index.reshape(-1), ones.reshape(-1))
    if entropy:
        sums = entropy_sums(scores, target, lse, ignore_index, entropy_weight, smoothing)
    else:
        sums = scores.new_empty(0, dtype=torch.float64)
    return counts.view(groups, classes, 2, bins), lse, invalid, sums


def entropy_sums(
    scores: Tensor,
    target: Tensor,
    lse: Tensor,
    ignore_index: int | None,
    weight: Tensor | None,
    smoothing: float,
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
    return torch.where(valid, both, 0.0).sum((1, 2), dtype=torch.float64)


def _entropy_weight(weight: Tensor | None, scores: Tensor) -> Tensor:
    if weight is None:
        return torch.ones(scores.shape[1], dtype=wide_dtype(scores), device=scores.device)
    return weight.to(wide_dtype(scores))


def weigh(
    counts: Tensor, alpha: float, beta: float, wide: bool, unit: int = 1
) -> tuple[Tensor, Tensor]:
    """Reference of ``lovasz::weigh``."""
    centres = bin_centres(counts.shape[-1], counts.device)
    losses, slopes = extend_counts(counts, centres, Tversky(alpha, beta), unit)
    return losses, slopes if wide else slopes.to(torch.float32)


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
) -> Tensor:
    """Reference of ``lovasz::push``, differentiable in everything that is floating."""
    pixels = look(scores, target, lse, ignore_index, softmax)
    groups, _, _, bins = slopes.shape
    row = _histogram_row(pixels.positive, per_image=groups > 1)
    index = row * bins + bin_index(pixels.errors.detach(), bins)
    pushed = _pull_back(pixels, slopes.reshape(-1)[index], softmax)
    if entropy_scale is not None:
        weight = _entropy_weight(entropy_weight, scores)
        pushed = pushed + entropy_scale * _entropy_gradient(pixels, target, weight, smoothing)
    return _finish(pixels, pushed, scores)


def _entropy_gradient(pixels: Pixels, target: Tensor, weight: Tensor, smoothing: float) -> Tensor:
    """Derivative of the sum of the cross-entropies by the scores, (N, C, L)."""
    own = weight[target.to(torch.int64).clamp(0, len(weight) - 1)].unsqueeze(1)
    share = smoothing / len(weight) * weight.view(1, -1, 1)
    common = (1 - smoothing) * own + share.sum()
    hit = torch.where(pixels.positive, (1 - smoothing) * own, 0.0)
    return pixels.probabilities * common - hit - share


def rank(
    scores: Tensor, target: Tensor, ignore_index: int | None, per_image: bool, softmax: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Reference of ``lovasz::rank``."""
    lse = log_sum_exp(scores) if softmax else scores.new_empty(0, dtype=wide_dtype(scores))
    pixels = look(scores, target, lse, ignore_index, softmax)
    invalid = find_invalid(scores, target, lse, ignore_index, per_image, softmax)
    errors = torch.where(pixels.valid, pixels.errors, -1.0)
    if not per_image:
        errors = errors.transpose(0, 1).flatten(1).unsqueeze(0)
    # Stable, so that a run can be repeated; the slopes do not depend on the order of equal errors.
    errors, order = errors.sort(dim=-1, descending=True, stable=True)
    return errors, order, lse, invalid


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
    extended = extend_ranked(errors, order, target, per_image, Tversky(alpha, beta))
    return *extended, lse, invalid


def extend_ranked(
    errors: Tensor, order: Tensor, target: Tensor, per_image: bool, delta: SetFunction
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Losses (G, C), slopes (N, C, L), positives (G, C) and pixels (G,) from sorted errors."""
    groups, classes, pixels = errors.shape
    labels = target.to(torch.int64).reshape(groups, 1, pixels).expand(-1, classes, -1)
    valid = errors >= 0
    class_index = torch.arange(classes, device=errors.device).view(1, -1, 1)
    positive = (labels.gather(-1, order) == class_index) & valid
    losses, slopes = extend_sorted(errors, positive, valid, delta)
    slopes = slopes.to(errors.dtype)
    by_pixel = torch.empty_like(slopes).scatter_(-1, order, slopes)
    if not per_image:
        by_pixel = by_pixel.view(classes, *target.shape).transpose(0, 1).contiguous()
    return losses, by_pixel, positive.sum(-1), valid[:, 0].sum(-1)


def push_ranked(
    scores: Tensor,
    target: Tensor,
    lse: Tensor,
    slopes: Tensor,
    ignore_index: int | None,
    softmax: bool,
) -> Tensor:
    """Reference of ``lovasz::push_ranked``, differentiable like ``push``."""
    pixels = look(scores, target, lse, ignore_index, softmax)
    return _finish(pixels, _pull_back(pixels, slopes, softmax), scores)


def log_sum_exp(scores: Tensor) -> Tensor:
    """Log-sum-exp over the classes, (N, L), in wide precision."""
    return torch.logsumexp(wide(scores), 1)


def split_target(target: Tensor, ignore_index: int | None) -> tuple[Tensor, Tensor]:
    """Labels as int64 and which pixels count, both (N, L)."""
    labels = target.to(torch.int64)
    if ignore_index is None:
        return labels, torch.ones_like(labels, dtype=torch.bool)
    return labels, labels != ignore_index


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
    classes = torch.arange(scores.shape[1], device=scores.device)
    positive = (labels.unsqueeze(1) == classes.view(1, -1, 1)) & valid
    # Rounding can carry a probability past 1; an error outside [0, 1] would have no bin.
    errors = torch.where(positive, 1 - probabilities, probabilities).clamp(0.0, 1.0)
    return Pixels(probabilities, errors, positive, valid)


def find_invalid(
    scores: Tensor,
    target: Tensor,
    lse: Tensor,
    ignore_index: int | None,
    per_image: bool,
    softmax: bool,
) -> Tensor:
    """Number of pixels per group that make the loss meaningless; raises for them on the CPU."""
    labels, valid = split_target(target, ignore_index)
    classes = scores.shape[1]
    bad_label = _bad_labels(labels, valid, classes)
    if softmax:
        bad_score = valid & ~lse.isfinite()
    else:
        # Written so that NaN is outside too.
        inside = (scores >= -PROBABILITY_TOLERANCE) & (scores <= 1 + PROBABILITY_TOLERANCE)
        bad_score = valid & ~inside.all(1)
    if scores.device.type == "cpu":
        if bool(bad_label.any()):
            raise_for_labels(target, classes, ignore_index, softmax)
        if not softmax:
            _raise_for_probabilities(scores, bad_score)
    bad = (bad_label | bad_score).to(torch.int64)
    return bad.sum(1) if per_image else bad.sum().reshape(1)


def _bad_labels(labels: Tensor, valid: Tensor, classes: int) -> Tensor:
    return valid & ((labels < 0) | (labels >= classes))


def raise_for_labels(
    target: Tensor, classes: int, ignore_index: int | None, softmax: bool
) -> NoReturn:
    """Say which label is neither a class nor ``ignore_index``; there must be one."""
    labels, valid = split_target(target, ignore_index)
    bad = _bad_labels(labels, valid, classes)
    name = "lovasz_softmax" if softmax else "lovasz_softmax_from_probabilities"
    raise ValueError(
        f"{name}: expected every label to be in [0, {classes - 1}] or equal to"
        f" ignore_index={ignore_index}, got {int(labels[bad][0])}"
        f" (and {int(bad.sum()) - 1} more outside)"
    )


def _raise_for_probabilities(scores: Tensor, bad: Tensor) -> None:
    # NaN is not raised for: it makes the loss NaN, as it does for logits.
    candidates = scores.transpose(1, 2)[bad]
    outside = (candidates < -PROBABILITY_TOLERANCE) | (candidates > 1 + PROBABILITY_TOLERANCE)
    if bool(outside.any()):
        raise ValueError(
            "lovasz_softmax_from_probabilities: expected probabilities in [0, 1] (use"
            f" lovasz_softmax for logits), got {float(candidates[outside][0]):g}"
        )


def _histogram_row(positive: Tensor, per_image: bool) -> Tensor:
    """Row of the (G · C · 2, B) table in which each pixel and class is counted, (N, C, L)."""
    images, classes, _ = positive.shape
    first = torch.arange(classes, device=positive.device).view(1, -1, 1) * 2
    if per_image:
        first = first + torch.arange(images, device=positive.device).view(-1, 1, 1) * (2 * classes)
    return first + positive


def _pull_back(pixels: Pixels, slopes: Tensor, softmax: bool) -> Tensor:
    """Derivative by the scores from the derivatives by the errors, (N, C, L)."""
    # The error of a positive falls as its probability rises.
    by_probability = torch.where(pixels.positive, -slopes, slopes)
    if not softmax:
        return by_probability
    p = pixels.probabilities
    return p * (by_probability - (p * by_probability).sum(1, keepdim=True))


def _finish(pixels: Pixels, gradient: Tensor, scores: Tensor) -> Tensor:
    """Zero for ignored pixels, in dtype and layout of the scores."""
    gradient = torch.where(pixels.valid, gradient, 0.0)
    # The gradient has the layout of the scores, so that no later pass has to copy it.
    return torch.empty_like(scores).copy_(gradient)
