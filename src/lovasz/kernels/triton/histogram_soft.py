"""The kernel of the first pass over soft labels: histogram, sums, and binary cross-entropy.

A program takes pixels of one class or channel. With softmax their log-sum-exp is known before. It
counts as ``histogram_multilabel`` does, and adds up what the losses by sums are made of. Clouds of
points are put in order, so that all pixels of a program are of one cloud.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from lovasz.kernels.triton import blocks, ptx
from lovasz.kernels.triton.formulas import bin_of, is_invalid, load_lse, softplus
from lovasz.kernels.triton.inputs import Clouds, CrossEntropy, SoftLabels, SoftWeights
from lovasz.kernels.triton.soft_labels import (
    NUMBERS,
    is_under,
    load_soft,
    prediction_of,
    soft_error,
)
from lovasz.kernels.triton.tiles import count_strip, flush_strips, group_of

#: strips whose sums are added up in float32, before they are added to others
STRIPS = tl.constexpr(16)


class Parts(NamedTuple):
    """Which programs a class has."""

    chunk: int  # pixels of a program, at most, of images; a multiple of the strip
    number: int  # of programs of an image or cloud
    groups: int  # images or clouds
    order: Tensor | None = None  # (L,) int64, points by their clouds
    offsets: Tensor | None = None  # (clouds + 1,) int64, where in that order clouds begin

    @classmethod
    def of(cls, scores: Tensor, clouds: Clouds | None) -> Parts:
        """Long enough to spare additions, enough programs."""
        images, classes, length = scores.shape
        chunk = blocks.chunk_of(images * length * classes, scores.device)
        if clouds is None:
            return cls(chunk, blocks.ceil_div(length, chunk), images)
        number = blocks.ceil_div(blocks.ceil_div(length, clouds.number), chunk)
        ids, order = clouds.ids.sort(stable=True)
        ends = torch.arange(clouds.number + 1, device=ids.device)
        return cls(chunk, number, clouds.number, order, torch.searchsorted(ids, ends))


def histogram_soft(
    scores: Tensor,
    labels: SoftLabels,
    lse: Tensor | None,
    copies: Tensor,
    invalid: Tensor,
    bins: int,
    per_image: bool,
    link: str,
    cross_entropy: CrossEntropy | None,
    weights: SoftWeights | None,
    clouds: Clouds | None,
    *,
    shared: bool,
) -> tuple[Tensor, Tensor]:
    """Sums of the groups, and the cross-entropy without softmax; adds to copies and ``invalid``."""
    _, classes, length = scores.shape
    parts = Parts.of(scores, clouds)
    programs = parts.groups * parts.number * classes
    regions = scores.new_empty((parts.groups, parts.number, classes, 8), dtype=torch.float64)
    sums = blocks.new_sums(scores, programs, cross_entropy is not None and link != "softmax")
    window = blocks.multilabel_window_of(bins, shared=shared)
    class_weight = None if cross_entropy is None else cross_entropy.class_weight
    by_pixel = (None, None) if weights is None else weights
    tensors = (scores, labels.target, labels.mixture, lse, copies, invalid, regions, sums)
    histogram_soft_kernel[(programs,)](
        *tensors,
        class_weight,
        *by_pixel,
        parts.order,
        parts.offsets,
        classes,
        length,
        *scores.stride(),
        *labels.strides,
        *((0,) * 5 if weights is None else weights.strides),
        copies.shape[1],
        labels.ignore_index,
        labels.smoothing,
        parts.chunk,
        parts.number,
        LINK=link,
        KIND=labels.kind,
        MAPS_OF=labels.maps,
        IGNORES=labels.ignores,
        COPIES=copies.shape[0],
        BINS=bins,
        WINDOW=window,
        CELLS=blocks.table_cells(2 * window) if shared else 0,
        PER_IMAGE=per_image or clouds is not None,
        CROSS_ENTROPY=len(sums) > 0,
        PTX=blocks.has_ptx(scores.device),
        BLOCK_T=blocks.STRIP if shared else blocks.strip_of(length),
        num_warps=blocks.WARPS,
    )
    if per_image or clouds is not None:
        return regions.sum(1), blocks.add_sums(sums)
    return regions.flatten(0, 1).sum(0, keepdim=True), blocks.add_sums(sums)


@triton.jit
def histogram_soft_kernel(
    scores, target, mixture, lse, copies, invalid, regions, sums, class_weight, pixel_weight,
    fixed_weight, order, offsets, classes, length, stride_n, stride_c, stride_l,
    target_n, target_c, target_l, weight_n, weight_c, weight_l, fixed_n, fixed_c,
    cells, ignore_index, smoothing, chunk_size, parts,
    LINK: tl.constexpr, KIND: tl.constexpr, MAPS_OF: tl.constexpr, IGNORES: tl.constexpr,
    COPIES: tl.constexpr, BINS: tl.constexpr, WINDOW: tl.constexpr, CELLS: tl.constexpr,
    PER_IMAGE: tl.constexpr, CROSS_ENTROPY: tl.constexpr, PTX: tl.constexpr,
    BLOCK_T: tl.constexpr,
):  # fmt: skip
    """Histogram, sums and cross-entropy of a class over a part of the pixels of an image or cloud.

    Tensors:
        scores: (N, C, L) float32, bfloat16 or float16, any strides
        target: (N, C, L) floats, or integers 0 and 1; or (N, K, L) label maps; any strides
        mixture: (N, K) float32, contiguous, weights of the maps; or None
        lse: (N, L) float64, contiguous, with softmax
        copies: (copies, G · C · 2 · B) int32 or int64, pixels are added, or units of 2^-20
        invalid: (G,) int64, added to without softmax: scores and labels that are none
        regions: (images or clouds, parts, C, 8) float64, written: sums over the pixels
        sums: (programs, 2) float64, written with CROSS_ENTROPY: its sum and that of its weights
        class_weight: (C,) float32, of positives in the cross-entropy; or None, all 1
        pixel_weight: (N, 1 or C, L) float32, any strides; or None, all 1
        fixed_weight: likewise int64, in units of 2^-20, contiguous, 0 where ignored
        order, offsets: (L,) and (clouds + 1,) int64: points by their clouds, and where these
            begin; or None

    Numbers:
        classes, length: C and L
        stride_n, stride_c, stride_l: strides of scores
        target_n, target_c, target_l: of target, from class to class or from map to map
        weight_n, weight_c, weight_l, fixed_n, fixed_c: of the weights
        cells: of a copy
        ignore_index: label that does not count, with IGNORES
        smoothing: label smoothing
        chunk_size: pixels of a program of an image, a multiple of BLOCK_T
        parts: programs of an image or cloud and class

    Constants:
        LINK: how scores become predictions
        KIND, MAPS_OF: what labels are, and K
        COPIES, BINS: number of copies, and of bins; of 0 bins nothing is counted
        WINDOW: bins of either side that the program holds, a power of two
        CELLS: of the table in shared memory; 0 to hold the bins in registers
        PER_IMAGE: whether every image or cloud is a group
        PTX: whether to use PTX
        BLOCK_T: pixels at a time
    """
    program = tl.program_id(0)
    c = (program % classes).to(tl.int64)
    part = (program // classes) % parts
    unit = (program // classes // parts).to(tl.int64)  # image or cloud
    group = group_of(unit, PER_IMAGE)
    row = copies + ((program // classes) % COPIES) * cells + (group * classes + c) * 2 * BINS
    if offsets is None:
        image = unit
        first = part.to(tl.int64) * chunk_size
        end = tl.minimum(first + chunk_size, length)
    else:
        image = unit * 0
        first, end = _part_of_cloud(offsets + unit, part, parts, BLOCK_T)
    scores += image * stride_n + c * stride_c
    target += image * target_n
    if mixture is not None:
        mixture += image * MAPS_OF
    if lse is not None:
        lse += image * length
    if pixel_weight is not None:
        pixel_weight += image * weight_n + c * weight_c
        fixed_weight += image * fixed_n + c * fixed_c
    own = 1.0 if class_weight is None else tl.load(class_weight + c)
    labels = (target, mixture, c, classes, target_c, target_l, ignore_index, smoothing)
    weights = (pixel_weight, fixed_weight, weight_l)
    rows = (scores, stride_l, lse, order, row, own)

    if CELLS > 0:
        held = ptx.new_table(CELLS)
        ptx.clear(held, CELLS)
    else:
        held = tl.zeros((2 * WINDOW,), tl.int32)
    bad = tl.zeros((BLOCK_T,), tl.int32)
    nought = tl.sum(tl.zeros((BLOCK_T,), tl.float64))
    p, q, pq, d, pp, qq, raw, w, entropy = (
        nought, nought, nought, nought, nought, nought, nought, nought, nought,
    )  # fmt: skip
    for start in range(first, end, STRIPS * BLOCK_T):
        last = tl.minimum(start + STRIPS * BLOCK_T, end)
        held, bad, p, q, pq, d, pp, qq, raw, w, entropy = _read(
            held, bad, (p, q, pq, d, pp, qq, raw, w, entropy), rows, labels, weights, start, last,
            LINK, KIND, MAPS_OF, IGNORES, BINS, WINDOW, CELLS, CROSS_ENTROPY, PTX, BLOCK_T,
        )  # fmt: skip

    flush_strips(held, row, fixed_weight, BINS, WINDOW, CELLS)
    bads = tl.sum(bad.to(tl.int64))
    tl.atomic_add(invalid + group, bads, mask=bads > 0, sem="relaxed")
    slot = regions + program.to(tl.int64) * 8
    values = (p, q, pq, d, pp, qq, raw, w)
    for k in tl.static_range(8):
        tl.store(slot + k, values[k])
    if CROSS_ENTROPY:
        tl.store(sums + 2 * program, entropy)
        tl.store(sums + 2 * program + 1, w)


@triton.jit
def _part_of_cloud(offsets, part, parts, BLOCK_T: tl.constexpr):
    """The ranks of a part of a cloud, of whole strips but for the last."""
    first, end = tl.load(offsets), tl.load(offsets + 1)
    size = tl.cdiv(tl.cdiv(end - first, parts), BLOCK_T) * BLOCK_T
    first += part * size
    return first, tl.minimum(first + size, end)


@triton.jit
def _read(
    held, bad, sums, rows, labels, weights, first, end,
    LINK: tl.constexpr, KIND: tl.constexpr, MAPS_OF: tl.constexpr, IGNORES: tl.constexpr,
    BINS: tl.constexpr, WINDOW: tl.constexpr, CELLS: tl.constexpr,
    CROSS_ENTROPY: tl.constexpr, PTX: tl.constexpr, BLOCK_T: tl.constexpr,
):  # fmt: skip
    """Count some strips, so few that their sums have all digits in float32, and add these."""
    scores, stride_l, lse, order, row, own = rows
    zeros = tl.zeros((BLOCK_T,), tl.float32)
    s_p, s_q, s_pq, s_d = zeros, zeros, zeros, zeros
    s_pp, s_qq, s_raw, s_w, s_e = zeros, zeros, zeros, zeros, zeros
    for start in range(first, end, BLOCK_T):
        at = start + tl.arange(0, BLOCK_T)
        inside = at < end
        pixel = at if order is None else tl.load(order + at, mask=inside, other=0)
        raw, q, w, counted, wrong = _load_labels(
            labels, weights, pixel, inside, KIND, MAPS_OF, IGNORES
        )
        x = tl.load(scores + pixel * stride_l, mask=inside, other=0.0).to(tl.float32)
        x = tl.where(counted, x, 0.0)
        most, rest = zeros, zeros
        if LINK == "softmax":
            most, rest = load_lse(lse + pixel, counted)
        p, complement = prediction_of(x, most, rest, LINK, PTX)
        if LINK != "softmax":
            bad += (counted & (wrong | is_invalid(x, p, 2.0, LINK))).to(tl.int32)
        if BINS > 0:
            under = is_under(p, q)
            error, rest_of_error = soft_error(p, complement, q)
            b = bin_of(error, rest_of_error, BINS)
            added = counted & (under | (b > 0))
            held = count_strip(
                held, b, under, counted, added, row, weights[1], pixel, BINS, WINDOW, CELLS
            )
        s_p += w * p
        s_q += w * q
        s_pq += w * p * q
        s_d += w * tl.abs(p - q)
        s_pp += w * p * p
        s_qq += w * q * q
        s_raw += w * raw
        s_w += w
        if CROSS_ENTROPY:
            s_e += w * _binary_cross_entropy(x, q, own)
    p, q, pq, d, pp, qq, raw, w, entropy = sums
    return (
        held, bad, p + _sum(s_p), q + _sum(s_q), pq + _sum(s_pq), d + _sum(s_d), pp + _sum(s_pp),
        qq + _sum(s_qq), raw + _sum(s_raw), w + _sum(s_w), entropy + _sum(s_e),
    )  # fmt: skip


@triton.jit
def _load_labels(
    labels, weights, pixel, inside,
    KIND: tl.constexpr, MAPS_OF: tl.constexpr, IGNORES: tl.constexpr,
):  # fmt: skip
    """Labels before and after label smoothing, weights, which pixels count, which are wrong."""
    target, mixture, c, classes, target_c, target_l, ignore_index, smoothing = labels
    weight, _, weight_l = weights
    raw, q, counted, wrong = load_soft(
        target + pixel * target_l, mixture, c, classes, target_c, inside,
        ignore_index, smoothing, KIND, MAPS_OF, IGNORES,
    )  # fmt: skip
    if weight is None:
        w = counted.to(tl.float32)
    else:
        w = tl.load(weight + pixel * weight_l, mask=inside, other=0.0)
        if KIND == NUMBERS:
            counted = counted & (w != 0.0)
        w = tl.where(counted, w, 0.0)
    return raw, q, w, counted, wrong


@triton.jit
def _sum(summands):
    return tl.sum(summands.to(tl.float64))


@triton.jit
def _binary_cross_entropy(x, q, own):
    """Of a logit and a soft label; positives have a weight of their own."""
    rest = softplus(-tl.abs(x))
    return own * q * (tl.maximum(-x, 0.0) + rest) + (1.0 - q) * (tl.maximum(x, 0.0) + rest)
