"""The kernel of the backward pass with softmax for few classes whose pixels are neighbours.

The gradient of score c is p_c (s_c - sum p s), where s are the derivatives of the losses by the
probabilities, and what cross-entropy adds: p_c * common - [c = y] own - share * w_c. Here a thread
holds all scores of its pixels, and the loop over the classes is unrolled.
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from lovasz.kernels.triton import blocks
from lovasz.kernels.triton.formulas import bin_of, bin_of_positive, load_lse, probability_of
from lovasz.kernels.triton.inputs import CrossEntropy, Labels
from lovasz.kernels.triton.tiles import group_of, load_labels, tile_of


def backward_unrolled(
    scores: Tensor,
    gradient: Tensor,
    labels: Labels,
    lse: Tensor,
    slopes: Tensor | None,
    factors: Tensor | None,
    per_image: bool,
    scale: Tensor | None,
    cross_entropy: CrossEntropy | None,
    block_t: int,
) -> None:
    """Fill ``gradient``; slopes and factors are float32, as the kernel reads them."""
    images, classes, length = scores.shape
    by_pixel = slopes is not None and slopes.dim() == 3
    class_weight, smoothing = (None, 0.0) if cross_entropy is None else cross_entropy
    weight_sum = None if class_weight is None else class_weight.sum()
    tensors = (scores, gradient, labels.target, lse.contiguous(), slopes, factors, scale)
    backward_unrolled_kernel[(images * blocks.ceil_div(length, block_t),)](
        *tensors,
        class_weight,
        weight_sum,
        length,
        *scores.stride(),
        *labels.target.stride(),
        *gradient.stride(),
        *(slopes.stride() if slopes is not None and by_pixel else (0, 0, 0)),
        labels.ignore_index,
        smoothing,
        CLASSES=classes,
        BINS=0 if slopes is None or by_pixel else slopes.shape[3],
        IGNORES=labels.ignores,
        PER_IMAGE=per_image,
        PTX=blocks.has_ptx(scores.device),
        BLOCK_T=block_t,
        num_warps=blocks.WARPS,
    )


@triton.jit
def backward_unrolled_kernel(
    scores, gradient, target, lse, slopes, factors, scale, class_weight, weight_sum,
    length, stride_n, stride_c, stride_l, target_n, target_l, out_n, out_c, out_l,
    slope_n, slope_c, slope_l, ignore_index, smoothing,
    CLASSES: tl.constexpr, BINS: tl.constexpr, IGNORES: tl.constexpr, PER_IMAGE: tl.constexpr,
    PTX: tl.constexpr, BLOCK_T: tl.constexpr,
):  # fmt: skip
    """Gradient of a tile of pixels, class after class.

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

    Numbers:
        length: L
        stride_n, stride_c, stride_l, target_n, target_l: strides of scores and target
        out_n, out_c, out_l: strides of gradient
        slope_n, slope_c, slope_l: strides of slopes by pixel
        ignore_index: label that does not count, with IGNORES
        smoothing: label smoothing of the cross-entropy

    Constants:
        CLASSES, BINS: C, and B or 0 with slopes by pixel or none
        PER_IMAGE: whether G is N
        PTX: whether to use PTX
        BLOCK_T: pixels of a tile
    """
    image, pixel, inside = tile_of(length, BLOCK_T)
    column = scores + image * stride_n + pixel * stride_l
    out = gradient + image * out_n + pixel * out_l
    # Where the slopes of a pixel begin: its own, or those of the bins of its group.
    first = group_of(image, PER_IMAGE) * CLASSES
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
        column, rows, factor, labels, counted, (most, rest), CLASSES, stride_c, BINS, PTX
    )
    own, common, share = cross_entropy_of(
        scale, class_weight, weight_sum, label, CLASSES, smoothing
    )

    # In 64 bits, as the last class may begin beyond 2^31 elements.
    zero = image * 0
    sum_ps = tl.zeros((BLOCK_T,), tl.float32)
    probabilities, derivatives = (), ()
    pixels = (most, rest, label, slope, inside)
    for c in tl.static_range(CLASSES):
        x = tl.load(column + (zero + c) * stride_c, mask=inside, other=-float("inf")).to(tl.float32)
        rate = 1.0 if factor is None else tl.load(factor + c)
        p, s = derivatives_of(x, rows, rate, pixels, zero + c, slope_c, BINS, PTX)
        sum_ps += p * s
        probabilities = probabilities + (p,)  # noqa: RUF005 (Triton unpacks no tuples)
        derivatives = derivatives + (s,)  # noqa: RUF005
    for c in tl.static_range(CLASSES):
        result = probabilities[c] * (derivatives[c] - (sum_ps - common))
        if scale is not None:
            w = 1.0 if class_weight is None else tl.load(class_weight + c)
            result -= tl.where(label == c, own, 0.0) + share * w
        result = tl.where(counted, result, 0.0)
        tl.store(out + (zero + c) * out_c, result.to(out.dtype.element_ty), mask=inside)


@triton.jit
def positives_of(
    column,
    rows,
    factor,
    labels,
    counted,
    lse,  # both parts
    classes,
    stride_c,
    BINS: tl.constexpr,
    PTX: tl.constexpr,
):
    """Class of each pixel, -1 if it is of none, and its slope as a positive of that class.

    A pixel is a positive of one class alone: what is needed for that is computed once for a pixel.
    """
    known = counted & (labels >= 0) & (labels < classes)
    most, rest = lse
    slope = most * 0.0
    if BINS > 0:
        x = tl.load(column + labels * stride_c, mask=known, other=0.0).to(tl.float32)
        row = rows + (labels * 2 + 1) * BINS
        slope = tl.load(row + bin_of_positive(x, most, rest, BINS, PTX), mask=known, other=0.0)
        if factor is not None:
            slope *= tl.load(factor + labels, mask=known, other=0.0)
    return tl.where(known, labels, -1).to(tl.int32), slope


@triton.jit
def cross_entropy_of(scale, class_weight, weight_sum, label, classes, smoothing):
    """What cross-entropy adds: own, common and share of the sum above."""
    own = tl.zeros(label.shape, tl.float32)
    common, share = own, 0.0
    if scale is not None:
        factor = tl.load(scale)
        share = factor * smoothing / classes
        if class_weight is None:
            w, total = own + 1.0, classes * 1.0
        else:
            w = tl.load(class_weight + label, mask=label >= 0, other=0.0)
            total = tl.load(weight_sum)
        own = factor * (1.0 - smoothing) * w
        common = own + share * total
    return own, common, share


@triton.jit
def derivatives_of(x, rows, rate, pixels, c, slope_c, BINS: tl.constexpr, PTX: tl.constexpr):
    """Probabilities, and the derivatives of the losses by them."""
    most, rest, label, slope, there = pixels
    p = probability_of(x, most, rest, PTX)
    # The error of a positive falls as its probability rises.
    if rows is None:
        s = tl.zeros_like(p)
    elif BINS == 0:
        s = tl.load(rows + c * slope_c, mask=there, other=0.0) * rate
        s = tl.where(label == c, -s, s)
    else:
        s = tl.load(rows + 2 * c * BINS + bin_of(p, 1.0 - p, BINS), mask=there, other=0.0) * rate
        s = tl.where(label == c, -slope, s)
    return p, s
