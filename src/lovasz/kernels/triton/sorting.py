"""The sort of all errors: its launch, and the kernels that extend sorted errors.

Equal errors form a run, and the extension asks how many positives and negatives come before and
after the run of a pixel. ``keys`` has the kernels that come before the sort.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from lovasz.kernels.triton import blocks
from lovasz.kernels.triton.formulas import tversky
from lovasz.kernels.triton.histograms import count_multilabel
from lovasz.kernels.triton.inputs import Labels
from lovasz.kernels.triton.keys import LARGEST, multilabel_keys, place_of, softmax_keys
from lovasz.kernels.triton.lse_and_positives import lse_and_positives


def sort_and_extend(
    scores: Tensor, labels: Labels, per_image: bool, link: str, alpha: float, beta: float
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Losses, slopes (N, C, L), positives, pixels, log-sum-exp and invalid pixels."""
    images, classes, _ = scores.shape
    groups = images if per_image else 1
    # Of one bin: a histogram of it has the numbers of negatives and positives.
    if link == "softmax":
        copies, invalid = blocks.new_copies(scores, groups, 1, weighted=False, few=False)
        lse, _ = lse_and_positives(scores, labels, copies, invalid, 1, per_image, None)
        positives = blocks.sum_copies(copies, classes, 1)[:, :, 1, 0].contiguous()
        pixels = positives.sum(-1, keepdim=True).repeat(1, classes)  # the same for all classes
        keys = softmax_keys(scores, labels, lse, per_image)
    else:
        largest = float("inf")
        counts, invalid, _ = count_multilabel(scores, labels, 1, per_image, link, largest)
        lse = scores.new_empty(0, dtype=torch.float64)
        positives, pixels = counts[:, :, 1, 0].contiguous(), counts.sum((2, 3))
        keys = multilabel_keys(scores, labels, link, per_image)
    keys, order = keys.sort(dim=-1)
    losses, slopes = extend_sorted(keys, order, scores.shape, per_image, alpha, beta)
    return losses.view(groups, classes), slopes, positives, pixels, lse, invalid


def extend_sorted(
    keys: Tensor, order: Tensor, shape: torch.Size, per_image: bool, alpha: float, beta: float
) -> tuple[Tensor, Tensor]:
    """Losses of the rows of sorted keys, and slopes (N, C, L)."""
    rows, pixels = keys.shape
    _, classes, length = shape
    parts = blocks.ceil_div(pixels, blocks.STRIP)
    grid, constants = (rows * parts,), {"BLOCK": blocks.STRIP, "num_warps": blocks.WARPS}
    sums = keys.new_empty(keys.shape, dtype=torch.int64)
    mark_runs_kernel[grid](keys, sums, pixels, **constants)
    sums = sums.cumsum_(-1)
    width = torch.int32 if pixels < 2**31 else torch.int64
    starts = keys.new_full((rows, pixels + 1), pixels, dtype=width)
    start_runs_kernel[grid](sums, starts, pixels, **constants)
    slopes = keys.new_empty(shape, dtype=torch.float32)
    losses = keys.new_empty((rows, parts), dtype=torch.float64)
    tensors = (keys, order, sums, starts, slopes, losses)
    weights = {"ALPHA": alpha, "BETA": beta, "PER_IMAGE": per_image}
    extend_runs_kernel[grid](*tensors, pixels, length, classes, **weights, **constants)
    return losses.sum(-1), slopes


@triton.jit
def mark_runs_kernel(keys, marks, pixels, BLOCK: tl.constexpr):
    """For every rank, 1 if the pixel is a positive, plus 2^32 if a run of equal errors starts.

    Tensors:
        keys: (rows, pixels) int32, sorted
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
    starts = ((key >> 1) != (before >> 1)).to(tl.int64)
    tl.store(marks + row + rank, (key & 1).to(tl.int64) + starts * 4294967296, mask=inside)


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
    keys, order, sums, starts, slopes, losses, pixels, length, classes,
    ALPHA: tl.constexpr, BETA: tl.constexpr, PER_IMAGE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Slope of every pixel, put where the pixel is, and a part of the losses for each program.

    Tensors:
        keys, order: (rows, pixels) int32 and int64, as the sort returns them
        sums: (rows, pixels) int64, positives below bit 32 and runs above, up to each rank
        starts: (rows, pixels + 1) int32 or int64, the rank at which each run starts
        slopes: (N, C, L) float32, contiguous, written
        losses: (rows, programs of a row) float64, written

    Numbers:
        pixels: of a row
        length, classes: L and C

    Constants:
        ALPHA, BETA: weights of false positives and false negatives in Tversky's set function
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
    counted = inside & (place <= LARGEST)
    run = tl.load(sums + row + rank, mask=counted, other=4294967296) >> 32
    start = tl.load(starts + index * (pixels + 1) + run - 1, mask=counted, other=0).to(tl.int64)
    end = tl.load(starts + index * (pixels + 1) + run, mask=counted, other=1).to(tl.int64)
    # Positives before the run, after it, and of the class.
    F0 = tl.load(sums + row + start - 1, mask=counted & (start > 0), other=0) & 0xFFFFFFFF
    F1 = tl.load(sums + row + end - 1, mask=counted, other=0) & 0xFFFFFFFF
    P = (tl.load(sums + row + pixels - 1) & 0xFFFFFFFF).to(tl.float64)
    f, n = F1 - F0, (end - start) - (F1 - F0)
    B0, B1 = (start - F0).to(tl.float64), (end - F1).to(tl.float64)
    F0, F1 = F0.to(tl.float64), F1.to(tl.float64)
    d00, d10 = tversky(F0, B0, P, ALPHA, BETA), tversky(F1, B0, P, ALPHA, BETA)
    d01, d11 = tversky(F0, B1, P, ALPHA, BETA), tversky(F1, B1, P, ALPHA, BETA)
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
