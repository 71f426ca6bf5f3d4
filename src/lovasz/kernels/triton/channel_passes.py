"""The kernels for channels that are sets of their own: both passes, and the keys of the sort.

No score depends on another one, so a program takes pixels of one channel and reads every score
once. It counts them in shared memory, or in registers as ``counting.negatives`` does, positives and
negatives in one histogram; there is no sum of probabilities here that would bound how many errors
are large.
"""

from __future__ import annotations

import triton
import triton.language as tl

from lovasz.kernels.triton import ptx
from lovasz.kernels.triton.pixels import (
    NO_BIN,
    bin_of,
    class_offsets,
    flush_table,
    load_labels,
    store_sums,
)
from lovasz.kernels.triton.ranking import key_of

# As ``validity.PROBABILITY_TOLERANCE``.
TOLERANCE = tl.constexpr(1e-2)


@triton.jit
def count(
    scores, target, slabs, invalid, sums, own_weight, weight, mass,
    classes, length, stride_n, stride_c, stride_l, target_n, target_c, target_l,
    cells, ignore_index, chunk_size, top,
    LINK: tl.constexpr, SLABS: tl.constexpr, BINS: tl.constexpr, WINDOW: tl.constexpr,
    CELLS: tl.constexpr, IGNORES: tl.constexpr, PER_IMAGE: tl.constexpr, ENTROPY: tl.constexpr,
    BLOCK_T: tl.constexpr,
):  # fmt: skip
    """Histogram of a channel over a chunk of the pixels of an image, and its cross-entropy.

    It is held in a table of CELLS in shared memory, or in registers where CELLS is 0.
    """
    program = tl.program_id(0)
    chunks = tl.cdiv(length, chunk_size)
    c = (program % classes).to(tl.int64)
    chunk = (program // classes) % chunks
    image = (program // classes // chunks).to(tl.int64)
    group = image if PER_IMAGE else image * 0
    row = slabs + ((program // classes) % SLABS) * cells + (group * classes + c) * 2 * BINS
    scores += image * stride_n + c * stride_c
    target += image * target_n + c * target_c
    plane = (image * classes + c) * length

    if CELLS > 0:
        held = ptx.new_table(CELLS)
        ptx.clear(held, CELLS)
    else:
        held = tl.zeros((2 * WINDOW,), tl.int32)
    bad = tl.zeros((BLOCK_T,), tl.int32)
    entropy, weights = tl.zeros((BLOCK_T,), tl.float32), tl.zeros((BLOCK_T,), tl.float32)
    own = 1.0 if own_weight is None else tl.load(own_weight + c)
    first = chunk.to(tl.int64) * chunk_size
    for start in range(0, tl.minimum(length - first, chunk_size), BLOCK_T):
        pixel = first + start + tl.arange(0, BLOCK_T)
        inside = pixel < length
        labels, counted = load_labels(target, pixel * target_l, inside, ignore_index, IGNORES)
        positive = counted & (labels == 1)
        x = tl.load(scores + pixel * stride_l, mask=inside, other=0.0).to(tl.float32)
        toward = toward_of(x, positive, LINK)
        error = error_of(toward, LINK)
        wrong = ((labels != 0) & (labels != 1)) | no_number(x, error, top, LINK)
        bad += (counted & wrong).to(tl.int32)
        b = channel_bin_of(error, LINK, BINS)
        held = _count(
            held, b, positive, counted, row, mass, plane + pixel, BINS, WINDOW, CELLS
        )  # fmt: skip
        if ENTROPY:
            w = tl.full((BLOCK_T,), 1.0, tl.float32)
            if weight is not None:
                w = tl.load(weight + plane + pixel, mask=inside, other=0.0)
            entropy += tl.where(counted, w * softplus(toward) * tl.where(positive, own, 1.0), 0.0)
            weights += tl.where(counted, w, 0.0)

    if CELLS > 0:
        flush_table(held, row, 0, BINS, WINDOW, 2 * WINDOW)
    elif mass is None:
        cell = tl.arange(0, 2 * WINDOW)
        cell = row + (cell // WINDOW) * BINS + cell % WINDOW
        tl.atomic_add(cell, held.to(slabs.dtype.element_ty), mask=held > 0, sem="relaxed")
    bads = tl.sum(bad.to(tl.int64))
    tl.atomic_add(invalid + group, bads, mask=bads > 0, sem="relaxed")
    if ENTROPY:
        store_sums(sums, entropy, weights)


@triton.jit
def _count(
    held, b, positive, counted, row, mass, at,
    BINS: tl.constexpr, WINDOW: tl.constexpr, CELLS: tl.constexpr,
):  # fmt: skip
    """Count a strip in what the program holds; errors above the window are added one by one.

    With a mass, which pixels have where they have weights, nothing is held, and bin 0 is left to
    the host: nearly all of a trained network's errors are in it, and additions are made one by one.
    """
    side = positive.to(tl.int32)
    if CELLS > 0:
        # What is not counted goes to a cell that nobody reads: there is no branch.
        ptx.add(held, tl.where(counted & (b < WINDOW), b + WINDOW * side, CELLS - 1))
        if WINDOW < BINS:
            ptx.add_outside(row + BINS * side, tl.where(counted, b, NO_BIN), WINDOW, BINS)
    elif mass is None:
        if WINDOW < BINS:
            one = tl.full(b.shape, 1, row.dtype.element_ty)
            tl.atomic_add(row + b + BINS * side, one, mask=counted & (b >= WINDOW), sem="relaxed")
        held += tl.histogram(b + WINDOW * side, 2 * WINDOW, mask=counted & (b < WINDOW))
    else:
        added = counted & (b > 0)
        m = tl.load(mass + at, mask=added, other=0)
        tl.atomic_add(row + b + BINS * side, m, mask=added, sem="relaxed")
    return held


@triton.jit
def push(
    scores, gradient, target, slopes, factors, scale, own_weight,
    classes, length, stride_n, stride_c, stride_l, target_n, target_c, target_l,
    out_n, out_c, out_l, slope_n, slope_c, slope_l, ignore_index,
    LINK: tl.constexpr, BINS: tl.constexpr, IGNORES: tl.constexpr, PER_IMAGE: tl.constexpr,
    RANKED: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_T: tl.constexpr,
):  # fmt: skip
    """Gradient of a tile of pixels and channels."""
    image, c, pixel, inside, counted, positive, toward = _look(
        scores, target, classes, length, stride_n, stride_c, stride_l, target_n, target_c, target_l,
        ignore_index, LINK, IGNORES, BLOCK_C, BLOCK_T,
    )  # fmt: skip
    row = (image if PER_IMAGE else image * 0) * classes + c
    if RANKED:
        at = image * slope_n + c * slope_c + pixel * slope_l
    else:
        bins = channel_bin_of(error_of(toward, LINK), LINK, BINS)
        at = (row * 2 + positive.to(tl.int64)) * BINS + bins
    slope = tl.load(slopes + at, mask=counted, other=0.0)
    if factors is not None:
        slope *= tl.load(factors + row, mask=c < classes, other=0.0)
    result = slope * rate_of(toward, LINK)
    if scale is not None:
        own = 1.0 if own_weight is None else tl.load(own_weight + c, mask=c < classes, other=0.0)
        missed = tl.where(positive, own, 1.0) * error_of(toward, LINK)
        result += tl.load(scale) * missed
    # The error of a positive falls as its score rises.
    result = tl.where(counted, tl.where(positive, -result, result), 0.0)
    at = image * out_n + c * out_c + pixel * out_l
    tl.store(gradient + at, result.to(gradient.dtype.element_ty), mask=inside)


@triton.jit
def keys(
    scores, target, out,
    classes, length, stride_n, stride_c, stride_l, target_n, target_c, target_l, out_n, out_c,
    ignore_index,
    LINK: tl.constexpr, IGNORES: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_T: tl.constexpr,
):  # fmt: skip
    """Keys of a tile of pixels and channels, as ``ranking.keys``."""
    image, c, pixel, inside, counted, positive, toward = _look(
        scores, target, classes, length, stride_n, stride_c, stride_l, target_n, target_c, target_l,
        ignore_index, LINK, IGNORES, BLOCK_C, BLOCK_T,
    )  # fmt: skip
    key = key_of(error_of(toward, LINK), positive, counted)
    tl.store(out + image * out_n + c * out_c + pixel, key, mask=inside)


@triton.jit
def _look(
    scores, target, classes, length, stride_n, stride_c, stride_l, target_n, target_c, target_l,
    ignore_index,
    LINK: tl.constexpr, IGNORES: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_T: tl.constexpr,
):  # fmt: skip
    """Image, channels (a column) and pixels (a row) of a program, and what is known of each."""
    program = tl.program_id(0)
    tiles = tl.cdiv(length, BLOCK_T)
    blocks = tl.cdiv(classes, BLOCK_C)
    image = (program // tiles // blocks).to(tl.int64)
    c = class_offsets((program // tiles) % blocks * BLOCK_C, BLOCK_C)
    pixel = ((program % tiles).to(tl.int64) * BLOCK_T + tl.arange(0, BLOCK_T))[None, :]
    inside = (c < classes) & (pixel < length)
    labels, counted = load_labels(
        target, image * target_n + c * target_c + pixel * target_l, inside, ignore_index, IGNORES
    )
    positive = counted & (labels == 1)
    at = image * stride_n + c * stride_c + pixel * stride_l
    x = tl.load(scores + at, mask=inside, other=0.0).to(tl.float32)
    return image, c, pixel, inside, counted, positive, toward_of(x, positive, LINK)


@triton.jit
def toward_of(x, positive, LINK: tl.constexpr):
    """What the error grows with."""
    if LINK == "channel_probabilities":
        toward = tl.where(positive, 1.0 - x, x)
    else:
        toward = tl.where(positive, -x, x)
    return toward


@triton.jit
def error_of(toward, LINK: tl.constexpr):
    """Error, as ``links.channel_errors``."""
    if LINK == "sigmoid":
        e = tl.exp(-tl.abs(toward))
        error = tl.where(toward < 0.0, e, 1.0) / (1.0 + e)
    elif LINK == "hinge":
        error = tl.where(1.0 + toward < 0.0, 0.0, 1.0 + toward)  # keeps NaN
    elif LINK == "elu":
        a = 1.0 + toward
        error = tl.where(a < 0.0, tl.exp(a), 1.0 + a)
    else:
        error = tl.where(toward < 0.0, 0.0, tl.where(toward > 1.0, 1.0, toward))
    return error


@triton.jit
def rate_of(toward, LINK: tl.constexpr):
    """Derivative of the error, as ``links.channel_rates``."""
    if LINK == "sigmoid":
        e = tl.exp(-tl.abs(toward))
        rate = e / ((1.0 + e) * (1.0 + e))
    elif LINK == "hinge":
        rate = (1.0 + toward > 0.0).to(tl.float32)
    elif LINK == "elu":
        rate = tl.where(1.0 + toward < 0.0, tl.exp(1.0 + toward), 1.0)
    else:
        rate = tl.full(toward.shape, 1.0, tl.float32)
    return rate


@triton.jit
def channel_bin_of(error, LINK: tl.constexpr, BINS: tl.constexpr):
    """Bin of an error, as ``bins.bin_index`` or ``bins.unbounded_bin_index``."""
    if (LINK == "hinge") | (LINK == "elu"):
        position = 1.0 + tl.log2(1.0 + error) * ((BINS - 1) / 16.0)
        position = tl.where(error > 0.0, position, 0.0)
        b = tl.minimum(position, BINS - 1.0).to(tl.int32)
    else:
        b = bin_of(tl.sqrt(error), error, BINS)
    return b


@triton.jit
def no_number(x, error, top, LINK: tl.constexpr):
    """Which scores make the loss meaningless."""
    if LINK == "channel_probabilities":
        number = (x >= -TOLERANCE) & (x <= 1.0 + TOLERANCE)
    else:
        number = error < top  # false for NaN
    return ~number


@triton.jit
def softplus(toward):
    """log(1 + exp(toward)), the binary cross-entropy. The quotient undoes the rounding of 1 + e."""
    e = tl.exp(-tl.abs(toward))
    u = 1.0 + e
    rounded = u - 1.0
    log1p = tl.where(rounded > 0.0, tl.log(u) * (e / tl.where(rounded > 0.0, rounded, 1.0)), e)
    return tl.maximum(toward, 0.0) + log1p
