"""The kernels of the first pass: ``survey``, pixel by pixel, then ``negatives``, class by class.

Where pixels have weights, ``masses`` takes the place of ``negatives``.

Every pixel is the positive of one class and a negative of all the others. The few positives are
counted by atomic additions, the many negatives in registers: a program owns four classes and a long
chunk of pixels, and adds its histograms to the table once at the end. Only probabilities above the
window that the registers hold are added one by one, and since probabilities sum to 1 there are
never more than a few of them in a pixel (docs/gpu-kernels.md). So neither the number of additions
nor anything else depends on what the scores are.

The table exists in several copies, slabs, so that pixels that all fall in one bin do not all wait
for one address.

Weights cannot be counted in registers: every mass is an atomic addition. Those of the first bin,
where nearly all errors of a trained network are, are left to the host, which knows their sum.
"""

from __future__ import annotations

import triton
import triton.language as tl

from lovasz.kernels.triton.pixels import (
    LOWEST,
    bin_of,
    class_offsets,
    exp,
    load_labels,
    positive_bin_of,
    store_sums,
    tile_of,
)


@triton.jit
def survey(
    scores, target, lse, slabs, invalid, sums, weight, pixel_weight, mass,
    classes, length, stride_n, stride_c, stride_l, target_n, target_l,
    cells, ignore_index, smoothing,
    SLABS: tl.constexpr, BINS: tl.constexpr, IGNORES: tl.constexpr, PER_IMAGE: tl.constexpr,
    ENTROPY: tl.constexpr, SMOOTHED: tl.constexpr, UNIT: tl.constexpr,
    BLOCK_C: tl.constexpr, BLOCK_T: tl.constexpr,
):  # fmt: skip
    """Log-sum-exp, invalid pixels and positives of a tile of pixels, and its cross-entropy.

    Classes and strides are given in units, so that the compiler sees what they are multiples of.
    """
    classes, stride_n, stride_l = classes * UNIT, stride_n * UNIT, stride_l * UNIT
    image, pixel, inside = tile_of(length, BLOCK_T)
    labels, counted = load_labels(
        target, image * target_n + pixel * target_l, inside, ignore_index, IGNORES
    )
    column = scores + image * stride_n + pixel * stride_l
    z, own, positive, bad, entropy, w = look(
        column, labels, counted, inside, weight, classes, stride_c, smoothing,
        ENTROPY, SMOOTHED, False, BLOCK_C, BLOCK_T,
    )  # fmt: skip
    at = image * length + pixel
    tl.store(lse + at, z, mask=inside)
    bads = tl.sum(bad.to(tl.int32))
    group = image if PER_IMAGE else image * 0
    tl.atomic_add(invalid + group, bads.to(tl.int64), mask=bads > 0, sem="relaxed")

    table = slabs + (tl.program_id(0) % SLABS) * cells + group * classes * 2 * BINS
    add_positives(table, labels, own, z, mass, at, positive, BINS)
    if ENTROPY:
        times = _times(pixel_weight, at, positive)
        store_sums(sums, entropy * times, w * times)


@triton.jit
def look(
    column, labels, counted, inside, weight, classes, stride_c, smoothing,
    ENTROPY: tl.constexpr, SMOOTHED: tl.constexpr, PTX: tl.constexpr,
    BLOCK_C: tl.constexpr, BLOCK_T: tl.constexpr,
):  # fmt: skip
    """Log-sum-exp and own score of a tile of pixels; which are of a class, and which are invalid.

    And the cross-entropy, and its weight, of those that are of a class.
    """
    top = tl.full((BLOCK_T,), LOWEST, tl.float32)
    total = tl.zeros((BLOCK_T,), tl.float32)
    weighted = tl.zeros((BLOCK_T,), tl.float32)
    weights = 0.0
    for start in range(0, classes, BLOCK_C):
        c = class_offsets(start, BLOCK_C)
        present = (c < classes) & inside[None, :]
        x = tl.load(column[None, :] + c * stride_c, mask=present, other=-float("inf"))
        x = x.to(tl.float32)
        higher = tl.maximum(top, tl.max(x, 0))
        parts = exp(x - higher[None, :], PTX)
        total = total * exp(top - higher, PTX) + tl.sum(parts, 0)
        top = higher
        if SMOOTHED:
            if weight is None:
                w = (c < classes).to(tl.float32)
            else:
                w = tl.load(weight + c, mask=c < classes, other=0.0)
            weights += tl.sum(w)
            weighted += tl.sum(tl.where(present, w * x, 0.0), 0)

    z = top + tl.log(total)
    positive = counted & (labels >= 0) & (labels < classes)
    number = (z > -float("inf")) & (z < float("inf"))  # false for NaN
    bad = counted & ~(positive & number)
    own = tl.load(column + labels * stride_c, mask=positive, other=0.0).to(tl.float32)

    entropy, w = tl.zeros((BLOCK_T,), tl.float32), tl.zeros((BLOCK_T,), tl.float32)
    if ENTROPY:
        if weight is None:
            w = positive.to(tl.float32)
        else:
            w = tl.load(weight + labels, mask=positive, other=0.0)
        entropy = (1.0 - smoothing) * w * (z - own)
        if SMOOTHED:
            entropy += smoothing / classes * (z * weights - weighted)
        entropy = tl.where(positive, entropy, 0.0)
    return z, own, positive, bad, entropy, w


@triton.jit
def add_positives(table, labels, own, z, mass, at, positive, BINS: tl.constexpr):
    """Add pixels, or their masses, to the rows of the positives of their classes."""
    cell = table + (labels * 2 + 1) * BINS + positive_bin_of(own, z, BINS, False)
    if mass is None:
        added = tl.full(own.shape, 1, table.dtype.element_ty)
    else:
        added = tl.load(mass + at, mask=positive, other=0)
    tl.atomic_add(cell, added, mask=positive, sem="relaxed")


@triton.jit
def _times(pixel_weight, at, positive):
    """Weights of pixels, 0 for those that are not of any class."""
    times = positive.to(tl.float32)
    if pixel_weight is not None:
        times = tl.load(pixel_weight + at, mask=positive, other=0.0)
    return times


@triton.jit
def masses(
    scores, target, lse, slabs, mass,
    classes, length, stride_n, stride_c, stride_l, target_n, target_l, cells,
    SLABS: tl.constexpr, BINS: tl.constexpr, PER_IMAGE: tl.constexpr,
    BLOCK_C: tl.constexpr, BLOCK_T: tl.constexpr,
):  # fmt: skip
    """Masses of the negatives of a tile of pixels, but those of the first bin."""
    image, pixel, inside = tile_of(length, BLOCK_T)
    labels, _ = load_labels(target, image * target_n + pixel * target_l, inside, 0, False)
    at = image * length + pixel
    m = tl.load(mass + at, mask=inside, other=0)  # 0 where a pixel is ignored
    z = tl.load(lse + at, mask=inside, other=0.0)
    column = scores + image * stride_n + pixel * stride_l
    group = image if PER_IMAGE else image * 0
    table = slabs + (tl.program_id(0) % SLABS) * cells + group * classes * 2 * BINS
    for start in range(0, classes, BLOCK_C):
        c = class_offsets(start, BLOCK_C)
        present = (c < classes) & inside[None, :]
        x = tl.load(column[None, :] + c * stride_c, mask=present, other=0.0).to(tl.float32)
        root = tl.exp((x - z[None, :]) * 0.5)
        b = bin_of(root, root * root, BINS)
        added = present & (labels[None, :] != c) & (m[None, :] > 0) & (b > 0)
        tl.atomic_add(
            table + c * 2 * BINS + b,
            tl.broadcast_to(m[None, :], b.shape),
            mask=added,
            sem="relaxed",
        )


@triton.jit
def negatives(
    scores, target, lse, slabs,
    classes, length, stride_n, stride_c, stride_l, target_n, target_l,
    cells, ignore_index, chunk_size,
    SLABS: tl.constexpr, BINS: tl.constexpr, WINDOW: tl.constexpr, IGNORES: tl.constexpr,
    PER_IMAGE: tl.constexpr, BLOCK_T: tl.constexpr,
):  # fmt: skip
    """Histograms of the negatives of four classes over a chunk of the pixels of an image."""
    program = tl.program_id(0)
    quads = tl.cdiv(classes, 4)
    chunks = tl.cdiv(length, chunk_size)
    c = (program % quads).to(tl.int64) * 4
    chunk = (program // quads) % chunks
    image = (program // quads // chunks).to(tl.int64)
    slab = slabs + ((program // quads) % SLABS) * cells
    row = slab + ((image if PER_IMAGE else image * 0) * classes + c) * 2 * BINS
    column = scores + image * stride_n + c * stride_c

    h0 = tl.zeros((WINDOW,), tl.int32)
    h1 = tl.zeros((WINDOW,), tl.int32)
    h2 = tl.zeros((WINDOW,), tl.int32)
    h3 = tl.zeros((WINDOW,), tl.int32)
    first = chunk.to(tl.int64) * chunk_size
    for start in range(0, tl.minimum(length - first, chunk_size), BLOCK_T):
        pixel = first + start + tl.arange(0, BLOCK_T)
        inside = pixel < length
        labels, counted = load_labels(
            target, image * target_n + pixel * target_l, inside, ignore_index, IGNORES
        )
        z = tl.load(lse + image * length + pixel, mask=inside, other=0.0)
        x = column + pixel * stride_l
        # The conditions are the same for the whole program.
        h0 += _histogram(x, z, inside, counted & (labels != c), row, BINS, WINDOW)
        if c + 1 < classes:
            h1 += _histogram(
                x + stride_c, z, inside, counted & (labels != c + 1), row + 2 * BINS, BINS, WINDOW
            )
        if c + 2 < classes:
            h2 += _histogram(
                x + 2 * stride_c,
                z,
                inside,
                counted & (labels != c + 2),
                row + 4 * BINS,
                BINS,
                WINDOW,
            )
        if c + 3 < classes:
            h3 += _histogram(
                x + 3 * stride_c,
                z,
                inside,
                counted & (labels != c + 3),
                row + 6 * BINS,
                BINS,
                WINDOW,
            )
    _flush(row, h0, WINDOW)
    _flush(row + 2 * BINS, h1, WINDOW)
    _flush(row + 4 * BINS, h2, WINDOW)
    _flush(row + 6 * BINS, h3, WINDOW)


@triton.jit
def _histogram(x, z, inside, negative, row, BINS: tl.constexpr, WINDOW: tl.constexpr):
    """Histogram of the negatives within the window; those above it are added one by one."""
    # Loaded by a mask that is regular, so that neighbours are loaded at once.
    score = tl.load(x, mask=inside, other=0.0).to(tl.float32)
    root = tl.exp((score - z) * 0.5)
    b = bin_of(root, root * root, BINS)
    if WINDOW < BINS:
        one = tl.full(b.shape, 1, row.dtype.element_ty)
        tl.atomic_add(row + b, one, mask=negative & (b >= WINDOW), sem="relaxed")
    return tl.histogram(b, WINDOW, mask=negative & (b < WINDOW))


@triton.jit
def _flush(row, counts, WINDOW: tl.constexpr):
    """Add a program's histogram to the table; classes past the last one have counted nothing."""
    cells = row + tl.arange(0, WINDOW)
    tl.atomic_add(cells, counts.to(row.dtype.element_ty), mask=counts > 0, sem="relaxed")
