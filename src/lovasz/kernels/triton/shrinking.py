"""The kernels of the gradient of scores of a lower resolution than the labels: shrink.

Every source gathers from the outputs that read it, in one order, so that every run gives the same
bits. Of images and volumes the rows are gathered first, which are read as they lie in memory, and
then what is left of them along the width.
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from lovasz.kernels.triton import blocks
from lovasz.kernels.triton.axes import Upsampling
from lovasz.kernels.triton.tiles import class_offsets
from lovasz.kernels.triton.upsampling import position_of, source_of, split


def shrink(gradient: Tensor, shrunk: Tensor, upsampling: Upsampling, first: int, last: int) -> None:
    """Add to ``shrunk`` (N, C, d, h, w) what the gradient at outputs [first, last) makes of it.

    Both are of float32, and the gradient (N, C, last - first) is contiguous.
    """
    if _by_axes(upsampling, first, last):
        _shrink_by_axes(gradient, shrunk, upsampling, first, last)
        return
    images, classes = shrunk.shape[:2]
    start, end = upsampling.reads(first, last)
    block_c, block_t = blocks.shrink_block(classes)
    programs = images * blocks.ceil_div(classes, block_c) * blocks.ceil_div(end - start, block_t)
    shrink_kernel[(programs,)](
        gradient,
        shrunk,
        classes,
        first,
        last - first,
        start,
        end - start,
        *shrunk.stride(),
        *upsampling.numbers,
        *(axis.readers(upsampling.mode) for axis in upsampling.axes),
        *(axis.margin(upsampling.mode) for axis in upsampling.axes),
        MODE=upsampling.mode,
        WIDE=upsampling.wide,
        BLOCK_C=block_c,
        BLOCK_T=block_t,
        num_warps=blocks.WARPS,
    )


def _by_axes(upsampling: Upsampling, first: int, last: int) -> bool:
    """Whether to gather rows first: where there are whole ones, more of them than of sources."""
    (depth, d, *_), (height, h, *_), (width, *_) = upsampling.axes
    whole = first % width == 0 and last % width == 0
    return upsampling.dimensions > 1 and whole and d * h <= depth * height


def _shrink_by_axes(
    gradient: Tensor, shrunk: Tensor, upsampling: Upsampling, first: int, last: int
) -> None:
    """The same for whole rows of outputs."""
    images, classes = shrunk.shape[:2]
    axes, mode = upsampling.axes, upsampling.mode
    width, w = axes[2].size, axes[2].source
    start, end = upsampling.reads(first, last)
    start, end = start // w, blocks.ceil_div(end, w)
    rows = gradient.new_empty((images, classes, end - start, width))
    block_c, block_x = blocks.rows_block(classes, width)
    parts = blocks.ceil_div(classes, block_c) * blocks.ceil_div(width, block_x)
    shrink_rows_kernel[(images * (end - start) * parts,)](
        *(gradient, rows, classes, first // width, (last - first) // width, start, end - start),
        *(number for axis in axes[:2] for number in axis),
        *(axis.readers(mode) for axis in axes[:2]),
        *(axis.margin(mode) for axis in axes[:2]),
        width,
        MODE=mode,
        WIDE=upsampling.wide,
        BLOCK_C=block_c,
        BLOCK_T=block_x,
        num_warps=blocks.WARPS,
    )
    number = images * classes * (end - start)
    block_q, block_i = blocks.columns_block(w)
    shrink_columns_kernel[(blocks.ceil_div(number, block_q) * blocks.ceil_div(w, block_i),)](
        *(rows, shrunk, classes, number, start, end - start),
        *shrunk.stride(),
        axes[1].source,
        *axes[2],
        axes[2].readers(mode),
        axes[2].margin(mode),
        MODE=mode,
        WIDE=upsampling.wide,
        BLOCK_C=block_q,
        BLOCK_T=block_i,
        num_warps=blocks.WARPS,
    )


@triton.jit
def shrink_kernel(
    gradient, shrunk, classes, first, length, start, sources,
    stride_n, stride_c, stride_d, stride_h, stride_w,
    depth, d, step_d, offset_d, whole_d, ratio_d, height, h, step_h, offset_h, whole_h, ratio_h,
    width, w, step_w, offset_w, whole_w, ratio_w,
    readers_d, readers_h, readers_w, margin_d, margin_h, margin_w,
    MODE: tl.constexpr, WIDE: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_T: tl.constexpr,
):  # fmt: skip
    """Gradient of a tile of sources and a block of classes, from the outputs that read them.

    Every source gathers from them in one order, so that every run gives the same bits.

    Tensors:
        gradient: (N, C, length) float32, contiguous, of outputs
        shrunk: (N, C, d, h, w) float32, any strides, added to

    Numbers:
        classes: C
        first, length: the first of the outputs, and how many they are
        start, sources: the first of the sources, in the order of their axes, and how many
        stride_n, stride_c, stride_d, stride_h, stride_w: strides of shrunk
        depth, height, width: D, H, W
        d, h, w: sources
        step, offset, whole, ratio: of each axis, see ``axes``
        readers, margin: of each axis, likewise

    Constants:
        MODE: as the operators know it
        WIDE: whether positions need 64 bits
        BLOCK_C, BLOCK_T: classes and sources of a tile
    """
    image, c, at = _block_of(classes, sources, BLOCK_C, BLOCK_T)
    k, j, i = split(position_of(start + at, WIDE), h, w, 3)
    inside = (c < classes) & (at < sources)
    own = gradient + (image * classes + c) * length
    first_z = _first_reader(k, step_d, offset_d, whole_d, margin_d, MODE)
    first_y = _first_reader(j, step_h, offset_h, whole_h, margin_h, MODE)
    first_x = _first_reader(i, step_w, offset_w, whole_w, margin_w, MODE)
    total = tl.zeros((BLOCK_C, BLOCK_T), tl.float32)
    for z_of in range(0, readers_d):
        z = first_z + z_of
        reads, by_z = _weight(z, k, depth, d, step_d, offset_d, whole_d, ratio_d, MODE)
        in_depth = inside & reads
        for y_of in range(0, readers_h):
            y = first_y + y_of
            reads, by_y = _weight(y, j, height, h, step_h, offset_h, whole_h, ratio_h, MODE)
            in_row = in_depth & reads
            row = (z.to(tl.int64) * height + y) * width - first
            in_x = tl.zeros((BLOCK_C, BLOCK_T), tl.float32)
            for x_of in range(0, readers_w):
                x = first_x + x_of
                reads, by_x = _weight(x, i, width, w, step_w, offset_w, whole_w, ratio_w, MODE)
                pixel = row + x
                there = in_row & reads & (pixel >= 0) & (pixel < length)
                value = tl.load(own + pixel, mask=there, other=0.0)
                in_x += by_x * value
            total += by_z * by_y * in_x
    place = k.to(tl.int64) * stride_d + j.to(tl.int64) * stride_h + i.to(tl.int64) * stride_w
    place = shrunk + image * stride_n + c * stride_c + place
    tl.store(place, tl.load(place, mask=inside, other=0.0) + total, mask=inside)


@triton.jit
def shrink_rows_kernel(
    gradient, rows, classes, first, number, start, sources,
    depth, d, step_d, offset_d, whole_d, ratio_d, height, h, step_h, offset_h, whole_h, ratio_h,
    readers_d, readers_h, margin_d, margin_h, width,
    MODE: tl.constexpr, WIDE: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_T: tl.constexpr,
):  # fmt: skip
    """A row of sources, still as wide as the outputs, of a block of classes.

    Tensors:
        gradient: (N, C, number, width) float32, contiguous, of outputs
        rows: (N, C, sources, width) float32, contiguous, written

    Numbers:
        classes: C
        first, number: the first of the rows of outputs, and how many they are
        start, sources: the first of the rows of sources, and how many they are
        depth, height, width: D, H, W
        d, h: sources
        step, offset, whole, ratio: of both axes, see ``axes``
        readers, margin: of both axes, likewise

    Constants:
        MODE: as the operators know it
        WIDE: whether positions need 64 bits
        BLOCK_C, BLOCK_T: classes and columns of a tile
    """
    program = tl.program_id(0)
    tiles, parts = tl.cdiv(width, BLOCK_T), tl.cdiv(classes, BLOCK_C)
    source = program // tiles % sources
    plane = program // tiles // sources
    image = (plane // parts).to(tl.int64)
    c = class_offsets(plane % parts * BLOCK_C, BLOCK_C)
    x = ((program % tiles) * BLOCK_T + tl.arange(0, BLOCK_T))[None, :]
    inside = (c < classes) & (x < width)
    at = position_of(source.to(tl.int64) + start, WIDE)
    k, j = at // h, at % h
    own = gradient + (image * classes + c) * number * width + x
    first_z = _first_reader(k, step_d, offset_d, whole_d, margin_d, MODE)
    first_y = _first_reader(j, step_h, offset_h, whole_h, margin_h, MODE)
    total = tl.zeros((BLOCK_C, BLOCK_T), tl.float32)
    for z_of in range(0, readers_d):
        z = first_z + z_of
        in_depth, by_z = _weight(z, k, depth, d, step_d, offset_d, whole_d, ratio_d, MODE)
        for y_of in range(0, readers_h):
            y = first_y + y_of
            reads, by_y = _weight(y, j, height, h, step_h, offset_h, whole_h, ratio_h, MODE)
            row = z.to(tl.int64) * height + y - first
            there = in_depth & reads & (row >= 0) & (row < number)
            value = tl.load(own + row * width, mask=inside & there, other=0.0)
            total += by_z * by_y * value
    out = rows + ((image * classes + c) * sources + source) * width + x
    tl.store(out, total, mask=inside)


@triton.jit
def shrink_columns_kernel(
    rows, shrunk, classes, number, start, sources,
    stride_n, stride_c, stride_d, stride_h, stride_w, h,
    width, w, step_w, offset_w, whole_w, ratio_w, readers_w, margin_w,
    MODE: tl.constexpr, WIDE: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_T: tl.constexpr,
):  # fmt: skip
    """Gradient of a tile of sources, from their rows.

    Tensors:
        rows: (N, C, sources, width) float32, contiguous
        shrunk: (N, C, d, h, w) float32, any strides, added to

    Numbers:
        classes: C
        number: of all rows, N C sources
        start, sources: the first of the rows of sources, and how many an image and class has
        stride_n, stride_c, stride_d, stride_h, stride_w: strides of shrunk
        width: W
        h, w: sources
        step, offset, whole, ratio, readers, margin: of the width, see ``axes``

    Constants:
        MODE: as the operators know it
        WIDE: whether positions need 64 bits
        BLOCK_C, BLOCK_T: rows and columns of a tile
    """
    program, tiles = tl.program_id(0), tl.cdiv(w, BLOCK_T)
    q = (program // tiles).to(tl.int64) * BLOCK_C + tl.arange(0, BLOCK_C)[:, None]
    i = ((program % tiles) * BLOCK_T + tl.arange(0, BLOCK_T))[None, :].to(tl.int64)
    inside = (q < number) & (i < w)
    own = rows + q * width
    at = position_of(i, WIDE)
    first_x = _first_reader(at, step_w, offset_w, whole_w, margin_w, MODE)
    total = tl.zeros((BLOCK_C, BLOCK_T), tl.float32)
    for x_of in range(0, readers_w):
        x = first_x + x_of
        reads, by_x = _weight(x, at, width, w, step_w, offset_w, whole_w, ratio_w, MODE)
        total += by_x * tl.load(own + x, mask=inside & reads, other=0.0)
    source, plane = start + q % sources, q // sources
    place = shrunk + plane // classes * stride_n + plane % classes * stride_c
    place += source // h * stride_d + source % h * stride_h + i * stride_w
    tl.store(place, tl.load(place, mask=inside, other=0.0) + total, mask=inside)


@triton.jit
def _block_of(classes, length, BLOCK_C: tl.constexpr, BLOCK_T: tl.constexpr):
    """Image, classes (a column) and places (a row) of a program, which may be beyond the last."""
    program = tl.program_id(0)
    tiles = tl.cdiv(length, BLOCK_T)
    parts = tl.cdiv(classes, BLOCK_C)
    image = (program // tiles // parts).to(tl.int64)
    c = class_offsets((program // tiles) % parts * BLOCK_C, BLOCK_C)
    at = (program % tiles).to(tl.int64) * BLOCK_T + tl.arange(0, BLOCK_T)
    return image, c, at[None, :]


@triton.jit
def _first_reader(i, step, offset, whole, margin, MODE: tl.constexpr):
    """The first output that may read source i: of a linear mode also as the next one."""
    lowest = i if MODE == "nearest" else i - 1
    apart = step + (step == 0)  # where all outputs read the only source
    place = tl.maximum(lowest * whole - offset, 0)
    return tl.maximum((place + (apart - 1)) // apart - margin, 0)


@triton.jit
def _weight(x, i, size, n, step, offset, whole, ratio, MODE: tl.constexpr):
    """Whether outputs x exist and read sources i, and by which weight."""
    one, after, weight = source_of(x, n, step, offset, whole, ratio, MODE)
    reads = (x < size) & ((one == i) | (after == i))
    return reads, tl.where(one == i, 1.0 - weight, 0.0) + tl.where(after == i, weight, 0.0)
