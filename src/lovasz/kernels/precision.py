"""The precision in which everything is computed: float64 stays, the rest is float32 ("wide")."""

from __future__ import annotations

import torch
from torch import Tensor

_WITHOUT_FLOAT64 = frozenset({"mps"})


def float64_device(device: torch.device) -> torch.device:
    """The device, or in the place of one that has no float64 the processor."""
    return torch.device("cpu") if device.type in _WITHOUT_FLOAT64 else device


def wide_dtype(scores: Tensor) -> torch.dtype:
    """Dtype of errors, log-sum-exp and losses for scores of a given dtype."""
    return torch.float64 if scores.dtype == torch.float64 else torch.float32


def wide(scores: Tensor) -> Tensor:
    """Scores in that precision."""
    return scores.to(wide_dtype(scores))
