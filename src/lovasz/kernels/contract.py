"""What operators that read memory through pointers ask of their tensors: shape, dtype and device.

The functions of ``lovasz`` pass what fits. These checks are for whoever calls ``torch.ops.lovasz``
directly: kernels that trusted the shapes would read memory that belongs to others.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lovasz.core.links import MULTICLASS


def check_pixels(
    operator: str,
    scores: Tensor,
    target: Tensor,
    link: str,
    *,
    lse: Tensor | None = None,
    pixel_weight: Tensor | None = None,
    class_weight: Tensor | None = None,
    group: Tensor | None = None,
) -> None:
    """Scores (N, C, L) and what has to be of their sizes.

    Args:
        operator: name for the sentence.
        scores: (N, C, L).
        target: (N, L), or (N, C, L) for links of channels.
        link: see ``links``.
        lse: (N, L), where the link is the softmax.
        pixel_weight: of the shape of the target.
        class_weight: (C,).
        group: (1, L) int64.

    Raises:
        ValueError: for a tensor of another shape, dtype or device.
    """
    if scores.dim() != 3:
        raise ValueError(
            f"lovasz::{operator}: expected scores of shape (N, C, L), got {tuple(scores.shape)}"
        )
    images, classes, length = scores.shape
    pixels = (images, length) if link in MULTICLASS else (images, classes, length)
    expect(operator, "target", target, pixels, scores.device)
    if lse is not None and link == "softmax":
        expect(operator, "lse", lse, (images, length), scores.device)
    if pixel_weight is not None:
        expect(operator, "pixel_weight", pixel_weight, pixels, scores.device)
    if class_weight is not None:
        expect(operator, "class weights", class_weight, (classes,), scores.device)
    if group is not None:
        expect(operator, "group", group, (1, length), scores.device, torch.int64)


def check_slopes(
    operator: str, scores: Tensor, slopes: Tensor, factors: Tensor | None, group: Tensor | None
) -> None:
    """Slopes (G, C, 2, B) by bin or (N, C, L) by pixel, and factors (G, C).

    There is a row for all pixels, or one for each image, or with a group one for each cloud.
    """
    images, classes, _ = scores.shape
    by_pixel = slopes.dim() == 3
    rows = slopes.shape[0]
    if by_pixel:
        expect(operator, "slopes", slopes, tuple(scores.shape), scores.device)
        rows = 1 if factors is None else factors.shape[0]
    elif slopes.dim() != 4 or slopes.shape[1:3] != (classes, 2) or slopes.shape[3] == 0:
        raise ValueError(
            f"lovasz::{operator}: expected slopes of shape (G, {classes}, 2, B) or"
            f" {tuple(scores.shape)}, got {tuple(slopes.shape)}"
        )
    else:
        expect(operator, "slopes", slopes, tuple(slopes.shape), scores.device)
    if group is None and rows not in (1, images):
        raise ValueError(
            f"lovasz::{operator}: expected slopes and factors of 1 group or of {images}, got {rows}"
        )
    if factors is not None:
        expect(operator, "factors", factors, (rows, classes), scores.device)


def check_counts(operator: str, counts: Tensor, unit: int) -> None:
    """Counts (G, C, 2, B) in units of a whole number."""
    shape = counts.shape
    if len(shape) != 4 or shape[2] != 2 or counts.dtype != torch.int64 or unit < 1:
        raise ValueError(
            f"lovasz::{operator}: expected int64 counts of shape (G, C, 2, B) and a unit of 1 or"
            f" more, got {counts.dtype}, {tuple(shape)} and {unit}"
        )


def check_reduction(
    operator: str,
    losses: Tensor,
    counting: Tensor,
    invalid: Tensor,
    weight: Tensor | None,
    sums: Tensor | None,
) -> None:
    """Losses (G, C) and what is told of them."""
    shape, device = tuple(counting.shape), counting.device
    if len(shape) != 2:
        raise ValueError(f"lovasz::{operator}: expected counting of shape (G, C), got {shape}")
    expect(operator, "counting", counting, shape, device, torch.bool)
    expect(operator, "losses", losses, shape, device, torch.float64)
    expect(operator, "invalid", invalid, shape[:1], device, torch.int64)
    if weight is not None:
        expect(operator, "weight", weight, shape[1:], device)
    if sums is not None:
        expect(operator, "sums", sums, (2,), device, torch.float64)


def expect(
    operator: str,
    argument: str,
    tensor: Tensor,
    shape: tuple[int, ...],
    device: torch.device,
    dtype: torch.dtype | None = None,
) -> None:
    """One tensor as it has to be."""
    if tensor.shape != shape or (dtype is not None and tensor.dtype != dtype):
        raise ValueError(
            f"lovasz::{operator}: expected {argument} of shape {shape}"
            f"{'' if dtype is None else f' and dtype {dtype}'},"
            f" got {tuple(tensor.shape)}{'' if dtype is None else f' and {tensor.dtype}'}"
        )
    if tensor.device != device:
        raise ValueError(
            f"lovasz::{operator}: expected {argument} on {device}, got {tensor.device}"
        )
