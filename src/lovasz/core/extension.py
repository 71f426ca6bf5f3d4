r"""The mathematics: from counts, or sorted errors, to losses and slopes.

The Lovász extension of a set function $\Delta(fn, fp; G)$ at the errors $m$ is

$$L(m) = \int_0^1 \Delta(fn(t), fp(t); G)\, dt,$$

with $fn(t)$ and $fp(t)$ the positives and negatives whose error exceeds t. Both methods
walk over groups of pixels, from the largest error down: the bins of a histogram, or the groups of
equal errors in a sorted list. ``F0, B0`` are the positives and negatives before a group, ``F1, B1``
those after it. The slope of a pixel, the derivative of L with respect to its error, is the increase
of Δ when the pixel joins; inside a group, where the order is unknown, it is the average over
"positives first" and "negatives first". These averages add up to
$\Delta(F_1, B_1) - \Delta(F_0, B_0)$ exactly.

Everything here is float64: differences of Δ lose at most nine of sixteen digits at ten million
pixels, where float32 differences lose all seven of theirs.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from lovasz.core.set_functions import SetFunction


class Extension(NamedTuple):
    """The extension of one set function at given errors."""

    losses: Tensor  # (G, C) float64
    slopes: Tensor  # derivatives with respect to the errors, float64


def extend_counts(
    counts: Tensor, centres: Tensor, set_function: SetFunction, unit: int = 1
) -> Extension:
    """Lovász extension from histograms of the errors.

    Args:
        counts: (G, C, 2, B) integer; [:, :, 0] negatives and [:, :, 1] positives in bins of
            ascending error.
        centres: (B,) float64, the error that each bin stands for.
        set_function: Δ(fn, fp, positives).
        unit: what one pixel counts, a power of two, for counts in fixed point.

    Returns:
        losses (G, C) and slopes (G, C, 2, B), both float64. The pass that uses them may round an
        error into the bin beside the one in which it was counted: where that is empty, its slope is
        that of the fuller neighbour, or of a single pixel if both are empty too.
    """
    per_bin = counts.flip(-1).to(torch.float64) / unit
    n, f = per_bin.unbind(2)
    F1, B1 = f.cumsum(-1), n.cumsum(-1)
    F0, B0 = F1 - f, B1 - n
    positives, negatives = F1[..., -1:], B1[..., -1:]

    F_from, F_to = _step(F0, F1, positives)
    B_from, B_to = _step(B0, B1, negatives)
    slopes = torch.stack(
        (
            _step_in_fp(set_function, B_from, B_to, F0, F1, positives),
            _step_in_fn(set_function, F_from, F_to, B0, B1, positives),
        ),
        dim=2,
    )
    increase = set_function(F1, B1, positives) - set_function(F0, B0, positives)
    losses = (increase * centres.flip(-1)).sum(-1)
    return Extension(losses, _beside(slopes.flip(-1), counts))


def _step(before: Tensor, after: Tensor, most: Tensor) -> tuple[Tensor, Tensor]:
    """From where to where the slope of a bin is taken.

    An empty bin gets a step of one pixel, or of what there is of one: the next, or if all are
    before the bin the last. So a step begins or ends at its bin, and Δ at the bin is Δ at one of
    its ends.
    """
    empty, last = before == after, before >= most
    low = torch.where(empty & last, (before - 1).clamp(min=0), before)
    high = torch.where(empty, torch.minimum(before + 1, most), after)
    return low, high


def _beside(slopes: Tensor, counts: Tensor) -> Tensor:
    """Slopes (..., B), where those of empty bins are the ones of their fuller neighbours."""
    # One bin more at either end, an empty one.
    neighbours, numbers = F.pad(slopes, (1, 1)), F.pad(counts, (1, 1))
    below, above = numbers[..., :-2], numbers[..., 2:]
    fuller = torch.where(above >= below, neighbours[..., 2:], neighbours[..., :-2])
    return torch.where((counts == 0) & (above + below > 0), fuller, slopes)


def extend_sorted(
    errors: Tensor,
    positive: Tensor,
    valid: Tensor,
    delta: SetFunction,
    mass: Tensor | None = None,
    unit: int = 1,
) -> Extension:
    """Lovász extension from sorted errors, exact up to the rounding of the errors.

    Pixels with equal errors form one group, so the slopes do not depend on the order in which a
    sort leaves them.

    Args:
        errors: (G, C, P) floating, descending along P; pixels that are not valid must be last.
        positive: (G, C, P) bool, whether the pixel is of the class.
        valid: (G, C, P) bool, False for ignored pixels.
        delta: Δ(fn, fp, positives).
        mass: (G, C, P) int64, what each pixel counts, in ``unit``; None for a whole pixel each.
        unit: a power of two.

    Returns:
        losses (G, C) and slopes (G, C, P), both float64; slopes of ignored pixels are 0, and those
        of the others are multiplied by what their pixel counts.
    """
    own = valid.long() if mass is None else torch.where(valid, mass, 0)
    own_f, own_b = torch.where(positive, own, 0), torch.where(positive, 0, own)
    first, last = _tie_groups(errors)
    F0, F1, positives = (count.double() / unit for count in _around(own_f, first, last))
    B0, B1, _ = (count.double() / unit for count in _around(own_b, first, last))
    slopes = torch.where(
        positive,
        _step_in_fn(delta, F0, F1, B0, B1, positives),
        _step_in_fp(delta, B0, B1, F0, F1, positives),
    )
    slopes = torch.where(valid, slopes, 0.0)
    if mass is not None:
        slopes = slopes * (own.double() / unit)
    losses = (slopes * torch.where(valid, errors, 0.0)).sum(-1)
    return Extension(losses, slopes)


def _step_in_fn(
    delta: SetFunction, F_from: Tensor, F_to: Tensor, B0: Tensor, B1: Tensor, positives: Tensor
) -> Tensor:
    """Mean increase of Δ per positive, over "positives first" (at B0) and "last" (at B1)."""
    before = delta(F_from, B0, positives) + delta(F_from, B1, positives)
    after = delta(F_to, B0, positives) + delta(F_to, B1, positives)
    return (after - before) / (2 * _one_if_empty(F_to - F_from))


def _step_in_fp(
    delta: SetFunction, B_from: Tensor, B_to: Tensor, F0: Tensor, F1: Tensor, positives: Tensor
) -> Tensor:
    """Mean increase of Δ per negative, over "negatives first" (at F0) and "last" (at F1)."""
    before = delta(F0, B_from, positives) + delta(F1, B_from, positives)
    after = delta(F0, B_to, positives) + delta(F1, B_to, positives)
    return (after - before) / (2 * _one_if_empty(B_to - B_from))


def _around(own: Tensor, first: Tensor, last: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Counts before and after the group of each pixel, and of all."""
    after = own.cumsum(-1)
    # Before a group: after its first pixel, without that pixel.
    before = after.gather(-1, first) - own.gather(-1, first)
    return before, after.gather(-1, last), after[..., -1:]


def _one_if_empty(count: Tensor) -> Tensor:
    return torch.where(count > 0, count, 1.0)


def _tie_groups(errors: Tensor) -> tuple[Tensor, Tensor]:
    """Index of the first and the last element of each run of equal values on the last axis."""
    size = errors.shape[-1]
    index = torch.arange(size, device=errors.device).expand(errors.shape)
    if size == 0:
        return index, index
    differs = errors[..., 1:] != errors[..., :-1]
    edge = differs.new_ones((*errors.shape[:-1], 1))
    starts = torch.cat((edge, differs), -1)
    ends = torch.cat((differs, edge), -1)
    first = torch.where(starts, index, 0).cummax(-1).values
    last = torch.where(ends, index, size - 1).flip(-1).cummin(-1).values.flip(-1)
    return first, last
