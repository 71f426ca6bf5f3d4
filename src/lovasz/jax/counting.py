"""The histogram method in plain jax.numpy: what runs where no compiled kernel does.

Memory is a few arrays of the size of the scores. Counts are sums of integers, which have no order.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax

from lovasz.core.bins import centres
from lovasz.core.extension import extend_histogram
from lovasz.core.set_functions import SetFunction
from lovasz.jax import cross_entropy
from lovasz.jax.pixels import LogSumExp, Pixels, bins_of, count_invalid, load, no_lse, pull_back
from lovasz.jax.precision import (
    Array,
    compute_dtype,
    counts_as_words,
    int64_of,
    is_weight,
    to_fixed,
    to_words,
    wide,
)
from lovasz.jax.reading import Reading

# At once, of slopes.
_LOOKED_UP = 2**20


class Counts(NamedTuple):
    """Histograms of the errors."""

    counts: Array  # (G, C, 2, B, 2), words of int64: negatives and positives by ascending error
    lse: Array  # (N, L, 2), words; (N, 0, 2) without softmax
    invalid: Array  # (G,) int32, pixels that make the loss meaningless
    sums: Array  # (2,), of the cross-entropies and of their weights; zeros if not asked for


class Extended(NamedTuple):
    """Losses of the classes, one row for each group."""

    losses: Array  # (G, C)
    slopes: Array  # derivatives by the errors: (G, C, 2, B) by bin, or (N, C, L) by pixel
    present: Array  # (2, G, C) bool, whether there are pixels at all, and pixels of the class


def histogram(
    scores: Array,
    labels: Array,
    pixel_weight: Array | None,
    class_weight: Array | None,
    r: Reading,
) -> Counts:
    """Count the errors of every class in bins, and add up the cross-entropy if asked for."""
    lse, dtype = None, compute_dtype(scores)
    if r.link == "softmax":
        lse = LogSumExp.of(scores.astype(dtype), r.class_axis)
    pixels = load(scores, labels, lse, r)
    invalid = count_invalid(scores, labels, lse, pixels, r)
    if pixel_weight is not None:
        bad = r.by_pixel(~is_weight(pixel_weight)) & pixels.valid
        invalid = invalid + r.by_group(bad.astype(jnp.int32))
    sums = jnp.zeros(2, dtype)
    if r.cross_entropy:
        sums = cross_entropy.sums_of(pixels, labels, r, class_weight, pixel_weight)
    words = no_lse(len(scores), dtype) if lse is None else lse.words()
    return Counts(_count(pixels, pixel_weight, r), words, invalid, sums)


def _count(pixels: Pixels, pixel_weight: Array | None, r: Reading) -> Array:
    """Words of the counts."""
    images, classes = pixels.scores.shape[0], pixels.scores.shape[r.class_axis]
    groups = r.groups(images)
    shape = (groups, classes, 2, r.bins)
    if r.bins == 0:
        return jnp.zeros((*shape, 2), jnp.uint32)
    cell = (_rows(pixels, r) * r.bins + bins_of(pixels, r)).reshape(-1)
    # A float would be added to in another order every time, and stop at 2**24.
    if pixel_weight is None:
        one = jnp.broadcast_to(pixels.valid, pixels.scores.shape).astype(jnp.int32).reshape(-1)
        counts = jnp.zeros(np.prod(shape), jnp.int32)
        return counts_as_words(_add(counts, cell, one).reshape(shape))
    with wide():
        fixed = jnp.where(pixels.valid, to_fixed(r.by_pixel(pixel_weight)), 0)
        fixed = jnp.broadcast_to(fixed, pixels.scores.shape).reshape(-1)
        counts = jnp.zeros(np.prod(shape), jnp.int64)
        return to_words(_add(counts, cell, fixed).reshape(shape))


def _add(counts: Array, cell: Array, summand: Array) -> Array:
    return counts.at[cell].add(summand, mode="promise_in_bounds")


def _rows(pixels: Pixels, r: Reading) -> Array:
    """Row of the (G · C · 2, B) histograms in which a pixel is counted for a class, int32."""
    images, classes = pixels.scores.shape[0], pixels.scores.shape[r.class_axis]
    first = jnp.arange(r.groups(images) * classes, dtype=jnp.int32).reshape(-1, classes) * 2
    return r.by_class(first) + pixels.positive


def extend(
    counts: Array, set_function: SetFunction, unit: int, unbounded: bool, dtype: jnp.dtype
) -> Extended:
    """The Lovász extension of a set function at histograms.

    Args:
        counts: (G, C, 2, B, 2), words.
        set_function: Δ(fn, fp, positives).
        unit: what one pixel counts.
        unbounded: whether the errors have no bound.
        dtype: of losses and slopes, which are computed in float64.
    """
    with wide():
        pixels = int64_of(counts).astype(jnp.float64) / unit
        places = centres(np, counts.shape[3], unbounded=unbounded)
        losses, slopes = extend_histogram(jnp, pixels, places, set_function)
        losses, slopes = losses.astype(dtype), slopes.astype(dtype)
    sides = (counts != 0).any((3, 4))
    return Extended(losses, slopes, jnp.stack((sides.any(-1), sides[..., 1])))


def _look_up(table: Array, cell: Array) -> Array:
    """Entries of a table, part by part: else XLA looks them up anew in whatever reads them."""
    parts = -(-cell.size // _LOOKED_UP)
    if parts < 2:
        return table.at[cell].get(mode="promise_in_bounds")
    padded = jnp.pad(cell.reshape(-1), (0, parts * _LOOKED_UP - cell.size))
    found = lax.map(
        lambda part: table.at[part].get(mode="promise_in_bounds"), padded.reshape(parts, -1)
    )
    return found.reshape(-1)[: cell.size].reshape(cell.shape)


def backward(
    scores: Array,
    labels: Array,
    lse: Array,
    slopes: Array,
    factors: Array,
    cross_entropy_scale: Array,
    pixel_weight: Array | None,
    class_weight: Array | None,
    r: Reading,
) -> Array:
    """Derivative by the scores, of their dtype and where they lie.

    Args:
        scores: (N, C, L) or (N, L, C).
        labels: of their pixels.
        lse: words of their log-sum-exp.
        slopes: by bin (G, C, 2, B), or by pixel (N, C, L).
        factors: (G, C), what the slopes of a class are multiplied by.
        cross_entropy_scale: (), derivative by the sum of the cross-entropies.
        pixel_weight: of the labels' shape, or None.
        class_weight: (C,) of the cross-entropy, or None.
        r: how they are read.
    """
    pixels = load(scores, labels, LogSumExp.from_words(lse) if r.link == "softmax" else None, r)
    if slopes.ndim == 3:
        rising = r.by_pixel(slopes) * r.by_class(factors)
    elif r.bins == 0:
        rising = jnp.zeros_like(pixels.errors)
    else:
        table = (slopes * factors[..., None, None]).reshape(-1)
        cell = _rows(pixels, r) * r.bins + bins_of(pixels, r)
        rising = _look_up(table, cell)
    gradient = pull_back(pixels, rising, r)
    if r.cross_entropy:
        gradient = gradient + cross_entropy_scale * cross_entropy.gradient_of(
            pixels, labels, r, class_weight
        )
    if pixel_weight is not None and slopes.ndim == 4:
        gradient = gradient * r.by_pixel(pixel_weight)
    return jnp.where(pixels.valid, gradient, 0.0).astype(scores.dtype)
