"""What the modules share: losses of binary masks, and losses of single images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lovasz.core.options import Options
from lovasz.core.shapes import FLOATING, INTEGRAL, dtype_name
from lovasz.losses._inputs import check_pair
from lovasz.losses._loss import loss
from lovasz.losses.softmax import lovasz_softmax

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
    reduction: str = "mean",
) -> Tensor:
    r"""Loss of binary masks.

    The Lovász extension of the Jaccard loss at $\max(0, 1 - s x)$, with s = 1 for pixels of the
    set and −1 for others, or with ``probabilities`` at $|y - p|$; exact, by sorting.

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
    """
    scores, target = _check(name, scores, target)
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
        method="sort",
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


def image_losses(name: str, logits: Tensor, target: Tensor, **options: Any) -> Tensor:
    """Lovász-Softmax losses of the images (N, C, *), (N,); 0 where nothing counts."""
    check_pair(name, "logits", logits, target)
    if logits.dim() == 2:
        raise ValueError(
            f"{name}: expected logits (N, C, *) with per_image=True, got points"
            f" {tuple(logits.shape)}"
        )
    alone = [
        lovasz_softmax(logits[k : k + 1], target[k : k + 1], **options) for k in range(len(logits))
    ]
    return torch.stack(alone) if alone else logits.float().flatten(1).sum(1)


def without_channel(scores: Any, target: Any) -> Any:
    """Labels (N, 1, *) as (N, *) where the scores have channels: masks often come like that."""
    both = isinstance(scores, Tensor) and isinstance(target, Tensor)
    if both and target.dim() == scores.dim() and target.dim() > 2 and target.shape[1] == 1:
        return target.squeeze(1)
    return target


def check_mode(name: str, mode: Any, modes: Sequence[str] = MODES) -> None:
    """One of the modes."""
    if mode not in modes:
        words = ", ".join(repr(one) for one in modes)
        raise ValueError(f"{name}: expected mode to be one of {words}, got {mode!r}")


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
