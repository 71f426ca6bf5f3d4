"""The launches between the passes, which are the same for classes and channels."""

from __future__ import annotations

import torch
from torch import Tensor

from lovasz.kernels.triton import blocks, weighing
from lovasz.kernels.triton.blocks import ceil_div, power_of_two


def weigh(
    counts: Tensor, alpha: float, beta: float, wide: bool, unit: int, unbounded: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """As ``lovasz::weigh``; does not wait for the device."""
    groups, classes, _, bins = counts.shape
    losses = counts.new_empty((groups, classes), dtype=torch.float64)
    slopes = counts.new_empty(counts.shape, dtype=torch.float64 if wide else torch.float32)
    seen = counts.new_empty((2, groups, classes), dtype=torch.bool)
    block, most = blocks.WEIGHED, blocks.MOST_SPANS
    span = block * ceil_div(bins, block * most)
    parts = ceil_div(bins, span) + 1  # the last one is for the loss
    # Without fused operations every one rounds as in the reference.
    weighing.weigh[(groups * classes * parts,)](
        counts.contiguous(), losses, slopes, seen.view(torch.uint8), groups * classes,
        ALPHA=alpha, BETA=beta, UNIT=unit, BINS=bins, UNBOUNDED=unbounded, BLOCK=block,
        SPAN=span, PARTS=parts, num_warps=blocks.WARPS, enable_fp_fusion=False,
    )  # fmt: skip
    return losses, slopes, seen


def reduces(counting: Tensor) -> bool:
    """Whether one program can hold the classes of a group, and is soon done with all groups."""
    return counting.shape[1] <= blocks.REDUCED and counting.numel() <= blocks.MOST_REDUCED


def reduce(
    losses: Tensor,
    counting: Tensor,
    invalid: Tensor,
    weight: Tensor | None,
    normalize: bool,
    mean: bool,
    per_image: bool,
    wide: bool,
    sums: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """As ``between.reduce``; does not wait for the device."""
    groups, classes = counting.shape
    dtype = torch.float64 if wide else torch.float32
    total, factors = losses.new_empty((), dtype=dtype), losses.new_empty(losses.shape, dtype=dtype)
    shape = (0,) if sums is None else ()
    entropy, by_sum = losses.new_empty(shape, dtype=dtype), losses.new_empty(shape, dtype=dtype)
    block_c = power_of_two(classes)
    weighing.reduce[(1,)](
        losses.contiguous(), counting.contiguous().view(torch.uint8), invalid.contiguous(),
        None if weight is None else weight.contiguous(),
        None if sums is None else sums.contiguous(), total, factors, entropy, by_sum, groups,
        classes, NORMALIZE=normalize and weight is not None, MEAN=mean,
        PER_IMAGE=mean and per_image, BLOCK_C=block_c,
        BLOCK_G=min(max(blocks.REDUCED // block_c, 1), power_of_two(groups)),
        num_warps=blocks.WARPS,
    )  # fmt: skip
    return total, factors, entropy, by_sum
