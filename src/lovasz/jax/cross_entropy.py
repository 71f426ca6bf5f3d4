"""Cross-entropy in plain jax.numpy: its sums, and its derivative by the scores."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from lovasz.jax.pixels import Pixels, as_index
from lovasz.jax.precision import Array
from lovasz.jax.reading import Reading


def sums_of(
    pixels: Pixels,
    labels: Array,
    r: Reading,
    class_weight: Array | None,
    pixel_weight: Array | None,
) -> Array:
    """Sum of the weighted cross-entropies, and of their weights, (2,).

    Of the softmax with class weights and label smoothing, of sigmoids with weights of positives.
    """
    x = pixels.scores
    if r.multiclass:
        weighted, weight = _of_classes(pixels, labels, r, class_weight)
    else:
        weighted, weight = jax.nn.softplus(jnp.where(pixels.positive, -x, x)), jnp.ones_like(x)
        if class_weight is not None:
            weighted = jnp.where(pixels.positive, r.by_class(class_weight) * weighted, weighted)
    if pixel_weight is not None:
        own = r.by_pixel(pixel_weight)
        weighted, weight = own * weighted, own * weight
    both = (jnp.where(pixels.valid, values, 0.0).sum() for values in (weighted, weight))
    return jnp.stack(tuple(both))


def _of_classes(
    pixels: Pixels, labels: Array, r: Reading, class_weight: Array | None
) -> tuple[Array, Array]:
    """Of each pixel its cross-entropy and its weight."""
    assert pixels.logs is not None  # of the softmax
    nll, axis = -pixels.logs, r.class_axis
    own = _own_weights(labels, r, class_weight, nll)
    # Of one class, so that no other's infinity takes part.
    hit = own * jnp.where(pixels.positive, nll, 0.0).sum(axis, keepdims=True)
    if r.smoothing == 0:
        return hit, own
    rest = nll if class_weight is None else r.by_class(class_weight) * nll
    share = r.smoothing / nll.shape[axis]
    return (1 - r.smoothing) * hit + share * rest.sum(axis, keepdims=True), own


def gradient_of(pixels: Pixels, labels: Array, r: Reading, class_weight: Array | None) -> Array:
    """Derivative of the sum of the cross-entropies by the scores."""
    x = pixels.scores
    if not r.multiclass:
        missing = -jax.nn.sigmoid(-x)
        if class_weight is not None:
            missing = missing * r.by_class(class_weight)
        return jnp.where(pixels.positive, missing, jax.nn.sigmoid(x))
    own, classes = _own_weights(labels, r, class_weight, x), x.shape[r.class_axis]
    weights = jnp.ones(classes, x.dtype) if class_weight is None else class_weight
    share = r.smoothing / classes * r.by_class(weights)
    hit = (1 - r.smoothing) * own
    return x * (hit + share.sum()) - jnp.where(pixels.positive, hit, 0.0) - share


def _own_weights(labels: Array, r: Reading, class_weight: Array | None, like: Array) -> Array:
    """Weight of the class of each pixel, to go with scores; of those without one any."""
    if class_weight is None:
        return r.by_pixel(jnp.ones(labels.shape, like.dtype))
    index = jnp.clip(as_index(labels), 0, len(class_weight) - 1)
    return r.by_pixel(class_weight[index])
