"""The kernel of the histogram of the negatives where pixels have weights, or clouds.

Neither registers nor cells of 32 bits count weights, which are integers in units of 2^-20, and
neighbours may be of different clouds: each is an atomic addition. Those of the first bin, in which
nearly all errors of a trained network are, are left to the host: what is in no other bin is in the
first.
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from lovasz.kernels.triton import blocks
from lovasz.kernels.triton.formulas import bin_of, load_lse, probability_of
from lovasz.kernels.triton.inputs import Clouds, Labels, Weights
from lovasz.kernels.triton.tiles import class_offsets, clouds_of, group_of, load_labels, tile_of


def histogram_weighted(
    scores: Tensor,
    labels: Labels,
    lse: Tensor,
    copies: Tensor,
    bins: int,
    per_image: bool,
    weights: Weights,
    clouds: Clouds | None,
) -> None:
    """Add the weights of the negatives to ``copies``, except those of the first bin."""
    images, classes, length = scores.shape
    block_c, block_t = blocks.loop_block(scores)
    tensors = (scores, labels.target, lse, copies, weights.fixed)
    segment_ids = None if clouds is None else clouds.ids
    histogram_weighted_kernel[(images * blocks.ceil_div(length, block_t),)](
        *tensors,
        segment_ids,
        classes,
        length,
        *scores.stride(),
        *labels.target.stride(),
        copies.shape[1],
        COPIES=copies.shape[0],
        BINS=bins,
        PER_IMAGE=per_image,
        BLOCK_C=block_c,
        BLOCK_T=block_t,
        num_warps=blocks.WARPS,
    )


@triton.jit
def histogram_weighted_kernel(
    scores, target, lse, copies, fixed_weight, segment_ids,
    classes, length, stride_n, stride_c, stride_l, target_n, target_l, cells,
    COPIES: tl.constexpr, BINS: tl.constexpr, PER_IMAGE: tl.constexpr,
    BLOCK_C: tl.constexpr, BLOCK_T: tl.constexpr,
):  # fmt: skip
    """Weights of the negatives of a tile of pixels, except those of the first bin.

    Tensors:
        scores: (N, C, L) float32, bfloat16 or float16, any strides
        target: (N, L) integers or bytes, any strides
        lse: (N, L) float64, contiguous
        copies: (copies, G · C · 2 · B) int64, units of 2^-20 are added
        fixed_weight: (N, L) int64, in units of 2^-20 or 1, 0 where ignored
        segment_ids: (L,) int64, the group of each pixel; or None

    Numbers:
        classes, length: C and L
        stride_n, stride_c, stride_l, target_n, target_l: strides of scores and target
        cells: of a copy

    Constants:
        COPIES, BINS: number of copies, and of bins
        PER_IMAGE: whether G is N
        BLOCK_C, BLOCK_T: classes and pixels of a block
    """
    image, pixel, inside = tile_of(length, BLOCK_T)
    labels, _ = load_labels(target, image * target_n + pixel * target_l, inside, 0, False)
    at = image * length + pixel
    w = tl.load(fixed_weight + at, mask=inside, other=0)
    most, rest = load_lse(lse + at, inside)
    column = scores + image * stride_n + pixel * stride_l
    if segment_ids is None:
        group = group_of(image, PER_IMAGE)
    else:
        group = clouds_of(segment_ids, pixel, inside)[None, :]
    copy = copies + (tl.program_id(0) % COPIES) * cells + group * classes * 2 * BINS
    for start in range(0, classes, BLOCK_C):
        c = class_offsets(start, BLOCK_C)
        there = (c < classes) & inside[None, :]
        x = tl.load(column[None, :] + c * stride_c, mask=there, other=0.0).to(tl.float32)
        p = probability_of(x, most[None, :], rest[None, :], False)
        b = bin_of(p, 1.0 - p, BINS)
        added = there & (labels[None, :] != c) & (w[None, :] > 0) & (b > 0)
        tl.atomic_add(
            copy + c * 2 * BINS + b,
            tl.broadcast_to(w[None, :], b.shape),
            mask=added,
            sem="relaxed",
        )
