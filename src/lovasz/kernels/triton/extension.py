"""The kernel that turns histograms into losses and slopes, for Tversky's set functions.

It is ``extend_histogram`` of ``lovasz.core.extension``, operation by operation in float64, in one
launch in place of 180. ``F0, B0`` are the positives and negatives before a bin, ``F1, B1`` those
after it, and ``P, N`` all of them.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from lovasz.kernels.triton import blocks
from lovasz.kernels.triton.formulas import bin_centre, tversky


def extend(
    counts: Tensor,
    alpha: float,
    beta: float,
    wide: bool,
    scale: int,
    unbounded: bool,
    positives: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Losses, slopes and which classes are present, as the operator returns them."""
    groups, classes, _, bins = counts.shape
    losses = counts.new_empty((groups, classes), dtype=torch.float64)
    slopes = counts.new_empty(counts.shape, dtype=torch.float64 if wide else torch.float32)
    present = counts.new_empty((2, groups, classes), dtype=torch.bool)
    block, most = blocks.EXTEND_BLOCK, blocks.EXTEND_PROGRAMS
    span = block * blocks.ceil_div(bins, block * most)
    parts = blocks.ceil_div(bins, span) + 1  # the last one is for the loss
    mass = None if positives is None else positives.contiguous()
    tensors = (counts.contiguous(), mass, losses, slopes, present.view(torch.uint8))
    extend_kernel[(groups * classes * parts,)](
        *tensors,
        groups * classes,
        ALPHA=alpha,
        BETA=beta,
        SCALE=scale,
        BINS=bins,
        UNBOUNDED=unbounded,
        BLOCK=block,
        SPAN=span,
        PARTS=parts,
        num_warps=blocks.WARPS,
        # Without fused operations every one rounds as in the reference.
        enable_fp_fusion=False,
    )
    return losses, slopes, present


@triton.jit
def extend_kernel(
    counts, mass, losses, slopes, present, rows,
    ALPHA: tl.constexpr, BETA: tl.constexpr, SCALE: tl.constexpr, BINS: tl.constexpr,
    UNBOUNDED: tl.constexpr, BLOCK: tl.constexpr, SPAN: tl.constexpr, PARTS: tl.constexpr,
):  # fmt: skip
    """Slopes of some bins of one class; or, by the last program of the class, its loss.

    Classes are few, and many devices are slow in float64, so one program for each would leave most
    of a device idle. Each adds up by itself what is above its bins.

    Tensors:
        counts: (G, C, 2, B) int64, negatives and positives, in pixels / SCALE
        mass: (G, C) float64, sums of soft labels, of which no more can be missed; or None
        losses: (G, C) float64, written
        slopes: (G, C, 2, B) float32 or float64, written
        present: (2, G, C) bytes, written: whether a class has pixels, and whether positives

    Numbers:
        rows: G · C

    Constants:
        ALPHA, BETA: weights of false positives and false negatives in Tversky's set function
        SCALE: what a pixel counts, a power of two
        BINS: B
        UNBOUNDED: whether the errors of the bins have no bound
        BLOCK: bins at a time
        SPAN: bins of a program, a multiple of BLOCK
        PARTS: programs of a class
    """
    index = (tl.program_id(0) // PARTS).to(tl.int64)
    part = tl.program_id(0) % PARTS
    row_n = counts + index * 2 * BINS
    row_f = row_n + BINS
    G = None if mass is None else tl.load(mass + index)
    if part < PARTS - 1:
        out = slopes + index * 2 * BINS
        end = BINS - part * SPAN
        _slopes_of_bins(row_n, row_f, G, out, end, ALPHA, BETA, SCALE, BINS, BLOCK, SPAN)
    else:
        negatives, positives, loss = _loss(
            row_n, row_f, G, ALPHA, BETA, SCALE, BINS, UNBOUNDED, BLOCK
        )
        tl.store(losses + index, loss)
        tl.store(present + index, (negatives + positives > 0).to(tl.uint8))
        tl.store(present + rows + index, (positives > 0).to(tl.uint8))


@triton.jit
def _loss(
    row_n,
    row_f,
    G,  # sum of soft labels, or None
    ALPHA: tl.constexpr,
    BETA: tl.constexpr,
    SCALE: tl.constexpr,
    BINS: tl.constexpr,
    UNBOUNDED: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Negatives, positives and the loss of a class, by blocks of bins from the largest errors."""
    P = _pixels(_total(row_f, 0, BINS), SCALE)
    passed_n, passed_f = tl.cast(0, tl.int64), tl.cast(0, tl.int64)
    summands = tl.zeros((BLOCK,), tl.float64)
    for start in range(0, BINS, BLOCK):
        b = BINS - 1 - start - tl.arange(0, BLOCK)
        n, f = _load(row_n, b, BINS), _load(row_f, b, BINS)
        after_n, after_f = passed_n + tl.cumsum(n), passed_f + tl.cumsum(f)
        passed_n += tl.sum(n)
        passed_f += tl.sum(f)
        before = _cost(_pixels(after_f - f, SCALE), _pixels(after_n - n, SCALE), P, G, ALPHA, BETA)
        after = _cost(_pixels(after_f, SCALE), _pixels(after_n, SCALE), P, G, ALPHA, BETA)
        summands += tl.where(b >= 0, (after - before) * bin_centre(b, BINS, UNBOUNDED), 0.0)
    return passed_n, passed_f, tl.sum(summands)


@triton.jit
def _slopes_of_bins(
    row_n,
    row_f,
    G,  # sum of soft labels, or None
    out,
    end,
    ALPHA: tl.constexpr,
    BETA: tl.constexpr,
    SCALE: tl.constexpr,
    BINS: tl.constexpr,
    BLOCK: tl.constexpr,
    SPAN: tl.constexpr,
):
    """Slopes of the bins below ``end``, by blocks from the largest errors."""
    N, P = _pixels(_total(row_n, 0, BINS), SCALE), _pixels(_total(row_f, 0, BINS), SCALE)
    passed_n, passed_f = _total(row_n, end, BINS), _total(row_f, end, BINS)
    for start in range(0, SPAN, BLOCK):
        b = end - 1 - start - tl.arange(0, BLOCK)
        n, f = _load(row_n, b, BINS), _load(row_f, b, BINS)
        before_n, before_f = passed_n + tl.cumsum(n) - n, passed_f + tl.cumsum(f) - f
        if SPAN > BLOCK:
            passed_n += tl.sum(n)
            passed_f += tl.sum(f)

        below, above = _beside(row_n, b, n, BINS)
        B0, B1 = _around(row_n, b, before_n, n, below, above, SCALE)
        F0, F1 = _around(row_f, b, before_f, f, below, above, SCALE)
        slope = _slope_of_negatives(B0, B1, F0, F1, P, N, G, ALPHA, BETA)
        tl.store(out + b, slope.to(out.dtype.element_ty), mask=b >= 0)

        below, above = _beside(row_f, b, f, BINS)
        B0, B1 = _around(row_n, b, before_n, n, below, above, SCALE)
        F0, F1 = _around(row_f, b, before_f, f, below, above, SCALE)
        slope = _slope_of_positives(F0, F1, B0, B1, P, G, ALPHA, BETA)
        tl.store(out + BINS + b, slope.to(out.dtype.element_ty), mask=b >= 0)


@triton.jit
def _load(row, b, BINS: tl.constexpr):
    """Counts of bins, 0 beyond the first and the last."""
    return tl.load(row + b, mask=(b >= 0) & (b < BINS), other=0)


@triton.jit
def _pixels(count, SCALE: tl.constexpr):
    """A count in pixels; the scale is a power of two, so that this is exact."""
    return count.to(tl.float64) * (1 / SCALE)


@triton.jit
def _total(row, first, BINS: tl.constexpr):
    """Count of the bins from some bin on."""
    counts = tl.zeros((1024,), tl.int64)
    for start in range(0, BINS, 1024):
        b = start + tl.arange(0, 1024)
        counts += tl.load(row + b, mask=(b >= first) & (b < BINS), other=0)
    return tl.sum(counts)


@triton.jit
def _beside(row, b, own, BINS: tl.constexpr):
    """Which bins have the slope of the bin below them, and which of the one above.

    Empty ones do, of the fuller neighbour. That slope is computed once more from the counts, not
    read from where another thread stores it.
    """
    below, above = _load(row, b - 1, BINS), _load(row, b + 1, BINS)
    empty = own == 0
    return empty & (below > above), empty & (above >= below) & (above > 0)


@triton.jit
def _around(row, b, before, own, below, above, SCALE: tl.constexpr):
    """Pixels before and after a bin, or the one below or above it where its slope is taken."""
    size_above = tl.load(row + b + 1, mask=above, other=0)
    size_below = tl.load(row + b - 1, mask=below, other=0)
    first = tl.where(below, before + own, before - size_above)
    size = tl.where(below, size_below, tl.where(above, size_above, own))
    return _pixels(first, SCALE), _pixels(first + size, SCALE)


@triton.jit
def _step(before, after, most):
    """From where to where a slope is taken, as in ``core.extension``."""
    empty, last = before == after, before >= most
    low = tl.where(empty & last, tl.maximum(before - 1.0, 0.0), before)
    high = tl.where(empty, tl.minimum(before + 1.0, most), after)
    return low, high


@triton.jit
def _cost(fn, fp, P, G, ALPHA: tl.constexpr, BETA: tl.constexpr):
    """Of mispredicted pixels; of soft labels no more can be missed than there is of them."""
    if G is None:
        value = tversky(fn, fp, P, ALPHA, BETA)
    else:
        value = tversky(tl.minimum(fn, G), fp, G, ALPHA, BETA)
    return value


@triton.jit
def _slope_of_positives(F0, F1, B0, B1, P, G, ALPHA: tl.constexpr, BETA: tl.constexpr):
    """Mean increase of Δ per positive, over "positives first" (at B0) and "last" (at B1)."""
    start, end = _step(F0, F1, P)
    rise = (_cost(end, B0, P, G, ALPHA, BETA) + _cost(end, B1, P, G, ALPHA, BETA)) - (
        _cost(start, B0, P, G, ALPHA, BETA) + _cost(start, B1, P, G, ALPHA, BETA)
    )
    return rise / (2.0 * _one_if_empty(end - start))


@triton.jit
def _slope_of_negatives(B0, B1, F0, F1, P, N, G, ALPHA: tl.constexpr, BETA: tl.constexpr):
    """Mean increase of Δ per negative, over "negatives first" (at F0) and "last" (at F1)."""
    start, end = _step(B0, B1, N)
    rise = (_cost(F0, end, P, G, ALPHA, BETA) + _cost(F1, end, P, G, ALPHA, BETA)) - (
        _cost(F0, start, P, G, ALPHA, BETA) + _cost(F1, start, P, G, ALPHA, BETA)
    )
    return rise / (2.0 * _one_if_empty(end - start))


@triton.jit
def _one_if_empty(count):
    return tl.where(count > 0.0, count, 1.0)
