"""What every loss and metric asks of scores and labels: types, shapes, one device."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

FLOATING = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
INTEGRAL = (
    torch.bool,
    torch.uint8,
    torch.uint16,
    torch.uint32,
    torch.uint64,
    torch.int8,
    torch.int16,
    torch.int32,
    torch.int64,
)


def check_pair(name: str, scores_name: str, scores: Any, target: Any) -> None:
    """Scores (N, C, *) or (P, C) and class indices (N, *) or (P,)."""
    check_tensors(name, scores_name, scores, target)
    if target.dtype not in INTEGRAL:
        raise TypeError(
            f"{name}: expected target of an integer dtype or bool (class indices),"
            f" got {target.dtype}"
        )
    if scores.dim() < 2:
        raise ValueError(
            f"{name}: expected {scores_name} of shape (N, C, *) or (P, C),"
            f" got {tuple(scores.shape)}"
        )
    check_channels(name, scores_name, scores)
    expected = (scores.shape[0], *scores.shape[2:])
    if tuple(target.shape) != expected:
        raise ValueError(
            f"{name}: expected target of shape {expected} to match {scores_name}"
            f" {tuple(scores.shape)}, got {tuple(target.shape)}"
        )


def check_tensors(name: str, scores_name: str, scores: Any, target: Any) -> None:
    """Floating scores and a target on their device."""
    for argument, value in ((scores_name, scores), ("target", target)):
        if not isinstance(value, Tensor):
            raise TypeError(
                f"{name}: expected {argument} to be a tensor, got {type(value).__name__}"
            )
        if hasattr(value, "to_local"):  # without importing what few processes have loaded
            raise TypeError(
                f"{name}: expected {argument} to be this process's own part, got a DTensor: take"
                " its to_local(), and process_group= for the loss of all parts"
            )
    if scores.dtype not in FLOATING:
        raise TypeError(
            f"{name}: expected {scores_name} of dtype float64, float32, bfloat16 or float16,"
            f" got {scores.dtype}"
        )
    check_device(name, "target", target, scores.device, scores_name)


def check_device(
    name: str, argument: str, tensor: Tensor, device: torch.device, of: str = "target"
) -> None:
    """Where the other tensor is."""
    if tensor.device != device:
        raise ValueError(
            f"{name}: expected {argument} on the device of {of}, {device}, got {tensor.device}"
        )


def check_channels(name: str, scores_name: str, scores: Tensor) -> None:
    """At least one class."""
    if scores.shape[1] == 0:
        raise ValueError(
            f"{name}: expected {scores_name} with at least one class on axis 1,"
            f" got shape {tuple(scores.shape)}"
        )
