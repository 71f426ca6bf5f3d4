"""Cross-entropy in plain jax.numpy: its sums, and its derivative by the scores."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lovasz.jax.pixels import Pixels
from lovasz.jax.precision import Array
from lovasz.jax.reading import Reading


def sums_of(
    pixels: Pixels, r: Reading, class_weight: Array | None, pixel_weight: Array | None
) -> Array:
    """Sum of the weighted cross-entropies, and of their weights, (2,).

    Of the softmax with class weights and label smoothing, of sigmoids with weights of positives.
    """
    if r.multiclass:
        weighted, weight = _of_classes(pixels, r, class_weight)
    else:
        x = pixels.scores
        weighted, weight = jax.nn.softplus(jnp.where(pixels.positive, -x, x)), jnp.ones_like(x)
        if class_weight is not None:
            weighted = jnp.where(pixels.positive, r.by_class(class_weight) * weighted, weighted)
    if pixel_weight is not None:
        own = r.by_pixel(pixel_weight)
        weighted, weight = own * weighted, own * weight
    both = (jnp.where(pixels.valid, values, 0.0).sum() for values in (weighted, weight))
    return jnp.stack(tuple(both))


def _of_classes(pixels: Pixels, r: Reading, class_weight: Array | None) -> tuple[Array, Array]:
    """Of each pixel its cross-entropy and its weight."""
    assert pixels.logs is not None  # of the softmax
    nll, axis = -pixels.logs, r.class_axis
    weight = r.by_class(_weights(pixels, r, class_weight))
    own = jnp.where(pixels.positive, weight, 0.0).sum(axis, keepdims=True)
    # Of one class, so that no other's infinity takes part.
    hit = jnp.where(pixels.positive, weight * nll, 0.0).sum(axis, keepdims=True)
    if r.smoothing == 0:
        return hit, own
    share = r.smoothing / nll.shape[axis]
    return (1 - r.smoothing) * hit + share * (weight * nll).sum(axis, keepdims=True), own


def gradient_of(pixels: Pixels, r: Reading, class_weight: Array | None) -> Array:
    """Derivative of the sum of the cross-entropies by the scores."""
    x = pixels.scores
    if r.multiclass:
        weight = r.by_class(_weights(pixels, r, class_weight))
        own = jnp.where(pixels.positive, weight, 0.0).sum(r.class_axis, keepdims=True)
        share = r.smoothing / x.shape[r.class_axis] * weight
        common = (1 - r.smoothing) * own + share.sum()
        return x * common - jnp.where(pixels.positive, (1 - r.smoothing) * own, 0.0) - share
    missing = -jax.nn.sigmoid(-x)
    if class_weight is not None:
        missing = missing * r.by_class(class_weight)
    return jnp.where(pixels.positive, missing, jax.nn.sigmoid(x))


def _weights(pixels: Pixels, r: Reading, class_weight: Array | None) -> Array:
    if class_weight is None:
        return jnp.ones(pixels.scores.shape[r.class_axis], pixels.scores.dtype)
    return class_weight
