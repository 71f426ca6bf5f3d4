"""The operators for channels that are sets of their own, in plain torch: specification, fallback.

As ``reference``, with labels (N, C, L) of zeros and ones in the place of class indices, and
without a log-sum-exp, because no score of a pixel depends on another one.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from lovasz.core.bins import LARGEST_ERROR, bin_index, unbounded_bin_index
from lovasz.core.links import UNBOUNDED, channel_errors, channel_rates, function_of
from lovasz.core.set_functions import Tversky
from lovasz.kernels import ranking
from lovasz.kernels.precision import wide, wide_dtype
from lovasz.kernels.tables import Groups, finish, histogram, histogram_row, per_group, times
from lovasz.kernels.validity import outside, raise_for_channel_labels, raise_for_probabilities


class Channels(NamedTuple):
    """What both passes see of every score, all (N, C, L)."""

    errors: Tensor  # wide
    positive: Tensor  # bool, the pixel is of the channel's set
    valid: Tensor  # bool, not ignored


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
    """Reference of ``lovasz::count_channels``."""
    arrangement = Groups(per_image, group, groups)
    seen = look(scores, target, ignore_index, link)
    top = LARGEST_ERROR if link in UNBOUNDED else None
    invalid = _find_invalid(scores, target, seen, ignore_index, link, arrangement, top, entropy)
    index = _bins_of(seen.errors, bins, link)
    counts = histogram(index, seen.positive, seen.valid, bins, arrangement, pixel_weight)
    if not entropy:
        return counts, invalid, scores.new_empty(0, dtype=torch.float64)
    return counts, invalid, _entropy_sums(scores, seen, positive_weight, pixel_weight)


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
    """The gradient from slopes by bin, differentiable in everything that is floating."""
    slopes = times(slopes, factors)
    seen = look(scores, target, ignore_index, link)
    bins = slopes.shape[-1]
    row = histogram_row(seen.positive, Groups(slopes.shape[0] > 1, group, slopes.shape[0]))
    index = row * bins + _bins_of(seen.errors.detach(), bins, link)
    by_error = slopes.reshape(-1)[index]
    pushed = by_error * channel_rates(wide(scores), seen.positive, link)
    if entropy_scale is not None:
        pushed = pushed + entropy_scale * _entropy_gradient(scores, seen, positive_weight)
    if pixel_weight is not None:
        pushed = pushed * pixel_weight.to(pushed.dtype)
    return finish(pushed, seen.valid, scores)


def rank_channels(
    scores: Tensor,
    target: Tensor,
    ignore_index: int | None,
    per_image: bool,
    link: str,
    group: Tensor | None = None,
    groups: int = 1,
) -> tuple[Tensor, Tensor, Tensor]:
    """Reference of ``lovasz::rank_channels``."""
    arrangement, dtype = Groups(per_image, group, groups), wide_dtype(scores)
    # In float64, so that equal errors are equal, as in ``reference.rank``.
    seen = look(scores.to(torch.float64), target, ignore_index, link)
    seen = seen._replace(errors=seen.errors.to(dtype))
    invalid = _find_invalid(scores, target, seen, ignore_index, link, arrangement, torch.inf)
    return *ranking.sort_errors(seen.errors, seen.valid, arrangement), invalid


def exact_channels(
    scores: Tensor,
    target: Tensor,
    ignore_index: int | None,
    per_image: bool,
    link: str,
    alpha: float,
    beta: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Reference of ``lovasz::exact_channels``."""
    errors, order, invalid = rank_channels(scores, target, ignore_index, per_image, link)
    delta = Tversky(alpha, beta)
    return *ranking.extend_ranked(errors, order, target == 1, Groups(per_image), delta), invalid


def push_ranked_channels(
    scores: Tensor,
    target: Tensor,
    slopes: Tensor,
    ignore_index: int | None,
    link: str,
    factors: Tensor | None = None,
) -> Tensor:
    """The gradient from slopes by pixel, differentiable like ``push_channels``."""
    seen = look(scores, target, ignore_index, link)
    slopes = times(slopes, factors)
    return finish(slopes * channel_rates(wide(scores), seen.positive, link), seen.valid, scores)


def look(scores: Tensor, target: Tensor, ignore_index: int | None, link: str) -> Channels:
    """Errors of every pixel and channel."""
    labels = target.to(torch.int64)
    valid = torch.ones_like(labels, dtype=torch.bool)
    if ignore_index is not None:
        valid = labels != ignore_index
    positive = (labels == 1) & valid
    return Channels(channel_errors(wide(scores), positive, link), positive, valid)


def _bins_of(errors: Tensor, bins: int, link: str) -> Tensor:
    return (unbounded_bin_index if link in UNBOUNDED else bin_index)(errors, bins)


def _find_invalid(
    scores: Tensor,
    target: Tensor,
    seen: Channels,
    ignore_index: int | None,
    link: str,
    arrangement: Groups,
    top: float | None,
    entropy: bool = False,
) -> Tensor:
    """Number of scores per group that make the loss meaningless; raises for them on the CPU."""
    labels = target.to(torch.int64)
    bad_label = seen.valid & (labels != 0) & (labels != 1)
    if link == "channel_probabilities":
        bad_score = seen.valid & outside(scores)
    else:
        bad_score = seen.valid & ~(seen.errors < (2.0 if top is None else top))  # NaN: not less
    if scores.device.type == "cpu":
        if bool(bad_label.any()):
            raise_for_channel_labels(function_of(link, entropy), labels[bad_label], ignore_index)
        if link == "channel_probabilities":
            raise_for_probabilities(scores[bad_score], link)
    return per_group((bad_label | bad_score).sum(1), arrangement)


def _entropy_sums(
    scores: Tensor, seen: Channels, positive_weight: Tensor | None, pixel_weight: Tensor | None
) -> Tensor:
    """Sum of the binary cross-entropies, as torch defines them, and of their weights, (2,)."""
    x = wide(scores)
    surprise = F.softplus(torch.where(seen.positive, -x, x))
    if positive_weight is not None:
        own = positive_weight.to(x.dtype).view(1, -1, 1)
        surprise = torch.where(seen.positive, own * surprise, surprise)
    weight = torch.ones_like(x) if pixel_weight is None else pixel_weight.to(x.dtype)
    both = torch.stack((weight * surprise, weight))
    return torch.where(seen.valid, both, 0.0).sum((1, 2, 3), dtype=torch.float64)


def _entropy_gradient(scores: Tensor, seen: Channels, positive_weight: Tensor | None) -> Tensor:
    """Derivative of the sum of the binary cross-entropies by the scores, (N, C, L)."""
    x = wide(scores)
    missing = -torch.sigmoid(-x)
    if positive_weight is not None:
        missing = missing * positive_weight.to(x.dtype).view(1, -1, 1)
    return torch.where(seen.positive, missing, torch.sigmoid(x))
