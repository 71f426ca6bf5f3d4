r"""Losses by sums: Dice, Jaccard and Tversky losses of predictions as they are, not of thresholds.

Of every class there are eight sums over the pixels, with predictions p, labels q and weights w:

====  =========================  ====================================================
0     $\sum w p$                 predicted mass P
1     $\sum w q$                 mass of the labels Q
2     $\sum w p q$               intersection I
3     $\sum w |p - q|$           distance D
4     $\sum w p^2$               of squared predictions
5     $\sum w q^2$               of squared labels
6     $\sum w q$                 of the labels before label smoothing
7     $\sum w$                   pixels that are not ignored
====  =========================  ====================================================

A loss is a function of them, so that it takes one pass over the pixels, and its gradient a second.
Sums are arrays of any library, (G, C, 8) for groups and classes.
"""

from __future__ import annotations

import math
import numbers
from dataclasses import dataclass, fields
from typing import Any, Protocol, TypeAlias

from lovasz.core.set_functions import Array

__all__ = [
    "GeneralizedDice",
    "JaccardMetric",
    "Region",
    "SoftDice",
    "SoftJaccard",
    "SoftTversky",
]

#: how many sums there are
SUMS = 8
# Their places.
P, Q, INTERSECTION, DISTANCE, P_SQUARES, Q_SQUARES, RAW, PIXELS = range(SUMS)

#: added to numerators and denominators: one number for both, or one for each
Smooth: TypeAlias = "float | tuple[float, float]"

# A denominator is at least this, so that a class of which there is nothing has no infinite loss.
_LEAST = 1e-8
WEIGHTINGS = ("square", "simple", "uniform")


class Region(Protocol):
    """A loss of a class, or of all of them together, by sums over its pixels."""

    @property
    def pooled(self) -> bool:
        """Whether it takes the sums of all classes to one number."""
        ...

    def __call__(self, sums: Array) -> Array:
        """Losses (G, C), or (G, 1) if pooled, from sums (G, C, 8)."""
        ...


def _total(sums: Array, pooled: bool) -> Array:
    return sums.sum(1, keepdims=True) if pooled else sums


def _ratio(numerator: Array, denominator: Array, smooth: Smooth) -> Array:
    above, below = smooth if isinstance(smooth, tuple) else (smooth, smooth)
    return (numerator + above) / (denominator + below).clip(min=_LEAST)


@dataclass(frozen=True)
class SoftDice:
    r"""Soft Dice loss.

    $$1 - \frac{2 I + s}{P + Q + s}$$

    with the intersection $I = \sum_i p_i q_i$ and the masses $P = \sum_i p_i$, $Q = \sum_i q_i$ of
    predictions and labels. For soft labels it is not minimised by p = q; `JaccardMetric` is.

    Args:
        smooth: s, not negative; a pair for numerator and denominator.
        squared: whether P and Q are sums of squares, as in V-Net.
        pooled: whether the sums are taken over all classes before the ratio, which gives every
            pixel the same part instead of every class.

    Raises:
        TypeError: for arguments of a wrong type.
        ValueError: for a negative or infinite ``smooth``.

    References:
        Milletari, Navab, Ahmadi, *V-Net*, 3DV 2016, arXiv 1606.04797 (squared); Drozdzal et al.,
        *The importance of skip connections*, 2016, arXiv 1608.04117.
    """

    smooth: Smooth = 1e-5
    squared: bool = False
    pooled: bool = False

    def __post_init__(self) -> None:
        _check(self)

    def __call__(self, sums: Array) -> Array:
        """Losses (G, C), or (G, 1) if pooled, from sums (G, C, 8)."""
        sums = _total(sums, self.pooled)
        p, q = (P_SQUARES, Q_SQUARES) if self.squared else (P, Q)
        return 1 - _ratio(2 * sums[..., INTERSECTION], sums[..., p] + sums[..., q], self.smooth)


@dataclass(frozen=True)
class SoftJaccard:
    r"""Soft Jaccard loss, the plain ratio.

    $$1 - \frac{I + s}{P + Q - I + s}$$

    Arguments and errors are those of `SoftDice`. For soft labels it is not minimised by p = q;
    `JaccardMetric` is.

    References:
        Rahman, Wang, *Optimizing intersection-over-union in deep neural networks for image
        segmentation*, ISVC 2016.
    """

    smooth: Smooth = 1e-5
    squared: bool = False
    pooled: bool = False

    def __post_init__(self) -> None:
        _check(self)

    def __call__(self, sums: Array) -> Array:
        """Losses (G, C), or (G, 1) if pooled, from sums (G, C, 8)."""
        sums = _total(sums, self.pooled)
        p, q = (P_SQUARES, Q_SQUARES) if self.squared else (P, Q)
        both = sums[..., INTERSECTION]
        return 1 - _ratio(both, sums[..., p] + sums[..., q] - both, self.smooth)


@dataclass(frozen=True)
class JaccardMetric:
    r"""Jaccard metric loss (JML), which soft labels minimise.

    $$1 - \frac{P + Q - D + s}{P + Q + D + s}, \qquad D = \sum_i |p_i - q_i|$$

    It is 0 only at p = q, and equal to `SoftJaccard` on hard labels.

    Args:
        smooth: s, not negative; a pair for numerator and denominator.
        pooled: whether the sums are taken over all classes before the ratio.

    Raises:
        TypeError: for arguments of a wrong type.
        ValueError: for a negative or infinite ``smooth``.

    References:
        Wang, Ning, Blaschko, *Jaccard metric losses: optimizing the Jaccard index with soft
        labels*, NeurIPS 2023, arXiv 2302.05666, equation 5.
    """

    smooth: Smooth = 1e-5
    pooled: bool = False

    def __post_init__(self) -> None:
        _check(self)

    def __call__(self, sums: Array) -> Array:
        """Losses (G, C), or (G, 1) if pooled, from sums (G, C, 8)."""
        sums = _total(sums, self.pooled)
        masses, distance = sums[..., P] + sums[..., Q], sums[..., DISTANCE]
        return 1 - _ratio(masses - distance, masses + distance, self.smooth)


@dataclass(frozen=True)
class SoftTversky:
    r"""Soft Tversky loss: false positives and false negatives weighed differently.

    $$\left(1 - \frac{I + s}{I + \alpha (P - I) + \beta (Q - I) + s}\right)^\gamma$$

    With α = β = 1/2 and γ = 1, the defaults, it is the soft Dice loss with half of its s.

    Args:
        alpha: α, weight of false positives, not negative.
        beta: β, weight of false negatives, not negative.
        smooth: s, not negative; a pair for numerator and denominator.
        gamma: γ > 0; other than 1 for the focal Tversky loss.
        pooled: whether the sums are taken over all classes before the ratio.

    Raises:
        TypeError: for arguments of a wrong type.
        ValueError: for values out of range.

    References:
        Salehi, Erdogmus, Gholipour, MLMI 2017, arXiv 1706.05721; γ: Abraham, Khan, *A novel focal
        Tversky loss function*, ISBI 2019, arXiv 1810.07842 (who write 1/γ).
    """

    # With defaults, as torch 2.11 cannot compile what makes an object with fields that have none.
    alpha: float = 0.5
    beta: float = 0.5
    smooth: Smooth = 1e-5
    gamma: float = 1.0
    pooled: bool = False

    def __post_init__(self) -> None:
        _check(self)
        if self.gamma == 0:
            raise ValueError("SoftTversky: expected gamma to be greater than 0, got 0")

    def __call__(self, sums: Array) -> Array:
        """Losses (G, C), or (G, 1) if pooled, from sums (G, C, 8)."""
        sums = _total(sums, self.pooled)
        both = sums[..., INTERSECTION]
        mistakes = self.alpha * (sums[..., P] - both) + self.beta * (sums[..., Q] - both)
        loss = 1 - _ratio(both, both + mistakes, self.smooth)
        # Rounding can carry it below 0, of which there is no power, and for γ < 1 the power of 0
        # has no derivative.
        return loss if self.gamma == 1 else loss.clip(min=_LEAST) ** self.gamma


@dataclass(frozen=True)
class GeneralizedDice:
    r"""Generalised Dice loss: one ratio of all classes, in which rare ones count more.

    $$1 - \frac{2 \sum_c v_c I_c + s}{\sum_c v_c (P_c + Q_c) + s}$$

    Args:
        weighting: "square" for $v_c = 1/Q_c^2$, "simple" for $1/Q_c$, "uniform" for 1. A class
            without labels has the largest $v$ of those that have some, or 1.
        smooth: s, not negative; a pair for numerator and denominator.

    Raises:
        TypeError: for arguments of a wrong type.
        ValueError: for values out of range.

    References:
        Sudre et al., *Generalised Dice overlap as a deep learning loss function for highly
        unbalanced segmentations*, DLMIA 2017, arXiv 1707.03237.
    """

    weighting: str = "square"
    smooth: Smooth = 1e-5
    pooled = True  # always

    def __post_init__(self) -> None:
        _check(self)
        if self.weighting not in WEIGHTINGS:
            words = ", ".join(repr(word) for word in WEIGHTINGS)
            raise ValueError(
                f"GeneralizedDice: expected weighting to be one of {words}, got {self.weighting!r}"
            )

    def __call__(self, sums: Array) -> Array:
        """Losses (G, 1) from sums (G, C, 8)."""
        both, masses = sums[..., INTERSECTION], sums[..., P] + sums[..., Q]
        if self.weighting != "uniform":
            labels = sums[..., Q]
            there = labels > 0
            power = 2 if self.weighting == "square" else 1
            # 1 in the place of an absent class, so that there is no division by 0 to be undone.
            weight = there / (labels * there + ~there) ** power
            largest = weight.max(1, keepdims=True)
            largest = getattr(largest, "values", largest)  # torch gives the indices too
            weight = weight + ~there * (largest + (largest == 0))
            both, masses = weight * both, weight * masses
        return 1 - _ratio(2 * both.sum(1, keepdims=True), masses.sum(1, keepdims=True), self.smooth)


def _check(region: Any) -> None:
    """Numbers that are not negative, and flags."""
    name = type(region).__name__
    for field in fields(region):
        value = getattr(region, field.name)
        if field.type == "bool":
            if not isinstance(value, bool):
                raise TypeError(f"{name}: expected {field.name} to be True or False, got {value!r}")
            continue
        if field.type == "str":
            continue
        values = value if field.name == "smooth" and isinstance(value, tuple) else (value,)
        numeric = all(isinstance(v, numbers.Real) and not isinstance(v, bool) for v in values)
        if not numeric or (isinstance(value, tuple) and len(value) != 2):
            pair = " or a pair of numbers" if field.name == "smooth" else ""
            raise TypeError(f"{name}: expected {field.name} to be a number{pair}, got {value!r}")
        if not all(0 <= float(v) < math.inf for v in values):
            raise ValueError(
                f"{name}: expected {field.name} to be finite and not negative, got {value!r}"
            )
