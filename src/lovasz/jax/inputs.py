"""From the arrays of a user to what the operators read, or one sentence on what is wrong."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lovasz.core import shapes
from lovasz.core.links import MULTICLASS
from lovasz.core.options import is_integer
from lovasz.core.set_functions import SetFunction, instead_of, makes_set_functions
from lovasz.jax.precision import Array, compute_dtype, wide

# The label of pixels that `where` leaves out.
_SPARE_LABEL = -(2**31)


class Inputs(NamedTuple):
    """Scores and labels as the operators read them."""

    scores: Array  # (N, C, L) or (N, L, C)
    labels: Array  # (N, L), or for multilabel (N, C, L)
    pixel_weight: Array | None  # of the labels' shape
    class_axis: int  # of the scores
    ignore_index: int | None  # one that the dtype of the labels can hold


def prepare(
    name: str,
    scores_name: str,
    link: str,
    scores: Any,
    labels: Any,
    *,
    axis: int | None,
    where: Any,
    pixel_weight: Any,
    ignore_index: int | None,
    per_image: bool,
) -> Inputs:
    """Check scores and labels, and flatten both."""
    scores = _array(name, scores_name, scores)
    labels = _array(name, "labels", labels)
    shapes.check_floating(name, scores_name, scores)
    if shapes.dtype_name(labels) not in shapes.INTEGRAL:
        raise TypeError(f"{name}: expected labels of an integer dtype or bool, got {labels.dtype}")
    axis = _class_axis(name, scores_name, link, scores, axis)
    _check_labels(name, scores_name, link, scores, labels, axis)
    _check_images(name, scores_name, scores, axis, per_image)
    if pixel_weight is not None:
        pixel_weight = _array(name, "pixel_weight", pixel_weight)
        shapes.check_floating(name, "pixel_weight", pixel_weight)
        shapes.check_same_shape(name, "pixel_weight", pixel_weight, labels.shape)
        pixel_weight = jax.lax.stop_gradient(pixel_weight.astype(compute_dtype(scores)))
    ignore_index = _that_fits(ignore_index, labels)
    if where is not None:
        labels = _masked(name, labels, where, ignore_index)
        ignore_index = _SPARE_LABEL
    flat, at = _flatten(scores, axis, per_image)
    by_label = _flat_labels(link, flat.shape, at, axis, per_image)
    weight = None if pixel_weight is None else by_label(pixel_weight)
    return Inputs(flat, by_label(labels), weight, at, ignore_index)


def _array(name: str, argument: str, value: Any) -> Array:
    if isinstance(value, jax.Array):
        return value
    if not isinstance(value, np.ndarray | np.generic):
        raise TypeError(
            f"{name}: expected {argument} to be an array of JAX or NumPy, got"
            f" {type(value).__name__}"
        )
    return jnp.asarray(value)


def _class_axis(
    name: str, scores_name: str, link: str, scores: Array, axis: int | None
) -> int | None:
    """Which axis of the scores holds classes or channels, counted from 0; None of one channel."""
    if axis is None and link not in MULTICLASS:
        return None
    if not is_integer(axis):
        none = "" if link in MULTICLASS else ", or None for one channel"
        raise TypeError(f"{name}: expected axis to be an integer{none}, got {axis!r}")
    assert isinstance(axis, int)
    if not -scores.ndim <= axis < scores.ndim:
        raise ValueError(
            f"{name}: expected {scores_name} with an axis {axis} of classes, got shape"
            f" {scores.shape}"
        )
    return axis % int(scores.ndim)


def _check_labels(
    name: str, scores_name: str, link: str, scores: Array, labels: Array, axis: int | None
) -> None:
    """A label for each pixel, or for each channel of it."""
    shape, hint = scores.shape, ""
    expected = shape
    if link in MULTICLASS:
        assert axis is not None
        expected = (*shape[:axis], *shape[axis + 1 :])
        if shape[axis] < (2 if link == "softmax" else 1):
            binary = name.replace("cross_entropy", "binary_cross_entropy")
            binary = binary.replace("softmax", "sigmoid")
            raise ValueError(
                f"{name}: expected {scores_name} of {'two classes' if link == 'softmax' else 'one'}"
                f" or more on axis {axis}, got shape {shape}; for one channel use {binary}"
            )
        if labels.shape == shape:
            hint = f"; for one-hot labels pass labels.argmax({axis})"
        elif labels.shape == (*expected, 1):
            hint = "; pass labels.squeeze(-1)"
    elif axis is None and labels.shape == shape[:-1] and shape[-1:] == (1,):
        hint = f"; pass {scores_name}.squeeze(-1)"
    if labels.shape != expected:
        raise ValueError(
            f"{name}: expected labels of shape {expected} to match {scores_name} {shape}"
            f"{'' if axis is None else f' with classes on axis {axis}'}, got {labels.shape}{hint}"
        )


def _check_images(
    name: str, scores_name: str, scores: Array, axis: int | None, per_image: bool
) -> None:
    """The first axis holds images, where there have to be some."""
    if per_image and (axis == 0 or scores.ndim < (1 if axis is None else 2)):
        raise ValueError(
            f"{name}: expected {scores_name} with images on the first axis for per_image=True, got"
            f" shape {scores.shape}{'' if axis is None else f' with classes on axis {axis}'}"
        )


def _that_fits(ignore_index: int | None, labels: Array) -> int | None:
    """The index if a label can be it."""
    if ignore_index is None:
        return None
    if labels.dtype == jnp.bool_:
        return ignore_index if ignore_index in (0, 1) else None
    limits = jnp.iinfo(labels.dtype)
    return int(ignore_index) if limits.min <= ignore_index <= limits.max else None


def _masked(name: str, labels: Array, where: Any, ignore_index: int | None) -> Array:
    """Labels of a signed dtype, with one more number for those that do not count."""
    where = _array(name, "where", where)
    if where.dtype != jnp.bool_:
        raise TypeError(f"{name}: expected where of dtype bool, got {where.dtype}")
    shapes.check_same_shape(name, "where", where, labels.shape)
    if ignore_index is not None:
        where = where & (labels != np.asarray(ignore_index, labels.dtype))
    limits = None if labels.dtype == jnp.bool_ else jnp.iinfo(labels.dtype)
    # What the other dtype cannot hold is no class; it stays one that is none.
    if limits is not None and limits.max > 2**31 - 1:
        labels = jnp.minimum(labels, np.asarray(2**31 - 1, labels.dtype))
    if limits is not None and limits.min <= _SPARE_LABEL:
        labels = jnp.maximum(labels, np.asarray(_SPARE_LABEL + 1, labels.dtype))
    return jnp.where(where, labels.astype(jnp.int32), _SPARE_LABEL)


def _flatten(scores: Array, axis: int | None, per_image: bool) -> tuple[Array, int]:
    """Scores (N, C, L) or (N, L, C), moved only where they lie as neither, and the axis of C."""
    shape = scores.shape
    if axis is None:
        images = shape[0] if per_image else 1
        return scores.reshape(images, 1, _size(shape, images)), 1
    if axis == scores.ndim - 1:
        images = shape[0] if per_image else 1
        return scores.reshape(images, _size(shape[:-1], images), shape[axis]), 2
    if per_image:
        scores = jnp.moveaxis(scores, axis, 1)
        return scores.reshape(shape[0], shape[axis], math.prod(scores.shape[2:])), 1
    before = math.prod(shape[:axis])
    return scores.reshape(before, shape[axis], math.prod(shape[axis + 1 :])), 1


def _size(shape: tuple[int, ...], images: int) -> int:
    """Pixels of an image, which may be none of no images."""
    return math.prod(shape) // images if images else math.prod(shape[1:])


def _flat_labels(
    link: str, flat: tuple[int, ...], at: int, axis: int | None, per_image: bool
) -> Callable[[Array], Array]:
    """What brings numbers of the labels' shape to that of the operators."""
    images, classes, length = flat[0], flat[at], flat[3 - at]

    def flatten(numbers: Array) -> Array:
        if link in MULTICLASS:
            return numbers.reshape(images, length)
        if axis is not None:
            numbers, _ = _flatten(numbers, axis, per_image)
        numbers = numbers.reshape(flat)
        return numbers.swapaxes(1, 2) if at == 2 else numbers.reshape(images, classes, length)

    return flatten


def check_set_function(name: str, set_function: SetFunction) -> None:
    """Try a set function on three sets: elementwise, and no cost where there is no mistake."""
    wanted = f"{name}: expected set_function to be a callable Δ(fn, fp, positives)"
    no_function = not callable(set_function) or isinstance(set_function, type)
    if no_function or makes_set_functions(set_function):
        raise TypeError(f"{wanted}, got {instead_of(set_function)}")
    try:
        hash(set_function)
    except TypeError as error:
        raise TypeError(
            f"{wanted} that has a hash, because functions are compiled for it, got"
            f" {instead_of(set_function)}"
        ) from error
    counts = ([0.0, 1.0, 2.0], [0.0, 0.0, 3.0], [2.0, 2.0, 2.0])
    with wide(), jax.ensure_compile_time_eval():
        try:
            cost = set_function(*(jnp.array(values, jnp.float64) for values in counts))
        except Exception as error:
            raise TypeError(
                f"{wanted} of float64 arrays, got {instead_of(set_function)}, which raises"
                f" {type(error).__name__}: {error}"
            ) from error
        if not isinstance(cost, jax.Array) or cost.shape != (3,) or cost.dtype != jnp.float64:
            kind = type(cost).__name__
            if isinstance(cost, jax.Array):
                kind = f"{cost.dtype} of shape {cost.shape}"
            raise ValueError(
                f"{name}: expected set_function to return a float64 array of the shape of its"
                f" arguments, (3,), got {kind}"
            )
        found = cost.tolist()
    if found[0] != 0 or not all(map(math.isfinite, found)):
        raise ValueError(
            f"{name}: expected set_function to be finite, and 0 where fn = fp = 0,"
            f" got {found} at (fn, fp) = (0, 0), (1, 0), (2, 3) with 2 positives"
        )
