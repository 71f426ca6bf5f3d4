"""The kernels of the second pass: from slopes to the gradient of the scores.

The gradient of score c is p_c (s_c - sum p s), where s are the derivatives of the losses by the
probabilities, and what cross-entropy adds: p_c * common - [c = y] own - share * w_c. There are two
kernels for it. Where pixels are neighbours in memory and classes are few, a thread holds all the
scores of its pixels; else a program holds a block of them.
"""

from __future__ import annotations

import triton
import triton.language as tl

from lovasz.kernels.triton.pixels import (
    bin_of,
    class_offsets,
    load_labels,
    positive_bin_of,
    root_of,
    tile_of,
)


@triton.jit
def push_columns(
    scores, gradient, target, lse, slopes, factors, scale, weight, weights,
    length, stride_n, stride_c, stride_l, target_n, target_l, out_n, out_c, out_l,
    slope_n, slope_c, slope_l, ignore_index, smoothing,
    CLASSES: tl.constexpr, BINS: tl.constexpr, IGNORES: tl.constexpr, PER_IMAGE: tl.constexpr,
    RANKED: tl.constexpr, PTX: tl.constexpr, BLOCK_T: tl.constexpr,
):  # fmt: skip
    """Gradient of a tile of pixels, class after class."""
    image, pixel, inside = tile_of(length, BLOCK_T)
    column = scores + image * stride_n + pixel * stride_l
    out = gradient + image * out_n + pixel * out_l
    table = _table(slopes, image, pixel, CLASSES, slope_n, slope_l, BINS, PER_IMAGE, RANKED)
    factor = _factor(factors, image, CLASSES, PER_IMAGE)
    label, counted, z, slope = _look(
        column, table, factor, target + image * target_n + pixel * target_l,
        lse + image * length + pixel, inside, CLASSES, stride_c, ignore_index, BINS, IGNORES,
        RANKED, PTX,
    )  # fmt: skip
    own, common, share = _entropy(scale, weight, weights, label, CLASSES, smoothing)

    # In 64 bits, as the last class may begin beyond 2^31 elements.
    zero = image * 0
    sum_ps = tl.zeros((BLOCK_T,), tl.float32)
    probabilities, derivatives = (), ()
    for c in tl.static_range(CLASSES):
        x = tl.load(column + (zero + c) * stride_c, mask=inside, other=-float("inf")).to(tl.float32)
        rate = 1.0 if factor is None else tl.load(factor + c)
        p, s = _derivatives(
            x, z, label, slope, table, rate, zero + c, slope_c, inside, BINS, RANKED, PTX
        )
        sum_ps += p * s
        probabilities = probabilities + (p,)  # noqa: RUF005 (Triton unpacks no tuples)
        derivatives = derivatives + (s,)  # noqa: RUF005
    for c in tl.static_range(CLASSES):
        result = probabilities[c] * (derivatives[c] - (sum_ps - common))
        if scale is not None:
            w = 1.0 if weight is None else tl.load(weight + c)
            result -= tl.where(label == c, own, 0.0) + share * w
        result = tl.where(counted, result, 0.0)
        tl.store(out + (zero + c) * out_c, result.to(out.dtype.element_ty), mask=inside)


@triton.jit
def push(
    scores, gradient, target, lse, slopes, factors, scale, weight, weights,
    classes, length, stride_n, stride_c, stride_l, target_n, target_l, out_n, out_c, out_l,
    slope_n, slope_c, slope_l, ignore_index, smoothing,
    BINS: tl.constexpr, IGNORES: tl.constexpr, PER_IMAGE: tl.constexpr, RANKED: tl.constexpr,
    PTX: tl.constexpr, WHOLE: tl.constexpr, UNIT: tl.constexpr, BLOCK_C: tl.constexpr,
    BLOCK_T: tl.constexpr,
):  # fmt: skip
    """Gradient of a tile of pixels.

    A tile that holds all classes (WHOLE) reads its scores and slopes once; otherwise the sum comes
    first and the second reading is from the cache. Classes and strides are in units, as in
    `survey`.
    """
    classes, stride_n, stride_l = classes * UNIT, stride_n * UNIT, stride_l * UNIT
    out_n, out_l = out_n * UNIT, out_l * UNIT
    image, pixel, inside = tile_of(length, BLOCK_T)
    column = scores + image * stride_n + pixel * stride_l
    out = gradient + image * out_n + pixel * out_l
    table = _table(slopes, image, pixel, classes, slope_n, slope_l, BINS, PER_IMAGE, RANKED)
    factor = _factor(factors, image, classes, PER_IMAGE)
    label, counted, z, slope = _look(
        column, table, factor, target + image * target_n + pixel * target_l,
        lse + image * length + pixel, inside, classes, stride_c, ignore_index, BINS, IGNORES,
        RANKED, PTX,
    )  # fmt: skip
    own, common, share = _entropy(scale, weight, weights, label, classes, smoothing)

    if WHOLE:
        c = class_offsets(0, BLOCK_C)
        p, s = _read(
            column, table, factor, z, label, slope, inside, c, classes, stride_c, slope_c, BINS,
            RANKED, PTX,
        )  # fmt: skip
        sum_ps = tl.sum(p * s, 0)
        _write(
            out, p, s, sum_ps - common, own, share, weight, label, counted, inside, c, classes,
            out_c, scale is not None,
        )  # fmt: skip
    else:
        sum_ps = tl.zeros((BLOCK_T,), tl.float32)
        for start in range(0, classes, BLOCK_C):
            c = class_offsets(start, BLOCK_C)
            p, s = _read(
                column, table, factor, z, label, slope, inside, c, classes, stride_c, slope_c, BINS,
                RANKED, PTX,
            )  # fmt: skip
            sum_ps += tl.sum(p * s, 0)
        for start in range(0, classes, BLOCK_C):
            c = class_offsets(start, BLOCK_C)
            p, s = _read(
                column, table, factor, z, label, slope, inside, c, classes, stride_c, slope_c, BINS,
                RANKED, PTX,
            )  # fmt: skip
            _write(
                out, p, s, sum_ps - common, own, share, weight, label, counted, inside, c, classes,
                out_c, scale is not None,
            )  # fmt: skip


@triton.jit
def _table(
    slopes, image, pixel, classes, slope_n, slope_l,
    BINS: tl.constexpr, PER_IMAGE: tl.constexpr, RANKED: tl.constexpr,
):  # fmt: skip
    """Where the slopes of a pixel begin: its own, or those of the bins of its group."""
    if RANKED:
        table = slopes + image * slope_n + pixel * slope_l
    else:
        table = slopes + (image if PER_IMAGE else image * 0) * classes * 2 * BINS + pixel * 0
    return table


@triton.jit
def _factor(factors, image, classes, PER_IMAGE: tl.constexpr):
    """Where the factors of an image begin, if there are any."""
    if factors is not None:
        factors += (image if PER_IMAGE else image * 0) * classes
    return factors


@triton.jit
def _look(
    column, table, factor, target, lse, inside, classes, stride_c, ignore_index,
    BINS: tl.constexpr, IGNORES: tl.constexpr, RANKED: tl.constexpr, PTX: tl.constexpr,
):  # fmt: skip
    """Class of each pixel, -1 if it is of none; whether it counts, log-sum-exp, its own slope.

    A pixel is a positive of one class alone: what is needed for that is computed once for a pixel.
    """
    labels, counted = load_labels(target, 0, inside, ignore_index, IGNORES)
    z = tl.load(lse, mask=inside, other=0.0)
    known = counted & (labels >= 0) & (labels < classes)
    slope = z * 0.0
    if not RANKED:
        x = tl.load(column + labels * stride_c, mask=known, other=0.0).to(tl.float32)
        row = table + (labels * 2 + 1) * BINS
        slope = tl.load(row + positive_bin_of(x, z, BINS, PTX), mask=known, other=0.0)
        if factor is not None:
            slope *= tl.load(factor + labels, mask=known, other=0.0)
    return tl.where(known, labels, -1).to(tl.int32), counted, z, slope


@triton.jit
def _entropy(scale, weight, weights, label, classes, smoothing):
    """What cross-entropy adds: own, common and share of the sum above."""
    own = tl.zeros(label.shape, tl.float32)
    common, share = own, 0.0
    if scale is not None:
        factor = tl.load(scale)
        share = factor * smoothing / classes
        if weight is None:
            w, total = own + 1.0, classes * 1.0
        else:
            w, total = tl.load(weight + label, mask=label >= 0, other=0.0), tl.load(weights)
        own = factor * (1.0 - smoothing) * w
        common = own + share * total
    return own, common, share


@triton.jit
def _derivatives(
    x, z, label, slope, table, rate, c, slope_c, there,
    BINS: tl.constexpr, RANKED: tl.constexpr, PTX: tl.constexpr,
):  # fmt: skip
    """Probabilities, and the derivatives of the losses by them."""
    root = root_of(x, z, PTX)
    p = root * root
    # The error of a positive falls as its probability rises.
    if RANKED:
        s = tl.load(table + c * slope_c, mask=there, other=0.0) * rate
        s = tl.where(label == c, -s, s)
    else:
        s = tl.load(table + 2 * c * BINS + bin_of(root, p, BINS), mask=there, other=0.0) * rate
        s = tl.where(label == c, -slope, s)
    return p, s


@triton.jit
def _read(
    column, table, factor, z, label, slope, inside, c, classes, stride_c, slope_c,
    BINS: tl.constexpr, RANKED: tl.constexpr, PTX: tl.constexpr,
):  # fmt: skip
    """``_derivatives`` of a block of classes."""
    # Scores are loaded by a mask that is regular, so that neighbours are loaded at once.
    there = (c < classes) & inside[None, :]
    x = tl.load(column[None, :] + c * stride_c, mask=there, other=-float("inf")).to(tl.float32)
    rate = 1.0 if factor is None else tl.load(factor + c, mask=c < classes, other=0.0)
    return _derivatives(
        x, z[None, :], label[None, :], slope[None, :], table[None, :], rate, c, slope_c, there,
        BINS, RANKED, PTX,
    )  # fmt: skip


@triton.jit
def _write(
    out, p, s, sum_ps, own, share, weight, label, counted, inside, c, classes, out_c,
    ENTROPY: tl.constexpr,
):  # fmt: skip
    """Store the gradient of a block of classes, 0 for pixels that do not count."""
    result = p * (s - sum_ps[None, :])
    if ENTROPY:
        if weight is None:
            w = 1.0
        else:
            w = tl.load(weight + c, mask=c < classes, other=0.0)
        result -= tl.where(label[None, :] == c, own[None, :], 0.0) + share * w
    result = tl.where(counted[None, :], result, 0.0)
    present = (c < classes) & inside[None, :]
    tl.store(out[None, :] + c * out_c, result.to(out.dtype.element_ty), mask=present)
