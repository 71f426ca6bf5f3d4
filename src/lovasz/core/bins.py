r"""The bins of the histogram method: which error falls where, and what each bin stands for.

Errors in [0, 1] are mapped by the monotone $u(m) = \tfrac14 (3 \sqrt m + m)$ onto [0, 1],
which is cut into equal parts. The square root makes the bins fine near 0, where nearly all errors
of a converged network lie; the linear part makes the widest bin, the one below 1, narrower by a
fifth than the square root alone does. ``docs/mathematics.md`` compares the maps that were tried.
"""

from __future__ import annotations

import math
from typing import Any

from lovasz.core.options import check_bins
from lovasz.core.set_functions import Array

# Errors without a bound are counted up to here: sixteen powers of two.
LARGEST_ERROR = 2.0**16 - 1


def position(xp: Any, errors: Array, bins: int, *, unbounded: bool = False) -> Array:
    """Bin of each error, as a floating number from 0 to bins - 1 that is to be rounded down.

    NaN goes to bin 0; its pixel is reported elsewhere.

    Args:
        xp: the module of the array library, such as ``torch``.
        errors: of any shape, in [0, 1]; or in [0, LARGEST_ERROR), where what is larger is reported
            elsewhere too.
        bins: number of bins B.
        unbounded: bin 0 for errors of 0, then by the logarithm of 1 + error.
    """
    if unbounded:
        place = 1 + xp.log2(1 + errors) * ((bins - 1) / 16)
        place = xp.where(errors > 0, place, 0.0)
    else:
        place = (3 * xp.sqrt(errors) + errors) * (bins / 4)
        place = xp.where(place > 0, place, 0.0)
    return xp.where(place < bins - 1, place, bins - 1.0)


def centres(xp: Any, bins: int, *, unbounded: bool = False, **options: Any) -> Array:
    """What each bin stands for, ascending float64 of shape (bins,).

    The middle of its edges; without a bound that error of which 1 + error is the harmonic mean of
    1 + the edges, which is as far from both, relatively.

    Args:
        xp: the module of the array library.
        bins: number of bins B.
        unbounded: as for `position`.
        options: for ``xp.arange``, such as a device.
    """
    if not unbounded:
        ends = edges(xp, bins, **options)
        return (ends[1:] + ends[:-1]) / 2
    ends = xp.exp2(xp.arange(bins, dtype=xp.float64, **options) * (16 / (bins - 1)))
    middle = 2 * ends[:-1] * ends[1:] / (ends[:-1] + ends[1:]) - 1
    return xp.concatenate((0 * middle[:1], middle))


def edge(index: int, bins: int) -> float:
    """Lower edge of one bin of errors in [0, 1]; of bin ``bins`` it is 1."""
    root = (math.sqrt(9 + 16 * index / bins) - 3) / 2  # as `edges`
    return root * root


def edges(xp: Any, bins: int, **options: Any) -> Array:
    """Edges of the bins of errors in [0, 1], ascending float64 of shape (bins + 1,), 0 to 1."""
    u = xp.arange(bins + 1, dtype=xp.float64, **options) / bins
    root = (xp.sqrt(9 + 16 * u) - 3) / 2  # solves m + 3 sqrt(m) = 4u for sqrt(m)
    return root * root


def relative_bound(bins: int) -> float:
    r"""Largest possible relative error of the histogram method where errors have no bound.

    For the hinge losses, with a set function of at most 1, such as Jaccard,
    $|\hat L - L| \le r (1 + L)$ for the loss L of one class. An error of 0 has a bin of its
    own. Proof in ``docs/mathematics.md``.

    Args:
        bins: number of bins, from 2 to 2**20.

    Returns:
        r, in (0, 1).

    Raises:
        ValueError: for another number of bins.

    Examples:
        >>> round(relative_bound(1024), 5)
        0.00542
    """
    check_bins("relative_bound", bins)
    ratio: float = 2.0 ** (16 / (bins - 1))
    return (ratio - 1) / (ratio + 1)


def error_bound(bins: int) -> float:
    r"""Largest possible error of the loss of one class, half the width of the widest bin.

    It holds for every monotone set function with $\Delta(\text{all}) = 1$, such as Jaccard,
    and scales with $\Delta(\text{all})$ otherwise; proof in ``docs/mathematics.md``.

    Args:
        bins: number of bins, from 2 to 2**20.

    Returns:
        The bound, in (0, 0.5).

    Raises:
        ValueError: for another number of bins.

    Examples:
        >>> round(error_bound(1024), 6)
        0.000781
    """
    check_bins("error_bound", bins)
    return (1 - edge(bins - 1, bins)) / 2
