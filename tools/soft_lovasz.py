"""The Lovász extension for soft labels, from its definition: numpy in float64, for small inputs.

It shares nothing with the package: no bins, no cumulative sums. The extension is the integral of
the set function over the threshold, and a slope is what the set function gains when all pixels of
one error join. Everything has leading axes of any shape, here (...), and pixels last, (..., n).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
#: Δ(A, B, G): pixels below their label, pixels above it, sum of the labels.
Delta = Callable[[Array, Array, Array], Array]


def tversky(alpha: float, beta: float) -> Delta:
    """Tversky's set function of the counts, in which those below are at most the labels."""

    def delta(below: Array, above: Array, positives: Array) -> Array:
        missed = np.minimum(below, positives)
        mistakes = alpha * above + beta * missed
        whole = positives - missed + mistakes
        return np.where(whole > 0, mistakes / np.where(whole > 0, whole, 1), 0.0)

    return delta


jaccard = tversky(1.0, 1.0)


def uncapped_jaccard(below: Array, above: Array, positives: Array) -> Array:
    """What the theorem warns of: the Jaccard loss of counts that may exceed the labels."""
    union = positives + above
    # Where the class has no pixel nothing lies below a label.
    return np.where(union > 0, (below + above) / np.where(union > 0, union, 1), 0.0)


def is_below(p: Array, q: Array) -> NDArray[np.bool_]:
    """Which pixels count with the positives."""
    return (p < q) | (q >= 1)


def loss(p: Array, q: Array, weight: Array, delta: Delta = jaccard) -> Array:
    """Integral over t of Δ(weights below with error > t, weights above with error > t), (...)."""
    return extension(np.abs(p - q), is_below(p, q), weight, (weight * q).sum(-1), delta)


def extension(
    errors: Array, below: NDArray[np.bool_], weight: Array, positives: Array, delta: Delta
) -> Array:
    """The same of given errors."""
    levels = np.sort(errors, -1)
    integral, low = np.zeros(errors.shape[:-1]), np.zeros(errors.shape[:-1])
    for k in range(errors.shape[-1]):
        counted = weight * (errors > low[..., None])
        cost = delta((counted * below).sum(-1), (counted * ~below).sum(-1), positives)
        integral += (levels[..., k] - low) * cost
        low = levels[..., k]
    return integral


def gradient(p: Array, q: Array, weight: Array, delta: Delta = jaccard) -> Array:
    """Derivative of the loss by every p, (..., n), as the package chooses it.

    Of equal errors the slope is the mean over "below first" and "above first", and the same for all
    pixels of a kind; a pixel at p = q < 1 gets that of the side above.
    """
    errors, below = np.abs(p - q), is_below(p, q)
    positives = (weight * q).sum(-1)[..., None]
    before = errors[..., None, :] > errors[..., :, None]  # (..., pixel, others)
    until = errors[..., None, :] >= errors[..., :, None]
    others, side = weight[..., None, :], below[..., None, :]
    A0, A1 = ((others * side * which).sum(-1) for which in (before, until))
    B0, B1 = ((others * ~side * which).sum(-1) for which in (before, until))
    by_below = sum(delta(A1, B, positives) - delta(A0, B, positives) for B in (B0, B1)) / 2
    by_above = sum(delta(A, B1, positives) - delta(A, B0, positives) for A in (A0, A1)) / 2
    step = np.where(below, A1 - A0, B1 - B0)
    slope = np.where(below, by_below, by_above) / np.where(step > 0, step, 1)
    return weight * slope * np.where(below, -1.0, 1.0)
