"""The kernels of the exact method: ``keys`` before the sort, ``runs`` and ``extend`` after it.

A key holds an error and whether the pixel is a positive, so that one sort of 32-bit integers, a row
for each group and class, is all that is sorted. Equal errors form a run, and the extension asks how
many positives and negatives come before and after the run of a pixel.
"""

from __future__ import annotations

import triton
import triton.language as tl

from lovasz.kernels.triton.pixels import class_offsets, load_labels, tile_of

# Bits of the largest float; those of floats that are not negative are in their order.
LARGEST = tl.constexpr(0x7F7FFFFF)
# Carries integers from 0 to 2^32 - 1 to signed ones, in their order.
SIGN = tl.constexpr(-(2**31))


@triton.jit
def key_of(error, positive, counted):
    """2 (largest bits - bits of the error) + positive, ascending as errors fall; ignored ones last.

    NaN and what is below 0 are 0; where there are any, the loss is NaN.
    """
    error = tl.where(error > 0.0, tl.minimum(error, 3.4028234663852886e38), 0.0)
    place = -error.to(tl.int32, bitcast=True) + LARGEST
    key = place * 2 + positive.to(tl.int32)  # wraps
    return tl.where(counted, key, (LARGEST + 1) * 2 - 2**32) ^ SIGN


@triton.jit
def place_of(key):
    """Largest bits less those of the error."""
    return ((key ^ SIGN).to(tl.uint32, bitcast=True) >> 1).to(tl.int32)


@triton.jit
def keys(
    scores, target, lse, out,
    classes, length, stride_n, stride_c, stride_l, target_n, target_l, out_n, out_c, ignore_index,
    IGNORES: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_T: tl.constexpr,
):  # fmt: skip
    """Keys of a tile of pixels."""
    image, pixel, inside = tile_of(length, BLOCK_T)
    labels, counted = load_labels(
        target, image * target_n + pixel * target_l, inside, ignore_index, IGNORES
    )
    z = tl.load(lse + image * length + pixel, mask=inside, other=0.0)
    column = scores + image * stride_n + pixel * stride_l
    row = out + image * out_n + pixel
    for start in range(0, classes, BLOCK_C):
        c = class_offsets(start, BLOCK_C)
        present = (c < classes) & inside[None, :]
        x = tl.load(column[None, :] + c * stride_c, mask=present, other=0.0).to(tl.float32)
        p = tl.exp(x - z[None, :])
        positive = labels[None, :] == c
        error = tl.where(positive, 1.0 - p, p)
        error = tl.where(error > 1.0, 1.0, error)
        key = key_of(error, positive, counted[None, :])
        tl.store(row[None, :] + c * out_c, key, mask=present)


@triton.jit
def marks(sorted_keys, out, pixels, BLOCK: tl.constexpr):
    """For every rank, 1 if the pixel is a positive, plus 2^32 if a run of equal errors starts."""
    blocks = tl.cdiv(pixels, BLOCK)
    row = (tl.program_id(0) // blocks).to(tl.int64) * pixels
    rank = (tl.program_id(0) % blocks).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = rank < pixels
    key = tl.load(sorted_keys + row + rank, mask=inside, other=0)
    before = tl.load(sorted_keys + row + rank - 1, mask=inside & (rank > 0), other=2**31 - 1)
    starts = ((key >> 1) != (before >> 1)).to(tl.int64)
    tl.store(out + row + rank, (key & 1).to(tl.int64) + starts * 4294967296, mask=inside)


@triton.jit
def runs(sums, out, pixels, BLOCK: tl.constexpr):
    """Rank at which each run starts, (rows, pixels + 1); the last one ends where all end."""
    blocks = tl.cdiv(pixels, BLOCK)
    index = (tl.program_id(0) // blocks).to(tl.int64)
    rank = (tl.program_id(0) % blocks).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = rank < pixels
    run = tl.load(sums + index * pixels + rank, mask=inside, other=0) >> 32
    before = tl.load(sums + index * pixels + rank - 1, mask=inside & (rank > 0), other=0) >> 32
    first = out + index * (pixels + 1) + run - 1
    tl.store(first, rank.to(out.dtype.element_ty), mask=inside & (run != before))


@triton.jit
def extend(
    sorted_keys, order, sums, starts, slopes, losses,
    pixels, length, classes,
    ALPHA: tl.constexpr, BETA: tl.constexpr, PER_IMAGE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Slope of every pixel, put where the pixel is, and a part of the losses for each program."""
    blocks = tl.cdiv(pixels, BLOCK)
    index = (tl.program_id(0) // blocks).to(tl.int64)
    row = index * pixels
    rank = (tl.program_id(0) % blocks).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = rank < pixels
    key = tl.load(sorted_keys + row + rank, mask=inside, other=0)
    place = place_of(key)
    counted = inside & (place <= LARGEST)
    run = tl.load(sums + row + rank, mask=counted, other=4294967296) >> 32
    start = tl.load(starts + index * (pixels + 1) + run - 1, mask=counted, other=0).to(tl.int64)
    end = tl.load(starts + index * (pixels + 1) + run, mask=counted, other=1).to(tl.int64)
    # Positives before the run, after it, and of the class.
    F0 = tl.load(sums + row + start - 1, mask=counted & (start > 0), other=0) & 0xFFFFFFFF
    F1 = tl.load(sums + row + end - 1, mask=counted, other=0) & 0xFFFFFFFF
    G = (tl.load(sums + row + pixels - 1) & 0xFFFFFFFF).to(tl.float64)
    f, n = F1 - F0, (end - start) - (F1 - F0)
    B0, B1 = (start - F0).to(tl.float64), (end - F1).to(tl.float64)
    F0, F1 = F0.to(tl.float64), F1.to(tl.float64)
    d00, d10 = delta(F0, B0, G, ALPHA, BETA), delta(F1, B0, G, ALPHA, BETA)
    d01, d11 = delta(F0, B1, G, ALPHA, BETA), delta(F1, B1, G, ALPHA, BETA)
    rise = tl.where((key & 1) == 1, (d10 - d00) + (d11 - d01), (d01 - d00) + (d11 - d10))
    size = tl.where((key & 1) == 1, f, n)
    slope = tl.where(counted, rise / (2 * tl.maximum(size, 1)).to(tl.float64), 0.0)
    error = (-place + LARGEST).to(tl.float32, bitcast=True).to(tl.float64)
    tl.store(losses + tl.program_id(0), tl.sum(tl.where(counted, slope * error, 0.0)))
    pixel = tl.load(order + row + rank, mask=inside, other=0)
    if PER_IMAGE:
        pixel += row
    else:
        pixel = ((pixel // length) * classes + index) * length + pixel % length
    tl.store(slopes + pixel, slope.to(tl.float32), mask=inside)


@triton.jit
def delta(fn, fp, positives, ALPHA: tl.constexpr, BETA: tl.constexpr):
    """Tversky's set function, 0 where there is neither a mistake nor a positive."""
    mistakes = ALPHA * fp + BETA * fn
    whole = positives - fn + mistakes
    return tl.where(whole > 0.0, mistakes / tl.where(whole > 0.0, whole, 1.0), 0.0)
