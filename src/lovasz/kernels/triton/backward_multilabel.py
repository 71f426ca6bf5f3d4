"""The backward pass of multilabel channels, and of classes with probabilities."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from lovasz.kernels.triton import blocks
from lovasz.kernels.triton.formulas import bin_of_margin, derivative_of, error_of
from lovasz.kernels.triton.inputs import Clouds, CrossEntropy, Labels
from lovasz.kernels.triton.tiles import clouds_of, group_of, load_multilabel


def backward_multilabel(
    scores: Tensor,
    gradient: Tensor,
    labels: Labels,
    link: str,
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
    block_c, block_t = blocks.loop_block(scores)
    programs = images * blocks.ceil_div(classes, block_c) * blocks.ceil_div(length, block_t)
    class_weight = None if cross_entropy is None else cross_entropy.class_weight
    tensors = (scores, gradient, labels.target, slopes, factors, scale, class_weight)
    backward_multilabel_kernel[(programs,)](
        *tensors,
        None if clouds is None else clouds.ids,
        classes,
        length,
        *scores.stride(),
        *labels.strides,
        *gradient.stride(),
        *(slopes.stride() if slopes is not None and by_pixel else (0, 0, 0)),
        labels.ignore_index,
        LINK=link,
        BINS=0 if slopes is None or by_pixel else slopes.shape[3],
        IGNORES=labels.ignores,
        PER_IMAGE=per_image,
        BLOCK_C=block_c,
        BLOCK_T=block_t,
        num_warps=blocks.WARPS,
    )


@triton.jit
def backward_multilabel_kernel(
    scores, gradient, target, slopes, factors, scale, class_weight, segment_ids,
    classes, length, stride_n, stride_c, stride_l, target_n, target_c, target_l,
    out_n, out_c, out_l, slope_n, slope_c, slope_l, ignore_index,
    LINK: tl.constexpr, BINS: tl.constexpr, IGNORES: tl.constexpr, PER_IMAGE: tl.constexpr,
    BLOCK_C: tl.constexpr, BLOCK_T: tl.constexpr,
):  # fmt: skip
    """Gradient of a tile of pixels and channels.

    Tensors:
        scores: (N, C, L) float32, bfloat16 or float16, any strides
        gradient: (N, C, L), written, any strides; of float32 where weights are yet to multiply it
        target: (N, C, L), or (N, L) of classes, integers or bytes, any strides
        slopes: float32: (G, C, 2, B), contiguous, of the bins; or (N, C, L), any strides;
            or None, all 0
        factors: (G, C) float32, that of each class in the loss; or None, all 1
        scale: () float32, factor of the cross-entropy; or None, without it
        class_weight: (C,) float32, of positives in the cross-entropy; or None, all 1
        segment_ids: (L,) int64, the group of each pixel; or None

    Numbers:
        classes, length: C and L
        stride_n, stride_c, stride_l, target_n, target_c, target_l: strides of scores and target
        out_n, out_c, out_l: strides of gradient
        slope_n, slope_c, slope_l: strides of slopes by pixel
        ignore_index: label that does not count, with IGNORES

    Constants:
        LINK: how scores become errors
        BINS: B, or 0 with slopes by pixel or none
        PER_IMAGE: whether G is N
        BLOCK_C, BLOCK_T: channels and pixels of a tile
    """
    shape, strides = (classes, length), (stride_n, stride_c, stride_l)
    target_strides = (target_n, target_c, target_l)
    image, c, pixel, inside, counted, positive, margin = load_multilabel(
        scores,
        target,
        shape,
        strides,
        target_strides,
        ignore_index,
        LINK,
        IGNORES,
        BLOCK_C,
        BLOCK_T,
    )
    if segment_ids is None:
        row = group_of(image, PER_IMAGE) * classes + c
    else:
        row = clouds_of(segment_ids, pixel, pixel < length) * classes + c
    if slopes is None:
        slope = tl.zeros_like(margin)
    else:
        if BINS == 0:
            at = image * slope_n + c * slope_c + pixel * slope_l
        else:
            bins = bin_of_margin(margin, LINK, BINS)
            at = (row * 2 + positive.to(tl.int64)) * BINS + bins
        slope = tl.load(slopes + at, mask=counted, other=0.0)
    if factors is not None:
        slope *= tl.load(factors + row, mask=c < classes, other=0.0)
    result = slope * derivative_of(margin, LINK)
    if scale is not None:
        own = (
            1.0 if class_weight is None else tl.load(class_weight + c, mask=c < classes, other=0.0)
        )
        missed = tl.where(positive, own, 1.0) * error_of(margin, "sigmoid")
        result += tl.load(scale) * missed
    # The error of a positive falls as its score rises.
    result = tl.where(counted, tl.where(positive, -result, result), 0.0)
    at = image * out_n + c * out_c + pixel * out_l
    tl.store(gradient + at, result.to(gradient.dtype.element_ty), mask=inside)
