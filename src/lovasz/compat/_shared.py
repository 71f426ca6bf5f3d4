"""What the modules share: losses of binary masks, and losses of single images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lovasz.core.options import (
    METHODS,
    Method,
    Options,
    Reduction,
    check_choice,
)
from lovasz.core.shapes import FLOATING, INTEGRAL, dtype_name
from lovasz.kernels.contents import NO_LABEL
from lovasz.losses._inputs import check_pair
from lovasz.losses._loss import loss
from lovasz.losses.softmax import lovasz_softmax, lovasz_softmax_from_probabilities

MODES = ("binary", "multiclass", "multilabel")


def binary_loss(
    name: str,
    scores: Any,
    target: Any,
    *,
    ignore_index: int | None,
    per_image: bool,
    channels: bool = False,
    probabilities: bool = False,
    reduction: Reduction = "mean",
    method: Method | None = None,
    pixel_weight: Any = None,
) -> Tensor:
    r"""Loss of binary masks.

    The Lovász extension of the Jaccard loss at $\max(0, 1 - s x)$, with s = 1 for pixels of the
    set and −1 for others, or with ``probabilities`` at $|y - p|$.

    Args:
        name: whose error messages they are.
        scores: (N, *) or (P,), logits or probabilities.
        target: of the same shape, or with an axis 1 of size 1 more or less; 0, 1 or ignore_index.
        ignore_index: label to leave out.
        per_image: a mask for each image, not one for the batch.
        channels: a mask for each channel, axis 1; (P, C) are points of one image.
        probabilities: whether the scores are probabilities.
        reduction: "mean" over the masks that have a pixel, 0 if there is none; "sum"; or "none",
            (N,) with ``per_image``, for masks without channels.
        method: "sort", which is exact and the default, or "histogram".
        pixel_weight: of the shape of the target, for masks without channels.
    """
    scores, target = _check(name, scores, target)
    if pixel_weight is not None:
        pixel_weight = weight_of_pixels(name, pixel_weight, target)
    per_image = per_image and scores.dim() > 1 + channels
    if channels and per_image:  # masks of images, each of as many as it has channels
        scores, target, channels = scores.flatten(0, 1), target.flatten(0, 1), False
    # As a mask where it would be a label.
    mask = target == ignore_index if ignore_index in (0, 1) else None
    options = Options(
        multilabel=channels and scores.dim() > 1,
        per_image=per_image,
        ignore_index=ignore_index if mask is None else None,
        ignore_mask=mask,
        classes="all",
        reduction=reduction,
        method="sort" if method is None else method,
        pixel_weight=pixel_weight,
    )
    link = "channel_probabilities" if probabilities else "hinge"
    try:
        value = loss(name, link, scores, target, options, "predictions")
    except ValueError:
        _check_labels(name, target, ignore_index)
        raise
    return value if reduction != "none" else value.flatten()


def mean_of(losses: Tensor, active: Tensor) -> Tensor:
    """Mean of the losses that count; 0, connected, where none does."""
    return torch.where(active, losses, 0.0).sum() / active.sum().clamp(min=1)


def image_losses(
    name: str,
    logits: Tensor,
    target: Tensor,
    *,
    argument: str = "per_image",
    pixel_weight: Tensor | None = None,
    **options: Any,
) -> Tensor:
    """Lovász-Softmax losses of the images (N, C, *), (N,); 0 where nothing counts.

    Args:
        name: whose error messages they are.
        logits: (N, C, *).
        target: (N, *).
        argument: that asked for it, likewise.
        pixel_weight: (N, *).
        options: of `lovasz.lovasz_softmax`.
    """
    check_pair(name, "logits", logits, target)
    if logits.dim() == 2:
        raise ValueError(
            f"{name}: expected logits (N, C, *) with {argument}=True, got points"
            f" {tuple(logits.shape)}"
        )
    alone = []
    for image in (slice(k, k + 1) for k in range(len(logits))):
        weight = None if pixel_weight is None else pixel_weight[image]
        alone.append(lovasz_softmax(logits[image], target[image], pixel_weight=weight, **options))
    return torch.stack(alone) if alone else logits.float().flatten(1).sum(1)


def probabilities_loss(
    name: str, probabilities: Any, target: Any, other: str, **options: Any
) -> Tensor:
    """Lovász-Softmax loss of what originals call logits, and take for probabilities.

    Args:
        name: whose error messages they are.
        probabilities: (N, C, *) or (P, C).
        target: (N, *), (N, 1, *) or (P,).
        other: the loss for one channel, likewise.
        options: of `lovasz.lovasz_softmax_from_probabilities`.
    """
    if isinstance(probabilities, Tensor) and probabilities.dim() > 1 and probabilities.shape[1] < 2:
        raise ValueError(
            f"{name}: expected probabilities of two classes or more on axis 1, got shape"
            f" {tuple(probabilities.shape)}; for one channel use {other}"
        )
    labels = class_indices(name, probabilities, target)
    try:
        return lovasz_softmax_from_probabilities(probabilities, labels, **options)
    except ValueError as error:
        if "expected probabilities in" not in str(error):
            raise
        raise ValueError(
            f"{name}: expected probabilities, which the original takes under the name of logits,"
            f" got {str(error).rpartition('got ')[2]}; pass logits.softmax(1), or the logits to"
            " lovasz.lovasz_softmax"
        ) from None


def class_indices(name: str, scores: Any, target: Any) -> Any:
    """Class indices as the losses take them: masks come with a channel, and as whole floats.

    Args:
        name: whose error messages they are.
        scores: (N, C, *) or (P, C).
        target: (N, *), (N, 1, *), (P,) or (P, 1); anything else is left to the loss.
    """
    if not (isinstance(scores, Tensor) and isinstance(target, Tensor)):
        return target
    if target.dim() == scores.dim() > 1 and target.shape[1] == 1 < scores.shape[1]:
        target = target.squeeze(1)
    if target.dim() == scores.dim() - 1 and target.is_floating_point():
        target = _whole(name, target, scores.shape[1])
    return target


def weight_of_pixels(name: str, weight: Any, target: Tensor) -> Tensor:
    """Weights of pixels of any real dtype, in the shape of the target."""
    if not isinstance(weight, Tensor):
        raise TypeError(f"{name}: expected weight to be a tensor, got {type(weight).__name__}")
    shape = tuple(target.shape)
    if tuple(weight.shape) == (*shape[:1], 1, *shape[1:]):
        weight = weight.squeeze(1)
    elif tuple(weight.shape) == (*shape[:1], *shape[2:]) and shape[1:2] == (1,):
        weight = weight.unsqueeze(1)
    if tuple(weight.shape) != shape:
        raise ValueError(
            f"{name}: expected weight of the shape of the labels, {shape}, got"
            f" {tuple(weight.shape)}"
        )
    floating: Tensor = weight if weight.is_floating_point() else weight.float()
    return floating


def _whole(name: str, target: Tensor, classes: int) -> Tensor:
    """Floating class indices as integers."""
    largest = int(2 / torch.finfo(target.dtype).eps)  # up to which floats hold every integer
    if classes - 1 > largest:
        raise TypeError(
            f"{name}: expected labels of a dtype that holds the indices of {classes} classes, got"
            f" {target.dtype}, which holds every integer up to {largest} only"
        )
    labels = target.to(torch.int64)
    broken = labels != target  # NaN too
    if target.device.type == "cpu" and not torch.compiler.is_compiling() and bool(broken.any()):
        raise ValueError(
            f"{name}: expected labels to be whole numbers (class indices), got"
            f" {float(target[broken][0]):g}"
        )
    return torch.where(broken, NO_LABEL, labels)  # reported as NaN


def check_mode(name: str, mode: Any, modes: Sequence[str] = MODES) -> None:
    """One of the modes."""
    if mode not in modes:
        words = ", ".join(repr(one) for one in modes)
        raise ValueError(f"{name}: expected mode to be one of {words}, got {mode!r}")


def check_method(name: str, method: Any) -> None:
    """A method, or None for the usual one."""
    if method is not None:
        check_choice(name, "method", method, METHODS)


def _check(name: str, scores: Any, target: Any) -> tuple[Tensor, Tensor]:
    for argument, value in (("predictions", scores), ("labels", target)):
        if not isinstance(value, Tensor):
            raise TypeError(
                f"{name}: expected {argument} to be a tensor, got {type(value).__name__}"
            )
    if dtype_name(scores) not in FLOATING:
        raise TypeError(f"{name}: expected predictions of a floating dtype, got {scores.dtype}")
    if dtype_name(target) not in INTEGRAL | FLOATING:
        raise TypeError(f"{name}: expected labels of a real dtype, got {target.dtype}")
    given = (tuple(scores.shape), tuple(target.shape))
    # Masks come with and without a channel.
    if scores.dim() == target.dim() + 1 and scores.dim() > 1 and scores.shape[1] == 1:
        scores = scores.squeeze(1)
    elif target.dim() == scores.dim() + 1 and target.dim() > 1 and target.shape[1] == 1:
        target = target.squeeze(1)
    if scores.dim() == 0 or scores.shape != target.shape:
        raise ValueError(
            f"{name}: expected predictions and labels of one shape, or with one channel in either,"
            f" got {given[0]} and {given[1]}"
        )
    if scores.device != target.device:
        raise ValueError(f"{name}: expected labels on {scores.device}, got {target.device}")
    return scores, target


def _check_labels(name: str, target: Tensor, ignore_index: int | None) -> None:
    """Labels in a sentence of their own, where they are what is wrong."""
    wrong = (target != 0) & (target != 1)
    if ignore_index is not None:
        wrong &= target != ignore_index
    if bool(wrong.any()):
        raise ValueError(
            f"{name}: expected every label to be 0, 1 or equal to ignore_index={ignore_index},"
            f" got {target[wrong][0].item()}"
        )
