"""The sort of all errors: its launch, and the kernels that extend sorted errors.

Equal errors form a run, and the extension asks how many positives and negatives come before and
after the run of a pixel. ``keys`` has the kernels that come before the sort. Clouds of points lie
one after the other in the rows: what comes before a run in its cloud is a difference.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from lovasz.kernels.fixed_point import SCALE
from lovasz.kernels.segments import Segments
from lovasz.kernels.sorting import as_rows
from lovasz.kernels.triton import blocks
from lovasz.kernels.triton.formulas import tversky
from lovasz.kernels.triton.histograms import count_multilabel, groups_of
from lovasz.kernels.triton.inputs import Clouds, Labels, Weights
from lovasz.kernels.triton.keys import IGNORED, LARGEST, multilabel_keys, place_of, softmax_keys
from lovasz.kernels.triton.lse_and_positives import lse_and_positives


class Rows(NamedTuple):
    """Sorted keys, a row for each group and class, or for each class of all clouds."""

    keys: Tensor  # (rows, pixels) int32, ascending, or in each cloud
    order: Tensor  # (rows, pixels) int64, where in its row each pixel was
    ids: Tensor | None = None  # (pixels,) int64, the cloud of each rank
    offsets: Tensor | None = None  # (clouds + 1,) int64, the ranks at which clouds begin

    def counts(self, sums: Tensor) -> tuple[Tensor, Tensor]:
        """Positives and counted pixels of the groups, (rows, 1 or clouds), from ``mark_runs``."""
        counted, low = self.keys != IGNORED.value, 2**32 - 1
        if self.offsets is None:
            return sums[:, -1:] & low, counted.sum(-1, keepdim=True)
        up_to_rank = (sums & low, counted.cumsum(-1))
        before = (torch.nn.functional.pad(x, (1, 0)) for x in up_to_rank)
        positives, pixels = (x.index_select(1, self.offsets).diff() for x in before)
        return positives, pixels


def sort_and_extend(
    scores: Tensor,
    labels: Labels,
    per_image: bool,
    link: str,
    alpha: float,
    beta: float,
    symmetric: bool = False,
    weights: Weights | None = None,
    clouds: Clouds | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Losses, slopes (N, C, L), positives, pixels, log-sum-exp and invalid pixels."""
    images, classes, _ = scores.shape
    groups = groups_of(images, per_image, clouds)
    # Of one bin, because pixels with scores that are no numbers are found by counting.
    if link == "softmax":
        weighted = weights is not None
        copies, invalid = blocks.new_copies(scores, groups, 1, weighted=weighted, few=False)
        lse, _ = lse_and_positives(
            scores, labels, copies, invalid, 1, per_image, None, weights, clouds
        )
        keys = softmax_keys(scores, labels, lse, per_image)
    else:
        largest = float("inf")
        counting = (scores, labels, 1, per_image, link, largest, None, weights, clouds)
        _, invalid, _ = count_multilabel(*counting)
        lse = scores.new_empty(0, dtype=torch.float64)
        keys = multilabel_keys(scores, labels, link, per_image)
    fixed = None
    if weights is not None:
        fixed = weights.fixed if weights.fixed.dim() == 3 else weights.fixed.unsqueeze(1)
        fixed = as_rows(fixed, Segments(per_image))
        # What counts nothing is as if it were ignored.
        by_row = keys.view(-1, classes, keys.shape[1]).masked_fill_(fixed == 0, IGNORED.value)
        fixed = fixed.expand(by_row.shape).reshape(keys.shape)
    rows = sort_keys(keys, clouds)
    if weights is None or weights.weight is None:
        fixed = None  # all 1
    losses, slopes, *counts = extend_sorted(
        rows, fixed, scores.shape, per_image, alpha, beta, symmetric
    )
    if clouds is not None:
        losses, *counts = (of_rows.t().contiguous() for of_rows in (losses, *counts))
    losses, positives, pixels = (x.view(groups, classes) for x in (losses, *counts))
    return losses, slopes, positives, pixels, lse, invalid


def sort_keys(keys: Tensor, clouds: Clouds | None) -> Rows:
    """The keys of each row in ascending order, those of clouds cloud after cloud."""
    if clouds is None:
        return Rows(*keys.sort(dim=-1))
    both, order = (clouds.ids * 2**32 + (keys.to(torch.int64) + 2**31)).sort(dim=-1)
    ids = both[0] >> 32
    ends = torch.arange(clouds.number + 1, device=keys.device)
    keys = ((both & (2**32 - 1)) - 2**31).to(torch.int32)
    return Rows(keys, order, ids, torch.searchsorted(ids, ends))


def extend_sorted(
    rows: Rows,
    fixed: Tensor | None,
    shape: torch.Size,
    per_image: bool,
    alpha: float,
    beta: float,
    symmetric: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Losses of the groups of the rows, slopes (N, C, L), positives and pixels of the groups.

    ``fixed`` is what pixels count, (rows, pixels), or None for one each.
    """
    keys = rows.keys
    number, pixels = keys.shape
    _, classes, length = shape
    parts = blocks.ceil_div(pixels, blocks.STRIP)
    grid, constants = (number * parts,), {"BLOCK": blocks.STRIP, "num_warps": blocks.WARPS}
    sums = keys.new_empty(keys.shape, dtype=torch.int64)
    mark_runs_kernel[grid](keys, rows.ids, sums, pixels, **constants)
    sums = sums.cumsum_(-1)
    width = torch.int32 if pixels < 2**31 else torch.int64
    starts = keys.new_full((number, pixels + 1), pixels, dtype=width)
    start_runs_kernel[grid](sums, starts, pixels, **constants)
    positives, counted = rows.counts(sums)
    units: tuple[Tensor | None, ...] = (None, None, None)
    if fixed is not None:
        own = fixed.gather(-1, rows.order)
        units = (own, own.cumsum(-1), (own * (keys & 1)).cumsum(-1))
    slopes = keys.new_empty(shape, dtype=torch.float32)
    of_clouds = rows.offsets is not None
    losses = keys.new_empty((number, pixels if of_clouds else parts), dtype=torch.float64)
    tensors = (keys, rows.order, rows.ids, rows.offsets, sums, starts, counted, *units)
    extend_runs_kernel[grid](
        *(*tensors, slopes, losses, pixels, length, classes, counted.shape[1]),
        ALPHA=alpha,
        BETA=beta,
        UNIT=1.0 if fixed is None else 1.0 / SCALE,
        SYMMETRIC=symmetric,
        PER_IMAGE=per_image,
        **constants,
    )
    if rows.offsets is None:
        return losses.sum(-1, keepdim=True), slopes, positives, counted
    summed = torch.empty_like(counted, dtype=torch.float64)
    programs = (summed.numel(),)
    sum_clouds_kernel[programs](losses, rows.offsets, summed, pixels, counted.shape[1], **constants)
    return summed, slopes, positives, counted


@triton.jit
def mark_runs_kernel(keys, ids, marks, pixels, BLOCK: tl.constexpr):
    """For every rank, 1 if the pixel is a positive, plus 2^32 if a run of equal errors starts.

    Tensors:
        keys: (rows, pixels) int32, sorted
        ids: (pixels,) int64, the cloud of each rank, or None
        marks: (rows, pixels) int64, written

    Numbers:
        pixels: of a row

    Constants:
        BLOCK: ranks of a program
    """
    blocks = tl.cdiv(pixels, BLOCK)
    row = (tl.program_id(0) // blocks).to(tl.int64) * pixels
    rank = (tl.program_id(0) % blocks).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = rank < pixels
    key = tl.load(keys + row + rank, mask=inside, other=0)
    before = tl.load(keys + row + rank - 1, mask=inside & (rank > 0), other=2**31 - 1)
    starts = (key >> 1) != (before >> 1)
    if ids is not None:
        cloud = tl.load(ids + rank, mask=inside, other=0)
        starts = starts | (cloud != tl.load(ids + rank - 1, mask=inside & (rank > 0), other=-1))
    mark = (key & 1).to(tl.int64) + starts.to(tl.int64) * 4294967296
    tl.store(marks + row + rank, mark, mask=inside)


@triton.jit
def start_runs_kernel(sums, starts, pixels, BLOCK: tl.constexpr):
    """The rank at which each run starts.

    Tensors:
        sums: (rows, pixels) int64: the marks added up, positives below bit 32 and runs above
        starts: (rows, pixels + 1) int32 or int64, filled with pixels, which stays as the start of
            what comes after the last run

    Numbers:
        pixels: of a row

    Constants:
        BLOCK: ranks of a program
    """
    blocks = tl.cdiv(pixels, BLOCK)
    index = (tl.program_id(0) // blocks).to(tl.int64)
    rank = (tl.program_id(0) % blocks).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = rank < pixels
    run = tl.load(sums + index * pixels + rank, mask=inside, other=0) >> 32
    before = tl.load(sums + index * pixels + rank - 1, mask=inside & (rank > 0), other=0) >> 32
    first = starts + index * (pixels + 1) + run - 1
    tl.store(first, rank.to(starts.dtype.element_ty), mask=inside & (run != before))


@triton.jit
def extend_runs_kernel(
    keys, order, ids, offsets, sums, starts, counted, units, units_sums, positive_sums, slopes,
    losses, pixels, length, classes, groups,
    ALPHA: tl.constexpr, BETA: tl.constexpr, UNIT: tl.constexpr, SYMMETRIC: tl.constexpr,
    PER_IMAGE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Slope of every pixel, put where the pixel is, and a part of the losses for each program.

    Tensors:
        keys, order: (rows, pixels) int32 and int64, as the sort returns them
        ids, offsets: (pixels,) and (groups + 1,) int64: the cloud of each rank, and the ranks at
            which clouds begin; or None
        sums: (rows, pixels) int64, positives below bit 32 and runs above, up to each rank
        starts: (rows, pixels + 1) int32 or int64, the rank at which each run starts
        counted: (rows, groups) int64, pixels that are not ignored
        units, units_sums, positive_sums: (rows, pixels) int64: what each pixel counts, and such of
            all pixels and of positives added up to each rank; or None, all 1
        slopes: (N, C, L) float32, contiguous, written
        losses: (rows, programs of a row) float64, written; with clouds (rows, pixels), each
            pixel's

    Numbers:
        pixels: of a row
        length, classes: L and C
        groups: of a row, 1 without clouds

    Constants:
        ALPHA, BETA: weights of false positives and false negatives in Tversky's set function
        UNIT: of what pixels count
        SYMMETRIC: mean of the extensions for the set and for its complement
        PER_IMAGE: whether a row has the pixels of an image, or of all images
        BLOCK: ranks of a program
    """
    blocks = tl.cdiv(pixels, BLOCK)
    index = (tl.program_id(0) // blocks).to(tl.int64)
    row = index * pixels
    rank = (tl.program_id(0) % blocks).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = rank < pixels
    key = tl.load(keys + row + rank, mask=inside, other=0)
    place = place_of(key)
    valid = inside & (place <= LARGEST)
    run = tl.load(sums + row + rank, mask=valid, other=4294967296) >> 32
    start = tl.load(starts + index * (pixels + 1) + run - 1, mask=valid, other=0).to(tl.int64)
    end = tl.load(starts + index * (pixels + 1) + run, mask=valid, other=1).to(tl.int64)
    cloud = rank * 0
    first, last = cloud, cloud + pixels
    if ids is not None:
        cloud = tl.load(ids + rank, mask=inside, other=0)
        first = tl.load(offsets + cloud, mask=inside, other=0)
        last = tl.load(offsets + cloud + 1, mask=inside, other=0)

    if units is None:
        own = tl.full(rank.shape, 1, tl.int64)
        whole = tl.load(counted + index * groups + cloud, mask=valid, other=0)
        F0, F1, P = sums_around(sums + row, first, start, end, last, valid, 0xFFFFFFFF)
        B0, B1, N = (start - first) - F0, (end - first) - F1, whole - P
    else:
        own = tl.load(units + row + rank, mask=valid, other=0)
        F0, F1, P = sums_around(positive_sums + row, first, start, end, last, valid, -1)
        B0, B1, N = sums_around(units_sums + row, first, start, end, last, valid, -1)
        B0, B1, N = B0 - F0, B1 - F1, N - P
    size = tl.where((key & 1) == 1, F1 - F0, B1 - B0)
    F0, F1, P = F0.to(tl.float64) * UNIT, F1.to(tl.float64) * UNIT, P.to(tl.float64) * UNIT
    B0, B1, N = B0.to(tl.float64) * UNIT, B1.to(tl.float64) * UNIT, N.to(tl.float64) * UNIT
    d00, d10 = (
        cost(F0, B0, P, N, ALPHA, BETA, SYMMETRIC),
        cost(F1, B0, P, N, ALPHA, BETA, SYMMETRIC),
    )
    d01, d11 = (
        cost(F0, B1, P, N, ALPHA, BETA, SYMMETRIC),
        cost(F1, B1, P, N, ALPHA, BETA, SYMMETRIC),
    )
    rise = tl.where((key & 1) == 1, (d10 - d00) + (d11 - d01), (d01 - d00) + (d11 - d10))
    share = own.to(tl.float64) / (2 * tl.maximum(size, 1)).to(tl.float64)
    slope = tl.where(valid, rise * share, 0.0)
    error = (-place + LARGEST).to(tl.float32, bitcast=True).to(tl.float64)
    loss = tl.where(valid, slope * error, 0.0)
    if ids is None:
        tl.store(losses + tl.program_id(0), tl.sum(loss))
    else:
        tl.store(losses + row + rank, loss, mask=inside)
    pixel = tl.load(order + row + rank, mask=inside, other=0)
    if PER_IMAGE:
        pixel += row
    else:
        pixel = ((pixel // length) * classes + index) * length + pixel % length
    tl.store(slopes + pixel, slope.to(tl.float32), mask=inside)


@triton.jit
def sums_around(sums, first, start, end, last, mask, BITS: tl.constexpr):
    """Sums of a group before a run, up to its end, and of all, from those up to each rank."""
    base = _sum_before(sums, first, mask) & BITS
    before = (_sum_before(sums, start, mask) & BITS) - base
    after = (_sum_before(sums, end, mask) & BITS) - base
    return before, after, (_sum_before(sums, last, mask) & BITS) - base


@triton.jit
def _sum_before(sums, rank, mask):
    return tl.load(sums + rank - 1, mask=mask & (rank > 0), other=0)


@triton.jit
def cost(
    fn, fp, positives, negatives,
    ALPHA: tl.constexpr, BETA: tl.constexpr, SYMMETRIC: tl.constexpr,
):  # fmt: skip
    """Of mispredicted pixels to the class, or the mean of that and of that to its complement."""
    value = tversky(fn, fp, positives, ALPHA, BETA)
    if SYMMETRIC:  # the positives of the complement are the negatives
        value = 0.5 * (value + tversky(fp, fn, negatives, ALPHA, BETA))
    return value


@triton.jit
def sum_clouds_kernel(losses, offsets, summed, pixels, groups, BLOCK: tl.constexpr):
    """The loss of a cloud and class, always in the same order.

    Tensors:
        losses: (rows, pixels) float64, each pixel's
        offsets: (groups + 1,) int64, the ranks at which clouds begin
        summed: (rows, groups) float64, written

    Numbers:
        pixels: of a row
        groups: clouds

    Constants:
        BLOCK: ranks at a time
    """
    cloud = tl.program_id(0) % groups
    row = (tl.program_id(0) // groups).to(tl.int64) * pixels
    first, last = tl.load(offsets + cloud), tl.load(offsets + cloud + 1)
    total = tl.zeros((BLOCK,), tl.float64)
    for start in range(first, last, BLOCK):
        rank = start + tl.arange(0, BLOCK)
        total += tl.load(losses + row + rank, mask=rank < last, other=0.0)
    tl.store(summed + tl.program_id(0), tl.sum(total))
