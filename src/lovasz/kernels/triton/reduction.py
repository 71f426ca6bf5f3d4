"""The kernel that reduces the losses of classes to the loss, in place of a dozen launches."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from lovasz.kernels.triton import blocks


def reduces(active: Tensor) -> bool:
    """Whether one program can hold the classes of a group, and is soon done with all groups."""
    return active.shape[1] <= blocks.REDUCE_BLOCK and active.numel() <= blocks.REDUCE_MOST


def reduce(
    losses: Tensor,
    active: Tensor,
    invalid: Tensor,
    weight: Tensor | None,
    normalize: bool,
    mean: bool,
    per_image: bool,
    wide: bool,
    sums: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Loss, factors, cross-entropy and factor of its sum, as the operator returns them."""
    groups, classes = active.shape
    dtype = torch.float64 if wide else torch.float32
    total, factors = losses.new_empty((), dtype=dtype), losses.new_empty(losses.shape, dtype=dtype)
    shape = (0,) if sums is None else ()
    cross_entropy = losses.new_empty(shape, dtype=dtype)
    by_sum = losses.new_empty(shape, dtype=dtype)
    tensors = (losses.contiguous(), active.contiguous().view(torch.uint8), invalid.contiguous())
    optional = (None if tensor is None else tensor.contiguous() for tensor in (weight, sums))
    results = (total, factors, cross_entropy, by_sum)
    block_c = blocks.power_of_two(classes)
    block_g = min(max(blocks.REDUCE_BLOCK // block_c, 1), blocks.power_of_two(groups))
    reduce_kernel[(1,)](
        *tensors,
        *optional,
        *results,
        groups,
        classes,
        NORMALIZE=normalize and weight is not None,
        MEAN=mean,
        PER_IMAGE=mean and per_image,
        BLOCK_C=block_c,
        BLOCK_G=block_g,
        num_warps=blocks.WARPS,
    )
    return results


@triton.jit
def reduce_kernel(
    losses, active, invalid, weight, sums, total, factors, cross_entropy, by_sum, groups, classes,
    NORMALIZE: tl.constexpr, MEAN: tl.constexpr, PER_IMAGE: tl.constexpr,
    BLOCK_C: tl.constexpr, BLOCK_G: tl.constexpr,
):  # fmt: skip
    """Factors of the losses and their sum, by one program: groups are few, and small.

    With sums, of cross-entropies and of their weights, the mean of these as well.

    Tensors:
        losses: (G, C) float64
        active: (G, C) bytes, whether a class counts in the loss
        invalid: (G,) int64, number of invalid pixels
        weight: (C,) float32 or float64, that of each class in the loss; or None, all 1
        sums: (2,) float64, of the cross-entropies and of their weights; or None
        total: () float32 or float64, as all that follow, written: the loss
        factors: (G, C), written: what each loss is multiplied by in it
        cross_entropy: (), written with sums: the mean
        by_sum: (), written with sums: what the sum is multiplied by in it

    Numbers:
        groups, classes: G and C

    Constants:
        NORMALIZE: whether a mean over classes divides by their weights, not by their number
        MEAN: whether to take the mean over the classes, not the sum
        PER_IMAGE: whether to take the mean over the groups, not the sum
        BLOCK_C, BLOCK_G: classes and groups at a time; BLOCK_C has all classes
    """
    images = 1.0
    if PER_IMAGE:
        images = _images_of(active, invalid, groups, classes, BLOCK_C, BLOCK_G)
    summands = tl.zeros((BLOCK_G, BLOCK_C), tl.float64)
    for start in range(0, groups, BLOCK_G):
        at, there, counts, bad = _groups(active, invalid, start, groups, classes, BLOCK_C, BLOCK_G)
        counts = counts.to(tl.float64)
        factor = counts
        if weight is not None:
            c = tl.arange(0, BLOCK_C)
            of_class = tl.load(weight + c, mask=c < classes, other=0.0).to(tl.float64)
            factor = counts * of_class[None, :]
        if MEAN:
            if NORMALIZE:
                share = tl.sum(factor, 1)
            else:
                share = tl.sum(counts, 1)
            factor = factor / tl.where(share > 0.0, share, 1.0)[:, None]
        factor = tl.where(bad[:, None], float("nan"), factor / images)
        rounded = factor.to(factors.dtype.element_ty)
        tl.store(factors + at, rounded, mask=there)
        loss = tl.load(losses + at, mask=there, other=0.0)
        summands += tl.where(there, loss * rounded.to(tl.float64), 0.0)
    tl.store(total, tl.sum(tl.sum(summands, 1)).to(total.dtype.element_ty))
    if sums is not None:
        weights = tl.load(sums + 1)
        divisor = tl.where(weights <= 0.0, float("inf"), weights)  # the mean of nothing is 0
        mean = tl.load(sums) / divisor
        tl.store(cross_entropy, mean.to(cross_entropy.dtype.element_ty))
        tl.store(by_sum, (1.0 / divisor).to(by_sum.dtype.element_ty))


@triton.jit
def _images_of(active, invalid, groups, classes, BLOCK_C: tl.constexpr, BLOCK_G: tl.constexpr):
    """Images of which a mean is taken: those in which a class counts, and the bad."""
    images = tl.zeros((BLOCK_G,), tl.int32)
    for start in range(0, groups, BLOCK_G):
        _, _, counts, bad = _groups(active, invalid, start, groups, classes, BLOCK_C, BLOCK_G)
        images += ((tl.max(counts.to(tl.int32), 1) != 0) | bad).to(tl.int32)
    return tl.maximum(tl.sum(images), 1).to(tl.float64)


@triton.jit
def _groups(active, invalid, start, groups, classes, BLOCK_C: tl.constexpr, BLOCK_G: tl.constexpr):
    """Where the classes of some groups are, which exist, which count; which groups are bad."""
    g, c = (start + tl.arange(0, BLOCK_G)).to(tl.int64), tl.arange(0, BLOCK_C)
    at = g[:, None] * classes + c[None, :]
    there = (g < groups)[:, None] & (c < classes)[None, :]
    counts = tl.load(active + at, mask=there, other=0) != 0
    return at, there, counts, tl.load(invalid + g, mask=g < groups, other=0) > 0
