"""The kernel of the second pass over soft labels: from slopes and sums to the gradient.

The derivative of a loss by the prediction p of a class is r = ±slope + a0 + a2 q + a3 sign(p - q) +
2 a4 p. With softmax that by the score is p (r - sum p r), in which r may be counted from anywhere,
as the p sum to 1. From the r of the largest p digits remain where that p is nearly 1.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from lovasz.kernels.triton import blocks
from lovasz.kernels.triton.formulas import bin_of, load_lse
from lovasz.kernels.triton.inputs import Clouds, CrossEntropy, SoftLabels
from lovasz.kernels.triton.soft_labels import (
    MAPS,
    is_under,
    load_soft,
    prediction_of,
    smooth,
    soft_error,
)
from lovasz.kernels.triton.tiles import class_offsets, clouds_of, group_of, tile_of


def backward_soft(
    scores: Tensor,
    gradient: Tensor,
    labels: SoftLabels,
    lse: Tensor,
    slopes: Tensor | None,
    factors: Tensor | None,
    link: str,
    per_image: bool,
    scale: Tensor | None,
    cross_entropy: CrossEntropy | None,
    pixel_weight: Tensor | None,
    clouds: Clouds | None,
    by_regions: Tensor | None,
) -> None:
    """Fill ``gradient``; slopes and factors are float32, weights (N, 1 or C, L)."""
    images, classes, length = scores.shape
    by_pixel = slopes is not None and slopes.dim() == 3
    class_weight, smoothing = (None, 0.0) if cross_entropy is None else cross_entropy
    multiple = blocks.multiple_of(scores, gradient)
    whole, block_c, block_t = blocks.whole_block(scores)
    unrolled = blocks.unrolled_block(scores) if link == "softmax" else 0
    if unrolled > 0 and classes <= blocks.UNROLLED_SOFT:
        block_c, block_t = 1, unrolled
    else:
        unrolled = 0
    regions = None if by_regions is None else by_regions.to(torch.float32).contiguous()
    weight = (0, 0, 0)
    if pixel_weight is not None:
        weight = pixel_weight.stride()
        weight = (weight[0], weight[1] if pixel_weight.shape[1] > 1 else 0, weight[2])
    backward_soft_kernel[(images * blocks.ceil_div(length, block_t),)](
        *(scores, gradient, labels.target, labels.mixture),
        lse.contiguous() if link == "softmax" else None,
        *(slopes, factors, regions, scale, class_weight, pixel_weight),
        None if clouds is None else clouds.ids,
        classes // multiple,
        length,
        *blocks.strides_in(scores, multiple),
        *labels.strides,
        *blocks.strides_in(gradient, multiple),
        *(slopes.stride() if slopes is not None and by_pixel else (0, 0, 0)),
        *weight,
        labels.ignore_index,
        labels.smoothing,
        smoothing,
        LINK=link,
        KIND=labels.kind,
        MAPS_OF=labels.maps,
        IGNORES=labels.ignores,
        BINS=0 if slopes is None or by_pixel else slopes.shape[3],
        PER_IMAGE=per_image,
        OF_IMAGES=by_regions is not None and len(by_regions) > 1,
        PTX=blocks.has_ptx(scores.device),
        WHOLE=whole,
        UNROLLED=classes if unrolled > 0 else 0,
        MULTIPLE=multiple,
        BLOCK_C=block_c,
        BLOCK_T=block_t,
        num_warps=blocks.WARPS,
    )


@triton.jit
def backward_soft_kernel(
    scores, gradient, target, mixture, lse, slopes, factors, regions, scale, class_weight,
    pixel_weight, segment_ids, classes, length, stride_n, stride_c, stride_l,
    target_n, target_c, target_l, out_n, out_c, out_l, slope_n, slope_c, slope_l,
    weight_n, weight_c, weight_l, ignore_index, label_smoothing, smoothing,
    LINK: tl.constexpr, KIND: tl.constexpr, MAPS_OF: tl.constexpr, IGNORES: tl.constexpr,
    BINS: tl.constexpr, PER_IMAGE: tl.constexpr, OF_IMAGES: tl.constexpr, PTX: tl.constexpr,
    WHOLE: tl.constexpr, UNROLLED: tl.constexpr, MULTIPLE: tl.constexpr,
    BLOCK_C: tl.constexpr, BLOCK_T: tl.constexpr,
):  # fmt: skip
    """Gradient of a tile of pixels, by blocks of classes, or class after class.

    Tensors:
        scores: (N, C, L) float32, bfloat16 or float16, any strides
        gradient: (N, C, L), written, any strides
        target: (N, C, L) floats, or integers 0 and 1; or (N, K, L) label maps; any strides
        mixture: (N, K) float32, contiguous, weights of the maps; or None
        lse: (N, L) float64, contiguous, with softmax; or None
        slopes: float32: (G, C, 2, B), contiguous, of the bins; or (N, C, L), any strides;
            or None, all 0
        factors: (G, C) float32, that of each class in the loss; or None, all 1
        regions: (1, N or clouds, C, 8) float32, contiguous: derivatives by the sums, of which those
            of p, p q, |p - q| and p p are read; or None, all 0
        scale: () float32, factor of the cross-entropy; or None, without it
        class_weight: (C,) float32, of the cross-entropy; or None, all 1
        pixel_weight: (N, 1 or C, L) of any float, any strides; or None, all 1
        segment_ids: (L,) int64, the group of each pixel; or None

    Numbers:
        classes, length: C / MULTIPLE and L
        stride_n, stride_c, stride_l: strides of scores; the first and the last one / MULTIPLE
        target_n, target_c, target_l: of target, from class to class or from map to map
        out_n, out_c, out_l: strides of gradient; the first and the last one / MULTIPLE
        slope_n, slope_c, slope_l: strides of slopes by pixel
        weight_n, weight_c, weight_l: of the weights
        ignore_index: label that does not count, with IGNORES
        label_smoothing, smoothing: of the labels, and of those of the cross-entropy

    Constants:
        LINK: how scores become predictions
        KIND, MAPS_OF: what labels are, and K
        BINS: B, or 0 with slopes by pixel or none
        PER_IMAGE, OF_IMAGES: whether G is N; whether images have regions of their own
        PTX: whether to use PTX
        WHOLE: whether a block holds all classes, whose scores and slopes are then read once;
            otherwise the sums come first, and the second reading is from the cache
        UNROLLED: C where a thread holds all classes of its pixels, with softmax; else 0
        MULTIPLE: a divisor of C and of strides: the compiler sees that they are multiples of it
        BLOCK_C, BLOCK_T: classes and pixels of a block
    """
    classes, stride_n, stride_l = classes * MULTIPLE, stride_n * MULTIPLE, stride_l * MULTIPLE
    out_n, out_l = out_n * MULTIPLE, out_l * MULTIPLE
    image, pixel, inside = tile_of(length, BLOCK_T)
    pixel, inside = pixel[None, :], inside[None, :]
    column = scores + image * stride_n + pixel * stride_l
    out = gradient + image * out_n + pixel * out_l
    if mixture is not None:
        mixture += image * MAPS_OF
    target += image * target_n + pixel * target_l
    # Where the slopes of a pixel begin, its derivatives by sums, and its weights.
    if segment_ids is None:
        first, place = group_of(image, PER_IMAGE) * classes, group_of(image, OF_IMAGES) * classes
    else:
        first = clouds_of(segment_ids, pixel, inside) * classes
        place = first
    if slopes is not None and BINS == 0:
        slopes += image * slope_n + pixel * slope_l
    if pixel_weight is not None:
        pixel_weight += image * weight_n + pixel * weight_l
    most, rest = _lse_of(lse, image * length + pixel, inside, BLOCK_T)
    labels = (target, mixture, target_c, ignore_index, label_smoothing, smoothing)
    rows = (column, stride_c, most, rest, pixel_weight, weight_c, inside, classes)
    tables = (slopes, slope_c, factors, first, regions, place, scale, class_weight)

    zero = tl.zeros((1, BLOCK_T), tl.float32)
    pivot, mean, share = zero, zero, zero
    if UNROLLED > 0:
        _unrolled(
            out, out_c, rows, labels, tables, LINK, KIND, MAPS_OF, IGNORES, BINS, PTX, UNROLLED
        )
    elif WHOLE:
        c = class_offsets(0, BLOCK_C)
        found = _derivatives(c, rows, labels, tables, LINK, KIND, MAPS_OF, IGNORES, BINS, PTX)
        if LINK == "softmax":
            _, pivot, mean, share, _ = _add_classes((zero - 1.0, zero, zero, zero, zero), found)
        _store(out, out_c, c, rows, found, (pivot, mean, share), LINK)
    else:
        if LINK == "softmax":
            top, pivot, mean, share, passed = zero - 1.0, zero, zero, zero, zero
            for start in range(0, classes, BLOCK_C):
                c = class_offsets(start, BLOCK_C)
                found = _derivatives(
                    c, rows, labels, tables, LINK, KIND, MAPS_OF, IGNORES, BINS, PTX
                )
                top, pivot, mean, share, passed = _add_classes(
                    (top, pivot, mean, share, passed), found
                )
        for start in range(0, classes, BLOCK_C):
            c = class_offsets(start, BLOCK_C)
            found = _derivatives(c, rows, labels, tables, LINK, KIND, MAPS_OF, IGNORES, BINS, PTX)
            _store(out, out_c, c, rows, found, (pivot, mean, share), LINK)


@triton.jit
def _lse_of(lse, at, inside, BLOCK_T: tl.constexpr):
    """Both parts of the log-sum-exp of pixels; zeros without softmax."""
    if lse is None:
        parts = tl.zeros((1, BLOCK_T), tl.float32), tl.zeros((1, BLOCK_T), tl.float32)
    else:
        parts = load_lse(lse + at, inside)
    return parts


@triton.jit
def _unrolled(
    out, out_c, rows, labels, tables,
    LINK: tl.constexpr, KIND: tl.constexpr, MAPS_OF: tl.constexpr, IGNORES: tl.constexpr,
    BINS: tl.constexpr, PTX: tl.constexpr, CLASSES: tl.constexpr,
):  # fmt: skip
    """The gradient with softmax, class after class."""
    ps, rs, owns, counts = (), (), (), ()
    for k in tl.static_range(CLASSES):
        c = class_offsets(k, 1)
        p, _, r, own, counted = _derivatives(
            c, rows, labels, tables, LINK, KIND, MAPS_OF, IGNORES, BINS, PTX
        )
        ps = ps + (p,)  # noqa: RUF005 (Triton unpacks no tuples)
        rs = rs + (r,)  # noqa: RUF005
        owns = owns + (own,)  # noqa: RUF005
        counts = counts + (counted,)  # noqa: RUF005
    zero = tl.zeros_like(rows[2])
    top, pivot, mean, share = zero - 1.0, zero, zero, zero
    for k in tl.static_range(CLASSES):
        pivot = tl.where(ps[k] > top, rs[k], pivot)
        top = tl.maximum(top, ps[k])
    for k in tl.static_range(CLASSES):
        mean += ps[k] * (rs[k] - pivot)
        share += owns[k]
    for k in tl.static_range(CLASSES):
        found = (ps[k], ps[k], rs[k], owns[k], counts[k])
        _store(out, out_c, class_offsets(k, 1), rows, found, (pivot, mean, share), LINK)


@triton.jit
def _derivatives(
    c, rows, labels, tables,
    LINK: tl.constexpr, KIND: tl.constexpr, MAPS_OF: tl.constexpr, IGNORES: tl.constexpr,
    BINS: tl.constexpr, PTX: tl.constexpr,
):  # fmt: skip
    """Of a block of classes: predictions, 1 less them, and derivatives by them; which count.

    With softmax also labels with the weights of the cross-entropy, without it its gradient.
    """
    column, stride_c, most, rest, _, _, inside, classes = rows
    target, mixture, target_c, ignore_index, label_smoothing, smoothing = labels
    slopes, slope_c, factors, first, regions, place, scale, class_weight = tables
    there = (c < classes) & inside
    read = inside if KIND == MAPS else there
    raw, q, counted, _ = load_soft(
        target, mixture, c, classes, target_c, read, ignore_index, label_smoothing,
        KIND, MAPS_OF, IGNORES,
    )  # fmt: skip
    counted = counted & there
    other = -float("inf") if LINK == "softmax" else 0.0
    x = tl.load(column + c * stride_c, mask=there, other=other).to(tl.float32)
    p, complement = prediction_of(x, most, rest, LINK, PTX)
    r = tl.zeros_like(p)
    if slopes is not None:
        under = is_under(p, q)
        if BINS == 0:
            slope = tl.load(slopes + c * slope_c, mask=there, other=0.0).to(tl.float32)
        else:
            error, rest_of_error = soft_error(p, complement, q)
            at = ((first + c) * 2 + under.to(tl.int64)) * BINS
            slope = tl.load(slopes + at + bin_of(error, rest_of_error, BINS), mask=there, other=0.0)
        if factors is not None:
            slope *= tl.load(factors + first + c, mask=c < classes, other=0.0)
        r += tl.where(under, -slope, slope)
    if regions is not None:
        r += _by_regions(regions + (place + c) * 8, p, q, c < classes)
    own = tl.zeros_like(p)
    if scale is not None:
        w = 1.0 if class_weight is None else tl.load(class_weight + c, mask=c < classes, other=0.0)
        if LINK == "softmax":
            own = tl.where(there, tl.load(scale) * w * smooth(raw, smoothing, classes), 0.0)
        else:
            own = tl.load(scale) * ((1.0 - q) * p - w * q * complement)
    return p, complement, r, own, counted


@triton.jit
def _by_regions(at, p, q, there):
    """What the losses by sums add to the derivatives by the predictions."""
    sign = tl.where(p > q, 1.0, tl.where(p < q, -1.0, 0.0))
    result = tl.load(at, mask=there, other=0.0) + tl.load(at + 2, mask=there, other=0.0) * q
    result += tl.load(at + 3, mask=there, other=0.0) * sign
    return result + 2.0 * tl.load(at + 4, mask=there, other=0.0) * p


@triton.jit
def _add_classes(before, found):
    """Largest p, its r, the sums of p (r - that r), of the labels' weights, and of p; so far."""
    top, pivot, mean, share, passed = before
    p, _, r, own, _ = found
    highest = tl.max(p, 0)[None, :]
    at_highest = tl.max(tl.where(p == highest, r, -float("inf")), 0)[None, :]
    above = highest > top
    origin = tl.where(above, at_highest, pivot)
    mean += passed * (pivot - origin) + tl.sum(p * (r - origin), 0)[None, :]
    share += tl.sum(own, 0)[None, :]
    passed += tl.sum(p, 0)[None, :]
    return tl.where(above, highest, top), origin, mean, share, passed


@triton.jit
def _store(out, out_c, c, rows, found, sums, LINK: tl.constexpr):
    """Store the gradient of a block of classes, 0 for pixels that do not count."""
    _, _, _, _, weight, weight_c, inside, classes = rows
    p, complement, r, own, counted = found
    if LINK == "softmax":
        pivot, mean, share = sums
        result = p * ((r - pivot) - mean) + (p * share - own)
    elif LINK == "sigmoid":
        result = r * p * complement + own
    else:
        result = r
    there = (c < classes) & inside
    if weight is not None:
        w = tl.load(weight + c * weight_c, mask=there, other=0.0).to(tl.float32)
        # Those of ignored pixels may be anything, and without weight so may their scores.
        result = tl.where(w != 0.0, w * result, 0.0)
    result = tl.where(counted, result, 0.0)
    tl.store(out + c * out_c, result.to(out.dtype.element_ty), mask=there)
