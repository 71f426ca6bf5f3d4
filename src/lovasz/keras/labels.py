"""What Keras hands to a loss or a metric: labels of several forms, scores, weights of samples."""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
from keras import ops

from lovasz.core.contents import PROBABILITY_TOLERANCE
from lovasz.core.shapes import FLOATING
from lovasz.keras.functions import functions

_LARGEST_WEIGHT = 2**16


class Pixels(NamedTuple):
    """Scores and labels as the functions of every backend take them."""

    scores: Any  # (N, *, C), or without the last axis where there is no ``axis``
    labels: Any  # (N, *) or, for masks, the shape of the scores; an integer dtype or bool
    weight: Any  # of the shape of the labels, or None
    axis: int | None  # of classes or channels


def classes_of(
    name: str,
    y_true: Any,
    y_pred: Any,
    weights: tuple[Any, Any],
    axis: int,
    ignore_class: int | None,
) -> Pixels:
    """Labels of classes that exclude each other.

    Args:
        name: of the loss or metric, for sentences about wrong arguments.
        y_true: (N, *), (N, *, 1) or one-hot (N, *, C).
        y_pred: (N, *, C), or with C on another axis, as one-hot labels then have it too.
        weights: of samples or their pixels, and the mask of the scores; either may be None.
        axis: of the classes.
        ignore_class: label of pixels to leave out.
    """
    rank = len(y_pred.shape)
    if rank < 2 or not -rank <= axis < rank:
        raise ValueError(
            f"{name}: expected y_pred of shape (N, *, C) with classes on axis {axis}, got"
            f" {_shown(y_pred)}"
        )
    y_true = ops.convert_to_tensor(y_true)
    shape = tuple(y_pred.shape)
    axis = axis % rank
    expected = (*shape[:axis], *shape[axis + 1 :])
    hot = len(y_true.shape) == rank and y_true.shape[axis] == shape[axis] != 1
    if len(y_true.shape) == rank and not hot:
        one = axis if y_true.shape[axis] == 1 else rank - 1
        y_true = ops.squeeze(y_true, one) if y_true.shape[one] == 1 else y_true
    if not _fits(y_true, shape if hot else expected):
        raise ValueError(
            f"{name}: expected y_true of shape {expected}, {(*expected, 1)} or one-hot {shape} to"
            f" match y_pred, got {_shown(y_true)}"
        )
    labels, wrong = _hottest(y_true, axis, ignore_class) if hot else _whole(y_true)
    weight = _spread(name, weights, labels)
    if wrong is not None:
        labels = _told(
            name, ops.moveaxis(y_true, axis, -1) if hot else y_true, labels, wrong, weight
        )
    return Pixels(y_pred, labels, weight, axis)


def masks_of(
    name: str,
    y_true: Any,
    y_pred: Any,
    weights: tuple[Any, Any],
    multilabel: bool | None,
) -> Pixels:
    """Labels of masks, 0 and 1.

    Args:
        name: of the loss or metric, for sentences about wrong arguments.
        y_true: of the shape of ``y_pred``; of one channel also without its axis.
        y_pred: (N, *, C), (N, *, 1) or (N, *).
        weights: of samples or their pixels, and the mask of the scores; either may be None.
        multilabel: whether the last axis holds channels; None where that can be seen.
    """
    y_true = ops.convert_to_tensor(y_true)
    rank = len(y_pred.shape)
    one = multilabel is not True and rank > 1 and y_pred.shape[-1] == 1
    if one:
        y_pred = ops.squeeze(y_pred, -1)
        if len(y_true.shape) == rank and y_true.shape[-1] == 1:
            y_true = ops.squeeze(y_true, -1)
    elif multilabel is None and rank != 1:
        raise ValueError(
            f"{name}: expected multilabel=True (the last axis holds channels, each with labels of"
            " its own) or multilabel=False (every pixel has one label) for y_pred of shape"
            f" {_shown(y_pred)}, got multilabel=None"
        )
    if not _fits(y_true, tuple(y_pred.shape)):
        hint = f" or {(*y_pred.shape, 1)}" if one else ""
        raise ValueError(
            f"{name}: expected y_true of shape {_shown(y_pred)}{hint} to match y_pred, got"
            f" {_shown(y_true)}"
        )
    labels, wrong = _whole(y_true)
    weight = _spread(name, weights, labels)
    if wrong is not None:
        labels = _told(name, y_true, labels, wrong, weight)
    return Pixels(y_pred, labels, weight, -1 if multilabel else None)


def beyond(name: str, probabilities: Any, valid: Any) -> Any:
    """Which numbers are no probabilities; raises for them where that can be seen.

    Args:
        name: of the loss or metric.
        probabilities: of any shape.
        valid: of a shape that broadcasts with it, bool.
    """
    low, high = -PROBABILITY_TOLERANCE, 1 + PROBABILITY_TOLERANCE
    wrong = ((probabilities < low) | (probabilities > high)) & valid
    if functions.readable(wrong) and bool(ops.any(wrong)):
        found = ops.convert_to_numpy(probabilities)[ops.convert_to_numpy(wrong)][0]
        raise ValueError(
            f"{name}: expected probabilities in [0, 1] (pass from_logits=True for logits), got"
            f" {float(found):g}"
        )
    return wrong


def _hottest(y_true: Any, axis: int, ignore_class: int | None) -> tuple[Any, Any]:
    """Classes of one-hot labels, and where there is anything but a 1 and zeros."""
    hot = y_true == 1
    wrong = ops.any((y_true != 0) & ~hot, axis) | (ops.sum(ops.cast(hot, "int32"), axis) != 1)
    labels = ops.cast(ops.argmax(ops.cast(hot, "int32"), axis), functions.LABELS)
    if ignore_class not in (None, 0, 1):  # in all channels of a pixel
        left_out = ops.all(y_true == ignore_class, axis)
        labels, wrong = ops.where(left_out, ignore_class, labels), wrong & ~left_out
    return labels, wrong


def _whole(y_true: Any) -> tuple[Any, Any]:
    """Labels of an integer dtype, and where floats are not whole; None for no floats."""
    if keras.backend.standardize_dtype(y_true.dtype) not in FLOATING:
        return y_true, None
    wrong = ~((ops.floor(y_true) == y_true) & (ops.abs(y_true) < 2.0**31))  # NaN too
    return ops.cast(ops.where(wrong, 0.0, y_true), functions.LABELS), wrong


def _told(name: str, y_true: Any, labels: Any, wrong: Any, weight: Any) -> Any:
    """Labels, with one that is none where they are wrong; raises for them where that can be seen.

    Args:
        name: of the loss or metric.
        y_true: labels as they were given, one-hot ones with the classes last.
        labels: of an integer dtype.
        wrong: which of them stand for none, of the shape of the labels.
        weight: of the pixels, of which those of weight 0 may have any label; or None.
    """
    counted = wrong if weight is None else wrong & (weight != 0)
    if functions.readable(wrong) and bool(ops.any(counted)):
        found = ops.convert_to_numpy(y_true)[ops.convert_to_numpy(counted)][0].tolist()
        raise ValueError(
            f"{name}: expected one-hot labels, a 1 and zeros for each pixel, got {found}"
            if isinstance(found, list)
            else f"{name}: expected whole numbers as labels, got {found:g}"
        )
    return ops.where(wrong, functions.NO_LABEL, labels)


def _spread(name: str, weights: tuple[Any, Any], labels: Any) -> Any:
    """Weights of samples, or of their pixels, as one for each label; 0 where a mask is False."""
    weight = None
    for numbers, argument in zip(weights, ("sample_weight", "a mask of y_pred"), strict=True):
        if numbers is None:
            continue
        own = ops.cast(ops.convert_to_tensor(numbers), "float32")
        rank = len(labels.shape)
        if len(own.shape) == rank + 1 and own.shape[-1] == 1:
            own = ops.squeeze(own, -1)
        while len(own.shape) < rank:
            own = ops.expand_dims(own, -1)
        if len(own.shape) != rank or not all(
            a in (1, None) or b is None or a == b
            for a, b in zip(own.shape, labels.shape, strict=True)
        ):
            raise ValueError(
                f"{name}: expected {argument} with a number for each image or each label of shape"
                f" {_shown(labels)}, got shape {tuple(numbers.shape)}"
            )
        good = (own >= 0) & (own <= _LARGEST_WEIGHT)  # NaN is neither
        if functions.readable(good) and not bool(ops.all(good)):
            found = float(ops.convert_to_numpy(own)[~ops.convert_to_numpy(good)][0])
            raise ValueError(f"{name}: expected {argument} to be in [0, 65536], got {found:g}")
        own = ops.broadcast_to(own, ops.shape(labels))
        weight = own if weight is None else weight * own
    return weight


def _fits(tensor: Any, expected: tuple[int | None, ...]) -> bool:
    """Whether a shape is the expected one, as far as both are known."""
    shape = tuple(tensor.shape)
    return len(shape) == len(expected) and all(
        a is None or b is None or a == b for a, b in zip(shape, expected, strict=True)
    )


def _shown(tensor: Any) -> str:
    return str(tuple(tensor.shape))
