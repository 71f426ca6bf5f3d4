"""The two methods, each from scores to the losses of the classes: count or rank, weigh, push.

Both share the extension of the set function, the choice of classes and the reduction; they differ
in whether pixels are grouped by bins or by equal errors.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from lovasz import ops
from lovasz._inputs import Layout
from lovasz._pooling import Pooled, pool
from lovasz.extension import Extension, extend_counts
from lovasz.set_functions import SetFunction, as_tversky
from lovasz.window import Window


class ClassLosses(NamedTuple):
    """Losses of the classes, one row for each group (the batch, or every image)."""

    losses: Tensor  # (G, C), connected to the scores; 0 for classes that do not count
    counting: Tensor  # (G, C) bool, classes that take part in sums and means
    entropy: Tensor | None = None  # (2,), connected: sums of cross-entropies and of their weights


class Scores(NamedTuple):
    """Scores and labels, and how to read them: what the operators need to know."""

    layout: Layout
    ignore_index: int | None
    per_image: bool
    softmax: bool


def by_counting(
    given: Scores,
    mask: Tensor | None,
    set_function: SetFunction,
    bins: int,
    entropy: ops.Entropy | None = None,
    window: Window | None = None,
) -> ClassLosses:
    """Losses from histograms of the errors; off by at most ``ops.error_bound(bins)``."""
    scores, target = given.layout
    counted = ops.count(
        scores.detach(),
        target,
        bins=bins,
        ignore_index=given.ignore_index,
        per_image=given.per_image,
        softmax=given.softmax,
        entropy=entropy,
    )
    pooled = pool(counted, window)
    counting = _counting(pooled.present, pooled.occupied, pooled.invalid, mask)
    losses, slopes = _weigh(pooled, counting, set_function, ops.wide_dtype(scores))
    attached, sums = ops.attach_counted(
        losses,
        scores,
        target,
        counted,
        slopes,
        ignore_index=given.ignore_index,
        softmax=given.softmax,
        entropy=entropy,
    )
    settled = _settle(attached, counting, pooled.invalid, ops.wide_dtype(scores))
    return settled if entropy is None else settled._replace(entropy=sums)


def by_sorting(given: Scores, mask: Tensor | None, set_function: SetFunction) -> ClassLosses:
    """Losses from the sorted errors; exact up to the rounding of the errors themselves."""
    scores, target = given.layout
    exact = ops.exact(
        scores.detach(),
        target,
        ignore_index=given.ignore_index,
        per_image=given.per_image,
        softmax=given.softmax,
        set_function=set_function,
    )
    counting = _counting(exact.positives > 0, exact.pixels > 0, exact.invalid, mask)
    slopes = exact.slopes
    if as_tversky(set_function) is None:
        slopes = _mute(slopes, counting)
    attached = ops.attach_ranked(
        exact.losses,
        scores,
        target,
        exact.lse,
        slopes,
        ignore_index=given.ignore_index,
        softmax=given.softmax,
    )
    return _settle(attached, counting, exact.invalid, ops.wide_dtype(scores))


def _counting(present: Tensor, occupied: Tensor, invalid: Tensor, mask: Tensor | None) -> Tensor:
    """Classes that count, (G, C): the chosen ones, in groups that have a pixel at all."""
    chosen = present if mask is None else mask & occupied.unsqueeze(-1)
    # A group with an invalid pixel counts, so that its NaN cannot be left out of the mean.
    return chosen | (invalid > 0).unsqueeze(-1)


def _weigh(
    pooled: Pooled, counting: Tensor, set_function: SetFunction, dtype: torch.dtype
) -> Extension:
    """The extension, by an operator for the set functions that it knows."""
    tversky = as_tversky(set_function)
    counts, unit = pooled.counts, pooled.unit
    if tversky is None:
        centres = ops.bin_centres(counts.shape[-1], counts.device)
        losses, slopes = extend_counts(counts, centres, set_function, unit)
        return Extension(losses, _mute(slopes, counting).to(dtype))
    wide = dtype == torch.float64
    return Extension(*ops.weigh(counts, tversky.alpha, tversky.beta, wide, unit))


def _mute(slopes: Tensor, counting: Tensor) -> Tensor:
    """Zero for classes that do not count, where a set function of the caller's may divide by 0."""
    shape = (*counting.shape, *(1,) * (slopes.dim() - 2))
    return torch.where(counting.reshape(shape), slopes, 0.0)


def _settle(losses: Tensor, counting: Tensor, invalid: Tensor, dtype: torch.dtype) -> ClassLosses:
    """Zero for classes that do not count, NaN for groups with invalid pixels, in final precision.

    A NaN factor rather than a NaN, so that value and gradient tell the same.
    """
    factor = torch.where(invalid > 0, torch.nan, 1.0).unsqueeze(-1)
    return ClassLosses(torch.where(counting, losses * factor, 0.0).to(dtype), counting)
