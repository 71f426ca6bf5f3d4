"""From options and tensors to the loss: check, read, count, extend, reduce."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import tensorflow as tf

from lovasz.core.links import MULTICLASS, MULTILABEL
from lovasz.core.options import Options
from lovasz.core.set_functions import instead_of, makes_set_functions
from lovasz.tensorflow.counting import losses_of_classes
from lovasz.tensorflow.cross_entropy import mean_cross_entropy
from lovasz.tensorflow.inputs import Pixels, read, readable

#: What `tf.convert_to_tensor` takes: a tensor, a variable, an array of numpy, numbers.
TensorLike: TypeAlias = "tf.Tensor | tf.Variable | Sequence[Any] | float"


# All branches are decided while a graph is traced, so nothing is to be rewritten for it.
@tf.autograph.experimental.do_not_convert
def loss(
    name: str,
    link: str,
    scores: Any,
    labels: Any,
    axis: int | None,
    o: Options,
    scores_name: str = "logits",
) -> tf.Tensor:
    """A Lovász loss, with a cross-entropy added where that is asked for.

    Args:
        name: of the public function, for sentences about wrong arguments.
        link: how scores become errors, see ``core.links``.
        scores: as the user gave them.
        labels: likewise.
        axis: of classes or channels; None for none.
        o: options.
        scores_name: what the public function calls the scores.
    """
    o.check(name, multilabel=link in MULTILABEL)
    _check_set_function(name, o.set_function)
    pixels = read(name, scores_name, link, scores, labels, axis, o)
    classes = pixels.scores.shape[-1]
    chosen = _chosen(name, o, classes)
    weight = class_weight(name, o.names.weight, o.weight, classes)
    by_class = losses_of_classes(pixels, o)
    value = _reduce(by_class.losses, by_class.bad, pixels, chosen, weight, o)
    if o.cross_entropy is not None:
        argument = "weight" if link in MULTICLASS else "pos_weight"
        own = class_weight(name, argument, o.cross_entropy.weight, classes)
        factor = tf.constant(o.lovasz_factor, tf.float64)
        value = factor * value + o.cross_entropy.factor * mean_cross_entropy(
            pixels, own, o.cross_entropy.smoothing
        )
    if o.reduction == "none" and not o.per_image:
        value = value[0]
    return tf.cast(value, pixels.scores.dtype)


def _reduce(
    losses: tf.Tensor,
    bad: tf.Tensor,
    pixels: Pixels,
    chosen: tf.Tensor | None,
    weight: tf.Tensor | None,
    o: Options,
) -> tf.Tensor:
    """Weighted sum or mean of losses (G, C) over the classes that count and the images."""
    counting = pixels.positive if o.classes == "present" else pixels.valid
    active = tf.broadcast_to(tf.reduce_any(counting, 1), tf.shape(losses))
    if chosen is not None:
        active = active & chosen
    factors = tf.cast(active, tf.float64)
    if weight is not None:
        factors = factors * weight
    if o.reduction == "mean":
        shared = factors if o.normalize_weight else tf.cast(active, tf.float64)
        factors = tf.math.divide_no_nan(factors, tf.reduce_sum(shared, 1, keepdims=True))
        images = tf.reduce_sum(tf.cast(tf.reduce_any(active, 1, keepdims=True) | bad, tf.float64))
        factors = factors / tf.maximum(images, 1) if o.per_image else factors
    # Value and gradient are to tell the same.
    factors = tf.where(bad, tf.constant(float("nan"), tf.float64), factors)
    losses = tf.where(active | bad, losses, tf.zeros_like(losses)) * factors
    return losses if o.reduction == "none" else tf.reduce_sum(losses)


def _chosen(name: str, o: Options, classes: int) -> tf.Tensor | None:
    """Listed classes as a mask (C,), which count without a pixel too."""
    if o.classes in ("present", "all"):
        return None
    if o.classes == "foreground":
        listed = list(range(1, classes))
    else:
        listed = [int(index) for index in o.classes]
    if not all(index < classes for index in listed):
        raise ValueError(
            f"{name}: expected classes to hold indices from 0 to {classes - 1}, got {listed}"
        )
    return tf.constant([index in listed for index in range(classes)])


def class_weight(name: str, argument: str, weight: Any, classes: int) -> tf.Tensor | None:
    """Weights of classes as float64 (C,)."""
    if weight is None:
        return None
    try:
        weight = tf.cast(tf.convert_to_tensor(weight), tf.float64)
    except (TypeError, ValueError, tf.errors.OpError) as error:
        raise TypeError(
            f"{name}: expected {argument} to be a tensor or a sequence of numbers, got {weight!r}"
        ) from error
    if tuple(weight.shape) != (classes,):
        raise ValueError(
            f"{name}: expected {argument} of shape ({classes},), one number for each class, got"
            f" {tuple(weight.shape)}"
        )
    if readable(weight) and not bool(tf.reduce_all(tf.math.is_finite(weight) & (weight >= 0))):
        raise ValueError(
            f"{name}: expected {argument} to be finite and not negative, got"
            f" {weight.numpy().tolist()}"
        )
    return weight


def _check_set_function(name: str, set_function: Any) -> None:
    no_function = not callable(set_function) or isinstance(set_function, type)
    if no_function or makes_set_functions(set_function):
        raise TypeError(
            f"{name}: expected set_function to be a callable Δ(fn, fp, positives), got"
            f" {instead_of(set_function)}"
        )
