"""From shapes and dtypes of scores and labels to N, C and L, or one sentence on what is wrong.

Everything here reads ``shape`` and ``dtype`` alone, which tensors of every library have.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from lovasz.core.set_functions import Array
from lovasz.core.upsampling import LINEAR_MODES, check_sizes

FLOATING = frozenset(("float64", "float32", "bfloat16", "float16"))
_SIZES = (8, 16, 32, 64)
INTEGRAL = frozenset(("bool", *(f"{kind}{size}" for kind in ("uint", "int") for size in _SIZES)))

# What a loss of classes is for one channel.
_BINARY = {
    "lovasz_softmax": "lovasz_sigmoid",
    "cross_entropy_lovasz_softmax": "binary_cross_entropy_lovasz_sigmoid",
}


class Layout(NamedTuple):
    """How scores are to be read as (N, C, L)."""

    points: bool  # one image whose pixels are the points, classes last: (P,) or (P, C)
    channels: bool = True  # axis 1 holds classes or channels
    squeezed: bool = False  # the target lacks the axis of one channel
    # The scores are of another resolution than the target, to which they are interpolated.
    upsampled: bool = False
    soft: bool = False  # the target holds a number for each class of a pixel, as the scores do


def dtype_name(array: Array) -> str:
    """Name of a dtype, the same in all libraries."""
    return str(array.dtype).rpartition(".")[2]


def check_floating(name: str, argument: str, array: Array) -> None:
    """A dtype that scores can have."""
    if dtype_name(array) not in FLOATING:
        raise TypeError(
            f"{name}: expected {argument} of dtype float64, float32, bfloat16 or float16,"
            f" got {array.dtype}"
        )


def multiclass(
    name: str,
    scores_name: str,
    scores: Array,
    target: Array,
    *,
    softmax: bool = False,
    upsample: str | None = None,
    has_upsample: bool = False,
) -> Layout:
    """Scores (N, C, *) or (P, C), and labels (N, *) or (P,), or soft ones of the scores' shape.

    Args:
        name: of the function, for sentences about wrong arguments.
        scores_name: of its first argument, likewise.
        scores: (N, C, *) or (P, C).
        target: (N, *) or (P,) of integers, or floating (N, C, *) or (P, C); with ``upsample`` its
            spatial axes may have any sizes.
        softmax: whether there have to be two classes or more.
        upsample: a mode of interpolation, or None.
        has_upsample: whether the function has that option.
    """
    check_floating(name, scores_name, scores)
    kind = dtype_name(target)
    soft = kind in FLOATING
    if not soft and kind not in INTEGRAL:
        raise TypeError(
            f"{name}: expected target of an integer dtype or bool (class indices), or floating"
            f" (soft labels), got {target.dtype}"
        )
    shape = tuple(scores.shape)
    if len(shape) < 2:
        raise ValueError(
            f"{name}: expected {scores_name} of shape (N, C, *) or (P, C), got {shape}"
        )
    if shape[1] < 2:
        _check_channels(name, scores_name, shape, softmax)
    expected, got = (shape[0], *shape[2:]), tuple(target.shape)
    spatial = len(shape) - 2
    if soft or len(got) == len(shape):
        _check_kind_of_labels(name, target, shape, soft)
    expected = shape if soft else expected
    if upsample is not None:
        _check_upsampled(name, scores_name, upsample, shape, spatial, expected, got)
    elif got != expected:
        wanted, hint = str(expected), _upsample_hint(expected, got, spatial, has_upsample)
        raise ValueError(_other_shape(name, scores_name, shape, wanted, got, hint))
    return Layout(points=len(shape) == 2, upsampled=got != expected, soft=soft)


def _check_kind_of_labels(name: str, target: Array, shape: tuple[int, ...], soft: bool) -> None:
    """Indices have no axis of classes, and soft labels have one."""
    got = tuple(target.shape)
    if got != shape and got == (shape[0], *shape[2:], shape[1]):
        raise ValueError(
            f"{name}: expected the axis of classes of target on axis 1, as {shape} has it, got"
            f" {got}; pass target.movedim(-1, 1)"
        )
    if soft and len(got) == len(shape) - 1:
        raise TypeError(
            f"{name}: expected target of an integer dtype or bool (class indices), or soft labels"
            f" of shape (N, C, *) or (P, C), got {target.dtype} of shape {got}; pass target.long()"
            " if it holds class indices"
        )
    if not soft and got[:2] == shape[:2]:
        raise ValueError(
            f"{name}: expected class indices without an axis of classes, got {target.dtype} of"
            f" shape {got}; of a one-hot target pass target.argmax(1), or target.float() as soft"
            " labels"
        )


def multilabel(
    name: str,
    scores_name: str,
    scores: Array,
    target: Array,
    with_channels: bool | None,
    *,
    upsample: str | None = None,
    has_upsample: bool = False,
) -> Layout:
    """Scores and a target of zeros and ones, both (N, C, *), (N, *), (P, C) or (P,).

    Options as for `multiclass`.
    """
    check_floating(name, scores_name, scores)
    if dtype_name(target) not in INTEGRAL | FLOATING:
        raise TypeError(
            f"{name}: expected target of zeros and ones of an integer dtype or bool, or floating,"
            f" got {target.dtype}"
        )
    shape = tuple(scores.shape)
    if not shape:
        raise ValueError(
            f"{name}: expected {scores_name} of shape (N, *), (N, C, *), (P,) or (P, C), got ()"
        )
    channels = _has_channels(name, scores_name, shape, with_channels)
    if channels and shape[1] == 0:
        _check_channels(name, scores_name, shape)
    squeezed, got = (shape[0], *shape[2:]), tuple(target.shape)
    one = channels and shape[1] == 1
    without_axis = one and len(got) == len(squeezed)
    expected = squeezed if without_axis else shape
    spatial = len(shape) - (2 if channels else 1)
    if upsample is not None:
        _check_upsampled(name, scores_name, upsample, shape, spatial, expected, got)
    elif got != expected:
        wanted = f"{shape} or {squeezed}" if one else str(shape)
        hint = _upsample_hint(expected, got, spatial, has_upsample)
        raise ValueError(_other_shape(name, scores_name, shape, wanted, got, hint))
    points = len(shape) == 1 or (channels and len(shape) == 2)
    soft = dtype_name(target) in FLOATING
    return Layout(points, channels, without_axis, got != expected, soft)


def _check_upsampled(
    name: str,
    scores_name: str,
    upsample: str,
    shape: tuple[int, ...],
    spatial: int,
    expected: tuple[int, ...],
    got: tuple[int, ...],
) -> None:
    """Scores with so many spatial axes, and a target that is as expected but for their sizes."""
    if spatial < 1:
        raise ValueError(
            f'{name}: expected {scores_name} with spatial axes for upsample="{upsample}",'
            f" got points, of shape {shape}"
        )
    before = len(expected) - spatial
    if not _differ_in_resolution(expected, got, spatial):
        sizes = ", ".join((*map(str, expected[:before]), *(["any size"] * spatial)))
        raise ValueError(_other_shape(name, scores_name, shape, f"({sizes})", got))
    check_sizes(name, scores_name, upsample, shape[-spatial:], got[before:])


def _differ_in_resolution(expected: tuple[int, ...], got: tuple[int, ...], spatial: int) -> bool:
    """Whether two shapes are the same, but for so many sizes at their end."""
    before = len(expected) - spatial
    return len(got) == len(expected) and got[:before] == expected[:before]


def _other_shape(
    name: str,
    scores_name: str,
    shape: tuple[int, ...],
    wanted: str,
    got: tuple[int, ...],
    hint: str = "",
) -> str:
    """The sentence for a target that does not match scores of a shape."""
    return (
        f"{name}: expected target of shape {wanted} to match {scores_name} {shape}, got {got}{hint}"
    )


def _upsample_hint(
    expected: tuple[int, ...], got: tuple[int, ...], spatial: int, has_upsample: bool
) -> str:
    """What to pass where the spatial sizes alone differ, of images that are not empty."""
    mode = LINEAR_MODES.get(spatial)
    same = _differ_in_resolution(expected, got, spatial)
    if not has_upsample or mode is None or not same or 0 in (*expected, *got):
        return ""
    return f'; for labels of another resolution than the network\'s pass upsample="{mode}"'


def _has_channels(
    name: str, scores_name: str, shape: tuple[int, ...], multilabel: bool | None
) -> bool:
    """Whether axis 1 holds channels; never guessed where both would be possible."""
    if len(shape) == 1:
        if multilabel:
            raise ValueError(
                f"{name}: expected {scores_name} of shape (N, C, *) or (P, C) with multilabel=True,"
                f" got {shape}"
            )
        return False
    if multilabel is None and shape[1] != 1:
        raise ValueError(
            f"{name}: expected multilabel=True (axis 1 holds channels, each with labels of its own)"
            f" or multilabel=False (every pixel has one label) for {scores_name} of shape"
            f" {shape}, got multilabel=None"
        )
    return shape[1] == 1 if multilabel is None else multilabel


def _check_channels(
    name: str, scores_name: str, shape: tuple[int, ...], softmax: bool = False
) -> None:
    """At least one class, and more for a softmax."""
    if shape[1] == 0:
        raise ValueError(
            f"{name}: expected {scores_name} with at least one class on axis 1, got shape {shape}"
        )
    if softmax:
        raise ValueError(
            f"{name}: expected {scores_name} of two classes or more, because the softmax of one is"
            f" always 1 and has no gradient, got shape {shape}; for one channel and"
            f" labels 0 and 1 use {_BINARY[name]}"
        )


def check_device(name: str, argument: str, array: Array, device: Any, of: str = "target") -> None:
    """Where the other tensor is."""
    if array.device != device:
        raise ValueError(
            f"{name}: expected {argument} on the device of {of}, {device}, got {array.device}"
        )


def check_points(name: str, argument: str, layout: Layout, images: int, per_image: bool) -> None:
    """Segments are of points, and with a loss for each."""
    if not layout.points or not per_image:
        raise ValueError(
            f"{name}: expected {argument} with points, of shape (P,) or (P, C), and per_image=True"
            f" (the loss of every cloud), got {images} images and per_image={per_image}"
        )


def check_same_shape(name: str, argument: str, array: Any, wanted: tuple[int, ...]) -> None:
    """One number for each label."""
    if tuple(array.shape) != wanted:
        raise ValueError(
            f"{name}: expected {argument} of shape {wanted}, one number for each label, got"
            f" {tuple(array.shape)}"
        )
