"""Cross-entropy by TensorFlow's operators, with the mean that torch takes."""

from __future__ import annotations

import tensorflow as tf

from lovasz.core.links import MULTICLASS
from lovasz.tensorflow.inputs import Pixels


def mean_cross_entropy(
    pixels: Pixels, class_weight: tf.Tensor | None, smoothing: float
) -> tf.Tensor:
    """Sum of the weighted cross-entropies over the sum of their weights, float64; 0 of none.

    Args:
        pixels: logits and labels.
        class_weight: (C,) float64, of classes, or of the ones of channels; None for ones.
        smoothing: label smoothing, of classes alone.
    """
    x, valid = pixels.scores, pixels.valid
    own = None if class_weight is None else tf.cast(class_weight, x.dtype)
    if pixels.link in MULTICLASS:
        # Labels that are out of range make the loss NaN elsewhere.
        labels = tf.clip_by_value(pixels.labels, 0, x.shape[-1] - 1)
        weight = tf.ones_like(x[..., 0]) if own is None else tf.gather(own, labels)
        if smoothing > 0:
            nll = -tf.nn.log_softmax(x)
            hit = tf.gather(nll, labels[..., None], batch_dims=2)[..., 0]
            share = tf.reduce_sum(nll if own is None else nll * own, -1) / x.shape[-1]
            summands = (1 - smoothing) * weight * hit + smoothing * share
        else:
            summands = weight * tf.nn.sparse_softmax_cross_entropy_with_logits(labels, x)
        summands, weight = summands[..., None], weight[..., None]
    else:
        ones = tf.cast(pixels.positive, x.dtype)
        own = tf.ones((), x.dtype) if own is None else own
        summands = tf.nn.weighted_cross_entropy_with_logits(ones, x, own)
        weight = tf.ones_like(x)
    if pixels.weight is not None:
        summands = summands * tf.cast(pixels.weight, x.dtype)
        weight = weight * tf.cast(pixels.weight, x.dtype)

    def total(values: tf.Tensor) -> tf.Tensor:
        return tf.reduce_sum(tf.cast(tf.where(valid, values, tf.zeros_like(values)), tf.float64))

    return tf.math.divide_no_nan(total(summands), total(weight))
