"""The kernel of the histogram of multilabel channels, and of classes with probabilities.

No score depends on another one, so a program takes pixels of one channel and reads every score
once. It counts them in shared memory, or in registers as ``histogram_registers`` does, negatives
and positives in one histogram; there is no sum of probabilities here that would bound how many
errors are large.
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from lovasz.kernels.triton import blocks, ptx
from lovasz.kernels.triton.formulas import (
    bin_of_margin,
    error_of,
    is_invalid,
    is_label,
    is_positive,
    margin_of,
    softplus,
)
from lovasz.kernels.triton.inputs import Clouds, CrossEntropy, Labels, Weights
from lovasz.kernels.triton.tiles import (
    clouds_of,
    count_strip,
    flush_strips,
    group_of,
    load_labels,
    store_sums,
)


def histogram_multilabel(
    scores: Tensor,
    labels: Labels,
    copies: Tensor,
    invalid: Tensor,
    bins: int,
    per_image: bool,
    link: str,
    largest: float,
    cross_entropy: CrossEntropy | None,
    weights: Weights | None,
    clouds: Clouds | None,
    *,
    shared: bool,
) -> Tensor:
    """Cross-entropy; adds errors to ``copies``, invalid pixels to ``invalid``."""
    images, classes, length = scores.shape
    chunk = blocks.chunk_of(images * length * classes, scores.device)
    programs = images * blocks.ceil_div(length, chunk) * classes
    sums = blocks.new_sums(scores, programs, cross_entropy is not None)
    window = blocks.multilabel_window_of(bins, shared=shared)
    class_weight = None if cross_entropy is None else cross_entropy.class_weight
    by_pixel = (None, None) if weights is None else weights
    tensors = (scores, labels.target, copies, invalid, sums, class_weight, *by_pixel)
    segment_ids = None if clouds is None else clouds.ids
    histogram_multilabel_kernel[(programs,)](
        *tensors,
        segment_ids,
        classes,
        length,
        *scores.stride(),
        *labels.strides,
        *((0, 0) if weights is None else weights.strides),
        copies.shape[1],
        labels.ignore_index,
        chunk,
        largest,
        LINK=link,
        COPIES=copies.shape[0],
        BINS=bins,
        WINDOW=window,
        CELLS=blocks.table_cells(2 * window) if shared else 0,
        IGNORES=labels.ignores,
        PER_IMAGE=per_image,
        CROSS_ENTROPY=cross_entropy is not None,
        BLOCK_T=blocks.STRIP if shared else blocks.strip_of(length),
        num_warps=blocks.WARPS,
    )
    return blocks.add_sums(sums)


@triton.jit
def histogram_multilabel_kernel(
    scores, target, copies, invalid, sums, class_weight, pixel_weight, fixed_weight,
    segment_ids, classes, length, stride_n, stride_c, stride_l, target_n, target_c, target_l,
    weight_n, weight_c, cells, ignore_index, chunk_size, largest,
    LINK: tl.constexpr, COPIES: tl.constexpr, BINS: tl.constexpr, WINDOW: tl.constexpr,
    CELLS: tl.constexpr, IGNORES: tl.constexpr, PER_IMAGE: tl.constexpr,
    CROSS_ENTROPY: tl.constexpr, BLOCK_T: tl.constexpr,
):  # fmt: skip
    """Histogram of a channel over a chunk of the pixels of an image, and its cross-entropy.

    Tensors:
        scores: (N, C, L) float32, bfloat16 or float16, any strides
        target: (N, C, L), or (N, L) of classes, integers or bytes, any strides
        copies: (copies, G · C · 2 · B) int32 or int64, pixels are added, or units of 2^-20
        invalid: (G,) int64, added to: scores whose label is none or that are no numbers
        sums: (programs, 2) float64, written with CROSS_ENTROPY: its sum and that of its weights
        class_weight: (C,) float32, of positives in the cross-entropy; or None, all 1
        pixel_weight: as the target, contiguous float32, of the cross-entropy; or None, all 1
        fixed_weight: likewise int64, in units of 2^-20, 0 where ignored; or None, count pixels
        segment_ids: (L,) int64, the group of each pixel, with weights; or None

    Numbers:
        classes, length: C and L
        stride_n, stride_c, stride_l, target_n, target_c, target_l: strides of scores and target
        weight_n, weight_c: strides of the weights from image to image and class to class
        cells: of a copy
        ignore_index: label that does not count, with IGNORES
        chunk_size: pixels of a program, a multiple of BLOCK_T
        largest: errors from here on are invalid

    Constants:
        LINK: how scores become errors
        COPIES, BINS: number of copies, and of bins; of 0 bins nothing is counted
        WINDOW: bins of either side that the program holds, a power of two
        CELLS: of the table in shared memory; 0 to hold the bins in registers
        PER_IMAGE: whether G is N
        BLOCK_T: pixels at a time
    """
    program = tl.program_id(0)
    chunks = tl.cdiv(length, chunk_size)
    c = (program % classes).to(tl.int64)
    chunk = (program // classes) % chunks
    image = (program // classes // chunks).to(tl.int64)
    group = group_of(image, PER_IMAGE)
    row = copies + ((program // classes) % COPIES) * cells + (group * classes + c) * 2 * BINS
    scores += image * stride_n + c * stride_c
    target += image * target_n + c * target_c
    plane = image * weight_n + c * weight_c

    if CELLS > 0:
        held = ptx.new_table(CELLS)
        ptx.clear(held, CELLS)
    else:
        held = tl.zeros((2 * WINDOW,), tl.int32)
    bad = tl.zeros((BLOCK_T,), tl.int32)
    cross_entropy, weights = tl.zeros((BLOCK_T,), tl.float32), tl.zeros((BLOCK_T,), tl.float32)
    own = 1.0 if class_weight is None else tl.load(class_weight + c)
    first = chunk.to(tl.int64) * chunk_size
    for start in range(0, tl.minimum(length - first, chunk_size), BLOCK_T):
        pixel = first + start + tl.arange(0, BLOCK_T)
        inside = pixel < length
        labels, counted = load_labels(target, pixel * target_l, inside, ignore_index, IGNORES)
        positive = counted & is_positive(labels, c, LINK)
        x = tl.load(scores + pixel * stride_l, mask=inside, other=0.0).to(tl.float32)
        margin = margin_of(x, positive, LINK)
        error = error_of(margin, LINK)
        wrong = ~is_label(labels, classes, LINK) | is_invalid(x, error, largest, LINK)
        at, bad = _in_group(
            row, bad, invalid, counted & wrong, segment_ids, pixel, inside, classes * 2 * BINS
        )
        if BINS > 0:
            b = bin_of_margin(margin, LINK, BINS)
            added = counted & (b > 0)
            held = count_strip(
                held, b, positive, counted, added, at, fixed_weight, plane + pixel,
                BINS, WINDOW, CELLS,
            )  # fmt: skip
        if CROSS_ENTROPY:
            w = tl.full((BLOCK_T,), 1.0, tl.float32)
            if pixel_weight is not None:
                w = tl.load(pixel_weight + plane + pixel, mask=inside, other=0.0)
            cross_entropy += tl.where(
                counted, w * softplus(margin) * tl.where(positive, own, 1.0), 0.0
            )
            weights += tl.where(counted, w, 0.0)

    flush_strips(held, row, fixed_weight, BINS, WINDOW, CELLS)
    bads = tl.sum(bad.to(tl.int64))
    tl.atomic_add(invalid + group, bads, mask=bads > 0, sem="relaxed")
    if CROSS_ENTROPY:
        store_sums(sums, cross_entropy, weights)


@triton.jit
def _in_group(row, bad, invalid, wrong, segment_ids, pixel, inside, cells):
    """Row in which each pixel is counted, and the wrong ones that are yet to be added."""
    if segment_ids is None:
        bad += wrong.to(tl.int32)
    else:
        cloud = clouds_of(segment_ids, pixel, inside)
        row = row + cloud * cells
        tl.atomic_add(invalid + cloud, wrong.to(tl.int64), mask=wrong, sem="relaxed")
    return row, bad
