"""The kernel of the histogram of the negatives where a program has no table in shared memory.

Histograms are made in registers: a program owns four classes and a long chunk of pixels, and adds
its histograms to the copies once, at the end. Only probabilities above the window of bins that the
registers hold are added individually, and since probabilities sum to 1 there are never more than a
few of them in a pixel (docs/gpu-kernels.md). So neither the number of additions nor anything else
depends on what the scores are.
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from lovasz.kernels.triton import blocks
from lovasz.kernels.triton.formulas import bin_of, load_lse, probability_of
from lovasz.kernels.triton.inputs import Labels
from lovasz.kernels.triton.tiles import group_of, load_labels


def histogram_registers(
    scores: Tensor, labels: Labels, lse: Tensor, copies: Tensor, bins: int, per_image: bool
) -> None:
    """Add the negatives to ``copies``."""
    images, classes, length = scores.shape
    quads = blocks.ceil_div(classes, 4)
    chunk = blocks.chunk_of(images * length * quads, scores.device)
    tensors = (scores, labels.target, lse, copies)
    histogram_registers_kernel[(images * blocks.ceil_div(length, chunk) * quads,)](
        *tensors,
        classes,
        length,
        *scores.stride(),
        *labels.target.stride(),
        copies.shape[1],
        labels.ignore_index,
        chunk,
        COPIES=copies.shape[0],
        BINS=bins,
        WINDOW=blocks.window_of(classes, bins),
        IGNORES=labels.ignores,
        PER_IMAGE=per_image,
        BLOCK_T=blocks.strip_of(length),
        num_warps=blocks.WARPS,
    )


@triton.jit
def histogram_registers_kernel(
    scores, target, lse, copies,
    classes, length, stride_n, stride_c, stride_l, target_n, target_l,
    cells, ignore_index, chunk_size,
    COPIES: tl.constexpr, BINS: tl.constexpr, WINDOW: tl.constexpr, IGNORES: tl.constexpr,
    PER_IMAGE: tl.constexpr, BLOCK_T: tl.constexpr,
):  # fmt: skip
    """Histograms of the negatives of four classes over a chunk of the pixels of an image.

    Tensors:
        scores: (N, C, L) float32, bfloat16 or float16, any strides
        target: (N, L) integers or bytes, any strides
        lse: (N, L) float64, contiguous
        copies: (copies, G · C · 2 · B) int32 or int64, pixels are added

    Numbers:
        classes, length: C and L
        stride_n, stride_c, stride_l, target_n, target_l: strides of scores and target
        cells: of a copy
        ignore_index: label that does not count, with IGNORES
        chunk_size: pixels of a program, a multiple of BLOCK_T

    Constants:
        COPIES, BINS: number of copies, and of bins
        WINDOW: bins that registers hold, a power of two
        PER_IMAGE: whether G is N
        BLOCK_T: pixels at a time
    """
    program = tl.program_id(0)
    quads = tl.cdiv(classes, 4)
    chunks = tl.cdiv(length, chunk_size)
    c = (program % quads).to(tl.int64) * 4
    chunk = (program // quads) % chunks
    image = (program // quads // chunks).to(tl.int64)
    copy = copies + ((program // quads) % COPIES) * cells
    row = copy + (group_of(image, PER_IMAGE) * classes + c) * 2 * BINS
    column = scores + image * stride_n + c * stride_c
    first = chunk.to(tl.int64) * chunk_size

    h0 = tl.zeros((WINDOW,), tl.int32)
    h1 = tl.zeros((WINDOW,), tl.int32)
    h2 = tl.zeros((WINDOW,), tl.int32)
    h3 = tl.zeros((WINDOW,), tl.int32)
    for start in range(0, tl.minimum(length - first, chunk_size), BLOCK_T):
        pixel = first + start + tl.arange(0, BLOCK_T)
        inside = pixel < length
        labels, counted = load_labels(
            target, image * target_n + pixel * target_l, inside, ignore_index, IGNORES
        )
        most, rest = load_lse(lse + image * length + pixel, inside)
        x = column + pixel * stride_l
        pixels = (labels, counted, inside, most, rest)
        # The conditions are the same for the whole program.
        h0 += _histogram(x, pixels, c, row, BINS, WINDOW)
        if c + 1 < classes:
            h1 += _histogram(x + stride_c, pixels, c + 1, row + 2 * BINS, BINS, WINDOW)
        if c + 2 < classes:
            h2 += _histogram(x + 2 * stride_c, pixels, c + 2, row + 4 * BINS, BINS, WINDOW)
        if c + 3 < classes:
            h3 += _histogram(x + 3 * stride_c, pixels, c + 3, row + 6 * BINS, BINS, WINDOW)
    _flush(row, h0, WINDOW)
    _flush(row + 2 * BINS, h1, WINDOW)
    _flush(row + 4 * BINS, h2, WINDOW)
    _flush(row + 6 * BINS, h3, WINDOW)


@triton.jit
def _histogram(x, pixels, c, row, BINS: tl.constexpr, WINDOW: tl.constexpr):
    """Histogram of the negatives of a class; those above the window are added individually."""
    labels, counted, inside, most, rest = pixels
    negative = counted & (labels != c)
    # Loaded by a mask that is regular, so that neighbours are loaded at once.
    score = tl.load(x, mask=inside, other=0.0).to(tl.float32)
    p = probability_of(score, most, rest, False)
    b = bin_of(p, 1.0 - p, BINS)
    if WINDOW < BINS:
        one = tl.full(b.shape, 1, row.dtype.element_ty)
        tl.atomic_add(row + b, one, mask=negative & (b >= WINDOW), sem="relaxed")
    return tl.histogram(b, WINDOW, mask=negative & (b < WINDOW))


@triton.jit
def _flush(row, counts, WINDOW: tl.constexpr):
    """Add a program's histogram to the copy; classes past the last one have counted nothing."""
    cells = row + tl.arange(0, WINDOW)
    tl.atomic_add(cells, counts.to(row.dtype.element_ty), mask=counts > 0, sem="relaxed")
