"""Shapes of blocks, chunks and tables, from what is known to the host.

The constants follow from counts of registers, bytes and instructions. ``python -m benchmarks
gpu-tune`` times other values on a device: on an H200 only `ABOVE_WINDOW` gained anything.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import torch
from torch import Tensor

from lovasz.core.bins import edges

#: warps of a program: 128 threads, Triton's default
WARPS = 4
#: elements of a block of scores: 16 for each thread, which it holds in registers
BLOCK = 2048
#: pixels that are counted at once: 8 for each thread, in float32 two loads of 16 bytes
STRIP = 1024
#: the fewest and the most strips that a program counts: it adds its whole histogram at the end, so
#: too few cost additions, and too many leave programs that are not done at the same time
FEWEST_STRIPS, MOST_STRIPS = 8, 64
#: programs that count in registers, for each multiprocessor, where there is work enough: their
#: warps are as many as it can hold
PROGRAMS = 16
#: bins that a histogram in registers has at most: those of four classes take 64 of a thread's
LARGEST_WINDOW = 2048
#: at most 1 of so many scores may lie above the window, as each of them is an addition; 2 takes
#: 0.92 of the time of 4 for 19 classes on an H200, whose table then holds all classes at once
ABOVE_WINDOW = 2
#: whether to use PTX where it can be used: above all, to count in shared memory, not in registers
USE_PTX = True
#: cells of a table in shared memory, at most: 43 of 48 KiB, the rest is Triton's and the system's
TABLE_CELLS = 11008
#: such tables have a multiple of so many, as ``ptx.STEP``
TABLE_STEP = 256
#: programs that count in shared memory, for each multiprocessor, where there is work enough: four
#: tables fit into the 228 KiB of an H100
SHARED_PROGRAMS = 4
#: the fewest strips of such a program, which clears its table before them and adds it after them;
#: for few pixels of 150 classes 1 takes 0.81 to 0.94 of the time of 2 on an H100, of 19 as long
SHARED_STRIPS = 1
#: classes whose scores and slopes a thread can hold for its pixels: 128 of 255 registers
UNROLLED_CLASSES = 64
#: likewise with soft labels: of each class also the label in the cross-entropy
UNROLLED_SOFT = 32
#: copies of the histogram, at most: where every positive is added by itself, and where those that
#: meet in a warp are added at once, or nearly everything is counted in shared memory
MOST_COPIES, FEW_COPIES = 64, 16
#: bytes of all of them together, at most: they are filled with zeros before and summed afterwards
COPIES_BYTES = 2**25
#: bins that are extended at once, and programs for the slopes of a class, at most: each adds up
#: what is above its bins, so that their work grows with the square of their number
EXTEND_BLOCK, EXTEND_PROGRAMS = 256, 16
#: classes of groups that are reduced at once, 32 for each thread, and by the one program, which
#: would take long with more of them
REDUCE_BLOCK, REDUCE_MOST = 4096, 2**16
#: programs of all classes, for each multiprocessor, below which there are more of fewer pixels
FEW_PROGRAMS = 2
#: bytes of scores that are enlarged at a time to the resolution of the labels: their pixels have to
#: be enough for all multiprocessors; of fewer bytes more would stay in the second-level cache. See
#: ``python -m benchmarks gpu-chunks``
CHUNK_BYTES = 2**27
#: bytes of the copies of the histogram of such a chunk, which are cleared and summed for each
CHUNK_COPIES_BYTES = 2**22
#: programs that enlarge a chunk, for each multiprocessor, where there are classes enough
ENLARGE_PROGRAMS = 8
#: sources times classes of a program that shrinks a gradient: few, as it reads many outputs of each
SHRINK_BLOCK = 1024
#: outputs of a program that finds the classes with the largest scores: 2 for each thread
ARGMAX_BLOCK = 256


def new_copies(
    scores: Tensor,
    groups: int,
    bins: int,
    *,
    weighted: bool,
    few: bool,
    most_bytes: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Copies of the histogram (copies, cells), and invalid pixels (G,): zeros, by one fill."""
    images, classes, length = scores.shape
    # A cell may hold as many counts as there are pixels.
    width = torch.int64 if weighted or images * length >= 2**31 else torch.int32
    cells = groups * classes * 2 * bins  # an even number
    most = FEW_COPIES if few else MOST_COPIES
    number = max(1, min(most, (most_bytes or COPIES_BYTES) // max(cells * width.itemsize, 1)))
    zeros = scores.new_zeros(number * cells * width.itemsize // 8 + groups, dtype=torch.int64)
    return zeros[:-groups].view(width).view(number, cells), zeros[-groups:]


def sum_copies(copies: Tensor, groups: int, classes: int, bins: int) -> Tensor:
    """The histogram, (G, C, 2, B) int64; of no bins nothing is launched."""
    if bins == 0:
        return copies.new_empty((groups, classes, 2, 0), dtype=torch.int64)
    return copies.sum(0, dtype=torch.int64).view(groups, classes, 2, bins)


def new_sums(scores: Tensor, programs: int, cross_entropy: bool) -> Tensor:
    """The part of every program in the cross-entropy, to be filled; nothing without it."""
    return scores.new_empty((programs if cross_entropy else 0, 2), dtype=torch.float64)


def add_sums(sums: Tensor) -> Tensor:
    """The parts added up, (2,), or (0,) if there are none."""
    return sums.sum(0) if len(sums) else sums.view(0)


def window_of(classes: int, bins: int) -> int:
    """Bins of a class that a program holds; the cost of a histogram grows with them.

    Probabilities sum to 1, so at most 1/m classes of a pixel have one above m. The window shrinks
    as long as no more than one of ``ABOVE_WINDOW`` scores can lie above it.
    """
    window = power_of_two(bins)
    while window > 32:
        if classes * _edges(bins)[window // 2] < ABOVE_WINDOW:
            break
        window //= 2
    return min(window, LARGEST_WINDOW)


@functools.cache
def _edges(bins: int) -> list[float]:
    found: list[float] = edges(torch, bins, device="cpu").tolist()
    return found


class Table(NamedTuple):
    """What the table in shared memory of a program of `histogram_shared` holds."""

    window: int  # bins of a class
    part: int  # classes at a time
    parts: int
    cells: int
    block_c: int  # classes of a block
    block_t: int  # pixels of a strip


def table_of(scores: Tensor, bins: int) -> Table:
    """As many classes at a time as fit, in parts of about the same size."""
    classes = scores.shape[1]
    window = window_of(classes, bins)
    block_c, block_t = loop_block(scores)
    most = (TABLE_CELLS - 1) // window
    parts = ceil_div(classes, max(most // block_c * block_c, 1)) if classes > most else 1
    part = min(classes, ceil_div(ceil_div(classes, parts), block_c) * block_c)
    # One cell more, for what is not counted.
    return Table(window, part, parts, table_cells(part * window), block_c, block_t)


def table_cells(cells: int) -> int:
    """Cells of a table that has room for so many and one more."""
    return ceil_div(cells + 1, TABLE_STEP) * TABLE_STEP


def has_ptx(device: torch.device) -> bool:
    """Whether kernels can use what is in `ptx`: on NVIDIA devices."""
    return USE_PTX and device.type == "cuda" and torch.version.hip is None


def shared_chunk_of(pixels: int, strip: int, device: torch.device) -> int:
    """Pixels of a program that counts in shared memory: few programs, which spares additions."""
    strips = ceil_div(pixels, SHARED_PROGRAMS * processors(device) * strip)
    return max(SHARED_STRIPS, strips) * strip


def multilabel_window_of(bins: int, *, shared: bool) -> int:
    """Bins of either side that the histogram of a channel holds, in shared memory or registers."""
    largest = TABLE_CELLS // 4 if shared else LARGEST_WINDOW // 2
    return min(power_of_two(bins), 1 << (largest.bit_length() - 1))


def chunk_of(work: int, device: torch.device) -> int:
    """Pixels of a program that counts: long enough to spare additions, enough programs."""
    strips = work // (PROGRAMS * processors(device) * STRIP)
    return max(FEWEST_STRIPS, min(MOST_STRIPS, strips)) * STRIP


def strip_of(length: int) -> int:
    """Pixels that are counted at once, fewer for short images."""
    return max(WARPS * 32, min(STRIP, power_of_two(length)))


def loop_block(scores: Tensor) -> tuple[int, int]:
    """Classes and pixels of a block for a loop over the classes.

    A thread loads 16 bytes of what is contiguous, and holds all classes of its pixels: a sum over
    the classes that goes from thread to thread takes several times the instructions.
    """
    classes = power_of_two(scores.shape[1])
    if _adjacent_classes(scores):
        # Whole sectors of 32 bytes, where a strip of pixels is more than the cache holds; and half
        # a block, as offsets of pixels that are no neighbours take registers.
        block_c = min(classes, 4 if classes <= 32 else 16)
        return block_c, BLOCK // 2 // max(block_c, 4)
    block_t = WARPS * 32 * 16 // scores.element_size()
    return min(classes, max(BLOCK // block_t, 1)), block_t


def multiple_of(*tensors: Tensor) -> int:
    """A divisor of the number of classes and of the strides where classes are neighbours, up to 16.

    Triton looks for multiples of 16 among its arguments alone. Where it knows that four classes of
    a pixel begin at a multiple of four, a thread loads them at once and has the pixel for itself.
    """
    numbers = [tensors[0].shape[1]]
    for tensor in tensors:
        if not _adjacent_classes(tensor) or tensor.data_ptr() % 16 != 0:
            return 1
        numbers += [tensor.stride(0), tensor.stride(2)]
    return math.gcd(16, *numbers)


def strides_in(tensor: Tensor, multiple: int) -> tuple[int, int, int]:
    """Strides of a tensor, those of images and pixels divided by `multiple_of`."""
    stride_n, stride_c, stride_l = tensor.stride()
    return stride_n // multiple, stride_c, stride_l // multiple


def owns_pixels(scores: Tensor) -> bool:
    """Whether no two threads of a program that loops over the classes have the same pixel."""
    block_c, block_t = loop_block(scores)
    # A thread loads at least four neighbours, if it may.
    return block_t >= WARPS * 32 * 4 or block_c <= min(multiple_of(scores), 4)


def unrolled_block(scores: Tensor) -> int:
    """Pixels of a program of `backward_unrolled`, 4 bytes to a thread; 0 for `backward_softmax`."""
    if scores.shape[1] > UNROLLED_CLASSES or _adjacent_classes(scores):
        return 0
    return WARPS * 32 * max(4 // scores.element_size(), 1)


def whole_block(scores: Tensor) -> tuple[bool, int, int]:
    """Whether a block holds all classes, and how many classes and pixels it holds."""
    classes = power_of_two(scores.shape[1])
    if classes <= 64:
        return True, classes, BLOCK // max(classes, 4)
    block_c, block_t = loop_block(scores)
    images, _, length = scores.shape
    few = images * ceil_div(length, block_t) < FEW_PROGRAMS * processors(scores.device)
    if few and not _adjacent_classes(scores):
        return False, BLOCK // (WARPS * 32), WARPS * 32  # as many threads for a pixel as warps
    return False, block_c, block_t


def enlarge_block(classes: int) -> tuple[int, int]:
    """Classes at a time, and outputs of a program that enlarges: 4 for each thread."""
    return min(power_of_two(classes), 4), BLOCK // 4


def enlarged_classes(classes: int, tiles: int, device: torch.device) -> int:
    """Classes of such a program, which share the positions: all, if there are many outputs."""
    block_c, _ = enlarge_block(classes)
    blocks_of_classes = ceil_div(classes, block_c)
    parts = min(blocks_of_classes, ceil_div(ENLARGE_PROGRAMS * processors(device), tiles))
    return ceil_div(blocks_of_classes, parts) * block_c


def shrink_block(classes: int) -> tuple[int, int]:
    """Classes, which share the weights, and sources of a program that shrinks."""
    block_c = min(power_of_two(classes), 8)
    return block_c, SHRINK_BLOCK // max(block_c, 4)


def rows_block(classes: int, width: int) -> tuple[int, int]:
    """Classes and columns of a program that shrinks rows, which are read 16 bytes at a time."""
    block_x = min(power_of_two(width), BLOCK // 4)
    return min(power_of_two(classes), BLOCK // block_x), block_x


def columns_block(width: int) -> tuple[int, int]:
    """Rows, which share the weights, and columns of a program that shrinks along the width."""
    block_i = min(power_of_two(width), WARPS * 32)
    return SHRINK_BLOCK // block_i, block_i


def _adjacent_classes(scores: Tensor) -> bool:
    """Whether the classes of a pixel are neighbours in memory, and its neighbours are not."""
    return scores.stride(1) == 1 and scores.stride(2) != 1


def processors(device: torch.device) -> int:
    """Multiprocessors of a device."""
    if device.type != "cuda":  # the interpreter
        return 1
    return torch.cuda.get_device_properties(device).multi_processor_count


def power_of_two(number: int) -> int:
    """The smallest that is not less."""
    return 1 << (number - 1).bit_length()


def ceil_div(number: int, size: int) -> int:
    """How many of a size it takes."""
    return -(-number // size)
