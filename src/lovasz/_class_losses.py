"""The two methods, each from scores to the losses of the classes: count or rank, weigh, push.

Both share the extension of the set function, the choice of classes and the reduction; they differ
in whether pixels are grouped by bins or by equal errors.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from lovasz import ops
from lovasz._pooling import Pooled, pool
from lovasz._ranks import Ranks
from lovasz.extension import Extension, extend_counts
from lovasz.set_functions import SetFunction, as_tversky
from lovasz.window import Window


class ClassLosses(NamedTuple):
    """Losses of the classes, one row for each group (the batch, or every image)."""

    losses: Tensor  # (G, C), connected to the scores; 0 for classes that do not count
    counting: Tensor  # (G, C) bool, classes that take part in sums and means
    entropy: Tensor | None = None  # (2,), connected: sums of cross-entropies and of their weights


class Recipe(NamedTuple):
    """How the losses of the classes come from their errors."""

    set_function: SetFunction
    bins: int
    symmetric: bool = False  # mean with the loss of the complement, for channels
    window: Window | None = None
    ranks: Ranks | None = None  # whose batches are one


def by_counting(
    given: ops.Scores, mask: Tensor | None, recipe: Recipe, entropy: ops.Entropy | None = None
) -> ClassLosses:
    """Losses from histograms of the errors; off by at most ``ops.error_bound(bins)``."""
    counted = ops.count(given, recipe.bins, entropy)
    # The losses of images are each rank's own; their mean is taken over all of them afterwards.
    shared = None if given.per_image else recipe.ranks
    pooled = pool(counted, given.unit, shared, recipe.window)
    counting = _counting(pooled.present, pooled.occupied, pooled.invalid, mask)
    dtype = ops.wide_dtype(given.scores)
    losses, slopes = _weigh(pooled, counting, recipe, given.unbounded, dtype)
    attached, sums = ops.attach_counted(losses, given, counted, slopes, entropy)
    if shared is not None:
        attached = shared.replicated(attached)
    if recipe.ranks is not None and entropy is not None:
        sums = recipe.ranks.connected_total(sums)
    settled = _settle(attached, counting, pooled.invalid, dtype)
    return settled if entropy is None else settled._replace(entropy=sums)


def by_sorting(given: ops.Scores, mask: Tensor | None, recipe: Recipe) -> ClassLosses:
    """Losses from the sorted errors; exact up to the rounding of the errors themselves."""
    exact = ops.exact(given, recipe.set_function, recipe.symmetric)
    counting = _counting(exact.positives > 0, exact.pixels > 0, exact.invalid, mask)
    slopes = exact.slopes
    if as_tversky(recipe.set_function) is None and given.group is None:
        slopes = _mute(slopes, counting)
    attached = ops.attach_ranked(exact.losses, given, exact.lse, slopes)
    return _settle(attached, counting, exact.invalid, ops.wide_dtype(given.scores))


def _counting(present: Tensor, occupied: Tensor, invalid: Tensor, mask: Tensor | None) -> Tensor:
    """Classes that count, (G, C): the chosen ones, in groups that have a pixel at all."""
    chosen = present if mask is None else mask & occupied
    # A group with an invalid pixel counts, so that its NaN cannot be left out of the mean.
    return chosen | (invalid > 0).unsqueeze(-1)


def _weigh(
    pooled: Pooled, counting: Tensor, recipe: Recipe, unbounded: bool, dtype: torch.dtype
) -> Extension:
    """The extension; where it is asked for, the mean with that of the complements."""
    losses, slopes = _extend(pooled, recipe, unbounded, dtype)
    if recipe.symmetric:
        # The complement has the same errors: its positives are the negatives.
        swapped = pooled._replace(counts=pooled.counts.flip(2))
        others, other_slopes = _extend(swapped, recipe, unbounded, dtype)
        losses, slopes = (losses + others) / 2, (slopes + other_slopes.flip(2)) / 2
    if as_tversky(recipe.set_function) is None:
        slopes = _mute(slopes, counting)
    return Extension(losses, slopes)


def _extend(pooled: Pooled, recipe: Recipe, unbounded: bool, dtype: torch.dtype) -> Extension:
    """The extension, by an operator for the set functions that it knows."""
    tversky = as_tversky(recipe.set_function)
    counts, unit = pooled.counts, pooled.unit
    if tversky is None:
        centres_of = ops.unbounded_bin_centres if unbounded else ops.bin_centres
        centres = centres_of(counts.shape[-1], counts.device)
        losses, slopes = extend_counts(counts, centres, recipe.set_function, unit)
        return Extension(losses, slopes.to(dtype))
    wide = dtype == torch.float64
    return Extension(*ops.weigh(counts, tversky.alpha, tversky.beta, wide, unit, unbounded))


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
