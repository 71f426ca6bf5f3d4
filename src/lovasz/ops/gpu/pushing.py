"""The kernel of the second pass: from slopes to the gradient of the scores."""

from __future__ import annotations

import triton
import triton.language as tl

from lovasz.ops.gpu.pixels import bin_of, class_offsets, load_labels, tile_of


@triton.jit
def push(
    scores, gradient, target, lse, slopes, scale, weight, weights,
    classes, length, stride_n, stride_c, stride_l, target_n, target_l, out_n, out_c, out_l,
    slope_n, slope_c, slope_l, ignore_index, smoothing,
    BINS: tl.constexpr, IGNORES: tl.constexpr, PER_IMAGE: tl.constexpr, RANKED: tl.constexpr,
    WHOLE: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_T: tl.constexpr,
):  # fmt: skip
    """Gradient of a tile of pixels: p (s - sum p s), and what cross-entropy adds.

    A tile that holds all classes (WHOLE) reads its scores and slopes once; otherwise the sum comes
    first and the second reading is from the cache.
    """
    image, pixel, inside = tile_of(length, BLOCK_T)
    labels, counted = load_labels(
        target, image * target_n + pixel * target_l, inside, ignore_index, IGNORES
    )
    z = tl.load(lse + image * length + pixel, mask=inside, other=0.0)
    column = scores + image * stride_n + pixel * stride_l
    out = gradient + image * out_n + pixel * out_l
    if RANKED:
        table = slopes + image * slope_n + pixel * slope_l
    else:
        table = slopes + (image if PER_IMAGE else image * 0) * classes * 2 * BINS + pixel * 0

    # Cross-entropy: the gradient of score c is p_c * common - [c = y] own - share * w_c.
    own, common = tl.zeros((BLOCK_T,), tl.float32), tl.zeros((BLOCK_T,), tl.float32)
    share = 0.0
    if scale is not None:
        factor = tl.load(scale)
        share = factor * smoothing / classes
        if weight is None:
            w, total = tl.full((BLOCK_T,), 1.0, tl.float32), classes * 1.0
        else:
            known = counted & (labels >= 0) & (labels < classes)
            w, total = tl.load(weight + labels, mask=known, other=0.0), tl.load(weights)
        own = factor * (1.0 - smoothing) * w
        common = own + share * total

    if WHOLE:
        c = class_offsets(0, BLOCK_C)
        p, s = _read(
            column, table, z, labels, counted, inside, c, classes, stride_c, slope_c, BINS, RANKED
        )
        sum_ps = tl.sum(p * s, 0)
        _write(
            out, p, s, sum_ps - common, own, share, weight, labels, counted, inside, c, classes,
            out_c, scale is not None,
        )  # fmt: skip
    else:
        sum_ps = tl.zeros((BLOCK_T,), tl.float32)
        for start in range(0, classes, BLOCK_C):
            c = class_offsets(start, BLOCK_C)
            p, s = _read(
                column, table, z, labels, counted, inside, c, classes, stride_c, slope_c, BINS,
                RANKED,
            )  # fmt: skip
            sum_ps += tl.sum(p * s, 0)
        for start in range(0, classes, BLOCK_C):
            c = class_offsets(start, BLOCK_C)
            p, s = _read(
                column, table, z, labels, counted, inside, c, classes, stride_c, slope_c, BINS,
                RANKED,
            )  # fmt: skip
            _write(
                out, p, s, sum_ps - common, own, share, weight, labels, counted, inside, c, classes,
                out_c, scale is not None,
            )  # fmt: skip


@triton.jit
def _read(
    column, table, z, labels, counted, inside, c, classes, stride_c, slope_c,
    BINS: tl.constexpr, RANKED: tl.constexpr,
):  # fmt: skip
    """Probabilities of a block of classes, and the derivatives of the losses by them."""
    # Scores are loaded by a mask that is regular, so that neighbours are loaded at once.
    there = (c < classes) & inside[None, :]
    x = tl.load(column[None, :] + c * stride_c, mask=there, other=-float("inf")).to(tl.float32)
    present = there & counted[None, :]
    root = tl.exp((x - z[None, :]) * 0.5)
    p = root * root
    positive = labels[None, :] == c
    if RANKED:
        slope = tl.load(table[None, :] + c * slope_c, mask=present, other=0.0)
    else:
        miss = tl.maximum(1.0 - p, 0.0)
        error = tl.where(positive, miss, p)
        b = bin_of(tl.where(positive, tl.sqrt(miss), root), error, BINS)
        row = c * 2 + positive.to(tl.int64)
        slope = tl.load(table[None, :] + row * BINS + b, mask=present, other=0.0)
    # The error of a positive falls as its probability rises.
    return p, tl.where(positive, -slope, slope)


@triton.jit
def _write(
    out, p, s, sum_ps, own, share, weight, labels, counted, inside, c, classes, out_c,
    ENTROPY: tl.constexpr,
):  # fmt: skip
    """Store the gradient of a block of classes, 0 for pixels that do not count."""
    result = p * (s - sum_ps[None, :])
    if ENTROPY:
        if weight is None:
            w = 1.0
        else:
            w = tl.load(weight + c, mask=c < classes, other=0.0)
        result -= tl.where(labels[None, :] == c, own[None, :], 0.0) + share * w
    result = tl.where(counted[None, :], result, 0.0)
    present = (c < classes) & inside[None, :]
    tl.store(out[None, :] + c * out_c, result.to(out.dtype.element_ty), mask=present)
