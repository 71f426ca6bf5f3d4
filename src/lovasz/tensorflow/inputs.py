"""From the tensors of a user to pixels: shapes, labels, weights, and what makes a loss meaningless.

The contents of tensors are looked at where they are there and on the CPU: not inside `tf.function`,
where they are not known yet, and not on a device, which that would wait for.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow as tf

from lovasz.core.contents import PROBABILITY_TOLERANCE, no_probability, wrong_labels
from lovasz.core.links import MULTICLASS, PROBABILITIES
from lovasz.core.options import Options, is_integer
from lovasz.core.shapes import FLOATING, INTEGRAL, WHOLE

# What a pixel of weight 1 counts where pixels have weights, the same as in torch.
SCALE = 2**20
LARGEST_WEIGHT = 2.0**16
# The label of pixels whose label is no whole number.
NO_LABEL = -(2**62)


class Pixels(NamedTuple):
    """Scores and labels of G groups, each of which has losses of its own, of L pixels."""

    scores: tf.Tensor  # (G, L, C) float64 or float32, 0 where they do not count
    labels: tf.Tensor  # (G, L) class indices, or (G, L, C) zeros and ones, int64
    positive: tf.Tensor  # (G, L, C) bool, the pixel is of the class or of the channel's set
    valid: tf.Tensor  # (G, L, 1), or (G, L, C) for multilabel, bool: it counts
    weight: tf.Tensor | None  # of the shape of ``valid``
    bad: tf.Tensor  # (G, 1) bool, there is a label or a weight that is none
    link: str


def read(
    name: str, scores_name: str, link: str, scores: Any, labels: Any, axis: int | None, o: Options
) -> Pixels:
    """Check scores and labels, and put the pixels of each group in a row.

    Args:
        name: of the function, for sentences about wrong arguments.
        scores_name: of its first argument, likewise.
        link: how scores become errors, see ``core.links``.
        scores: with classes or channels along ``axis``.
        labels: of the shape of the scores, without that axis for class indices.
        axis: of classes or channels, or None for one channel without an axis.
        o: options.
    """
    scores, labels = tf.convert_to_tensor(scores), tf.convert_to_tensor(labels)
    _check_dtypes(name, scores_name, scores, labels)
    scores, labels, weight = _with_channels_last(name, scores_name, link, scores, labels, axis, o)
    classes = scores.shape[-1]
    if labels.dtype.name in WHOLE and classes - 1 > WHOLE[labels.dtype.name]:
        raise TypeError(
            f"{name}: expected labels of an integer dtype for {classes} classes, because"
            f" {labels.dtype.name} holds integers up to {WHOLE[labels.dtype.name]} alone, got"
            f" {labels.dtype.name}"
        )
    scores = scores if scores.dtype == tf.float64 else tf.cast(scores, tf.float32)
    labels = _whole(labels)
    valid = tf.ones_like(labels, tf.bool) if o.ignore_index is None else labels != o.ignore_index
    bad_weight = tf.zeros_like(valid)
    if weight is not None:
        bad_weight = ~((weight >= 0) & (weight <= LARGEST_WEIGHT))  # NaN too
        _complain_of_weights(name, weight, bad_weight & valid)
        valid = valid & (weight != 0)
    last = classes - 1 if link in MULTICLASS else 1
    bad = valid & ((labels < 0) | (labels > last))
    _complain_of_labels(labels, bad, classes, link, o)
    bad = bad | (bad_weight & valid)
    if link in MULTICLASS:
        index = tf.range(classes, dtype=tf.int64)
        positive, valid = (labels[..., None] == index) & valid[..., None], valid[..., None]
        bad, weight = bad[..., None], None if weight is None else weight[..., None]
    else:
        positive = (labels == 1) & valid
    if link in PROBABILITIES and (found := _first(scores, valid & beyond(scores))) is not None:
        raise ValueError(no_probability(link, float(found)))
    # What is ignored may hold anything; its gradient is 0.
    if weight is not None or o.ignore_index is not None:
        scores = tf.where(valid, scores, tf.zeros_like(scores))
    bad = tf.reduce_any(bad, (1, 2))[:, None]
    return Pixels(scores, labels, positive, valid, weight, bad, link)


def _check_dtypes(name: str, scores_name: str, scores: tf.Tensor, labels: tf.Tensor) -> None:
    if scores.dtype.name not in FLOATING:
        raise TypeError(
            f"{name}: expected {scores_name} of dtype float64, float32, bfloat16 or float16, got"
            f" {scores.dtype.name}"
        )
    if labels.dtype.name not in FLOATING | INTEGRAL:
        raise TypeError(
            f"{name}: expected labels of an integer dtype, bool or whole floats, got"
            f" {labels.dtype.name}"
        )


def _with_channels_last(
    name: str,
    scores_name: str,
    link: str,
    scores: tf.Tensor,
    labels: tf.Tensor,
    axis: int | None,
    o: Options,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor | None]:
    """Scores (G, L, C), labels and weights (G, L), or for multilabel (G, L, C)."""
    shape, rank = scores.shape, scores.shape.rank
    if rank is None or labels.shape.rank is None:
        raise ValueError(f"{name}: expected {scores_name} and labels of a known rank, got none")
    expected = shape
    if axis is not None:
        if not is_integer(axis) or not -rank <= axis < rank:
            raise ValueError(
                f"{name}: expected axis to be one of the {rank} axes of {scores_name}, got {axis!r}"
            )
        axis = int(axis) % rank
        if not shape[axis]:
            raise ValueError(
                f"{name}: expected {scores_name} with one class or more on axis {axis}, got shape"
                f" {_shown(shape)}"
            )
        if link in MULTICLASS:
            expected = tf.TensorShape([size for k, size in enumerate(shape) if k != axis])
            if link == "softmax" and shape[axis] == 1:
                raise ValueError(
                    f"{name}: expected {scores_name} of two classes or more, because the softmax of"
                    f" one is always 1 and has no gradient, got shape {_shown(shape)}; for labels 0"
                    " and 1 use the loss of the sigmoid"
                )
    if not labels.shape.is_compatible_with(expected):
        raise ValueError(
            f"{name}: expected labels of shape {_shown(expected)} to match {scores_name}"
            f" {_shown(shape)}, got {_shown(labels.shape)}"
        )
    weight = None
    if o.pixel_weight is not None:
        weight = tf.convert_to_tensor(o.pixel_weight)
        if weight.dtype.name not in FLOATING:
            raise TypeError(
                f"{name}: expected pixel_weight of a floating dtype, got {weight.dtype.name}"
            )
        if not weight.shape.is_compatible_with(expected):
            raise ValueError(
                f"{name}: expected pixel_weight of shape {_shown(expected)}, one number for each"
                f" label, got {_shown(weight.shape)}"
            )
        weight = tf.stop_gradient(tf.cast(weight, tf.float64))
    points = rank == (1 if axis is None else 2)

    def in_rows(tensor: tf.Tensor, *, channels: bool) -> tf.Tensor:
        if channels and axis is not None and axis != rank - 1:
            order = [*(k for k in range(rank) if k != axis), axis]
            tensor = tf.transpose(tensor, order)
        classes = shape[axis] if axis is not None else 1
        groups = tf.shape(tensor)[0] if o.per_image and not points else 1
        pixels = tf.size(tensor) // ((classes if channels else 1) * tf.maximum(groups, 1))
        return tf.reshape(tensor, (groups, pixels, classes) if channels else (groups, pixels))

    channels = link not in MULTICLASS
    return (
        in_rows(scores, channels=True),
        in_rows(labels, channels=channels),
        None if weight is None else in_rows(weight, channels=channels),
    )


def _whole(labels: tf.Tensor) -> tf.Tensor:
    """Labels as int64."""
    if not labels.dtype.is_floating:
        return tf.cast(labels, tf.int64)
    labels = tf.cast(labels, tf.float64)
    whole = (tf.abs(labels) < 2.0**53) & (tf.floor(labels) == labels)
    return tf.where(whole, tf.cast(tf.where(whole, labels, 0.0), tf.int64), NO_LABEL)


def readable(tensor: tf.Tensor) -> bool:
    """Whether its contents can be looked at, and without waiting for a device."""
    return hasattr(tensor, "numpy") and tf.executing_eagerly() and "CPU" in tensor.device


def _first(tensor: tf.Tensor, where: tf.Tensor) -> Any:
    """The first element at which a condition holds, or None; what cannot be looked at has none."""
    if not readable(where) or not bool(tf.reduce_any(where)):
        return None
    return tf.boolean_mask(tensor, where)[0].numpy()


def _complain_of_weights(name: str, weight: tf.Tensor, bad: tf.Tensor) -> None:
    if (found := _first(weight, bad)) is not None:
        raise ValueError(f"{name}: expected pixel_weight to be in [0, 65536], got {found:g}")


def _complain_of_labels(
    labels: tf.Tensor, bad: tf.Tensor, classes: int, link: str, o: Options
) -> None:
    if (found := _first(labels, bad)) is None:
        return
    number = "one that is neither whole nor one-hot" if found == NO_LABEL else int(found)
    others = int(tf.math.count_nonzero(bad)) - 1
    mixed = o.cross_entropy is not None
    raise ValueError(wrong_labels(link, mixed, classes, o.ignore_index, number, others))


def beyond(scores: tf.Tensor) -> tf.Tensor:
    """Which probabilities are none; NaN is not among them."""
    return (scores < -PROBABILITY_TOLERANCE) | (scores > 1 + PROBABILITY_TOLERANCE)


def _shown(shape: tf.TensorShape) -> str:
    return str(tuple(shape))
