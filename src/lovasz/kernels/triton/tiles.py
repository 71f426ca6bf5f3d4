"""What kernels share on the device: which pixels a program has, their labels, and how it adds up.

The parameters of all kernels follow one pattern: tensors, then numbers (sizes and strides, in
elements), then constants, in capitals, for each of which the compiler makes a kernel of its own.
In shapes N is the number of images, C of classes or channels, L of pixels of an image, G of
groups (N if every image has a loss of its own, as many as there are clouds of points in the only
image, else 1), and B of bins.

Offsets are 64-bit throughout, so that tensors may have more than 2^31 elements.
"""

from __future__ import annotations

import triton
import triton.language as tl

from lovasz.kernels.triton import ptx
from lovasz.kernels.triton.formulas import is_positive, margin_of

# In the place of a bin: what is not counted.
NO_BIN = tl.constexpr(2**31 - 1)


@triton.jit
def tile_of(length, BLOCK_T: tl.constexpr):
    """Image and pixels of a program, and which of them exist."""
    program = tl.program_id(0)
    tiles = tl.cdiv(length, BLOCK_T)
    image = (program // tiles).to(tl.int64)
    pixel = (program % tiles).to(tl.int64) * BLOCK_T + tl.arange(0, BLOCK_T)
    return image, pixel, pixel < length


@triton.jit
def group_of(image, PER_IMAGE: tl.constexpr):
    """Group of an image."""
    return image if PER_IMAGE else image * 0


@triton.jit
def clouds_of(segment_ids, pixel, inside):
    """Group of each point."""
    return tl.load(segment_ids + pixel, mask=inside, other=0)


@triton.jit
def load_labels(target, offsets, inside, ignore_index, IGNORES: tl.constexpr):
    """Labels as int64, and which pixels count."""
    labels = tl.load(target + offsets, mask=inside, other=0).to(tl.int64)
    counted = inside
    if IGNORES:
        counted = inside & (labels != ignore_index)
    return labels, counted


@triton.jit
def class_offsets(start, BLOCK_C: tl.constexpr):
    """Classes of a block, as a 64-bit column."""
    return (start + tl.arange(0, BLOCK_C)).to(tl.int64)[:, None]


@triton.jit
def load_multilabel(
    scores,
    target,
    shape,  # classes, length
    strides,  # of scores
    target_strides,
    ignore_index,
    LINK: tl.constexpr,
    IGNORES: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_T: tl.constexpr,
):
    """Image, channels (a column) and pixels (a row) of a program, and what it knows of its scores.

    Namely which exist, which count, which are positives, and their margins.
    """
    classes, length = shape
    program = tl.program_id(0)
    tiles = tl.cdiv(length, BLOCK_T)
    blocks = tl.cdiv(classes, BLOCK_C)
    image = (program // tiles // blocks).to(tl.int64)
    c = class_offsets((program // tiles) % blocks * BLOCK_C, BLOCK_C)
    pixel = ((program % tiles).to(tl.int64) * BLOCK_T + tl.arange(0, BLOCK_T))[None, :]
    inside = (c < classes) & (pixel < length)
    at = image * target_strides[0] + c * target_strides[1] + pixel * target_strides[2]
    labels, counted = load_labels(target, at, inside, ignore_index, IGNORES)
    positive = counted & is_positive(labels, c, LINK)
    at = image * strides[0] + c * strides[1] + pixel * strides[2]
    x = tl.load(scores + at, mask=inside, other=0.0).to(tl.float32)
    return image, c, pixel, inside, counted, positive, margin_of(x, positive, LINK)


@triton.jit
def flush_table(table, copy, lowest, ROW: tl.constexpr, WINDOW: tl.constexpr, CELLS: tl.constexpr):
    """Add a table in shared memory to a copy of the histogram in global memory.

    The table has CELLS, WINDOW of them for each row of ROW bins, from the row ``lowest`` on.
    """
    ptx.settle()
    for first in range(0, CELLS, ptx.STEP):
        counts = ptx.read(table, first)
        cell = first + tl.arange(0, ptx.STEP)
        row = (lowest + cell // WINDOW).to(tl.int64) * ROW
        tl.atomic_add(
            copy + row + cell % WINDOW,
            counts.to(copy.dtype.element_ty),
            mask=(counts > 0) & (cell < CELLS),
            sem="relaxed",
        )


@triton.jit
def store_sums(sums, cross_entropy, weights):
    """Sums of cross-entropies and weights to the slot of the program, added up in a fixed order."""
    slot = sums + 2 * tl.program_id(0)
    tl.store(slot, tl.sum(cross_entropy.to(tl.float64)))
    tl.store(slot + 1, tl.sum(weights.to(tl.float64)))


@triton.jit
def count_strip(
    held,  # address of the table in shared memory, or histogram in registers
    b,
    positive,
    counted,
    added,  # which are added where they have weights
    row,  # of the channel's negatives in a copy; that of its positives follows
    fixed_weight,
    at,
    BINS: tl.constexpr,
    WINDOW: tl.constexpr,
    CELLS: tl.constexpr,
):
    """Count a strip of a channel in what the program holds; what is above it is added individually.

    With weights nothing is held, as each is an atomic addition. Most of those of bin 0 are left to
    the host: nearly all errors of a trained network are in it.
    """
    side = positive.to(tl.int32)
    if CELLS > 0:
        # What is not counted goes to a cell that nobody reads: there is no branch.
        ptx.add(held, tl.where(counted & (b < WINDOW), b + WINDOW * side, CELLS - 1))
        if WINDOW < BINS:
            ptx.add_outside(row + BINS * side, tl.where(counted, b, NO_BIN), WINDOW, BINS)
    elif fixed_weight is None:
        if WINDOW < BINS:
            one = tl.full(b.shape, 1, row.dtype.element_ty)
            tl.atomic_add(row + b + BINS * side, one, mask=counted & (b >= WINDOW), sem="relaxed")
        held += tl.histogram(b + WINDOW * side, 2 * WINDOW, mask=counted & (b < WINDOW))
    else:
        w = tl.load(fixed_weight + at, mask=added, other=0)
        tl.atomic_add(row + b + BINS * side, w, mask=added, sem="relaxed")
    return held


@triton.jit
def flush_strips(
    held, row, fixed_weight, BINS: tl.constexpr, WINDOW: tl.constexpr, CELLS: tl.constexpr
):
    """Add what a program holds of a channel to a copy of the histogram."""
    if CELLS > 0:
        flush_table(held, row, 0, BINS, WINDOW, 2 * WINDOW)
    elif (BINS > 0) & (fixed_weight is None):
        cell = tl.arange(0, 2 * WINDOW)
        cell = row + (cell // WINDOW) * BINS + cell % WINDOW
        tl.atomic_add(cell, held.to(row.dtype.element_ty), mask=held > 0, sem="relaxed")
