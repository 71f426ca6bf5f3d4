"""From predictions and labels in any accepted form to one decision and one label for each pixel.

The contents of tensors are looked at on the CPU alone: elsewhere it would wait for the device.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lovasz.core.options import Upsample
from lovasz.core.shapes import (
    FLOATING,
    INTEGRAL,
    WHOLE,
    check_device,
    check_floating,
    check_upsampled,
    dtype_name,
    other_shape,
    upsample_hint,
)
from lovasz.losses._labels import from_one_hot
from lovasz.losses._subclasses import plain
from lovasz.predictions import Deciding

UNDECIDED = -1  # the decision where a score is NaN, or is no probability
NO_LABEL = torch.iinfo(torch.int64).min  # the label of a pixel whose target holds none


# Dtypes that torch stores and hardly computes with.
_FEW_OPERATORS = frozenset(("uint16", "uint32", "uint64"))


class Reading(NamedTuple):
    """How a metric reads its arguments."""

    name: str  # of the metric, for sentences about wrong arguments
    num_classes: int
    ignored: tuple[int, ...]
    multilabel: bool
    threshold: float
    from_logits: bool
    upsample: Upsample | None
    align_corners: bool

    @property
    def border(self) -> float:
        """Scores above it are positive."""
        if self.from_logits:
            return math.log(self.threshold / (1 - self.threshold))
        return self.threshold


class Pixels(NamedTuple):
    """What a metric counts: three tensors (N, L), or (N, C, L) of zeros and ones for multilabel."""

    decided: Tensor  # int64; UNDECIDED where there is no decision
    truth: Tensor  # int64; NO_LABEL where the target holds none
    kept: Tensor  # bool: which are not ignored
    points: bool  # N = 1, and the pixels are points
    scored: bool  # whether decisions are those of scores
    one_hot: bool  # whether the target was one-hot


def read(reading: Reading, prediction: Any, target: Any, ignore_mask: Any = None) -> Pixels:
    """Check predictions and labels, and flatten them."""
    prediction = _tensor(reading.name, "prediction", prediction)
    target = _tensor(reading.name, "target", target)
    check_device(reading.name, "target", target, prediction.device, "prediction")
    kind = dtype_name(target)
    if kind not in INTEGRAL and kind not in FLOATING:
        raise TypeError(
            f"{reading.name}: expected target of an integer dtype or bool, got {target.dtype}"
        )
    scored = prediction.is_floating_point()
    if not scored and dtype_name(prediction) not in INTEGRAL:
        raise TypeError(
            f"{reading.name}: expected prediction of a floating dtype (scores), an integer dtype"
            f" or bool (labels), got {prediction.dtype}"
        )
    if scored:
        check_floating(reading.name, "prediction", prediction)
    most = WHOLE.get(kind, math.inf)
    if reading.num_classes - 1 > most and not reading.multilabel:
        raise TypeError(
            f"{reading.name}: expected target of an integer dtype for {reading.num_classes}"
            f" classes, because {target.dtype} holds whole numbers up to {most} alone, got"
            f" {target.dtype}"
        )
    one_hot = False
    if reading.multilabel:
        decided, truth, points = _masks(reading, prediction, target)
    else:
        read_classes = _scores if scored else _labels
        decided, truth, points, one_hot = read_classes(reading, prediction, target)
    kept = _kept(reading, truth, ignore_mask)
    if points:
        flat = [_points_last(tensor) for tensor in (decided, truth, kept)]
    else:
        first = 2 if reading.multilabel else 1
        flat = [tensor.flatten(first) for tensor in (decided, truth, kept)]
    return Pixels(flat[0], flat[1], flat[2], points, scored, one_hot)


def readable(tensor: Tensor) -> bool:
    """Whether values may be looked at without waiting for a device or breaking a compiled graph."""
    return tensor.device.type == "cpu" and not torch.compiler.is_compiling()


def _tensor(name: str, argument: str, value: Any) -> Tensor:
    """A plain tensor: what subclasses carry along does not matter here."""
    if not isinstance(value, Tensor):
        got, hint = type(value).__name__, ""
        if isinstance(value, Mapping):
            keys = list(value)
            got += f" with keys {keys}"
            hint = f"; pass {argument}[{keys[0]!r}]" if keys else ""
        elif isinstance(value, list | tuple) and any(isinstance(part, Tensor) for part in value):
            got += f" of {len(value)}"
            hint = f"; pass one of them, as {argument}[0]"
        elif hasattr(value, "__array_interface__"):  # arrays of NumPy, and images of PIL
            hint = f"; pass torch.as_tensor(numpy.array({argument})), of one image with [None]"
        raise TypeError(f"{name}: expected {argument} to be a tensor, got {got}{hint}")
    if hasattr(value, "to_local"):
        raise TypeError(
            f"{name}: expected {argument} to be this process's own part, got a DTensor; pass its"
            " to_local(), since compute adds up what all processes have counted"
        )
    tensor: Tensor = plain(value).detach()
    return tensor.long() if dtype_name(tensor) in _FEW_OPERATORS else tensor


def _points_last(tensor: Tensor) -> Tensor:
    """Points (P,) as (1, P), or with channels (P, C) as (1, C, P)."""
    return tensor.t().unsqueeze(0)


# --- class indices -------------------------------------------------------------------------------


def _scores(r: Reading, scores: Tensor, target: Tensor) -> tuple[Tensor, Tensor, bool, bool]:
    """Scores (N, C, *) or (P, C), decided, and their labels."""
    shape, wanted = tuple(scores.shape), f"of shape (N, {r.num_classes}, *) or (P, {r.num_classes})"
    single = len(shape) > 1 and shape[1] == 1 and r.num_classes == 2
    if len(shape) < 2 or (shape[1] != r.num_classes and not single):
        raise ValueError(
            f"{r.name}: expected logits {wanted} or labels of an integer dtype, got"
            f" {scores.dtype} of shape {shape}{_hint_of_scores(r, shape, tuple(target.shape))}"
        )
    if r.threshold != 0.5 and not single:
        raise ValueError(
            f"{r.name}: expected threshold=0.5 where the largest of {shape[1]} scores decides, got"
            f" {r.threshold}; pass one channel, the scores of class 1"
        )
    truth, one_hot = _indices(r, "prediction", shape, target)
    size = tuple(truth.shape[1:])
    _check_resolution(r, shape, (shape[0], *shape[2:]), tuple(truth.shape), len(shape) - 2)
    _check_range(r, scores, thresholded=single)
    if single:
        decided = _above(r, scores, size).squeeze(1)
    else:
        decided = _argmax(r, scores, size)
    return decided, truth, len(shape) == 2, one_hot


def _labels(r: Reading, labels: Tensor, target: Tensor) -> tuple[Tensor, Tensor, bool, bool]:
    """Labels (N, *) or (P,), and a target of that shape."""
    shape, got = tuple(labels.shape), tuple(target.shape)
    if shape[:1] + shape[2:] == got and len(shape) > 1 and shape[1] == 1:
        labels, shape = labels.squeeze(1), got
    _check_no_masks(r, labels, target)
    truth, one_hot = target, False
    if got != shape:
        hint = ""
        if shape[:1] + shape[2:] == got and shape[1:2] == (r.num_classes,):
            hint = "; of logits pass prediction.float(), of one-hot ones prediction.argmax(1)"
        elif len(shape) == len(got) and shape[:1] == got[:1]:
            hint = "; labels are not interpolated, pass the logits, with upsample="
        if not shape or len(got) != len(shape) + 1 or got[:1] + got[2:] != shape:
            raise ValueError(
                f"{r.name}: expected labels (N, *) or (P,) of the shape of target {got}, got"
                f" prediction {shape}{hint}"
            )
        truth, one_hot = _indices(r, "labels", (shape[0], r.num_classes, *shape[1:]), target)
    elif not shape:
        raise ValueError(f"{r.name}: expected labels of shape (N, *) or (P,), got shape ()")
    return labels.long(), truth if one_hot else _whole(truth), len(shape) == 1, one_hot


def _indices(
    r: Reading, scores_name: str, shape: tuple[int, ...], target: Tensor
) -> tuple[Tensor, bool]:
    """Class indices (N, *) of labels for scores of a shape, and whether they were one-hot."""
    got = tuple(target.shape)
    if len(got) == len(shape) - 1:
        return _whole(target), False
    if got[:1] == shape[:1] and len(got) == len(shape):
        if got[1] == 1:
            return _whole(target.squeeze(1)), False
        if got[1] == r.num_classes:
            return _from_one_hot(target), True
    hint = ""
    if got == (shape[0], *shape[2:], r.num_classes):
        hint = "; pass target.movedim(-1, 1)"
    elif got == (shape[0], *shape[2:], 1):
        hint = "; pass target.squeeze(-1)"
    raise ValueError(
        f"{r.name}: expected target of shape {(shape[0], *shape[2:])} to match {scores_name}"
        f" {shape}, got {got}{hint}"
    )


def _hint_of_scores(r: Reading, shape: tuple[int, ...], target: tuple[int, ...]) -> str:
    """What to do with scores that do not have a channel for each class."""
    if len(shape) > 2 and shape[-1] == r.num_classes and shape[:-1] == target:
        return "; pass prediction.movedim(-1, 1)"
    if shape == target and r.num_classes == 2:
        return (
            "; pass prediction.unsqueeze(1) for scores of class 1, or num_classes=1 and"
            " multilabel=True for the foreground alone"
        )
    if shape == target:
        return (
            "; pass prediction.long() of labels, or num_classes=1 and multilabel=True for one mask"
        )
    if shape[1:2] == (1,):
        return "; for one mask pass num_classes=1 and multilabel=True"
    return ""


def _check_no_masks(r: Reading, labels: Tensor, target: Tensor) -> None:
    """Masks of classes, which would be read as labels of images with one more axis."""
    shape, what = tuple(labels.shape), "masks of classes"
    if labels.dtype == torch.bool and (
        r.num_classes > 2 or (len(shape) > 2 and shape[1] == 2 and shape == tuple(target.shape))
    ):
        raise ValueError(
            f"{r.name}: expected class indices from 0 to {r.num_classes - 1}, got {labels.dtype} of"
            f" shape {shape}; pass multilabel=True for {what} (N, C, *), labels.argmax(1) of"
            " one-hot labels, or labels.long() of labels 0 and 1"
        )
    alike = len(shape) > 2 and shape[1] == r.num_classes and shape == tuple(target.shape)
    if not alike or not readable(labels) or not labels.numel():
        return
    if bool((_from_one_hot(labels) >= 0).all()) and bool((_from_one_hot(target) >= 0).all()):
        raise ValueError(
            f"{r.name}: expected class indices without an axis of classes, got one-hot prediction"
            f" and target of shape {shape}; pass prediction.argmax(1) and target.argmax(1)"
        )
    if int(labels.max()) <= 1 and float(target.max()) <= 1:
        warnings.warn(
            f"{r.name}: expected class indices from 0 to {r.num_classes - 1}, got zeros and ones"
            f" with {r.num_classes} entries on axis 1; for {what} pass multilabel=True",
            stacklevel=2,
        )


# --- masks ---------------------------------------------------------------------------------------


def _masks(r: Reading, prediction: Tensor, target: Tensor) -> tuple[Tensor, Tensor, bool]:
    """Scores or masks (N, C, *), (P, C), and for one channel (N, *) or (P,), and such a target."""
    shape, got = tuple(prediction.shape), tuple(target.shape)
    if r.num_classes == 1 and shape and (len(shape) == 1 or shape[1] != 1):
        prediction, shape = prediction.unsqueeze(1), (shape[0], 1, *shape[1:])
    if len(shape) < 2 or shape[1] != r.num_classes:
        raise ValueError(
            f"{r.name}: expected prediction of shape (N, {r.num_classes}, *) or"
            f" (P, {r.num_classes}) with multilabel=True, got {shape}"
            f"{_hint_of_channels(r, shape)}"
        )
    if r.num_classes == 1 and len(got) == len(shape) - 1:
        target, got = target.unsqueeze(1), (*got[:1], 1, *got[1:])
    if got == (shape[0], *shape[2:]) and len(got) == len(shape) - 1:
        raise ValueError(
            f"{r.name}: expected target of shape {shape}, zeros and ones for each channel, with"
            f" multilabel=True, got {target.dtype} of shape {got}; of class indices leave"
            " multilabel=True out"
        )
    spatial = len(shape) - 2 if prediction.is_floating_point() else None
    _check_resolution(r, shape, shape, got, spatial)
    if prediction.is_floating_point():
        _check_range(r, prediction, thresholded=True)
        decided = _above(r, prediction, got[2:])
    else:
        decided = prediction.long()
    return decided, _whole(target), len(shape) == 2


def _hint_of_channels(r: Reading, shape: tuple[int, ...]) -> str:
    """What to do with masks whose channels are not on axis 1."""
    if len(shape) > 2 and shape[-1] == r.num_classes:
        return "; pass prediction.movedim(-1, 1)"
    return ""


# --- what both have ------------------------------------------------------------------------------


def _check_resolution(
    r: Reading,
    shape: tuple[int, ...],
    expected: tuple[int, ...],
    got: tuple[int, ...],
    spatial: int | None,
) -> None:
    """Sizes that agree, or that interpolation makes agree.

    Args:
        r: with a mode of interpolation, or None.
        shape: of the prediction, for the sentence.
        expected: shape of a target of the same resolution.
        got: shape of the target.
        spatial: how many axes at the end interpolation may change; None for labels, which are not
            interpolated.
    """
    name, scores_name = r.name, "prediction"
    if r.upsample is not None and spatial is not None:
        check_upsampled(name, scores_name, r.upsample, shape, spatial, expected, got)
    elif got != expected:
        hint = upsample_hint(expected, got, spatial or 0, has_upsample=True)
        raise ValueError(other_shape(name, scores_name, shape, str(expected), got, hint))


def _check_range(r: Reading, scores: Tensor, *, thresholded: bool) -> None:
    """Probabilities where they are expected, and not where logits are."""
    asked = thresholded or not r.from_logits
    if not asked or not readable(scores) or not scores.numel():
        return
    low, high = (float(bound) for bound in scores.aminmax())
    if not r.from_logits and (low < 0 or high > 1):
        raise ValueError(
            f"{r.name}: expected probabilities in [0, 1] with from_logits=False, got"
            f" {low if low < 0 else high:g}; of logits leave from_logits=False out"
        )
    if r.from_logits and 0 <= low < high <= 1:
        warnings.warn(
            f"{r.name}: expected logits, which are positive or negative, got scores that are all in"
            " [0, 1]; if they are probabilities, pass from_logits=False",
            stacklevel=2,
        )


def _argmax(r: Reading, scores: Tensor, size: tuple[int, ...]) -> Tensor:
    """The class of the largest score at the resolution of the labels."""
    labels = _interpolated(r, scores, size, multilabel=False)
    if r.from_logits or readable(scores):
        return labels
    outside = ((scores < 0) | (scores > 1)).flatten(1).any()  # of the batch, so of each pixel
    return labels.masked_fill(outside, UNDECIDED)


def _above(r: Reading, scores: Tensor, size: tuple[int, ...]) -> Tensor:
    """Which scores (N, C, *) are above the threshold, at the resolution of the labels: 0 and 1."""
    lost = scores.isnan()
    if not r.from_logits:
        lost = lost | (scores < 0) | (scores > 1)
    if size == tuple(scores.shape[2:]) or r.upsample is None:
        return (scores > r.border).long().masked_fill_(lost, UNDECIDED)
    margin = torch.where(lost, torch.nan, scores.to(torch.promote_types(scores.dtype, torch.float)))
    return _interpolated(r, margin - r.border, size, multilabel=True)


def _interpolated(r: Reading, scores: Tensor, size: tuple[int, ...], *, multilabel: bool) -> Tensor:
    """Labels of scores at that resolution, which are not stored enlarged."""
    how = Deciding(multilabel=multilabel)
    if r.upsample is None:
        return how.labels(r.name, scores)
    how = how._replace(upsample=r.upsample, align_corners=r.align_corners)
    return how.labels(r.name, scores, size)


def _whole(labels: Tensor) -> Tensor:
    """Labels as int64; fractions are none."""
    whole = labels.long()
    if labels.is_floating_point():
        whole = whole.masked_fill(whole != labels, NO_LABEL)
    return whole


def _from_one_hot(labels: Tensor) -> Tensor:
    """Class indices of one-hot labels (N, C, *), NO_LABEL where they are not one-hot."""
    classes, wrong = from_one_hot(labels)
    return classes.masked_fill(wrong, NO_LABEL)


def _kept(r: Reading, truth: Tensor, ignore_mask: Any) -> Tensor:
    """Which labels are not ignored."""
    kept = torch.ones_like(truth, dtype=torch.bool)
    for label in r.ignored:
        kept &= truth != label
    if ignore_mask is None:
        return kept
    mask = _tensor(r.name, "ignore_mask", ignore_mask)
    check_device(r.name, "ignore_mask", mask, truth.device)
    if mask.dtype != torch.bool:
        raise TypeError(f"{r.name}: expected ignore_mask of dtype bool, got {mask.dtype}")
    shapes = [tuple(truth.shape)]
    if r.multilabel:
        shapes.append((truth.shape[0], *truth.shape[2:]))
        if tuple(mask.shape) == shapes[1]:
            return kept & ~mask.unsqueeze(1)
    elif mask.dim() == truth.dim() + 1 and mask.shape[1] == 1:
        mask = mask.squeeze(1)
    if tuple(mask.shape) != shapes[0]:
        raise ValueError(
            f"{r.name}: expected ignore_mask of shape {' or '.join(map(str, shapes))}, True for"
            f" pixels to leave out, got {tuple(mask.shape)}"
        )
    return kept & ~mask
