"""Shapes of blocks, chunks and tables, from what is known to the host."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

#: warps of a program
WARPS = 4
#: elements of a block of scores: 16 for each of the 128 threads
BLOCK = 2048
#: pixels that are counted at once
STRIP = 1024
#: the fewest and the most strips that a program counts
FEWEST_STRIPS, MOST_STRIPS = 8, 64
#: programs that count, for each multiprocessor, where there is work enough
PROGRAMS = 16
#: bins that a histogram in registers has at most
LARGEST_WINDOW = 2048
#: at most 1 of so many scores may lie above the window of `negatives`
SPARED = 4
#: whether to use PTX where it can be used: above all, to count in shared memory, not in registers
USE_PTX = True
#: cells of a table in shared memory, at most: 43 of 48 KiB, the rest is Triton's and the system's
TABLE_CELLS = 11008
#: such tables have a multiple of so many
TABLE_STEP = 256
#: programs that count in shared memory, for each multiprocessor, where there is work enough
TALLIES = 4
#: the fewest strips of such a program
FEWEST_TALLIED = 2
#: classes whose scores and slopes a thread can hold for its pixels
MOST_COLUMNS = 64
#: copies of the table of counts, at most: where every positive is added by itself, and where
#: those that meet in a warp are added at once, or nearly everything is counted in shared memory
MOST_SLABS, FEW_SLABS = 64, 16
#: bytes of all of them together, at most
SLAB_BYTES = 2**25
#: bins that are weighed at once, and programs for the slopes of a class, at most
WEIGHED, MOST_SPANS = 256, 16
#: classes of groups that are reduced at once, and by the one program
REDUCED, MOST_REDUCED = 4096, 2**16


def new_tables(
    scores: Tensor, groups: int, bins: int, *, weighted: bool, few: bool
) -> tuple[Tensor, Tensor]:
    """Copies of the table of counts (slabs, cells), and invalid pixels (G,): zeros, by one fill."""
    images, classes, length = scores.shape
    # A cell may hold as many counts as there are pixels.
    width = torch.int64 if weighted or images * length >= 2**31 else torch.int32
    cells = groups * classes * 2 * bins  # an even number
    most = FEW_SLABS if few else MOST_SLABS
    number = max(1, min(most, SLAB_BYTES // (cells * width.itemsize)))
    zeros = scores.new_zeros(number * cells * width.itemsize // 8 + groups, dtype=torch.int64)
    return zeros[:-groups].view(width).view(number, cells), zeros[-groups:]


def sum_slabs(slabs: Tensor, classes: int, bins: int) -> Tensor:
    """The table of counts, (G, C, 2, B) int64."""
    return slabs.sum(0, dtype=torch.int64).view(-1, classes, 2, bins)


def new_sums(scores: Tensor, programs: int, entropy: bool) -> Tensor:
    """The part of every program in the cross-entropy, to be filled; nothing without it."""
    return scores.new_empty((programs if entropy else 0, 2), dtype=torch.float64)


def add_sums(sums: Tensor) -> Tensor:
    """The parts added up, (2,), or (0,) if there are none."""
    return sums.sum(0) if len(sums) else sums.view(0)


def window_of(classes: int, bins: int) -> int:
    """Bins that `negatives` holds in registers; the cost of a histogram grows with them.

    Probabilities sum to 1, so at most 1/m classes of a pixel have one above m. The window shrinks
    as long as no more than one of ``SPARED`` scores can lie above it.
    """
    window = power_of_two(bins)
    while window > 32:
        u = window / 2 / bins
        edge = ((9 + 16 * u) ** 0.5 - 3) ** 2 / 4  # as bins.bin_edges
        if classes * edge < SPARED:
            break
        window //= 2
    return min(window, LARGEST_WINDOW)


class Table(NamedTuple):
    """What the table of a program of `tally` holds."""

    window: int  # bins of a class
    group: int  # classes at a time
    groups: int
    cells: int
    block_c: int  # classes of a block
    block_t: int  # pixels of a strip


def table_of(scores: Tensor, bins: int) -> Table:
    """As many classes at a time as fit, in groups of about the same size."""
    classes = scores.shape[1]
    window = window_of(classes, bins)
    block_c, block_t = loop_block(scores)
    most = (TABLE_CELLS - 1) // window
    groups = ceil_div(classes, max(most // block_c * block_c, 1)) if classes > most else 1
    group = min(classes, ceil_div(ceil_div(classes, groups), block_c) * block_c)
    # One cell more, for what is not counted.
    return Table(window, group, groups, table_cells(group * window), block_c, block_t)


def table_cells(cells: int) -> int:
    """Cells of a table that has room for so many and one more."""
    return ceil_div(cells + 1, TABLE_STEP) * TABLE_STEP


def has_ptx(device: torch.device) -> bool:
    """Whether kernels can use what is in `ptx`: on NVIDIA devices."""
    return USE_PTX and device.type == "cuda" and torch.version.hip is None


def tally_of(pixels: int, strip: int, device: torch.device) -> int:
    """Pixels of a program that counts in shared memory: few programs, which spares additions."""
    strips = ceil_div(pixels, TALLIES * processors(device) * strip)
    return max(FEWEST_TALLIED, strips) * strip


def channel_window_of(bins: int, *, shared: bool) -> int:
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
    if _classes_first(scores):
        # Whole sectors of 32 bytes, where a strip of pixels is more than the cache holds; and half
        # a block, as offsets of pixels that are no neighbours take registers.
        block_c = min(classes, 4 if classes <= 32 else 16)
        return block_c, BLOCK // 2 // max(block_c, 4)
    block_t = WARPS * 32 * 16 // scores.element_size()
    return min(classes, max(BLOCK // block_t, 1)), block_t


def unit_of(*tensors: Tensor) -> int:
    """A divisor of the number of classes and of the strides where classes are neighbours, up to 16.

    Triton looks for multiples of 16 among its arguments alone. Where it knows that four classes of
    a pixel begin at a multiple of four, a thread loads them at once and has the pixel for itself.
    """
    numbers = [tensors[0].shape[1]]
    for tensor in tensors:
        if not _classes_first(tensor) or tensor.data_ptr() % 16 != 0:
            return 1
        numbers += [tensor.stride(0), tensor.stride(2)]
    return math.gcd(16, *numbers)


def in_units(tensor: Tensor, unit: int) -> tuple[int, int, int]:
    """Strides of a tensor, those of images and pixels in units of `unit_of`."""
    stride_n, stride_c, stride_l = tensor.stride()
    return stride_n // unit, stride_c, stride_l // unit


def owns_pixels(scores: Tensor) -> bool:
    """Whether no two threads of a program that loops over the classes have the same pixel."""
    block_c, block_t = loop_block(scores)
    # A thread loads at least four neighbours, if it may.
    return block_t >= WARPS * 32 * 4 or block_c <= min(unit_of(scores), 4)


def column_of(scores: Tensor) -> int:
    """Pixels of a program of `push_columns`, 4 bytes to a thread; 0 where it is not for them."""
    if scores.shape[1] > MOST_COLUMNS or _classes_first(scores):
        return 0
    return WARPS * 32 * max(4 // scores.element_size(), 1)


def whole_block(scores: Tensor) -> tuple[bool, int, int]:
    """Whether a block holds all classes, and how many classes and pixels it holds."""
    classes = power_of_two(scores.shape[1])
    if classes <= 64:
        return True, classes, BLOCK // max(classes, 4)
    block_c, block_t = loop_block(scores)
    return False, block_c, block_t


def new_gradient(scores: Tensor, *, weighted: bool) -> Tensor:
    """What the second pass writes; in float32 where it is multiplied before it is rounded."""
    return torch.empty_like(scores, dtype=torch.float32 if weighted else scores.dtype)


def times_weight(gradient: Tensor, pixel_weight: Tensor | None, scores: Tensor) -> Tensor:
    """The gradient in the dtype of the scores, times the weights of pixels or of scores."""
    if pixel_weight is None:
        return gradient
    # Those of ignored pixels, whose gradient is 0, may be anything.
    weight = pixel_weight.to(torch.float32).nan_to_num()
    weight = weight if weight.dim() == gradient.dim() else weight.unsqueeze(1)
    return (gradient * weight).to(scores.dtype)


def factors_of(slopes: Tensor, factors: Tensor | None) -> tuple[Tensor | None, bool]:
    """Factors (G, C) as the kernels read them, and whether images have rows of their own."""
    if factors is not None:
        factors = factors.to(torch.float32).contiguous()
    # Slopes by pixel do not tell.
    rows = slopes if slopes.dim() > 3 else factors
    return factors, rows is not None and rows.shape[0] > 1


def _classes_first(scores: Tensor) -> bool:
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
