"""The two methods, each from scores to the losses of the classes: count or rank, weigh, push.

Both share the extension of the set function, the choice of classes and the reduction; they differ
in whether pixels are grouped by bins or by equal errors.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from lovasz import kernels
from lovasz.core.extension import extend_counts
from lovasz.core.set_functions import SetFunction, as_tversky
from lovasz.losses._inputs import Chosen
from lovasz.losses._pooling import Pooled, pool
from lovasz.losses.distributed import Ranks
from lovasz.losses.window import Window


class ClassLosses(NamedTuple):
    """Losses of the classes, one row for each group (the batch, or every image); no gradient."""

    losses: Tensor  # (G, C) float64
    counting: Tensor  # (G, C) bool, classes that take part in sums and means
    invalid: Tensor  # (G,) int64, invalid pixels; of a group with one nothing is known
    slopes: Tensor  # derivatives of the losses by the errors, see ``kernels.reduce``
    lse: Tensor  # (N, L), or (0,)
    sums: Tensor | None = None  # (2,) float64, of the cross-entropies and of their weights


class Recipe(NamedTuple):
    """How the losses of the classes come from their errors."""

    set_function: SetFunction
    bins: int
    symmetric: bool = False  # mean with the loss of the complement, for channels
    window: Window | None = None
    ranks: Ranks | None = None  # whose batches are one


def by_counting(
    given: kernels.Scores, chosen: Chosen, recipe: Recipe, entropy: kernels.Entropy | None = None
) -> ClassLosses:
    """Losses from histograms of the errors; off by at most ``error_bound(bins)``."""
    counted = kernels.count(given, recipe.bins, entropy)
    ranks = recipe.ranks
    # The losses of images are each rank's own; their mean is taken over all of them afterwards.
    shared = None if given.per_image else ranks
    trained = torch.is_grad_enabled() and given.scores.requires_grad
    pooled = pool(counted, given.unit, chosen.absent, shared, recipe.window, trained=trained)
    losses, slopes, present = _weigh(
        pooled, recipe, given.unbounded, kernels.wide_dtype(given.scores)
    )
    seen = present[0 if chosen.absent else 1] if pooled.seen is None else pooled.seen
    counting = chosen.among(seen)
    if as_tversky(recipe.set_function) is None:
        losses, slopes = _mute(losses, counting), _mute(slopes, counting[..., None, None])
    sums = None if entropy is None else counted.entropy
    if sums is not None and ranks is not None:
        sums = ranks.total(sums)
    return ClassLosses(losses, counting, pooled.invalid, slopes, counted.lse, sums)


def by_sorting(given: kernels.Scores, chosen: Chosen, recipe: Recipe) -> ClassLosses:
    """Losses from the sorted errors; exact up to the rounding of the errors themselves."""
    exact = kernels.exact(given, recipe.set_function, recipe.symmetric)
    counting = chosen.among((exact.pixels if chosen.absent else exact.positives) > 0)
    losses, slopes = exact.losses, exact.slopes
    if as_tversky(recipe.set_function) is None:
        group = given.group
        by_pixel = counting.unsqueeze(-1) if group is None else counting[group].transpose(1, 2)
        losses, slopes = _mute(losses, counting), _mute(slopes, by_pixel)
    return ClassLosses(losses, counting, exact.invalid, slopes, exact.lse)


def _weigh(pooled: Pooled, recipe: Recipe, unbounded: bool, dtype: torch.dtype) -> kernels.Weighed:
    """The extension; where it is asked for, the mean with that of the complements."""
    weighed = _extend(pooled, recipe, unbounded, dtype)
    if not recipe.symmetric:
        return weighed
    # The complement has the same errors: its positives are the negatives.
    swapped = pooled._replace(counts=pooled.counts.flip(2))
    losses, slopes, _ = _extend(swapped, recipe, unbounded, dtype)
    return weighed._replace(
        losses=(weighed.losses + losses) / 2, slopes=(weighed.slopes + slopes.flip(2)) / 2
    )


def _extend(pooled: Pooled, recipe: Recipe, unbounded: bool, dtype: torch.dtype) -> kernels.Weighed:
    """The extension, by an operator for the set functions that it knows."""
    tversky = as_tversky(recipe.set_function)
    counts, unit = pooled.counts, pooled.unit
    if tversky is None:
        centres_of = kernels.unbounded_bin_centres if unbounded else kernels.bin_centres
        centres = centres_of(counts.shape[-1], counts.device)
        losses, slopes = extend_counts(counts, centres, recipe.set_function, unit)
        return kernels.Weighed(losses, slopes.to(dtype), kernels.seen_in(counts))
    wide = dtype == torch.float64
    return kernels.weigh(counts, tversky.alpha, tversky.beta, wide, unit, unbounded)


def _mute(values: Tensor, counting: Tensor) -> Tensor:
    """Zero for classes that do not count, where a set function of the caller's may divide by 0."""
    return torch.where(counting, values, 0.0)
