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

# What a loss of classes is for one channel, if it is another function.
_BINARY = {
    "lovasz_softmax": "lovasz_sigmoid",
    "cross_entropy_lovasz_softmax": "binary_cross_entropy_lovasz_sigmoid",
    "cross_entropy_dice": "binary_cross_entropy_dice",
}
# And the other way round.
_CLASSES = {
    **{binary: classes for classes, binary in _BINARY.items()},
    "lovasz_sigmoid_from_probabilities": "lovasz_softmax_from_probabilities",
    "lovasz_hinge": "lovasz_softmax",
    "binary_cross_entropy_lovasz_hinge": "cross_entropy_lovasz_softmax",
}
# Up to which number a float holds every integer; the others hold more than there are classes.
WHOLE = {"bfloat16": 2**8, "float16": 2**11}


class Layout(NamedTuple):
    """How scores are to be read as (N, C, L)."""

    points: bool  # one image whose pixels are the points, classes last: (P,) or (P, C)
    channels: bool = True  # axis 1 holds classes or channels
    squeezed: bool = False  # the target lacks the axis of one channel
    # The scores are of another resolution than the target, to which they are interpolated.
    upsampled: bool = False
    soft: bool = False  # the target holds a number for each class of a pixel, as the scores do
    # Other forms of labels, which are made indices (or zeros and ones) before anything else.
    one_more: bool = False  # the target has an axis 1, of size 1, that the labels do not have
    whole: bool = False  # the target holds class indices as floats
    one_hot: bool = False  # the target holds a 1 of an integer dtype for the class of a pixel


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
    """Scores (N, C, *) or (P, C), and labels (N, *) or (P,), or numbers of the scores' shape.

    Args:
        name: of the function, for sentences about wrong arguments.
        scores_name: of its first argument, likewise.
        scores: (N, C, *) or (P, C).
        target: (N, *), (N, 1, *) or (P,), indices of an integer dtype or floating; or soft labels,
            floating, or one-hot ones of an integer dtype, of shape (N, C, *) or (P, C). With
            ``upsample`` its spatial axes may have any sizes.
        softmax: whether there have to be two classes or more.
        upsample: a mode of interpolation, or None.
        has_upsample: whether the function has that option.
    """
    check_floating(name, scores_name, scores)
    kind = dtype_name(target)
    floating = kind in FLOATING
    if not floating and kind not in INTEGRAL:
        raise TypeError(
            f"{name}: expected target of an integer dtype or bool (class indices), or floating"
            f" (soft labels), got {target.dtype}"
        )
    shape, got = tuple(scores.shape), tuple(target.shape)
    if len(shape) < 2:
        raise ValueError(
            f"{name}: expected {scores_name} of shape (N, C, *) or (P, C), got {shape}"
        )
    if shape[1] < 2:
        _check_channels(name, scores_name, shape, softmax)
    labels, spatial = (shape[0], *shape[2:]), len(shape) - 2
    layout = Layout(points=len(shape) == 2)
    if len(got) == len(shape) or floating:
        layout = _other_labels(name, target, shape, layout)
    if layout.one_more:
        got = (got[0], *got[2:])
    expected = shape if layout.soft or layout.one_hot else labels
    if upsample is not None:
        check_upsampled(name, scores_name, upsample, shape, spatial, expected, got)
    elif got != expected:
        hint = upsample_hint(expected, got, spatial, has_upsample)
        if got == shape[:-1]:
            hint = f"; if the classes are on the last axis pass {scores_name}.movedim(-1, 1)"
        raise ValueError(other_shape(name, scores_name, shape, str(expected), got, hint))
    return layout if got == expected else layout._replace(upsampled=True)


def _other_labels(name: str, target: Array, shape: tuple[int, ...], layout: Layout) -> Layout:
    """Labels that are more than one index of an integer dtype for each pixel.

    What they mean is told by shape and dtype alone, and is never guessed: without an axis of
    classes they are indices, with one of them soft or one-hot.
    """
    got, floating = tuple(target.shape), dtype_name(target) in FLOATING
    if got != shape and got == (shape[0], *shape[2:], shape[1]):
        raise ValueError(
            f"{name}: expected the axis of classes of target on axis 1, as {shape} has it, got"
            f" {got}; pass target.movedim(-1, 1)"
        )
    one_more = len(got) == len(shape) and got[1] == 1 < shape[1]
    if one_more or len(got) == len(shape) - 1:
        top = WHOLE.get(dtype_name(target))
        if floating and top is not None and shape[1] - 1 > top:
            raise TypeError(
                f"{name}: expected class indices of an integer dtype for {shape[1]} classes,"
                f" because {target.dtype} holds integers up to {top} alone, got {target.dtype}"
            )
        return layout._replace(one_more=one_more, whole=floating)
    if floating:
        return layout._replace(soft=True)
    if shape[1] == 1:
        raise ValueError(
            f"{name}: expected class indices without an axis of classes, got {target.dtype} of"
            f" shape {got}; pass target.squeeze(1)"
        )
    return layout._replace(one_hot=True)


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
    got = tuple(target.shape)
    # Then axis 1 of the scores can hold no channels, of which the target would have as many.
    one_more = not with_channels and len(got) == len(shape) + 1 and got[1] == 1
    channels = not one_more and _has_channels(name, scores_name, shape, with_channels)
    if one_more:
        got = (got[0], *got[2:])
    if channels and shape[1] == 0:
        _check_channels(name, scores_name, shape)
    squeezed = (shape[0], *shape[2:])
    one = channels and shape[1] == 1
    without_axis = one and len(got) == len(squeezed)
    expected = squeezed if without_axis else shape
    spatial = len(shape) - (2 if channels else 1)
    if upsample is not None:
        check_upsampled(name, scores_name, upsample, shape, spatial, expected, got)
    elif got != expected:
        wanted = f"{shape} or {squeezed}" if one else str(shape)
        hint = upsample_hint(expected, got, spatial, has_upsample)
        if channels and len(got) == len(shape) - 1 and name in _CLASSES:
            hint = f"; for class indices use {_CLASSES[name]}"
        raise ValueError(other_shape(name, scores_name, shape, wanted, got, hint))
    points = len(shape) == 1 or (channels and len(shape) == 2)
    soft = dtype_name(target) in FLOATING
    return Layout(points, channels, without_axis, got != expected, soft, one_more)


def check_upsampled(
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
        raise ValueError(other_shape(name, scores_name, shape, f"({sizes})", got))
    check_sizes(name, scores_name, upsample, shape[-spatial:], got[before:])


def _differ_in_resolution(expected: tuple[int, ...], got: tuple[int, ...], spatial: int) -> bool:
    """Whether two shapes are the same, but for so many sizes at their end."""
    before = len(expected) - spatial
    return len(got) == len(expected) and got[:before] == expected[:before]


def other_shape(
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


def upsample_hint(
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
        binary = f"use {_BINARY[name]}" if name in _BINARY else 'pass activation="sigmoid"'
        raise ValueError(
            f"{name}: expected {scores_name} of two classes or more, because the softmax of one is"
            f" always 1 and has no gradient, got shape {shape}; for one channel and"
            f" labels 0 and 1 {binary}"
        )


def check_device(name: str, argument: str, array: Array, device: Any, of: str = "target") -> None:
    """Where the other tensor is."""
    if array.device != device:
        raise ValueError(
            f"{name}: expected {argument} on the device of {of}, {device}, got {array.device}"
        )


def check_points(name: str, argument: str, layout: Layout, images: int, per_image: bool) -> None:
    """Segments are of points, and with a loss for each."""
    if not layout.points:
        raise ValueError(
            f"{name}: expected {argument} with points alone, of shape (P,) or (P, C), got {images}"
            " images"
        )
    if not per_image:
        raise ValueError(
            f"{name}: expected per_image=True with {argument}, which is the mean of the losses of"
            f" the clouds, got per_image={per_image}; for one loss of all points leave {argument}"
            " out"
        )


def check_same_shape(name: str, argument: str, array: Any, wanted: tuple[int, ...]) -> None:
    """One number for each label."""
    if tuple(array.shape) != wanted:
        raise ValueError(
            f"{name}: expected {argument} of shape {wanted}, one number for each label, got"
            f" {tuple(array.shape)}"
        )
