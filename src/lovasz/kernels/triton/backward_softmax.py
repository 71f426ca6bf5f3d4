"""The kernel of the backward pass with softmax for any number of classes and any strides.

It computes what ``backward_unrolled`` computes, of a block of classes and pixels at a time.
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from lovasz.kernels.triton import blocks
from lovasz.kernels.triton.backward_unrolled import (
    cross_entropy_of,
    derivatives_of,
    positives_of,
)
from lovasz.kernels.triton.formulas import load_lse
from lovasz.kernels.triton.inputs import Clouds, CrossEntropy, Labels
from lovasz.kernels.triton.tiles import class_offsets, clouds_of, group_of, load_labels, tile_of


def backward_softmax(
    scores: Tensor,
    gradient: Tensor,
    labels: Labels,
    lse: Tensor,
    slopes: Tensor | None,
    factors: Tensor | None,
    per_image: bool,
    scale: Tensor | None,
    cross_entropy: CrossEntropy | None,
    clouds: Clouds | None,
) -> None:
    """Fill ``gradient``; slopes and factors are float32, as the kernel reads them."""
    images, classes, length = scores.shape
    by_pixel = slopes is not None and slopes.dim() == 3
    class_weight, smoothing = (None, 0.0) if cross_entropy is None else cross_entropy
    weight_sum = None if class_weight is None else class_weight.sum()
    multiple = blocks.multiple_of(scores, gradient)
    whole, block_c, block_t = blocks.whole_block(scores)
    tensors = (scores, gradient, labels.target, lse.contiguous(), slopes, factors, scale)
    backward_softmax_kernel[(images * blocks.ceil_div(length, block_t),)](
        *tensors,
        class_weight,
        weight_sum,
        None if clouds is None else clouds.ids,
        classes // multiple,
        length,
        *blocks.strides_in(scores, multiple),
        *labels.target.stride(),
        *blocks.strides_in(gradient, multiple),
        *(slopes.stride() if slopes is not None and by_pixel else (0, 0, 0)),
        labels.ignore_index,
        smoothing,
        BINS=0 if slopes is None or by_pixel else slopes.shape[3],
        IGNORES=labels.ignores,
        PER_IMAGE=per_image,
        PTX=blocks.has_ptx(scores.device),
        WHOLE=whole,
        MULTIPLE=multiple,
        BLOCK_C=block_c,
        BLOCK_T=block_t,
        num_warps=blocks.WARPS,
    )


@triton.jit
def backward_softmax_kernel(
    scores, gradient, target, lse, slopes, factors, scale, class_weight, weight_sum,
    segment_ids, classes, length, stride_n, stride_c, stride_l, target_n, target_l,
    out_n, out_c, out_l, slope_n, slope_c, slope_l, ignore_index, smoothing,
    BINS: tl.constexpr, IGNORES: tl.constexpr, PER_IMAGE: tl.constexpr, PTX: tl.constexpr,
    WHOLE: tl.constexpr, MULTIPLE: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_T: tl.constexpr,
):  # fmt: skip
    """Gradient of a tile of pixels, by blocks of classes.

    Tensors:
        scores: (N, C, L) float32, bfloat16 or float16, any strides
        gradient: (N, C, L), written, any strides; of float32 where weights are yet to multiply it
        target: (N, L) integers or bytes, any strides
        lse: (N, L) float64, contiguous
        slopes: float32: (G, C, 2, B), contiguous, of the bins; or (N, C, L), any strides;
            or None, all 0
        factors: (G, C) float32, that of each class in the loss; or None, all 1
        scale: () float32, factor of the cross-entropy; or None, without it
        class_weight, weight_sum: (C,) and () float32, of the cross-entropy; or None, all 1
        segment_ids: (L,) int64, the group of each pixel; or None

    Numbers:
        classes, length: C / MULTIPLE and L
        stride_n, stride_c, stride_l: strides of scores; the first and the last one / MULTIPLE
        target_n, target_l: strides of target
        out_n, out_c, out_l: strides of gradient; the first and the last one / MULTIPLE
        slope_n, slope_c, slope_l: strides of slopes by pixel
        ignore_index: label that does not count, with IGNORES
        smoothing: label smoothing of the cross-entropy

    Constants:
        BINS: B, or 0 with slopes by pixel or none
        PER_IMAGE: whether G is N
        PTX: whether to use PTX
        WHOLE: whether a block holds all classes, whose scores and slopes are then read once;
            otherwise the sum comes first, and the second reading is from the cache
        MULTIPLE: a divisor of C and of strides: the compiler sees that they are multiples of it
        BLOCK_C, BLOCK_T: classes and pixels of a block
    """
    classes, stride_n, stride_l = classes * MULTIPLE, stride_n * MULTIPLE, stride_l * MULTIPLE
    out_n, out_l = out_n * MULTIPLE, out_l * MULTIPLE
    image, pixel, inside = tile_of(length, BLOCK_T)
    column = scores + image * stride_n + pixel * stride_l
    out = gradient + image * out_n + pixel * out_l
    # Where the slopes of a pixel begin: its own, or those of the bins of its group.
    if segment_ids is None:
        first = group_of(image, PER_IMAGE) * classes
    else:
        first = clouds_of(segment_ids, pixel, inside) * classes
    if slopes is None:
        rows = None
    elif BINS == 0:
        rows = slopes + image * slope_n + pixel * slope_l
    else:
        rows = slopes + first * 2 * BINS + pixel * 0
    factor = None if factors is None else factors + first
    target = target + image * target_n + pixel * target_l
    lse = lse + image * length + pixel
    labels, counted = load_labels(target, 0, inside, ignore_index, IGNORES)
    most, rest = load_lse(lse, inside)
    label, slope = positives_of(
        column, rows, factor, labels, counted, (most, rest), classes, stride_c, BINS, PTX
    )
    own, common, share = cross_entropy_of(
        scale, class_weight, weight_sum, label, classes, smoothing
    )

    pixels, added = (most, rest, label, slope, inside), (own, share, class_weight)
    strides, written = (stride_c, slope_c), (label, counted, inside)
    if segment_ids is not None and factors is not None:
        factor = factors + first[None, :]
    if WHOLE:
        c = class_offsets(0, BLOCK_C)
        p, s = _read(column, rows, factor, pixels, c, classes, strides, BINS, PTX)
        excess = tl.sum(p * s, 0) - common
        _write(out, p, s, excess, added, written, c, classes, out_c, scale is not None)
    else:
        # Added up over the classes once: they may be those of several threads.
        products = tl.zeros((BLOCK_C, BLOCK_T), tl.float32)
        if rows is not None:
            for start in range(0, classes, BLOCK_C):
                c = class_offsets(start, BLOCK_C)
                p, s = _read(column, rows, factor, pixels, c, classes, strides, BINS, PTX)
                products += p * s
        sum_ps = tl.sum(products, 0)
        for start in range(0, classes, BLOCK_C):
            c = class_offsets(start, BLOCK_C)
            p, s = _read(column, rows, factor, pixels, c, classes, strides, BINS, PTX)
            excess = sum_ps - common
            _write(out, p, s, excess, added, written, c, classes, out_c, scale is not None)


@triton.jit
def _read(column, rows, factor, pixels, c, classes, strides, BINS: tl.constexpr, PTX: tl.constexpr):
    """``derivatives_of`` of a block of classes."""
    most, rest, label, slope, inside = pixels
    stride_c, slope_c = strides
    # Scores are loaded by a mask that is regular, so that neighbours are loaded at once.
    there = (c < classes) & inside[None, :]
    x = tl.load(column[None, :] + c * stride_c, mask=there, other=-float("inf")).to(tl.float32)
    # One for each class, or with clouds for each class and pixel.
    rate = 1.0 if factor is None else tl.load(factor + c, mask=c < classes, other=0.0)
    pixels = (most[None, :], rest[None, :], label[None, :], slope[None, :], there)
    rows = None if rows is None else rows[None, :]
    return derivatives_of(x, rows, rate, pixels, c, slope_c, BINS, PTX)


@triton.jit
def _write(
    out,
    p,
    s,
    excess,  # sum p s - common
    added,  # by cross-entropy: own, share and class weights
    pixels,  # label, which count, which exist
    c,
    classes,
    out_c,
    CROSS_ENTROPY: tl.constexpr,
):
    """Store the gradient of a block of classes, 0 for pixels that do not count."""
    label, counted, inside = pixels
    own, share, class_weight = added
    result = p * (s - excess[None, :])
    if CROSS_ENTROPY:
        if class_weight is None:
            w = 1.0
        else:
            w = tl.load(class_weight + c, mask=c < classes, other=0.0)
        result -= tl.where(label[None, :] == c, own[None, :], 0.0) + share * w
    result = tl.where(counted[None, :], result, 0.0)
    there = (c < classes) & inside[None, :]
    tl.store(out[None, :] + c * out_c, result.to(out.dtype.element_ty), mask=there)
