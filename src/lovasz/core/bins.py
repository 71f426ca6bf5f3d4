r"""The bins of the histogram method: which error falls where, and what each bin stands for.

Errors m in [0, 1] are mapped onto [0, 1] by

$$u(m) = \tfrac1{16} (9 t + 4 \sqrt[4]{t}), \quad t = m, \quad m \le \tfrac12; \qquad
u(m) = 1 - u(1 - m), \quad m > \tfrac12,$$

and that is cut into equal parts. So bins are fine near 0, where nearly all errors of a converged
network lie, and as fine near 1, where those of its confident mistakes do. The fourth root is the
one that takes two operations on the bits of a floating number: it is linear between powers of two,
exact at every power of 1/16 and nowhere more than a few percent off. With it u is piecewise linear
and has an exact inverse. ``docs/mathematics.md`` compares the maps that were tried.

Errors without a bound are mapped by the mean of $m / (m + 4)$, which is fine where the scores of
most networks lie, and of a logarithm, of the same kind, that goes on to 65,535.
"""

from __future__ import annotations

import math
from typing import Any

from lovasz.core.options import check_bins
from lovasz.core.set_functions import Array

# Errors without a bound are counted up to here.
LARGEST_ERROR = 2.0**16 - 1
# What is added to them before the logarithm, and the powers of two from there to the largest.
OFFSET, OCTAVES = 2.0**-6, 22
# Half of the bins for errors that are not bounded are for those below this, by the other term.
HALF = 4.0
# As good as 0, for logarithms.
_TINY = 2.0**-120


def position(
    xp: Any, errors: Array, bins: int, *, complements: Array = None, unbounded: bool = False
) -> Array:
    """Bin of each error, as a floating number from 0 to bins - 1 that is to be rounded down.

    NaN goes to the last bin; its pixel is reported elsewhere.

    Args:
        xp: the module of the array library, such as ``torch``.
        errors: of any shape, in [0, 1]; or in [0, LARGEST_ERROR), where what is larger is reported
            elsewhere too.
        bins: number of bins B.
        complements: 1 - errors, for whoever has more digits of them; for errors in [0, 1] alone.
        unbounded: bin 0 for errors of 0, then by the map for errors without a bound.
    """
    if unbounded:
        place = xp.where(errors > 0, 1 + _unbounded(xp, errors) * (bins - 1), 0.0)
    else:
        complements = 1 - errors if complements is None else complements
        folded = _folded(xp, xp.minimum(errors, complements)) * bins
        place = xp.where(errors < complements, folded, bins - folded)
    return xp.where(place < bins - 1, place, bins - 1.0)


def _folded(xp: Any, t: Array) -> Array:
    """The map u of errors of at most 1/2."""
    return (9 / 16) * t + 0.25 * _exp2(xp, _log2(xp, t) / 4)


def _unbounded(xp: Any, errors: Array) -> Array:
    """The map of errors without a bound onto [0, 1)."""
    octaves = _log2(xp, errors + OFFSET) - math.log2(OFFSET)
    return 0.5 * errors / (errors + HALF) + octaves * (0.5 / OCTAVES)


def _log2(xp: Any, values: Array) -> Array:
    """The logarithm, linear between powers of two: exponent and mantissa of a floating number."""
    mantissa, exponent = xp.frexp(xp.where(values > _TINY, values, _TINY))
    return exponent + (2 * mantissa - 2)


def _exp2(xp: Any, values: Array) -> Array:
    """The inverse of `_log2`."""
    whole = xp.floor(values)
    return xp.exp2(whole) * (1 + (values - whole))


def _inverse(xp: Any, u: Array) -> Array:
    """The error of which u is the map, both in [0, 1].

    Newton's method on a function that is concave and piecewise linear: from where it starts it is
    in the right piece after three steps.
    """
    low = xp.where(u <= 0.5, u, 1 - u)
    t = xp.where(low > 0, _exp2(xp, 4 * _log2(xp, 4 * low)), 0.0)
    t = xp.where(t < 0.5, t, 0.5)
    for _ in range(3):
        whole = xp.floor(_log2(xp, t))
        slope = 9 / 16 + xp.exp2(xp.floor(whole / 4) - whole) / 16
        t = t - (_folded(xp, t) - low) / slope
    t = xp.where(low > 0, t, 0.0)
    return xp.where(u <= 0.5, t, 1 - t)


def _inverse_unbounded(xp: Any, u: Array) -> Array:
    """The error of which u is the map.

    Newton's method again, from below, where the first term is 1: the map is concave, so that every
    step stays below, and eight of them end at the last digits for as many bins as there may be.
    """
    errors = OFFSET * _exp2(xp, (2 * u - 1) * OCTAVES) - OFFSET
    errors = xp.where(errors > 0, errors, 0.0)
    for _ in range(8):
        octave = xp.floor(_log2(xp, errors + OFFSET))
        slope = 0.5 * HALF / (errors + HALF) ** 2 + xp.exp2(-octave) * (0.5 / OCTAVES)
        errors = errors - (_unbounded(xp, errors) - u) / slope
    return errors


def centres(xp: Any, bins: int, *, unbounded: bool = False, **options: Any) -> Array:
    """What each bin stands for, ascending float64 of shape (bins,).

    The error in the middle of the bin, by the map; the first bin stands for 0, and the last, of
    errors that have a bound, for 1.

    Args:
        xp: the module of the array library.
        bins: number of bins B.
        unbounded: as for `position`.
        options: for ``xp.arange``, such as a device.
    """
    index = xp.arange(bins, dtype=xp.float64, **options)
    if unbounded:
        middle = _inverse_unbounded(xp, (index - 0.5) / (bins - 1))
    else:
        middle = _inverse(xp, (index + 0.5) / bins)
        middle = xp.where(index < bins - 1, middle, 1.0)
    return xp.where(index > 0, middle, 0.0)


def edges(xp: Any, bins: int, **options: Any) -> Array:
    """Edges of the bins of errors in [0, 1], ascending float64 of shape (bins + 1,), 0 to 1."""
    return _inverse(xp, xp.arange(bins + 1, dtype=xp.float64, **options) / bins)


def relative_bound(bins: int) -> float:
    r"""Largest possible relative error of the histogram method where errors have no bound.

    For the hinge losses, with a set function of at most 1, such as Jaccard,
    $|\hat L - L| \le r (L + \tfrac1{64})$ for the loss L of one class. An error of 0 has a bin
    of its own. Proof in ``docs/mathematics.md``.

    Args:
        bins: number of bins, from 2 to 2**20.

    Returns:
        r, below 1 from 24 bins on.

    Raises:
        ValueError: for another number of bins.

    Examples:
        >>> round(relative_bound(2048), 5)
        0.01075
    """
    check_bins("relative_bound", bins)
    octaves = OCTAVES / (bins - 1)  # from the middle of a bin to its edge, by one term alone
    whole = math.floor(octaves)
    return 2.0**whole * (1 + octaves - whole) - 1


def error_bound(bins: int) -> float:
    r"""Largest possible error of the loss of one class, half the width of the widest bin.

    It holds for every monotone set function with $\Delta(\text{all}) = 1$, such as Jaccard,
    and scales with $\Delta(\text{all})$ otherwise; proof in ``docs/mathematics.md``.

    Args:
        bins: number of bins, from 2 to 2**20.

    Returns:
        The bound, in (0, 0.5].

    Raises:
        ValueError: for another number of bins.

    Examples:
        >>> round(error_bound(2048), 6)
        0.000355
    """
    check_bins("error_bound", bins)
    # The least slope of the map is 11/16; of 2 or 3 bins the first is wider, and it stands for 0.
    return max(8, 16 - 2.5 * bins) / (11 * bins)
