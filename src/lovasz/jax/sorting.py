"""The exact method in plain jax.numpy: sort the errors, extend, bring the slopes to the pixels."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jax import lax

from lovasz.core.extension import step_in_fn, step_in_fp
from lovasz.core.set_functions import SetFunction
from lovasz.jax.counting import Extended
from lovasz.jax.pixels import LogSumExp, count_invalid, load, no_lse
from lovasz.jax.precision import SCALE, Array, compute_dtype, is_weight, to_fixed, wide
from lovasz.jax.reading import Reading


class Sorted(NamedTuple):
    """What the exact method has in the place of histograms."""

    extended: Extended
    lse: Array  # as for Counts
    invalid: Array  # as for Counts


def sort_and_extend(
    scores: Array,
    labels: Array,
    pixel_weight: Array | None,
    set_function: SetFunction,
    symmetric: bool,
    r: Reading,
) -> Sorted:
    """Losses of the classes, and slopes by pixel (N, C, L), times what their pixel counts."""
    lse, dtype = None, compute_dtype(scores)
    if r.link == "softmax":
        lse = LogSumExp.of(scores.astype(dtype), r.class_axis)
    pixels = load(scores, labels, lse, r)
    invalid = count_invalid(scores, labels, lse, pixels, r)
    valid = jnp.broadcast_to(pixels.valid, pixels.errors.shape)
    if pixel_weight is not None:
        bad = r.by_pixel(~is_weight(pixel_weight)) & pixels.valid
        invalid = invalid + r.by_group(bad.astype(jnp.int32))
    words = no_lse(len(scores), dtype) if lse is None else lse.words()
    with wide():
        count, unit = valid.astype(jnp.int64), 1
        if pixel_weight is not None:
            unit = SCALE
            count = jnp.where(
                valid, jnp.broadcast_to(to_fixed(r.by_pixel(pixel_weight)), valid.shape), 0
            )
        errors, positive, own = (
            _rows(values, r) for values in (pixels.errors, pixels.positive, count)
        )
        losses, slopes = _extend_rows(errors, positive, own, unit, set_function, symmetric)
        counts = own > 0
        present = jnp.stack((counts.any(-1), (counts & positive).any(-1)))
        losses, slopes = losses.astype(dtype), slopes.astype(dtype)
    images, length = scores.shape[0], scores.shape[3 - r.class_axis]
    if not r.per_image:
        slopes = slopes.reshape(-1, images, length).swapaxes(0, 1)
    return Sorted(Extended(losses, slopes, present), words, invalid)


def _rows(values: Array, r: Reading) -> Array:
    """Values that lie as the scores, as a row for each group and class (G, C, P)."""
    values = values if r.class_axis == 1 else values.swapaxes(1, 2)
    if r.per_image:
        return values
    return values.swapaxes(0, 1).reshape(1, values.shape[1], -1)


def _extend_rows(
    errors: Array,
    positive: Array,
    count: Array,
    unit: int,
    delta: SetFunction,
    symmetric: bool,
) -> tuple[Array, Array]:
    """Losses (G, C) and slopes (G, C, P), exact up to the rounding of the errors.

    Pixels with equal errors form one group, so the slopes do not depend on the order in which a
    sort leaves them.
    """
    # Descending; what does not count comes last.
    keys = -jnp.where(count > 0, errors, -1.0)
    place = jnp.broadcast_to(jnp.arange(keys.shape[-1], dtype=jnp.int32), keys.shape)
    keys, positive, own, place = lax.sort((keys, positive, count, place), num_keys=1)
    first, last = _runs(keys)
    F = _around(jnp.where(positive, own, 0), first, last, unit)
    B = _around(jnp.where(positive, 0, own), first, last, unit)

    def steps(of_class: Array, F: _Around, B: _Around) -> Array:
        return jnp.where(
            of_class,
            step_in_fn(jnp, delta, F[:2], B[:2], F.all),
            step_in_fp(jnp, delta, B[:2], F[:2], F.all),
        )

    slopes = steps(positive, F, B)
    if symmetric:  # the complement has the same errors: its positives are the negatives
        slopes = (slopes + steps(~positive, B, F)) / 2
    slopes = jnp.where(own > 0, slopes * (own.astype(jnp.float64) / unit), 0.0)
    losses = jnp.where(own > 0, slopes * -keys, 0.0).sum(-1)
    _, slopes = lax.sort((place, slopes), num_keys=1)
    return losses, slopes


def _runs(rows: Array) -> tuple[Array, Array]:
    """For each element of a row where its run of equal elements begins and ends."""
    size = rows.shape[-1]
    index = jnp.broadcast_to(jnp.arange(size, dtype=jnp.int32), rows.shape)
    differs = rows[..., 1:] != rows[..., :-1]
    edge = jnp.ones((*rows.shape[:-1], min(size, 1)), jnp.bool_)
    starts, ends = (jnp.concatenate(parts, -1) for parts in ((edge, differs), (differs, edge)))
    axis = rows.ndim - 1
    first = lax.cummax(jnp.where(starts, index, 0), axis=axis)
    last = lax.cummin(jnp.where(ends, index, size - 1), axis=axis, reverse=True)
    return first, last


class _Around(NamedTuple):
    """Counts before and after the group of each element, and of all, float64."""

    before: Array
    after: Array
    all: Array


def _around(own: Array, first: Array, last: Array, unit: int) -> _Around:
    sums = jnp.cumsum(own, -1)

    def at(values: Array, places: Array) -> Array:
        return jnp.take_along_axis(values, places, -1)

    # After its first element, without that element.
    before = at(sums, first) - at(own, first)
    parts = before, at(sums, last), sums[..., -1:]
    return _Around(*(part.astype(jnp.float64) / unit for part in parts))
