"""The kernel of the histogram where a program can count in its shared memory: on NVIDIA devices.

A program owns a chunk of the pixels of an image and all classes. Strip by strip it finds the
log-sum-exp and counts the negatives at once, while the scores that it reads again are still in the
cache: every score is read from memory once. The table in shared memory holds a window of bins for a
part of the classes; if there are so many classes that there are more parts, those after the first
are read once more. Positives and the few probabilities above the window are added to a copy of the
histogram in global memory individually.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from lovasz.kernels.triton import blocks, ptx
from lovasz.kernels.triton.formulas import (
    bin_of_negative,
    bin_of_positive,
    load_lse,
    probability_of,
)
from lovasz.kernels.triton.inputs import CrossEntropy, Labels
from lovasz.kernels.triton.lse_and_positives import add_positives, scan_classes, store_lse
from lovasz.kernels.triton.tiles import (
    NO_BIN,
    class_offsets,
    flush_table,
    group_of,
    load_labels,
    store_sums,
)


def histogram_shared(
    scores: Tensor,
    labels: Labels,
    copies: Tensor,
    invalid: Tensor,
    bins: int,
    per_image: bool,
    cross_entropy: CrossEntropy | None,
) -> tuple[Tensor, Tensor]:
    """Log-sum-exp and cross-entropy; adds errors to ``copies``, invalid pixels to ``invalid``."""
    images, classes, length = scores.shape
    table = blocks.table_of(scores, bins)
    chunk = blocks.shared_chunk_of(images * length, table.block_t, scores.device)
    programs = images * blocks.ceil_div(length, chunk)
    lse = scores.new_empty((images, length), dtype=torch.float64)
    sums = blocks.new_sums(scores, programs, cross_entropy is not None)
    class_weight, smoothing = (None, 0.0) if cross_entropy is None else cross_entropy
    multiple = blocks.multiple_of(scores)
    tensors = (scores, labels.target, lse, copies, invalid, sums, class_weight)
    sizes = (classes // multiple, length, *blocks.strides_in(scores, multiple))
    histogram_shared_kernel[(programs,)](
        *tensors,
        *sizes,
        *labels.target.stride(),
        copies.shape[1],
        labels.ignore_index,
        smoothing,
        chunk,
        COPIES=copies.shape[0],
        BINS=bins,
        WINDOW=table.window,
        PART=table.part,
        PARTS=table.parts,
        CELLS=table.cells,
        IGNORES=labels.ignores,
        PER_IMAGE=per_image,
        CROSS_ENTROPY=cross_entropy is not None,
        SMOOTHED=smoothing > 0,
        OWNED=blocks.owns_pixels(scores),
        MULTIPLE=multiple,
        BLOCK_C=table.block_c,
        BLOCK_T=table.block_t,
        num_warps=blocks.WARPS,
    )
    return lse, blocks.add_sums(sums)


@triton.jit
def histogram_shared_kernel(
    scores, target, lse, copies, invalid, sums, class_weight,
    classes, length, stride_n, stride_c, stride_l, target_n, target_l,
    cells, ignore_index, smoothing, chunk_size,
    COPIES: tl.constexpr, BINS: tl.constexpr, WINDOW: tl.constexpr, PART: tl.constexpr,
    PARTS: tl.constexpr, CELLS: tl.constexpr, IGNORES: tl.constexpr, PER_IMAGE: tl.constexpr,
    CROSS_ENTROPY: tl.constexpr, SMOOTHED: tl.constexpr, OWNED: tl.constexpr,
    MULTIPLE: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_T: tl.constexpr,
):  # fmt: skip
    """Log-sum-exp, histogram, invalid pixels and cross-entropy of a chunk of an image.

    Tensors:
        scores: (N, C, L) float32, bfloat16 or float16, any strides
        target: (N, L) integers or bytes, any strides
        lse: (N, L) float64, written: log-sum-exp over the classes
        copies: (copies, G · C · 2 · B) int32 or int64, pixels are added
        invalid: (G,) int64, added to: pixels whose label is no class or whose scores are no numbers
        sums: (programs, 2) float64, written with CROSS_ENTROPY: its sum and that of its weights
        class_weight: (C,) float32, of the cross-entropy; or None, all 1

    Numbers:
        classes, length: C / MULTIPLE and L
        stride_n, stride_c, stride_l: strides of scores; the first and the last one / MULTIPLE
        target_n, target_l: strides of target
        cells: of a copy
        ignore_index: label that does not count, with IGNORES
        smoothing: label smoothing of the cross-entropy, above 0 with SMOOTHED
        chunk_size: pixels of a program, a multiple of BLOCK_T

    Constants:
        COPIES, BINS: number of copies, and of bins
        WINDOW, CELLS: bins of a class in the table, a power of two, and cells of the table
        PART, PARTS: classes in the table at a time, and how many times
        PER_IMAGE: whether G is N
        OWNED: whether no two threads have the same pixel
        MULTIPLE: a divisor of C and of strides: the compiler sees that they are multiples of it
        BLOCK_C, BLOCK_T: classes and pixels of a block
    """
    classes, stride_n, stride_l = classes * MULTIPLE, stride_n * MULTIPLE, stride_l * MULTIPLE
    program = tl.program_id(0)
    chunks = tl.cdiv(length, chunk_size)
    image = (program // chunks).to(tl.int64)
    first = (program % chunks).to(tl.int64) * chunk_size
    end = tl.minimum(first + chunk_size, length)
    group = group_of(image, PER_IMAGE)
    copy = copies + (program % COPIES) * cells + group * classes * 2 * BINS
    scores += image * stride_n
    target += image * target_n
    lse += image * length

    bads = tl.zeros((BLOCK_T,), tl.int32)
    # Sums over many strips: float32 would lose digits.
    cross_entropies, weights = tl.zeros((BLOCK_T,), tl.float64), tl.zeros((BLOCK_T,), tl.float64)
    table = ptx.new_table(CELLS)
    ptx.clear(table, CELLS)
    for start in range(first, end, BLOCK_T):
        pixel, inside, labels, counted = _load_strip(
            target, start, end, target_l, ignore_index, IGNORES, BLOCK_T
        )
        column = scores + pixel * stride_l
        pixels, options = (labels, counted, inside), (class_weight, smoothing)
        parts, own, positive, bad, cross_entropy, w = scan_classes(
            column, pixels, options, classes, stride_c, CROSS_ENTROPY, SMOOTHED, True, BLOCK_C
        )
        store_lse(lse + pixel, parts, inside)
        bads += bad.to(tl.int32)
        cross_entropies += cross_entropy.to(tl.float64)
        weights += w.to(tl.float64)
        _add_positives(copy, labels, own, parts, pixel, positive, BINS, OWNED)
        strip, part = (labels, counted, inside, parts), (0, classes)
        _add_negatives(
            table, copy, column, strip, part, stride_c, BINS, WINDOW, PART, CELLS, BLOCK_C
        )
    flush_table(table, copy, 0, 2 * BINS, WINDOW, PART * WINDOW)

    if PARTS > 1:
        for lowest in range(PART, classes, PART):
            # Its barriers also let all threads see the log-sum-exp that others have stored.
            ptx.clear(table, CELLS)
            for start in range(first, end, BLOCK_T):
                pixel, inside, labels, counted = _load_strip(
                    target, start, end, target_l, ignore_index, IGNORES, BLOCK_T
                )
                parts = load_lse(lse + pixel, inside)
                column = scores + pixel * stride_l
                strip, part = (labels, counted, inside, parts), (lowest, classes)
                _add_negatives(
                    table, copy, column, strip, part, stride_c, BINS, WINDOW, PART, CELLS, BLOCK_C
                )
            flush_table(table, copy, lowest, 2 * BINS, WINDOW, PART * WINDOW)

    total = tl.sum(bads.to(tl.int64))
    tl.atomic_add(invalid + group, total, mask=total > 0, sem="relaxed")
    if CROSS_ENTROPY:
        store_sums(sums, cross_entropies, weights)


@triton.jit
def _load_strip(
    target, start, end, target_l, ignore_index, IGNORES: tl.constexpr, BLOCK_T: tl.constexpr
):
    """Pixels of a strip, which of them exist, their labels, and which of them count."""
    pixel = start + tl.arange(0, BLOCK_T)
    inside = pixel < end
    labels, counted = load_labels(target, pixel * target_l, inside, ignore_index, IGNORES)
    return pixel, inside, labels, counted


@triton.jit
def _add_positives(
    copy, labels, own, parts, pixel, positive, BINS: tl.constexpr, OWNED: tl.constexpr
):
    """Count the pixels of a strip as positives of their classes; OWNED by one thread each."""
    if OWNED:
        most, rest = parts
        b = bin_of_positive(own, most, rest, BINS, True)
        ptx.add_alike(copy + (labels * 2 + 1) * BINS + b, positive)
    else:
        # Triton makes one of the threads add that have the same pixel.
        add_positives(copy, labels, own, parts, None, pixel, positive, BINS)


@triton.jit
def _add_negatives(
    table,
    copy,
    column,  # where the scores of each pixel begin
    strip,  # of its pixels: labels, which count, which exist, log-sum-exp
    part,  # its first class, and the number of all classes
    stride_c,
    BINS: tl.constexpr,
    WINDOW: tl.constexpr,
    PART: tl.constexpr,
    CELLS: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """Count the negatives of a strip and a part of the classes."""
    labels, counted, inside, parts = strip
    most, rest = parts
    lowest, classes = part
    # Where no pixel counts there may be anything.
    most, rest = tl.where(counted, most, 0.0)[None, :], tl.where(counted, rest, 0.0)[None, :]
    counted = counted[None, :]
    own = labels.to(tl.int32)[None, :]  # what is no class may become one: the loss is NaN
    for start in range(0, tl.minimum(classes - lowest, PART), BLOCK_C):
        local = start + tl.arange(0, BLOCK_C)[:, None]
        c = class_offsets(lowest + start, BLOCK_C)
        there = lowest + local < classes
        x = tl.load(column[None, :] + c * stride_c, mask=there & inside[None, :], other=0.0)
        # Pixels that do not count get infinite scores, whose errors have no bin.
        x = tl.where(counted, x.to(tl.float32), float("inf"))
        b = bin_of_negative(probability_of(x, most, rest, True), BINS)
        b = tl.where(there & (own != lowest + local), b, NO_BIN)
        if WINDOW >= BINS:
            b = tl.where(b == BINS, BINS - 1, b)
        else:
            ptx.add_outside(copy + c * 2 * BINS, b, WINDOW, BINS)
        # What is not counted here goes to a cell that nobody reads: there is no branch.
        ptx.add(table, tl.where(b < WINDOW, local * WINDOW + b, CELLS - 1))
