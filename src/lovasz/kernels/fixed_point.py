"""Weights of pixels as whole numbers, because sums of integers have no order."""

from __future__ import annotations

import torch
from torch import Tensor

# What a pixel of weight 1 counts where pixels have weights.
SCALE = 2**20


def to_fixed(pixel_weight: Tensor) -> Tensor:
    """Weights times SCALE, int64; what is no weight counts nothing and is reported."""
    weight = torch.where(is_weight(pixel_weight), pixel_weight, 0.0)
    return (weight.double() * SCALE).round().to(torch.int64)


def is_weight(pixel_weight: Tensor) -> Tensor:
    """Which can be summed: not negative, and at most 2**16."""
    return (pixel_weight >= 0) & (pixel_weight <= 2**16)  # NaN is neither
