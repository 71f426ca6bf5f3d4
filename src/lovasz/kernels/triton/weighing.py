"""The kernels between the passes.

``weigh`` goes from counts to losses and slopes, for Tversky's set functions. It is
``extend_counts`` of ``lovasz.core.extension``, operation by operation in float64, in one launch in
place of 180. ``F0, B0`` are the positives and negatives before a bin, ``F1, B1`` those after it,
and ``P, N`` all of them. ``reduce`` is that of ``lovasz.kernels.reference``, in place of a dozen.
"""

from __future__ import annotations

import triton
import triton.language as tl

from lovasz.kernels.triton.ranking import delta


@triton.jit
def weigh(
    counts, losses, slopes, seen, rows,
    ALPHA: tl.constexpr, BETA: tl.constexpr, UNIT: tl.constexpr, BINS: tl.constexpr,
    UNBOUNDED: tl.constexpr, BLOCK: tl.constexpr, SPAN: tl.constexpr, PARTS: tl.constexpr,
):  # fmt: skip
    """Slopes of some bins of one class; or, by the last program of the class, its loss.

    Classes are few, and many devices are slow in float64, so one program for each would leave most
    of a device idle. Each adds up by itself what is above its bins.
    """
    index = (tl.program_id(0) // PARTS).to(tl.int64)
    part = tl.program_id(0) % PARTS
    row_n = counts + index * 2 * BINS
    row_f = row_n + BINS
    if part < PARTS - 1:
        out = slopes + index * 2 * BINS
        _weigh_bins(row_n, row_f, out, BINS - part * SPAN, ALPHA, BETA, UNIT, BINS, BLOCK, SPAN)
    else:
        negatives, positives, loss = _weigh_all(
            row_n, row_f, ALPHA, BETA, UNIT, BINS, UNBOUNDED, BLOCK
        )
        tl.store(losses + index, loss)
        tl.store(seen + index, (negatives + positives > 0).to(tl.uint8))
        tl.store(seen + rows + index, (positives > 0).to(tl.uint8))


@triton.jit
def _weigh_all(
    row_n, row_f,
    ALPHA: tl.constexpr, BETA: tl.constexpr, UNIT: tl.constexpr, BINS: tl.constexpr,
    UNBOUNDED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Negatives, positives and the loss of a class, by blocks of bins from the largest errors."""
    P = _pixels(_total(row_f, 0, BINS), UNIT)
    passed_n, passed_f = tl.cast(0, tl.int64), tl.cast(0, tl.int64)
    summands = tl.zeros((BLOCK,), tl.float64)
    for start in range(0, BINS, BLOCK):
        b = BINS - 1 - start - tl.arange(0, BLOCK)
        n, f = _load(row_n, b, BINS), _load(row_f, b, BINS)
        after_n, after_f = passed_n + tl.cumsum(n), passed_f + tl.cumsum(f)
        passed_n += tl.sum(n)
        passed_f += tl.sum(f)
        before = delta(_pixels(after_f - f, UNIT), _pixels(after_n - n, UNIT), P, ALPHA, BETA)
        after = delta(_pixels(after_f, UNIT), _pixels(after_n, UNIT), P, ALPHA, BETA)
        summands += tl.where(b >= 0, (after - before) * _centre(b, BINS, UNBOUNDED), 0.0)
    return passed_n, passed_f, tl.sum(summands)


@triton.jit
def _weigh_bins(
    row_n, row_f, out, end,
    ALPHA: tl.constexpr, BETA: tl.constexpr, UNIT: tl.constexpr, BINS: tl.constexpr,
    BLOCK: tl.constexpr, SPAN: tl.constexpr,
):  # fmt: skip
    """Slopes of the bins below ``end``, by blocks from the largest errors."""
    N, P = _pixels(_total(row_n, 0, BINS), UNIT), _pixels(_total(row_f, 0, BINS), UNIT)
    passed_n, passed_f = _total(row_n, end, BINS), _total(row_f, end, BINS)
    for start in range(0, SPAN, BLOCK):
        b = end - 1 - start - tl.arange(0, BLOCK)
        n, f = _load(row_n, b, BINS), _load(row_f, b, BINS)
        before_n, before_f = passed_n + tl.cumsum(n) - n, passed_f + tl.cumsum(f) - f
        if SPAN > BLOCK:
            passed_n += tl.sum(n)
            passed_f += tl.sum(f)

        below, above = _beside(row_n, b, n, BINS)
        B0, B1 = _around(row_n, b, before_n, n, below, above, UNIT)
        F0, F1 = _around(row_f, b, before_f, f, below, above, UNIT)
        slope = _step_in_fp(B0, B1, F0, F1, P, N, ALPHA, BETA)
        tl.store(out + b, slope.to(out.dtype.element_ty), mask=b >= 0)

        below, above = _beside(row_f, b, f, BINS)
        B0, B1 = _around(row_n, b, before_n, n, below, above, UNIT)
        F0, F1 = _around(row_f, b, before_f, f, below, above, UNIT)
        slope = _step_in_fn(F0, F1, B0, B1, P, ALPHA, BETA)
        tl.store(out + BINS + b, slope.to(out.dtype.element_ty), mask=b >= 0)


@triton.jit
def _load(row, b, BINS: tl.constexpr):
    """Counts of bins, 0 beyond the first and the last."""
    return tl.load(row + b, mask=(b >= 0) & (b < BINS), other=0)


@triton.jit
def _pixels(count, UNIT: tl.constexpr):
    """A count in pixels; the unit is a power of two, so that this is exact."""
    return count.to(tl.float64) * (1 / UNIT)


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
def _around(row, b, before, own, below, above, UNIT: tl.constexpr):
    """Pixels before and after a bin, or the one below or above it where its slope is taken."""
    size_above = tl.load(row + b + 1, mask=above, other=0)
    size_below = tl.load(row + b - 1, mask=below, other=0)
    first = tl.where(below, before + own, before - size_above)
    size = tl.where(below, size_below, tl.where(above, size_above, own))
    return _pixels(first, UNIT), _pixels(first + size, UNIT)


@triton.jit
def _centre(b, BINS: tl.constexpr, UNBOUNDED: tl.constexpr):
    """The error that a bin stands for, as ``bins.bin_centres`` and ``unbounded_bin_centres``."""
    i = b.to(tl.float64)
    if UNBOUNDED:
        low, high = tl.exp2((i - 1.0) * (16 / (BINS - 1))), tl.exp2(i * (16 / (BINS - 1)))
        centre = tl.where(i > 0.0, 2.0 * low * high / (low + high) - 1.0, 0.0)
    else:
        centre = (_edge(i + 1.0, BINS) + _edge(i, BINS)) * 0.5
    return centre


@triton.jit
def _edge(i, BINS: tl.constexpr):
    """Lower edge of a bin; a division by a power of two is exact as a product too."""
    if BINS & (BINS - 1) == 0:
        u = i * (1 / BINS)
    else:
        u = i / BINS
    root = (tl.sqrt(9.0 + 16.0 * u) - 3.0) * 0.5
    return root * root


@triton.jit
def _step(before, after, most):
    """From where to where a slope is taken, as ``extension._step``."""
    empty, last = before == after, before >= most
    low = tl.where(empty & last, tl.maximum(before - 1.0, 0.0), before)
    high = tl.where(empty, tl.minimum(before + 1.0, most), after)
    return low, high


@triton.jit
def _step_in_fn(F0, F1, B0, B1, P, ALPHA: tl.constexpr, BETA: tl.constexpr):
    """Mean increase of Δ per positive, over "positives first" (at B0) and "last" (at B1)."""
    start, end = _step(F0, F1, P)
    rise = (delta(end, B0, P, ALPHA, BETA) + delta(end, B1, P, ALPHA, BETA)) - (
        delta(start, B0, P, ALPHA, BETA) + delta(start, B1, P, ALPHA, BETA)
    )
    return rise / (2.0 * _one_if_empty(end - start))


@triton.jit
def _step_in_fp(B0, B1, F0, F1, P, N, ALPHA: tl.constexpr, BETA: tl.constexpr):
    """Mean increase of Δ per negative, over "negatives first" (at F0) and "last" (at F1)."""
    start, end = _step(B0, B1, N)
    rise = (delta(F0, end, P, ALPHA, BETA) + delta(F1, end, P, ALPHA, BETA)) - (
        delta(F0, start, P, ALPHA, BETA) + delta(F1, start, P, ALPHA, BETA)
    )
    return rise / (2.0 * _one_if_empty(end - start))


@triton.jit
def _one_if_empty(count):
    return tl.where(count > 0.0, count, 1.0)


@triton.jit
def reduce(
    losses, counting, invalid, weight, sums, total, factors, entropy, by_sum, groups, classes,
    NORMALIZE: tl.constexpr, MEAN: tl.constexpr, PER_IMAGE: tl.constexpr,
    BLOCK_C: tl.constexpr, BLOCK_G: tl.constexpr,
):  # fmt: skip
    """Factors of the losses and their sum, by one program: groups are few, and small.

    With sums, of cross-entropies and of their weights, the mean of these as well.
    """
    images = 1.0
    if PER_IMAGE:
        images = _images_of(counting, invalid, groups, classes, BLOCK_C, BLOCK_G)
    summands = tl.zeros((BLOCK_G, BLOCK_C), tl.float64)
    for start in range(0, groups, BLOCK_G):
        at, there, active, bad = _groups(
            counting, invalid, start, groups, classes, BLOCK_C, BLOCK_G
        )
        active = active.to(tl.float64)
        found = active
        if weight is not None:
            c = tl.arange(0, BLOCK_C)
            alpha = tl.load(weight + c, mask=c < classes, other=0.0).to(tl.float64)
            found = active * alpha[None, :]
        if MEAN:
            if NORMALIZE:
                share = tl.sum(found, 1)
            else:
                share = tl.sum(active, 1)
            found = found / tl.where(share > 0.0, share, 1.0)[:, None]
        found = tl.where(bad[:, None], float("nan"), found / images)
        rounded = found.to(factors.dtype.element_ty)
        tl.store(factors + at, rounded, mask=there)
        loss = tl.load(losses + at, mask=there, other=0.0)
        summands += tl.where(there, loss * rounded.to(tl.float64), 0.0)
    tl.store(total, tl.sum(tl.sum(summands, 1)).to(total.dtype.element_ty))
    if sums is not None:
        weights = tl.load(sums + 1)
        divisor = tl.where(weights <= 0.0, float("inf"), weights)  # the mean of nothing is 0
        tl.store(entropy, (tl.load(sums) / divisor).to(entropy.dtype.element_ty))
        tl.store(by_sum, (1.0 / divisor).to(by_sum.dtype.element_ty))


@triton.jit
def _images_of(counting, invalid, groups, classes, BLOCK_C: tl.constexpr, BLOCK_G: tl.constexpr):
    """Images of which a mean is taken: those in which a class counts, and the bad."""
    images = tl.zeros((BLOCK_G,), tl.int32)
    for start in range(0, groups, BLOCK_G):
        _, _, active, bad = _groups(counting, invalid, start, groups, classes, BLOCK_C, BLOCK_G)
        images += ((tl.max(active.to(tl.int32), 1) != 0) | bad).to(tl.int32)
    return tl.maximum(tl.sum(images), 1).to(tl.float64)


@triton.jit
def _groups(
    counting, invalid, start, groups, classes, BLOCK_C: tl.constexpr, BLOCK_G: tl.constexpr
):
    """Where the classes of some groups are, which are there, which count; which groups are bad."""
    g, c = (start + tl.arange(0, BLOCK_G)).to(tl.int64), tl.arange(0, BLOCK_C)
    at = g[:, None] * classes + c[None, :]
    there = (g < groups)[:, None] & (c < classes)[None, :]
    active = tl.load(counting + at, mask=there, other=0) != 0
    return at, there, active, tl.load(invalid + g, mask=g < groups, other=0) > 0
