"""The kernel of the first pass on devices where a program can count in its shared memory.

A program owns a chunk of the pixels of an image and all classes. Strip by strip it finds the
log-sum-exp, as ``counting.survey`` does, and counts the negatives at once, while the scores that it
reads again are still in the cache: from memory every score is read once. The table holds a window
of bins for a group of classes; with so many classes that there are more groups, those after the
first are read once more. As in ``counting``, positives and the few probabilities above the window
are added to the slabs one by one.
"""

from __future__ import annotations

import triton
import triton.language as tl

from lovasz.kernels.triton import ptx
from lovasz.kernels.triton.counting import add_positives, look
from lovasz.kernels.triton.pixels import (
    NO_BIN,
    class_offsets,
    flush_table,
    load_labels,
    positive_bin_of,
    root_of,
    store_sums,
)


@triton.jit
def tally(
    scores, target, lse, slabs, invalid, sums, weight,
    classes, length, stride_n, stride_c, stride_l, target_n, target_l,
    cells, ignore_index, smoothing, chunk_size,
    SLABS: tl.constexpr, BINS: tl.constexpr, WINDOW: tl.constexpr, GROUP: tl.constexpr,
    GROUPS: tl.constexpr, CELLS: tl.constexpr, IGNORES: tl.constexpr, PER_IMAGE: tl.constexpr,
    ENTROPY: tl.constexpr, SMOOTHED: tl.constexpr, OWNED: tl.constexpr, UNIT: tl.constexpr,
    BLOCK_C: tl.constexpr, BLOCK_T: tl.constexpr,
):  # fmt: skip
    """Log-sum-exp, counts, invalid pixels and cross-entropy of a chunk of an image.

    Classes and strides are in units, as in `survey`.
    """
    classes, stride_n, stride_l = classes * UNIT, stride_n * UNIT, stride_l * UNIT
    program = tl.program_id(0)
    chunks = tl.cdiv(length, chunk_size)
    image = (program // chunks).to(tl.int64)
    first = (program % chunks).to(tl.int64) * chunk_size
    end = tl.minimum(first + chunk_size, length)
    group = image if PER_IMAGE else image * 0
    slab = slabs + (program % SLABS) * cells + group * classes * 2 * BINS
    scores += image * stride_n
    target += image * target_n
    lse += image * length

    bads = tl.zeros((BLOCK_T,), tl.int32)
    # Sums over many strips: float32 would lose digits.
    entropies, weights = tl.zeros((BLOCK_T,), tl.float64), tl.zeros((BLOCK_T,), tl.float64)
    table = ptx.new_table(CELLS)
    ptx.clear(table, CELLS)
    for start in range(first, end, BLOCK_T):
        pixel = start + tl.arange(0, BLOCK_T)
        inside = pixel < end
        labels, counted = load_labels(target, pixel * target_l, inside, ignore_index, IGNORES)
        column = scores + pixel * stride_l
        z, own, positive, bad, entropy, w = look(
            column, labels, counted, inside, weight, classes, stride_c, smoothing,
            ENTROPY, SMOOTHED, True, BLOCK_C, BLOCK_T,
        )  # fmt: skip
        tl.store(lse + pixel, z, mask=inside)
        bads += bad.to(tl.int32)
        entropies += entropy.to(tl.float64)
        weights += w.to(tl.float64)
        _add_positives(slab, labels, own, z, pixel, positive, BINS, OWNED)
        _add_negatives(
            table, slab, column, z, labels, counted, inside, 0, classes, stride_c,
            BINS, WINDOW, GROUP, CELLS, BLOCK_C,
        )  # fmt: skip
    flush_table(table, slab, 0, 2 * BINS, WINDOW, GROUP * WINDOW)

    if GROUPS > 1:
        for lowest in range(GROUP, classes, GROUP):
            # Its barriers also let all threads see the log-sum-exp that others have stored.
            ptx.clear(table, CELLS)
            for start in range(first, end, BLOCK_T):
                pixel = start + tl.arange(0, BLOCK_T)
                inside = pixel < end
                labels, counted = load_labels(
                    target, pixel * target_l, inside, ignore_index, IGNORES
                )
                z = tl.load(lse + pixel, mask=inside, other=0.0)
                _add_negatives(
                    table, slab, scores + pixel * stride_l, z, labels, counted, inside,
                    lowest, classes, stride_c, BINS, WINDOW, GROUP, CELLS, BLOCK_C,
                )  # fmt: skip
            flush_table(table, slab, lowest, 2 * BINS, WINDOW, GROUP * WINDOW)

    total = tl.sum(bads.to(tl.int64))
    tl.atomic_add(invalid + group, total, mask=total > 0, sem="relaxed")
    if ENTROPY:
        store_sums(sums, entropies, weights)


@triton.jit
def _add_positives(
    slab, labels, own, z, pixel, positive, BINS: tl.constexpr, OWNED: tl.constexpr
):  # fmt: skip
    """Count the pixels of a strip as positives of their classes; OWNED by one thread each."""
    if OWNED:
        b = positive_bin_of(own, z, BINS, True)
        ptx.add_alike(slab + (labels * 2 + 1) * BINS + b, positive)
    else:
        # Triton makes one of the threads add that have the same pixel.
        add_positives(slab, labels, own, z, None, pixel, positive, BINS)


@triton.jit
def _add_negatives(
    table, slab, column, z, labels, counted, inside, lowest, classes, stride_c,
    BINS: tl.constexpr, WINDOW: tl.constexpr, GROUP: tl.constexpr, CELLS: tl.constexpr,
    BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Count the negatives of a strip and a group of classes."""
    # Where no pixel counts there may be anything.
    z, counted = tl.where(counted, z, 0.0)[None, :], counted[None, :]
    own = labels.to(tl.int32)[None, :]  # what is no class may become one: the loss is NaN
    for start in range(0, tl.minimum(classes - lowest, GROUP), BLOCK_C):
        local = start + tl.arange(0, BLOCK_C)[:, None]
        c = class_offsets(lowest + start, BLOCK_C)
        there = lowest + local < classes
        x = tl.load(column[None, :] + c * stride_c, mask=there & inside[None, :], other=0.0)
        # Pixels that do not count get infinite scores, whose errors have no bin.
        x = tl.where(counted, x.to(tl.float32), float("inf"))
        root = root_of(x, z, True)
        # As `bin_of`, but that an error of 1 has the bin BINS.
        b = ptx.floor((root + 3.0) * root * (BINS / 4))
        b = tl.where(there & (own != lowest + local), b, NO_BIN)
        if WINDOW >= BINS:
            b = tl.where(b == BINS, BINS - 1, b)
        else:
            ptx.add_outside(slab + c * 2 * BINS, b, WINDOW, BINS)
        # What is not counted here goes to a cell that nobody reads: there is no branch.
        ptx.add(table, tl.where(b < WINDOW, local * WINDOW + b, CELLS - 1))
