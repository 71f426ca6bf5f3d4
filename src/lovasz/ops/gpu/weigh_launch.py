"""The launch of the kernel that weighs, which is the same for classes and channels."""

from __future__ import annotations

import torch
from torch import Tensor

from lovasz.ops.gpu import weighing

#: bins that are weighed at once, and warps of a program
BLOCK = 1024
WARPS = 8


def weigh(
    counts: Tensor, alpha: float, beta: float, wide: bool, unit: int, unbounded: bool
) -> tuple[Tensor, Tensor]:
    """Losses and slopes, as ``lovasz::weigh``; does not wait for the device."""
    groups, classes, _, bins = counts.shape
    losses = counts.new_empty((groups, classes), dtype=torch.float64)
    slopes = counts.new_empty(counts.shape, dtype=torch.float64 if wide else torch.float32)
    # Without fused operations every one rounds as in the reference.
    weighing.weigh[(groups * classes,)](
        counts.contiguous(), losses, slopes,
        ALPHA=alpha, BETA=beta, UNIT=unit, BINS=bins, UNBOUNDED=unbounded, BLOCK=BLOCK,
        num_warps=WARPS, enable_fp_fusion=False,
    )  # fmt: skip
    return losses, slopes
