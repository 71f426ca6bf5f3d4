"""The kernel that comes before a histogram outside of shared memory, and before the sort.

Every pixel is the positive of one class and a negative of all the others. The positives are few and
are counted here by atomic additions; the negatives are left to another kernel, which needs the
log-sum-exp. The histogram exists in several copies, which are summed afterwards, so that pixels
that all fall in one bin do not all wait for one address.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from lovasz.kernels.triton import blocks
from lovasz.kernels.triton.formulas import bin_of_positive, exp
from lovasz.kernels.triton.inputs import Clouds, CrossEntropy, Labels, Weights
from lovasz.kernels.triton.tiles import (
    class_offsets,
    clouds_of,
    group_of,
    load_labels,
    store_sums,
    tile_of,
)

# Below every score but -inf: a maximum that starts here is never -inf, whose difference with
# itself would be NaN.
LOWEST = tl.constexpr(-3.4028234663852886e38)


def lse_and_positives(
    scores: Tensor,
    labels: Labels,
    copies: Tensor,
    invalid: Tensor,
    bins: int,
    per_image: bool,
    cross_entropy: CrossEntropy | None,
    weights: Weights | None = None,
    clouds: Clouds | None = None,
) -> tuple[Tensor, Tensor]:
    """Log-sum-exp and cross-entropy; adds to ``copies`` (positives) and ``invalid`` (pixels)."""
    images, classes, length = scores.shape
    block_c, block_t = blocks.loop_block(scores)
    programs = images * blocks.ceil_div(length, block_t)
    lse = scores.new_empty((images, length), dtype=torch.float64)
    sums = blocks.new_sums(scores, programs, cross_entropy is not None)
    class_weight, smoothing = (None, 0.0) if cross_entropy is None else cross_entropy
    multiple = blocks.multiple_of(scores)
    by_pixel = (None, None) if weights is None else weights
    tensors = (scores, labels.target, lse, copies, invalid, sums, class_weight, *by_pixel)
    segment_ids = None if clouds is None else clouds.ids
    sizes = (classes // multiple, length, *blocks.strides_in(scores, multiple))
    lse_and_positives_kernel[(programs,)](
        *tensors,
        segment_ids,
        *sizes,
        *labels.target.stride(),
        copies.shape[1],
        labels.ignore_index,
        smoothing,
        COPIES=copies.shape[0],
        BINS=bins,
        IGNORES=labels.ignores,
        PER_IMAGE=per_image,
        CROSS_ENTROPY=cross_entropy is not None,
        SMOOTHED=smoothing > 0,
        MULTIPLE=multiple,
        BLOCK_C=block_c,
        BLOCK_T=block_t,
        num_warps=blocks.WARPS,
    )
    return lse, blocks.add_sums(sums)


@triton.jit
def lse_and_positives_kernel(
    scores, target, lse, copies, invalid, sums, class_weight, pixel_weight, fixed_weight,
    segment_ids, classes, length, stride_n, stride_c, stride_l, target_n, target_l,
    cells, ignore_index, smoothing,
    COPIES: tl.constexpr, BINS: tl.constexpr, IGNORES: tl.constexpr, PER_IMAGE: tl.constexpr,
    CROSS_ENTROPY: tl.constexpr, SMOOTHED: tl.constexpr, MULTIPLE: tl.constexpr,
    BLOCK_C: tl.constexpr, BLOCK_T: tl.constexpr,
):  # fmt: skip
    """Log-sum-exp, positives, invalid pixels and cross-entropy of a tile of pixels.

    Tensors:
        scores: (N, C, L) float32, bfloat16 or float16, any strides
        target: (N, L) integers or bytes, any strides
        lse: (N, L) float64, written: log-sum-exp over the classes
        copies: (copies, G · C · 2 · B) int32 or int64, pixels are added, or units of 2^-20
        invalid: (G,) int64, added to: pixels whose label is no class or whose scores are no numbers
        sums: (programs, 2) float64, written with CROSS_ENTROPY: its sum and that of its weights
        class_weight: (C,) float32, of the cross-entropy; or None, all 1
        pixel_weight: (N, L) float32, of the cross-entropy; or None, all 1
        fixed_weight: (N, L) int64, in units of 2^-20, 0 where ignored; or None, count pixels
        segment_ids: (L,) int64, the group of each pixel, with weights; or None

    Numbers:
        classes, length: C / MULTIPLE and L
        stride_n, stride_c, stride_l: strides of scores; the first and the last one / MULTIPLE
        target_n, target_l: strides of target
        cells: of a copy
        ignore_index: label that does not count, with IGNORES
        smoothing: label smoothing of the cross-entropy, above 0 with SMOOTHED

    Constants:
        COPIES, BINS: number of copies, and of bins; of 0 bins nothing is counted
        PER_IMAGE: whether G is N
        MULTIPLE: a divisor of C and of strides: the compiler sees that they are multiples of it
        BLOCK_C, BLOCK_T: classes and pixels of a block
    """
    classes, stride_n, stride_l = classes * MULTIPLE, stride_n * MULTIPLE, stride_l * MULTIPLE
    image, pixel, inside = tile_of(length, BLOCK_T)
    labels, counted = load_labels(
        target, image * target_n + pixel * target_l, inside, ignore_index, IGNORES
    )
    column = scores + image * stride_n + pixel * stride_l
    pixels, options = (labels, counted, inside), (class_weight, smoothing)
    lse_parts, own, positive, bad, cross_entropy, w = scan_classes(
        column, pixels, options, classes, stride_c, CROSS_ENTROPY, SMOOTHED, False, BLOCK_C
    )
    at = image * length + pixel
    store_lse(lse + at, lse_parts, inside)
    if segment_ids is None:
        group = group_of(image, PER_IMAGE)
        bads = tl.sum(bad.to(tl.int32))
        tl.atomic_add(invalid + group, bads.to(tl.int64), mask=bads > 0, sem="relaxed")
    else:
        group = clouds_of(segment_ids, pixel, inside)
        tl.atomic_add(invalid + group, bad.to(tl.int64), mask=bad, sem="relaxed")

    if BINS > 0:
        copy = copies + (tl.program_id(0) % COPIES) * cells + group * classes * 2 * BINS
        add_positives(copy, labels, own, lse_parts, fixed_weight, at, positive, BINS)
    if CROSS_ENTROPY:
        times = positive.to(tl.float32)
        if pixel_weight is not None:
            times = tl.load(pixel_weight + at, mask=positive, other=0.0)
        store_sums(sums, cross_entropy * times, w * times)


@triton.jit
def scan_classes(
    column,  # where the scores of each pixel begin
    pixels,  # labels, which count, which exist
    options,  # of the cross-entropy: class weights, smoothing
    classes,
    stride_c,
    CROSS_ENTROPY: tl.constexpr,
    SMOOTHED: tl.constexpr,
    PTX: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """Log-sum-exp and own score of each pixel; which are of a class, and which are invalid.

    And the cross-entropy, and its weight, of those that are of a class.
    """
    labels, counted, inside = pixels
    class_weight, smoothing = options
    top = tl.full(labels.shape, LOWEST, tl.float32)
    total = tl.zeros(labels.shape, tl.float32)
    weighted = tl.zeros(labels.shape, tl.float32)
    weights = 0.0
    for start in range(0, classes, BLOCK_C):
        c = class_offsets(start, BLOCK_C)
        there = (c < classes) & inside[None, :]
        x = tl.load(column[None, :] + c * stride_c, mask=there, other=-float("inf"))
        x = x.to(tl.float32)
        higher = tl.maximum(top, tl.max(x, 0))
        parts = exp(x - higher[None, :], PTX)
        total = total * exp(top - higher, PTX) + tl.sum(parts, 0)
        top = higher
        if SMOOTHED:
            if class_weight is None:
                w = (c < classes).to(tl.float32)
            else:
                w = tl.load(class_weight + c, mask=c < classes, other=0.0)
            weights += tl.sum(w)
            weighted += tl.sum(tl.where(there, w * x, 0.0), 0)

    rest = tl.log(total)
    z = top + rest
    positive = counted & (labels >= 0) & (labels < classes)
    number = (z > -float("inf")) & (z < float("inf"))  # false for NaN
    bad = counted & ~(positive & number)
    own = tl.load(column + labels * stride_c, mask=positive, other=0.0).to(tl.float32)

    cross_entropy, w = tl.zeros(labels.shape, tl.float32), tl.zeros(labels.shape, tl.float32)
    if CROSS_ENTROPY:
        if class_weight is None:
            w = positive.to(tl.float32)
        else:
            w = tl.load(class_weight + labels, mask=positive, other=0.0)
        cross_entropy = (1.0 - smoothing) * w * (rest - (own - top))
        if SMOOTHED:
            cross_entropy += smoothing / classes * (z * weights - weighted)
        cross_entropy = tl.where(positive, cross_entropy, 0.0)
    return (top, rest), own, positive, bad, cross_entropy, w


@triton.jit
def store_lse(at, parts, inside):
    """Store the log-sum-exp of pixels, the sum of its parts."""
    top, rest = parts
    tl.store(at, top.to(tl.float64) + rest.to(tl.float64), mask=inside)


@triton.jit
def add_positives(copy, labels, own, lse, fixed_weight, at, positive, BINS: tl.constexpr):
    """Add pixels, or their weights, to the rows of the positives of their classes."""
    most, rest = lse
    cell = copy + (labels * 2 + 1) * BINS + bin_of_positive(own, most, rest, BINS, False)
    if fixed_weight is None:
        added = tl.full(own.shape, 1, copy.dtype.element_ty)
    else:
        added = tl.load(fixed_weight + at, mask=positive, other=0)
    tl.atomic_add(cell, added, mask=positive, sem="relaxed")
