"""The kernels of scores of a lower resolution than the labels: enlarge, argmax.

Two weights are multiplied and added, w0 · a + w1 · b, so that what is infinite spreads as in torch.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from lovasz.kernels.triton import blocks
from lovasz.kernels.triton.axes import Upsampling
from lovasz.kernels.triton.tiles import tile_of


def enlarge(scores: Tensor, upsampling: Upsampling, first: int, last: int) -> Tensor:
    """Scores (N, C, d, h, w) at the outputs [first, last), (N, C, last - first) float32."""
    images, classes = scores.shape[:2]
    length = last - first
    enlarged = scores.new_empty((images, classes, length), dtype=torch.float32)
    block_c, block_t = blocks.enlarge_block(classes)
    tiles = images * blocks.ceil_div(length, block_t)
    part = blocks.enlarged_classes(classes, tiles, scores.device)
    enlarge_kernel[(tiles * blocks.ceil_div(classes, part),)](
        scores,
        enlarged,
        classes,
        part,
        first,
        length,
        *scores.stride(),
        *upsampling.numbers,
        MODE=upsampling.mode,
        AXES=upsampling.dimensions,
        WIDE=upsampling.wide,
        FAR=_is_far(scores),
        BLOCK_C=block_c,
        BLOCK_T=block_t,
        num_warps=blocks.WARPS,
    )
    return enlarged


def _is_far(scores: Tensor) -> bool:
    """Whether places in an image need 64 bits."""
    extents = zip(scores.shape[1:], scores.stride()[1:], strict=True)
    # Classes beyond the last one are computed, and not read.
    return sum((size + 16) * stride for size, stride in extents) >= 2**31


def argmax(
    scores: Tensor,
    size: Sequence[int],
    mode: str,
    *,
    narrow: bool,
    lines: Tensor | None,
    multilabel: bool,
) -> Tensor:
    """Labels (N, L) or (N, C, L) of scores (N, C, d, h, w), as the operator has them."""
    upsampling = Upsampling.of(scores, size, mode)
    images, classes = scores.shape[:2]
    shape = (images, *([classes] if multilabel else []), upsampling.length)
    labels = scores.new_empty(shape, dtype=torch.uint8 if narrow else torch.int64)
    block_t = blocks.ARGMAX_BLOCK
    argmax_kernel[(images * blocks.ceil_div(upsampling.length, block_t),)](
        scores,
        lines if lines is None else lines.contiguous(),
        labels,
        classes,
        upsampling.length,
        *scores.stride(),
        *upsampling.numbers,
        MODE=upsampling.mode,
        AXES=upsampling.dimensions,
        WIDE=upsampling.wide,
        LINES=lines is not None,
        CHANNELS=multilabel,
        BLOCK_T=block_t,
        num_warps=blocks.WARPS,
    )
    return labels


@triton.jit
def enlarge_kernel(
    scores, enlarged, classes, part, first, length,
    stride_n, stride_c, stride_d, stride_h, stride_w,
    depth, d, step_d, offset_d, whole_d, ratio_d, height, h, step_h, offset_h, whole_h, ratio_h,
    width, w, step_w, offset_w, whole_w, ratio_w,
    MODE: tl.constexpr, AXES: tl.constexpr, WIDE: tl.constexpr, FAR: tl.constexpr,
    BLOCK_C: tl.constexpr, BLOCK_T: tl.constexpr,
):  # fmt: skip
    """Scores of a tile of outputs and some of the classes.

    Tensors:
        scores: (N, C, d, h, w) float32, bfloat16 or float16, any strides
        enlarged: (N, C, length) float32, contiguous, written

    Numbers:
        classes, part: C, and those of a program, a multiple of BLOCK_C
        first, length: the first of the outputs, and how many they are
        stride_n, stride_c, stride_d, stride_h, stride_w: strides of scores
        depth, height, width: D, H, W
        d, h, w: sources
        step, offset, whole, ratio: of each axis, see ``axes``

    Constants:
        MODE: as the operators know it
        AXES: how many axes, from the last on, are interpolated
        WIDE: whether positions need 64 bits
        FAR: whether places in an image of scores need 64 bits
        BLOCK_C, BLOCK_T: classes at a time, and outputs of a tile
    """
    program = tl.program_id(0)
    tiles, parts = tl.cdiv(length, BLOCK_T), tl.cdiv(classes, part)
    image = (program // tiles // parts).to(tl.int64)
    lowest = (program // tiles) % parts * part
    at = ((program % tiles).to(tl.int64) * BLOCK_T + tl.arange(0, BLOCK_T))[None, :]
    z, y, x = split(position_of(first + at, WIDE), height, width, AXES)
    along_d = _sources(z, d, step_d, offset_d, whole_d, ratio_d, stride_d, MODE, FAR)
    along_h = _sources(y, h, step_h, offset_h, whole_h, ratio_h, stride_h, MODE, FAR)
    along_w = _sources(x, w, step_w, offset_w, whole_w, ratio_w, stride_w, MODE, FAR)
    scores += image * stride_n
    out = enlarged + image * classes * length + at
    for start in range(lowest, tl.minimum(lowest + part, classes), BLOCK_C):
        c = (start + tl.arange(0, BLOCK_C))[:, None]
        inside = (c < classes) & (at < length)
        place = c.to(tl.int64) * stride_c if FAR else c * stride_c
        value = _interpolate(scores, place, along_d, along_h, along_w, inside, MODE, AXES)
        tl.store(out + c.to(tl.int64) * length, value, mask=inside)


@triton.jit
def argmax_kernel(
    scores, lines, labels, classes, length, stride_n, stride_c, stride_d, stride_h, stride_w,
    depth, d, step_d, offset_d, whole_d, ratio_d, height, h, step_h, offset_h, whole_h, ratio_h,
    width, w, step_w, offset_w, whole_w, ratio_w,
    MODE: tl.constexpr, AXES: tl.constexpr, WIDE: tl.constexpr, LINES: tl.constexpr,
    CHANNELS: tl.constexpr, BLOCK_T: tl.constexpr,
):  # fmt: skip
    """Class with the largest score of each of a tile of outputs, or which scores are above 0.

    Tensors:
        scores: (N, C, d, h, w) float32, bfloat16 or float16, any strides
        lines: (2, C) float32, contiguous: what scores are multiplied by, and what is added then
        labels: (N, L), with CHANNELS (N, C, L), int64 or uint8, contiguous, written: the first of
            equals, or 0 and 1; -1 or 255 for NaN

    Constants:
        LINES: whether there are lines
        CHANNELS: whether each class is decided by itself

    Numbers and other constants: as of ``enlarge_kernel``; length is L
    """
    image, at, inside = tile_of(length, BLOCK_T)
    z, y, x = split(position_of(at, WIDE), height, width, AXES)
    along_d = _sources(z, d, step_d, offset_d, whole_d, ratio_d, stride_d, MODE, True)
    along_h = _sources(y, h, step_h, offset_h, whole_h, ratio_h, stride_h, MODE, True)
    along_w = _sources(x, w, step_w, offset_w, whole_w, ratio_w, stride_w, MODE, True)
    column = scores + image * stride_n
    best = tl.full((BLOCK_T,), -float("inf"), tl.float32)
    label, number = tl.zeros((BLOCK_T,), tl.int32), inside
    for rival in range(0, classes):
        value = _interpolate(column, 0, along_d, along_h, along_w, inside, MODE, AXES)
        if LINES:
            value = tl.load(lines + rival) * value + tl.load(lines + classes + rival)
        if CHANNELS:
            above = value > 0
            found = tl.where(above | (value <= 0), above.to(tl.int32), -1)  # neither is so of NaN
            out = labels + (image * classes + rival) * length + at
            tl.store(out, found.to(labels.dtype.element_ty), mask=inside)
        else:
            above = value > best
            number = number & (above | (value <= best))  # neither is so of NaN
            label = tl.where(above, rival, label)
            best = tl.where(above, value, best)
        column += stride_c
    if not CHANNELS:
        label = tl.where(number, label, -1)
        tl.store(labels + image * length + at, label.to(labels.dtype.element_ty), mask=inside)


@triton.jit
def position_of(at, WIDE: tl.constexpr):
    """A place for what is divided."""
    return at if WIDE else at.to(tl.int32)


@triton.jit
def split(pixel, height, width, AXES: tl.constexpr):
    """Depth, height and width of a pixel, of which there are AXES."""
    z, y, x = pixel * 0, pixel * 0, pixel
    if AXES > 1:
        x = pixel % width
        y = pixel // width
    if AXES > 2:
        z = y // height
        y = y % height
    return z, y, x


@triton.jit
def source_of(x, n, step, offset, whole, ratio, MODE: tl.constexpr):
    """Sources of outputs x, the one and the next, and the weight of the next."""
    if MODE == "nearest":
        i = tl.minimum(tl.floor(x.to(tl.float32) * ratio).to(x.dtype), n - 1)
        after, weight = i, (i - i).to(tl.float32)  # 0, of scalars too
    else:
        place = tl.maximum(x * step + offset, 0)
        i = place // whole
        weight = (place - i * whole).to(tl.float32) / whole
        after = tl.minimum(i + 1, n - 1)
    return i, after, weight


@triton.jit
def _sources(x, n, step, offset, whole, ratio, stride, MODE: tl.constexpr, FAR: tl.constexpr):
    """Where in memory the sources of outputs x are, and their weights."""
    i, after, weight = source_of(x, n, step, offset, whole, ratio, MODE)
    if FAR:
        places = i.to(tl.int64) * stride, after.to(tl.int64) * stride
    else:
        places = i.to(tl.int32) * stride, after.to(tl.int32) * stride
    return places[0], places[1], 1.0 - weight, weight


@triton.jit
def _interpolate(
    scores, place, along_d, along_h, along_w, inside, MODE: tl.constexpr, AXES: tl.constexpr
):
    """Scores between the sources of each axis, in float32.

    ``place`` is where those of a class begin: places are added to each other, not to pointers, as
    they may have 32 bits.
    """
    i, j, before, after = along_d
    if AXES < 3:
        value = _in_plane(scores, place, along_h, along_w, inside, MODE, AXES)
    elif MODE == "nearest":
        value = _in_plane(scores, place + i, along_h, along_w, inside, MODE, AXES)
    else:
        value = before * _in_plane(scores, place + i, along_h, along_w, inside, MODE, AXES)
        value += after * _in_plane(scores, place + j, along_h, along_w, inside, MODE, AXES)
    return value


@triton.jit
def _in_plane(scores, place, along_h, along_w, inside, MODE: tl.constexpr, AXES: tl.constexpr):
    i, j, before, after = along_h
    if AXES < 2:
        value = _in_row(scores, place, along_w, inside, MODE)
    elif MODE == "nearest":
        value = _in_row(scores, place + i, along_w, inside, MODE)
    else:
        value = before * _in_row(scores, place + i, along_w, inside, MODE)
        value += after * _in_row(scores, place + j, along_w, inside, MODE)
    return value


@triton.jit
def _in_row(scores, place, along_w, inside, MODE: tl.constexpr):
    i, j, before, after = along_w
    value = tl.load(scores + (place + i), mask=inside, other=0.0).to(tl.float32)
    if MODE != "nearest":
        other = tl.load(scores + (place + j), mask=inside, other=0.0).to(tl.float32)
        value = before * value + after * other
    return value
