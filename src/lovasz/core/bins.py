r"""The bins of the histogram method: which error falls where, and what each bin stands for.

Errors in [0, 1] are mapped by the monotone $u(m) = \tfrac14 (3 \sqrt m + m)$ onto [0, 1],
which is cut into equal parts. The square root makes the bins fine near 0, where nearly all errors
of a converged network lie; the linear part makes the widest bin, the one below 1, narrower by a
fifth than the square root alone does. ``docs/mathematics.md`` compares the maps that were tried.
"""

from __future__ import annotations

import numbers
from typing import Any

import torch
from torch import Tensor

DEFAULT_BINS = 1024


def check_bins(name: str, bins: Any) -> None:
    """An integer that gives useful bins."""
    integer = isinstance(bins, numbers.Integral) and not isinstance(bins, bool)
    if not integer or not 2 <= bins <= 2**20:
        raise ValueError(f"{name}: expected bins to be an integer from 2 to {2**20}, got {bins!r}")


def bin_index(errors: Tensor, bins: int) -> Tensor:
    """Bin of each error in [0, 1], as int64; NaN goes to bin 0, its pixel is reported elsewhere."""
    position = (3 * errors.sqrt() + errors) * (bins / 4)
    return position.nan_to_num(0.0).to(torch.int64).clamp_(0, bins - 1)


# Errors without a bound are counted up to here: sixteen powers of two.
LARGEST_ERROR = 2.0**16 - 1


def unbounded_bin_index(errors: Tensor, bins: int) -> Tensor:
    """Bin of each error in [0, LARGEST_ERROR), int64: bin 0 for 0, then by the logarithm of 1 + e.

    What is larger or NaN goes to some bin; its pixel is reported elsewhere.
    """
    position = 1 + torch.log2(1 + errors) * ((bins - 1) / 16)
    position = torch.where(errors > 0, position, 0.0)
    return position.clamp(max=bins - 1).nan_to_num(0.0).to(torch.int64)


def unbounded_bin_centres(bins: int, device: torch.device | None = None) -> Tensor:
    """What each bin of errors without a bound stands for, ascending float64 of shape (bins,).

    1 + the centre is the harmonic mean of 1 + the edges, which is as far from both, relatively.
    """
    exponent = torch.arange(bins, dtype=torch.float64, device=device) * (16 / (bins - 1))
    edges = torch.exp2(exponent)
    centres = 2 * edges[:-1] * edges[1:] / (edges[:-1] + edges[1:]) - 1
    return torch.cat((torch.zeros_like(centres[:1]), centres))


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


def bin_edges(bins: int, device: torch.device | None = None) -> Tensor:
    """Edges of the bins, ascending float64 of shape (bins + 1,), from 0 to 1."""
    u = torch.arange(bins + 1, dtype=torch.float64, device=device) / bins
    root = (torch.sqrt(9 + 16 * u) - 3) / 2  # solves m + 3 sqrt(m) = 4u for sqrt(m)
    return root.square()


def bin_centres(bins: int, device: torch.device | None = None) -> Tensor:
    """Middle of each bin, ascending float64 of shape (bins,)."""
    edges = bin_edges(bins, device)
    return (edges[1:] + edges[:-1]) / 2


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
    edges = bin_edges(bins)
    return float((edges[1:] - edges[:-1]).max() / 2)
