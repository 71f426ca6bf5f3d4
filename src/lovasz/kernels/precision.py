"""The dtype to compute in: float64 for float64 scores, float32 for all that are narrower."""

from __future__ import annotations

import torch
from torch import Tensor

# Types of devices that have no float64.
WITHOUT_FLOAT64 = frozenset({"mps"})


def float64_device(device: torch.device) -> torch.device:
    """The device, or in the place of one that has no float64 the processor."""
    return torch.device("cpu") if device.type in WITHOUT_FLOAT64 else device


def compute_dtype(scores: Tensor) -> torch.dtype:
    """Dtype of errors, log-sum-exp and losses for scores of a given dtype."""
    return torch.float64 if scores.dtype == torch.float64 else torch.float32


def to_compute(scores: Tensor) -> Tensor:
    """Scores in that dtype."""
    return scores.to(compute_dtype(scores))
