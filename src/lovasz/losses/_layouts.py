"""From the tensors of a user to what the operators read: every check of their shapes and dtypes.

The contents of tensors are looked at on the CPU alone: elsewhere it would wait for the device.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from lovasz.kernels import SPARE_LABEL, Scores, good_weight
from lovasz.losses._tensors import (
    FLOATING,
    INTEGRAL,
    check_channels,
    check_device,
    check_pair,
    check_tensors,
)

# What a loss of classes is for one channel.
_BINARY = {
    "lovasz_softmax": "lovasz_sigmoid",
    "cross_entropy_lovasz_softmax": "binary_cross_entropy_lovasz_sigmoid",
}


class Extras(NamedTuple):
    """Optional tensors beside scores and labels."""

    pixel_weight: Tensor | None = None  # of the shape of the target
    ignore_mask: Tensor | None = None  # likewise, bool
    offsets: Tensor | None = None  # (B,), where the clouds of points end
    batch_index: Tensor | None = None  # (P,), cloud of each point
    batch_size: int | None = None  # number of clouds, with ``batch_index``


def multiclass(
    name: str,
    scores_name: str,
    scores: Any,
    target: Any,
    *,
    link: str,
    ignore_index: int | None,
    per_image: bool,
    extras: Extras,
) -> Scores:
    """Check scores (N, C, *) or (P, C) against target (N, *) or (P,) and flatten both."""
    check_pair(name, scores_name, scores, target)
    if link == "softmax" and scores.shape[1] == 1:
        raise ValueError(
            f"{name}: expected {scores_name} of two classes or more, because the softmax of one is"
            f" always 1 and has no gradient, got shape {tuple(scores.shape)}; for one channel and"
            f" labels 0 and 1 use {_BINARY[name]}"
        )
    points = scores.dim() == 2  # one image whose pixels are the points
    flat = scores.t().unsqueeze(0) if points else scores.flatten(2)

    def flatten(tensor: Tensor) -> Tensor:
        return tensor.unsqueeze(0) if points else tensor.flatten(1)

    labels, ignored, weight = _leave_out(name, target, ignore_index, extras)
    weight = None if weight is None else flatten(weight)
    given = Scores(flat, flatten(labels), link, ignored, per_image, weight)
    return _with_clouds(name, given, points, per_image, extras)


def channels(
    name: str,
    scores_name: str,
    scores: Any,
    target: Any,
    *,
    link: str,
    multilabel: bool | None,
    ignore_index: int | None,
    per_image: bool,
    extras: Extras,
) -> Scores:
    """Check scores against a target of zeros and ones, and flatten both to (N, C, L)."""
    check_tensors(name, scores_name, scores, target)
    if target.dtype not in INTEGRAL + FLOATING:
        raise TypeError(
            f"{name}: expected target of zeros and ones of an integer dtype, bool or floating,"
            f" got {target.dtype}"
        )
    if scores.dim() < 1:
        raise ValueError(
            f"{name}: expected {scores_name} of shape (N, *), (N, C, *), (P,) or (P, C), got ()"
        )
    with_axis = _has_channels(name, scores_name, scores, multilabel)
    if with_axis:
        check_channels(name, scores_name, scores)
    squeezed = (scores.shape[0], *scores.shape[2:])
    one = with_axis and scores.shape[1] == 1 and tuple(target.shape) == squeezed
    if not one and target.shape != scores.shape:
        also = f" or {squeezed}" if with_axis and scores.shape[1] == 1 else ""
        raise ValueError(
            f"{name}: expected target of shape {tuple(scores.shape)}{also} to match {scores_name}"
            f" {tuple(scores.shape)}, got {tuple(target.shape)}"
        )
    points = scores.dim() == 1 or (with_axis and scores.dim() == 2)

    def flatten(tensor: Tensor) -> Tensor:
        tensor = tensor.unsqueeze(1) if one and tensor is not scores else tensor
        if points:
            return tensor.reshape(1, 1, -1) if tensor.dim() == 1 else tensor.t().unsqueeze(0)
        return tensor.flatten(2) if with_axis else tensor.flatten(1).unsqueeze(1)

    whole = _whole_labels(name, target, ignore_index)
    labels, ignored, weight = _leave_out(name, whole, ignore_index, extras)
    weight = None if weight is None else flatten(weight)
    given = Scores(flatten(scores), flatten(labels), link, ignored, per_image, weight)
    return _with_clouds(name, given, points, per_image, extras)


def _has_channels(name: str, scores_name: str, scores: Tensor, multilabel: bool | None) -> bool:
    """Whether axis 1 holds channels; never guessed where both would be possible."""
    if scores.dim() == 1:
        if multilabel:
            raise ValueError(
                f"{name}: expected {scores_name} of shape (N, C, *) or (P, C) with multilabel=True,"
                f" got {tuple(scores.shape)}"
            )
        return False
    if multilabel is None and scores.shape[1] != 1:
        raise ValueError(
            f"{name}: expected multilabel=True (axis 1 holds channels, each a set of its own) or"
            f" multilabel=False (all pixels are of one set) for {scores_name} of shape"
            f" {tuple(scores.shape)}, got multilabel=None"
        )
    return scores.shape[1] == 1 if multilabel is None else multilabel


def _whole_labels(name: str, target: Tensor, ignore_index: int | None) -> Tensor:
    """Floating zeros and ones, as binary cross-entropy wants them, as integers."""
    if target.dtype in INTEGRAL:
        return target
    labels = target.to(torch.int64)
    soft = labels != target  # NaN too
    if target.device.type == "cpu" and not torch.compiler.is_compiling() and bool(soft.any()):
        raise ValueError(
            f"{name}: expected every label to be 0 or 1 or equal to ignore_index={ignore_index}"
            f" (Lovász losses take no soft labels), got {float(target[soft][0]):g}"
        )
    return torch.where(soft, SPARE_LABEL + 1, labels)  # no label: reported as NaN


def _leave_out(
    name: str, target: Tensor, ignore_index: int | None, extras: Extras
) -> tuple[Tensor, int | None, Tensor | None]:
    """Labels in which masked pixels and those of weight 0 are ignored ones; and the weights."""
    mask, weight = extras.ignore_mask, extras.pixel_weight
    for argument, tensor in (("ignore_mask", mask), ("pixel_weight", weight)):
        if tensor is None:
            continue
        if not isinstance(tensor, Tensor):
            raise TypeError(
                f"{name}: expected {argument} to be a tensor, got {type(tensor).__name__}"
            )
        if tensor.shape != target.shape:
            raise ValueError(
                f"{name}: expected {argument} of the shape of target, {tuple(target.shape)},"
                f" got {tuple(tensor.shape)}"
            )
        check_device(name, argument, tensor, target.device)
    if mask is not None and mask.dtype != torch.bool:
        raise TypeError(f"{name}: expected ignore_mask of dtype bool, got {mask.dtype}")
    if weight is not None:
        weight = _checked_weight(name, weight)
        mask = weight == 0 if mask is None else mask | (weight == 0)
    if mask is None:
        return target, ignore_index, weight
    ignored = SPARE_LABEL if ignore_index is None else ignore_index
    return torch.where(mask, ignored, target.to(torch.int64)), ignored, weight


def _checked_weight(name: str, weight: Tensor) -> Tensor:
    if weight.dtype not in FLOATING:
        raise TypeError(f"{name}: expected pixel_weight of a floating dtype, got {weight.dtype}")
    look = weight.device.type == "cpu" and not torch.compiler.is_compiling()
    if look and not bool((good := good_weight(weight)).all()):
        raise ValueError(
            f"{name}: expected pixel_weight to be in [0, 65536], got {float(weight[~good][0]):g}"
        )
    return weight.detach()


def _with_clouds(name: str, given: Scores, points: bool, per_image: bool, extras: Extras) -> Scores:
    """Groups of points, if there are any."""
    offsets, index = extras.offsets, extras.batch_index
    argument, tensor = ("offsets", offsets) if index is None else ("batch_index", index)
    if tensor is None:
        if extras.batch_size is not None:
            raise ValueError(
                f"{name}: expected batch_size with batch_index alone, got {extras.batch_size!r}"
            )
        return given
    if offsets is not None and index is not None:
        raise ValueError(f"{name}: expected offsets or batch_index, got both")
    if not (isinstance(tensor, Tensor) and tensor.dtype in (torch.int32, torch.int64)):
        kind = tensor.dtype if isinstance(tensor, Tensor) else type(tensor).__name__
        raise TypeError(f"{name}: expected {argument} to be an int32 or int64 tensor, got {kind}")
    if not points or not per_image:
        raise ValueError(
            f"{name}: expected {argument} with points, of shape (P,) or (P, C), and per_image=True"
            f" (the loss of every cloud), got {len(given.scores)} images and per_image={per_image}"
        )
    check_device(name, argument, tensor, given.scores.device)
    count = given.scores.shape[2]
    if index is not None:
        group, groups = _by_index(name, index, count, extras.batch_size)
    else:
        group, groups = _by_offsets(name, tensor, count)
    return given._replace(group=group.unsqueeze(0), groups=groups)


def _by_offsets(name: str, offsets: Tensor, count: int) -> tuple[Tensor, int]:
    wanted = f"{name}: expected offsets to be the ascending ends of the clouds, the last {count}"
    if offsets.dim() != 1 or len(offsets) == 0:
        raise ValueError(f"{wanted}, got shape {tuple(offsets.shape)}")
    if offsets.device.type == "cpu" and not torch.compiler.is_compiling():
        ascending = bool((offsets.diff() >= 0).all()) and int(offsets[0]) >= 0
        if not ascending or int(offsets[-1]) != count:
            raise ValueError(f"{wanted}, got {offsets.tolist()}")
    place = torch.arange(count, device=offsets.device, dtype=offsets.dtype)
    # Where the last end falls short, on a device, no group would be there for the rest.
    return torch.bucketize(place, offsets, right=True).clamp(max=len(offsets) - 1), len(offsets)


def _by_index(name: str, index: Tensor, count: int, size: Any) -> tuple[Tensor, int]:
    if tuple(index.shape) != (count,):
        raise ValueError(
            f"{name}: expected batch_index of shape ({count},), one number for each point,"
            f" got {tuple(index.shape)}"
        )
    look = index.device.type == "cpu" and not torch.compiler.is_compiling()
    if size is None:
        if not look:
            raise ValueError(
                f"{name}: expected batch_size with batch_index here, because to find it would wait"
                " for the device, got None"
            )
        size = int(index.max()) + 1 if count else 1
    if not isinstance(size, int) or isinstance(size, bool) or size < 1:
        raise ValueError(f"{name}: expected batch_size to be 1 or more, got {size!r}")
    if look and count and not bool(((index >= 0) & (index < size)).all()):
        raise ValueError(
            f"{name}: expected batch_index in [0, {size - 1}],"
            f" got {int(index.min())} to {int(index.max())}"
        )
    return index.to(torch.int64), size
