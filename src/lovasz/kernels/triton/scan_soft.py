"""The kernel that reads soft labels of classes that exclude each other, before their histogram.

It has all classes of its pixels, and so their log-sum-exp, the cross-entropy, and whether the
labels of a pixel sum to 1.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from lovasz.kernels.triton import blocks
from lovasz.kernels.triton.formulas import exp
from lovasz.kernels.triton.inputs import Clouds, CrossEntropy, SoftLabels, SoftWeights
from lovasz.kernels.triton.lse_and_positives import LOWEST, store_lse
from lovasz.kernels.triton.soft_labels import (
    MAPS,
    NUMBERS,
    TOLERANCE,
    load_soft,
    smooth,
)
from lovasz.kernels.triton.tiles import class_offsets, clouds_of, group_of, store_sums, tile_of


def scan_soft(
    scores: Tensor,
    labels: SoftLabels,
    invalid: Tensor,
    per_image: bool,
    link: str,
    cross_entropy: CrossEntropy | None,
    weights: SoftWeights | None,
    clouds: Clouds | None,
) -> tuple[Tensor | None, Tensor]:
    """Log-sum-exp of softmax, and cross-entropy; adds invalid pixels to ``invalid``."""
    images, classes, length = scores.shape
    softmax = link == "softmax"
    block_c, block_t = blocks.loop_block(scores)
    programs = images * blocks.ceil_div(length, block_t)
    lse = scores.new_empty((images, length), dtype=torch.float64) if softmax else None
    sums = blocks.new_sums(scores, programs, cross_entropy is not None)
    class_weight, smoothing = (None, 0.0) if cross_entropy is None else cross_entropy
    multiple = blocks.multiple_of(scores)
    scan_soft_kernel[(programs,)](
        *(scores, labels.target, labels.mixture, lse, invalid, sums, class_weight),
        None if weights is None else weights.weight,
        None if clouds is None else clouds.ids,
        classes // multiple,
        length,
        *blocks.strides_in(scores, multiple),
        *labels.strides,
        *((0, 0) if weights is None else weights.strides[:3:2]),
        labels.ignore_index,
        smoothing,
        KIND=labels.kind,
        MAPS_OF=labels.maps,
        IGNORES=labels.ignores,
        PER_IMAGE=per_image,
        CROSS_ENTROPY=cross_entropy is not None,
        MULTIPLE=multiple,
        BLOCK_C=block_c,
        BLOCK_T=block_t,
        num_warps=blocks.WARPS,
    )
    return lse, blocks.add_sums(sums)


@triton.jit
def scan_soft_kernel(
    scores, target, mixture, lse, invalid, sums, class_weight, pixel_weight, segment_ids,
    classes, length, stride_n, stride_c, stride_l, target_n, target_c, target_l,
    weight_n, weight_l, ignore_index, smoothing,
    KIND: tl.constexpr, MAPS_OF: tl.constexpr, IGNORES: tl.constexpr, PER_IMAGE: tl.constexpr,
    CROSS_ENTROPY: tl.constexpr, MULTIPLE: tl.constexpr, BLOCK_C: tl.constexpr,
    BLOCK_T: tl.constexpr,
):  # fmt: skip
    """Log-sum-exp, invalid pixels and cross-entropy of a tile of pixels with soft labels.

    Tensors:
        scores: (N, C, L) float32, bfloat16 or float16, any strides
        target: (N, C, L) floats, or (N, K, L) label maps, any strides
        mixture: (N, K) float32, contiguous, weights of the maps; or None
        lse: (N, L) float64, written: log-sum-exp over the classes; or None, without softmax
        invalid: (G,) int64, added to: pixels whose labels or scores are none
        sums: (programs, 2) float64, written with CROSS_ENTROPY: its sum and that of its weights
        class_weight: (C,) float32, of the cross-entropy; or None, all 1
        pixel_weight: (N, 1, L) float32, any strides; or None, all 1
        segment_ids: (L,) int64, the group of each pixel; or None

    Numbers:
        classes, length: C / MULTIPLE and L
        stride_n, stride_c, stride_l: strides of scores; the first and the last one / MULTIPLE
        target_n, target_c, target_l: of target, from class to class or from map to map
        weight_n, weight_l: of the weights
        ignore_index: label that does not count, with IGNORES
        smoothing: label smoothing of the cross-entropy

    Constants:
        KIND, MAPS_OF: what labels are, and K
        PER_IMAGE: whether G is N
        MULTIPLE: a divisor of C and of strides: the compiler sees that they are multiples of it
        BLOCK_C, BLOCK_T: classes and pixels of a block
    """
    classes, stride_n, stride_l = classes * MULTIPLE, stride_n * MULTIPLE, stride_l * MULTIPLE
    image, pixel, inside = tile_of(length, BLOCK_T)
    column = scores + image * stride_n + pixel * stride_l
    row = (target + image * target_n + pixel * target_l)[None, :]
    if mixture is not None:
        mixture += image * MAPS_OF
    w = inside.to(tl.float32)
    if pixel_weight is not None:
        at = pixel_weight + image * weight_n + pixel * weight_l
        w = tl.load(at, mask=inside, other=0.0)
    zeros = tl.zeros((BLOCK_T,), tl.float32)
    mass, valid, wrong = zeros, tl.zeros((BLOCK_T,), tl.int32), tl.zeros((BLOCK_T,), tl.int32)
    # Largest score, the sum of exponentials less it; class weights, and with them scores less it.
    top, total, shares, weighted = tl.full((BLOCK_T,), LOWEST, tl.float32), zeros, zeros, zeros
    for start in range(0, classes, BLOCK_C):
        c = class_offsets(start, BLOCK_C)
        there = (c < classes) & inside[None, :]
        read = inside[None, :] if KIND == MAPS else there
        raw, _, counted, bad = load_soft(
            row, mixture, c, classes, target_c, read, ignore_index, 0.0, KIND, MAPS_OF, IGNORES
        )
        mass += tl.sum(tl.where(there, raw, 0.0), 0)
        valid = tl.maximum(valid, tl.max((there & counted).to(tl.int32), 0))
        wrong = tl.maximum(wrong, tl.max((there & bad).to(tl.int32), 0))
        if lse is not None:
            x = tl.load(column[None, :] + c * stride_c, mask=there, other=-float("inf"))
            x = x.to(tl.float32)
            higher = tl.maximum(top, tl.max(x, 0))
            total = total * exp(top - higher, False)
            total += tl.sum(exp(x - higher[None, :], False), 0)
            if CROSS_ENTROPY:
                share = smooth(raw, smoothing, classes)
                if class_weight is not None:
                    share *= tl.load(class_weight + c, mask=c < classes, other=0.0)
                share = tl.where(there, share, 0.0)
                # Of terms of one sign, so that no digits are lost.
                weighted = tl.where(shares > 0.0, weighted + shares * (top - higher), 0.0)
                far = tl.where(share > 0.0, share * (x - higher[None, :]), 0.0)
                weighted += tl.sum(far, 0)
                shares += tl.sum(share, 0)
            top = higher

    counts = valid > 0
    if (KIND == NUMBERS) & (pixel_weight is not None):
        counts = counts & (w != 0.0)
    fault = (wrong > 0) | (mass > 1.0 + TOLERANCE)
    if lse is not None:
        rest = tl.log(total)
        store_lse(lse + image * length + pixel, (top, rest), inside)
        z = top + rest
        fault = fault | ~((z > -float("inf")) & (z < float("inf")))  # NaN is neither
        if CROSS_ENTROPY:
            times = tl.where(counts, w, 0.0)
            store_sums(sums, tl.where(counts, times * (shares * rest - weighted), 0.0), times)
    _add_faults(invalid, counts & fault, segment_ids, image, pixel, inside, PER_IMAGE)


@triton.jit
def _add_faults(invalid, fault, segment_ids, image, pixel, inside, PER_IMAGE: tl.constexpr):
    """Count the faults of each group."""
    if segment_ids is None:
        faults = tl.sum(fault.to(tl.int64))
        at = invalid + group_of(image, PER_IMAGE)
        tl.atomic_add(at, faults, mask=faults > 0, sem="relaxed")
    else:
        at = invalid + clouds_of(segment_ids, pixel, inside)
        tl.atomic_add(at, fault.to(tl.int64), mask=fault, sem="relaxed")
