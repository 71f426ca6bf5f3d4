"""What all kernels do with a pixel: its label, and the bin of an error.

Offsets are 64-bit throughout, so that tensors may have more than 2^31 elements.
"""

from __future__ import annotations

import triton
import triton.language as tl

from lovasz.kernels.triton import ptx

# Below every score but -inf: a maximum that starts here is never -inf, whose difference with
# itself would be NaN.
LOWEST = tl.constexpr(-3.4028234663852886e38)

# In the place of a bin: what is not counted.
NO_BIN = tl.constexpr(2**31 - 1)
LOG2E = tl.constexpr(1.4426950408889634)


@triton.jit
def tile_of(length, BLOCK_T: tl.constexpr):
    """Image and pixels of a program, and which of them exist."""
    program = tl.program_id(0)
    tiles = tl.cdiv(length, BLOCK_T)
    image = (program // tiles).to(tl.int64)
    pixel = (program % tiles).to(tl.int64) * BLOCK_T + tl.arange(0, BLOCK_T)
    return image, pixel, pixel < length


@triton.jit
def load_labels(target, offsets, inside, ignore_index, IGNORES: tl.constexpr):
    """Labels as int64, and which pixels count."""
    labels = tl.load(target + offsets, mask=inside, other=0).to(tl.int64)
    counted = inside
    if IGNORES:
        counted = inside & (labels != ignore_index)
    return labels, counted


@triton.jit
def exp(x, PTX: tl.constexpr):
    """The exponential, by fewer instructions on NVIDIA devices."""
    if PTX:
        result = ptx.exp2(x * LOG2E)
    else:
        result = tl.exp(x)
    return result


@triton.jit
def root_of(x, z, PTX: tl.constexpr):
    """Square root of a probability, from a score and the log-sum-exp.

    Both factors in one: half of the exponential would be one multiplication more.
    """
    if PTX:
        result = ptx.exp2((x - z) * (0.5 * LOG2E))
    else:
        result = tl.exp((x - z) * 0.5)
    return result


@triton.jit
def bin_of(root, error, BINS: tl.constexpr):
    """Bin of an error, given its square root too; NaN goes to bin 0, its pixel is reported."""
    position = (3.0 * root + error) * (BINS / 4)
    position = tl.where(position > 0.0, position, 0.0)
    return tl.minimum(position, BINS - 1.0).to(tl.int32)


@triton.jit
def positive_bin_of(own, z, BINS: tl.constexpr, PTX: tl.constexpr):
    """Bin of a positive, from its own score and the log-sum-exp."""
    error = tl.maximum(1.0 - exp(own - z, PTX), 0.0)
    return bin_of(tl.sqrt(error), error, BINS)


@triton.jit
def class_offsets(start, BLOCK_C: tl.constexpr):
    """Classes of a block, as a 64-bit column."""
    return (start + tl.arange(0, BLOCK_C)).to(tl.int64)[:, None]


@triton.jit
def flush_table(
    table, slab, lowest, ROW: tl.constexpr, WINDOW: tl.constexpr, CELLS: tl.constexpr
):  # fmt: skip
    """Add CELLS of a table, WINDOW for each row from the lowest on, to a slab with longer rows."""
    ptx.settle()
    for first in range(0, CELLS, ptx.STEP):
        counts = ptx.read(table, first)
        cell = first + tl.arange(0, ptx.STEP)
        row = (lowest + cell // WINDOW).to(tl.int64) * ROW
        tl.atomic_add(
            slab + row + cell % WINDOW,
            counts.to(slab.dtype.element_ty),
            mask=(counts > 0) & (cell < CELLS),
            sem="relaxed",
        )


@triton.jit
def store_sums(sums, entropy, weights):
    """Sums of cross-entropies and weights to the slot of the program, added up in a fixed order."""
    slot = sums + 2 * tl.program_id(0)
    tl.store(slot, tl.sum(entropy.to(tl.float64)))
    tl.store(slot + 1, tl.sum(weights.to(tl.float64)))
