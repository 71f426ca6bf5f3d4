r"""The Lovász extension: from counts, or sorted errors, to losses and slopes.

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
pixels, where float32 differences lose all seven of theirs. ``xp`` is the module of the array
library, such as ``torch`` or ``numpy``.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from lovasz.core.set_functions import Array, SetFunction


class Extension(NamedTuple):
    """The extension of one set function at given errors."""

    losses: Array  # (G, C) float64
    slopes: Array  # derivatives with respect to the errors, float64


def extend_histogram(
    xp: Any,
    counts: Array,
    centres: Array,
    set_function: SetFunction,
    mass: Array | None = None,
) -> Extension:
    """Lovász extension from histograms of the errors.

    Args:
        xp: the module of the array library.
        counts: (G, C, 2, B) float64, pixels; [:, :, 0] negatives and [:, :, 1] positives in bins of
            ascending error.
        centres: (B,) float64, the error that each bin stands for; or (G, C, B), one for each class.
        set_function: Δ(fn, fp, positives).
        mass: (G, C) float64, sums of soft labels: Δ(min(fn, mass), fp, mass) is extended. None
            for hard labels, where it is the number of positives.

    Returns:
        losses (G, C) and slopes (G, C, 2, B). The pass that uses them may round an error into the
        bin beside the one in which it was counted: where that is empty, its slope is that of the
        fuller neighbour, or of a single pixel if both are empty too.
    """
    falling = xp.flip(counts, (-1,))
    n, f = falling[:, :, 0], falling[:, :, 1]
    F1, B1 = xp.cumsum(f, -1), xp.cumsum(n, -1)
    F0, B0 = F1 - f, B1 - n
    F_from, F_to = _step(xp, F0, F1, F1[..., -1:])
    B_from, B_to = _step(xp, B0, B1, B1[..., -1:])
    positives = F1[..., -1:]
    if mass is not None:
        positives, set_function = mass[..., None], capped(xp, set_function)
    slopes = xp.stack(
        (
            step_in_fp(xp, set_function, (B_from, B_to), (F0, F1), positives),
            step_in_fn(xp, set_function, (F_from, F_to), (B0, B1), positives),
        ),
        2,
    )
    increase = set_function(F1, B1, positives) - set_function(F0, B0, positives)
    losses = xp.sum(increase * xp.flip(centres, (-1,)), -1)
    return Extension(losses, _beside(xp, xp.flip(slopes, (-1,)), counts))


def capped(xp: Any, set_function: SetFunction) -> SetFunction:
    """The set function of soft labels: no more can be missed than there is.

    Unders, whose prediction is below the label, may be more than the mass of the labels, because
    each of them counts as a whole pixel.
    """
    return lambda fn, fp, mass: set_function(xp.minimum(fn, mass), fp, mass)


def _step(xp: Any, before: Array, after: Array, most: Array) -> tuple[Array, Array]:
    """From where to where the slope of a bin is taken.

    An empty bin gets a step of one pixel, or of what there is of one: the next, or if all are
    before the bin the last. So a step begins or ends at its bin, and Δ at the bin is Δ at one of
    its ends.
    """
    empty, last = before == after, before >= most
    low = xp.where(empty & last, xp.where(before > 1, before - 1, 0.0), before)
    high = xp.where(empty, xp.minimum(before + 1, most), after)
    return low, high


def _beside(xp: Any, slopes: Array, counts: Array) -> Array:
    """Slopes (..., B), where those of empty bins are the ones of their fuller neighbours."""

    def padded(rows: Array) -> Array:  # by one bin at either end, an empty one
        edge = xp.zeros_like(rows[..., :1])
        return xp.concatenate((edge, rows, edge), -1)

    neighbours, numbers = padded(slopes), padded(counts)
    below, above = numbers[..., :-2], numbers[..., 2:]
    fuller = xp.where(above >= below, neighbours[..., 2:], neighbours[..., :-2])
    return xp.where((counts == 0) & (above + below > 0), fuller, slopes)


def step_in_fn(
    xp: Any,
    delta: SetFunction,
    F: tuple[Array, Array],
    B: tuple[Array, Array],
    positives: Array,
) -> Array:
    """Mean increase of Δ per positive of a step, over "positives first" and "last".

    Args:
        xp: the module of the array library.
        delta: Δ(fn, fp, positives).
        F: positives before and after the step.
        B: negatives before and after the group, at which the positives come first and last.
        positives: of the class.
    """
    before = delta(F[0], B[0], positives) + delta(F[0], B[1], positives)
    after = delta(F[1], B[0], positives) + delta(F[1], B[1], positives)
    return (after - before) / (2 * _one_if_empty(xp, F[1] - F[0]))


def step_in_fp(
    xp: Any,
    delta: SetFunction,
    B: tuple[Array, Array],
    F: tuple[Array, Array],
    positives: Array,
) -> Array:
    """Mean increase of Δ per negative of a step, over "negatives first" and "last".

    Args:
        xp: the module of the array library.
        delta: Δ(fn, fp, positives).
        B: negatives before and after the step.
        F: positives before and after the group, at which the negatives come first and last.
        positives: of the class.
    """
    before = delta(F[0], B[0], positives) + delta(F[1], B[0], positives)
    after = delta(F[0], B[1], positives) + delta(F[1], B[1], positives)
    return (after - before) / (2 * _one_if_empty(xp, B[1] - B[0]))


def _one_if_empty(xp: Any, count: Array) -> Array:
    return xp.where(count > 0, count, 1.0)
