"""The operators: schema, shapes of their results, and the functions that call them.

Only shapes, strides and dtypes are decided here, so that compilers can trace through without
running anything. Results of the scores' own precision ("wide") are float64 for float64 scores and
float32 for everything narrower.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from lovasz.ops import cpu, gpu, reference
from lovasz.ops.precision import wide_dtype
from lovasz.set_functions import SetFunction, as_tversky

_library = torch.library.Library("lovasz", "DEF")
_library.define(
    "count(Tensor scores, Tensor target, int bins, int? ignore_index, bool per_image, bool softmax,"
    " bool entropy=False, Tensor? entropy_weight=None, float smoothing=0.)"
    " -> (Tensor counts, Tensor lse, Tensor invalid, Tensor entropy)"
)
_library.define(
    "weigh(Tensor counts, float alpha, float beta, bool wide, int unit=1)"
    " -> (Tensor losses, Tensor slopes)"
)
_library.define(
    "push(Tensor scores, Tensor target, Tensor lse, Tensor slopes, int? ignore_index, bool softmax,"
    " Tensor? entropy_scale=None, Tensor? entropy_weight=None, float smoothing=0.) -> Tensor"
)
_library.define(
    "rank(Tensor scores, Tensor target, int? ignore_index, bool per_image, bool softmax)"
    " -> (Tensor errors, Tensor order, Tensor lse, Tensor invalid)"
)
_library.define(
    "exact(Tensor scores, Tensor target, int? ignore_index, bool per_image, bool softmax,"
    " float alpha, float beta) -> (Tensor losses, Tensor slopes, Tensor positives, Tensor pixels,"
    " Tensor lse, Tensor invalid)"
)
_library.define(
    "push_ranked(Tensor scores, Tensor target, Tensor lse, Tensor slopes, int? ignore_index,"
    " bool softmax) -> Tensor"
)
for _name in ("count", "weigh", "push", "rank", "exact", "push_ranked"):
    _library.impl(_name, getattr(reference, _name), "CompositeExplicitAutograd")
for _name in ("count", "weigh", "push", "exact", "push_ranked"):
    _library.impl(_name, getattr(cpu, _name), "CPU")
for _name in ("count", "push", "exact", "push_ranked"):
    _library.impl(_name, getattr(gpu, _name), "CUDA")


class Counted(NamedTuple):
    """Result of ``count``."""

    counts: Tensor  # (G, C, 2, B) int64, negatives and positives by bin of ascending error
    lse: Tensor  # (N, L) wide, log-sum-exp of the scores; (0,) without softmax
    invalid: Tensor  # (G,) int64, pixels with an impossible label or a score that is no number
    entropy: Tensor  # (2,) float64, sums of cross-entropies and of their weights; else (0,)


class Entropy(NamedTuple):
    """Cross-entropy that rides along, defined as torch defines it."""

    weight: Tensor | None  # (C,), weights of the classes, or None for ones
    smoothing: float  # label smoothing


def count(
    scores: Tensor,
    target: Tensor,
    *,
    bins: int,
    ignore_index: int | None,
    per_image: bool,
    softmax: bool,
    entropy: Entropy | None = None,
) -> Counted:
    """Count the errors of every class in bins.

    Args:
        scores: (N, C, L), logits if ``softmax``, else probabilities in [0, 1].
        target: (N, L), integer or bool labels.
        bins: number of bins B.
        ignore_index: label of the pixels to leave out, or None.
        per_image: one group per image instead of one for all.
        softmax: whether the scores are logits.
        entropy: the cross-entropy to compute as well, of logits alone.

    Returns:
        Counts, log-sum-exp, the number of invalid pixels per group, and the cross-entropy.

    Raises:
        ValueError: on the CPU, if a label is neither a class nor ``ignore_index``, or a
            probability is outside [0, 1]. Other devices report both in ``invalid`` alone, because
            raising would have to wait for them.
    """
    riding = () if entropy is None else (True, *entropy)
    operator = torch.ops.lovasz.count
    return Counted(*operator(scores, target, bins, ignore_index, per_image, softmax, *riding))


def weigh(
    counts: Tensor, alpha: float, beta: float, wide: bool, unit: int = 1
) -> tuple[Tensor, Tensor]:
    """Losses and slopes of Tversky's set functions from counts, as ``extension.extend_counts``.

    Args:
        counts: (G, C, 2, B), as ``count`` returns them.
        alpha: weight of a false positive.
        beta: weight of a false negative.
        wide: whether the slopes are float64 instead of float32.
        unit: what one pixel counts, a power of two, for counts in fixed point.

    Returns:
        losses (G, C) float64 and slopes (G, C, 2, B).
    """
    losses, slopes = torch.ops.lovasz.weigh(counts, alpha, beta, wide, unit)
    return losses, slopes


class Exact(NamedTuple):
    """Result of ``exact``."""

    losses: Tensor  # (G, C) float64
    slopes: Tensor  # (N, C, L) wide, derivatives of the losses by the errors, by pixel
    positives: Tensor  # (G, C) int64
    pixels: Tensor  # (G,) int64, not ignored
    lse: Tensor  # as for Counted
    invalid: Tensor  # as for Counted


def exact(
    scores: Tensor,
    target: Tensor,
    *,
    ignore_index: int | None,
    per_image: bool,
    softmax: bool,
    set_function: SetFunction,
) -> Exact:
    """Sort the errors of every class and extend the set function, one operator where it is known.

    Args:
        scores: as for ``count``.
        target: as for ``count``.
        ignore_index: as for ``count``.
        per_image: as for ``count``.
        softmax: as for ``count``.
        set_function: Δ(fn, fp, positives).

    Returns:
        Losses and slopes, exact up to the rounding of the errors.
    """
    options = (ignore_index, per_image, softmax)
    tversky = as_tversky(set_function)
    if tversky is not None:
        operator = torch.ops.lovasz.exact
        return Exact(*operator(scores, target, *options, tversky.alpha, tversky.beta))
    errors, order, lse, invalid = torch.ops.lovasz.rank(scores, target, *options)
    extended = reference.extend_ranked(errors, order, target, per_image, set_function)
    return Exact(*extended, lse, invalid)


def _groups(scores: Tensor, per_image: bool) -> int:
    return scores.shape[0] if per_image else 1


@torch.library.register_fake("lovasz::count")
def _(  # type: ignore[no-untyped-def]
    scores,
    target,
    bins,
    ignore_index,
    per_image,
    softmax,
    entropy=False,
    entropy_weight=None,
    smoothing=0.0,
):
    groups, classes = _groups(scores, per_image), scores.shape[1]
    return (
        scores.new_empty((groups, classes, 2, bins), dtype=torch.int64),
        scores.new_empty(target.shape if softmax else (0,), dtype=wide_dtype(scores)),
        scores.new_empty((groups,), dtype=torch.int64),
        scores.new_empty((2 if entropy else 0,), dtype=torch.float64),
    )


@torch.library.register_fake("lovasz::weigh")
def _(counts, alpha, beta, wide, unit=1):  # type: ignore[no-untyped-def]
    return (
        counts.new_empty(counts.shape[:2], dtype=torch.float64),
        counts.new_empty(counts.shape, dtype=torch.float64 if wide else torch.float32),
    )


@torch.library.register_fake("lovasz::rank")
def _(scores, target, ignore_index, per_image, softmax):  # type: ignore[no-untyped-def]
    images, classes, length = scores.shape
    groups = _groups(scores, per_image)
    shape = (groups, classes, length if per_image else images * length)
    return (
        scores.new_empty(shape, dtype=wide_dtype(scores)),
        scores.new_empty(shape, dtype=torch.int64),
        scores.new_empty(target.shape if softmax else (0,), dtype=wide_dtype(scores)),
        scores.new_empty((groups,), dtype=torch.int64),
    )


@torch.library.register_fake("lovasz::exact")
def _(scores, target, ignore_index, per_image, softmax, alpha, beta):  # type: ignore[no-untyped-def]
    groups, classes = _groups(scores, per_image), scores.shape[1]
    wide = wide_dtype(scores)
    return (
        scores.new_empty((groups, classes), dtype=torch.float64),
        scores.new_empty(scores.shape, dtype=wide),
        scores.new_empty((groups, classes), dtype=torch.int64),
        scores.new_empty((groups,), dtype=torch.int64),
        scores.new_empty(target.shape if softmax else (0,), dtype=wide),
        scores.new_empty((groups,), dtype=torch.int64),
    )


@torch.library.register_fake("lovasz::push")
def _(  # type: ignore[no-untyped-def]
    scores,
    target,
    lse,
    slopes,
    ignore_index,
    softmax,
    entropy_scale=None,
    entropy_weight=None,
    smoothing=0.0,
):
    return torch.empty_like(scores)


@torch.library.register_fake("lovasz::push_ranked")
def _(scores, target, lse, slopes, ignore_index, softmax):  # type: ignore[no-untyped-def]
    return torch.empty_like(scores)
