"""Shapes of blocks and grids, and the launches. Nothing here waits for the device.

Tensors are read in place whatever their strides. Everything that decides how to launch is known to
the host: shapes, strides, dtypes and the number of processors of the device.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from lovasz.ops.gpu import counting, pushing, ranking

WARPS = 4
#: elements of a block of scores: 16 for each of the 128 threads
BLOCK = 2048
#: pixels that `negatives` takes at once
STRIP = 1024
#: bins that `negatives` holds in registers at most
LARGEST_WINDOW = 2048
#: cells of all slabs together, 32 MiB
SLAB_CELLS = 2**23
MOST_SLABS = 64


class Labels(NamedTuple):
    """Labels as the kernels read them."""

    target: Tensor
    ignore_index: int  # of no meaning unless `ignores`
    ignores: bool

    @classmethod
    def of(cls, target: Tensor, ignore_index: int | None) -> Labels:
        """Labels with ``ignore_index``, or with none."""
        # A bool is a byte, and Triton loads no single bits.
        target = target.view(torch.uint8) if target.dtype == torch.bool else target
        return cls(target, 0 if ignore_index is None else ignore_index, ignore_index is not None)


class Entropy(NamedTuple):
    """Cross-entropy that rides along."""

    weight: Tensor | None  # (C,) float32
    smoothing: float

    @classmethod
    def of(cls, weight: Tensor | None, smoothing: float) -> Entropy:
        """As the operators are given it."""
        return cls(None if weight is None else weight.to(torch.float32).contiguous(), smoothing)


def count(
    scores: Tensor,
    labels: Labels,
    bins: int,
    per_image: bool,
    entropy: Entropy | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Counts, log-sum-exp, invalid pixels and cross-entropy, as ``lovasz::count``."""
    images, classes, length = scores.shape
    groups = images if per_image else 1
    cells = groups * classes * 2 * bins
    slab_count = max(1, min(MOST_SLABS, SLAB_CELLS // cells))
    # A cell may hold as many counts as there are pixels.
    width = torch.int32 if images * length < 2**31 else torch.int64
    slabs = scores.new_zeros((slab_count, cells), dtype=width)
    invalid, lse, sums = survey(scores, labels, slabs, bins, per_image, entropy)
    chunk = chunk_of(images * length * _ceil(classes, 4), _processors(scores.device))
    programs = images * _ceil(length, chunk) * _ceil(classes, 4)
    counting.negatives[(programs,)](
        scores, labels.target, lse, slabs, classes, length, *scores.stride(),
        *labels.target.stride(), cells, labels.ignore_index, chunk,
        SLABS=slab_count, BINS=bins, WINDOW=window_of(classes, bins), IGNORES=labels.ignores,
        PER_IMAGE=per_image, BLOCK_T=strip_of(length), num_warps=WARPS,
    )  # fmt: skip
    counts = slabs.sum(0, dtype=torch.int64).view(groups, classes, 2, bins)
    return counts, lse, invalid, sums


def survey(
    scores: Tensor,
    labels: Labels,
    slabs: Tensor,
    bins: int,
    per_image: bool,
    entropy: Entropy | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Invalid pixels, log-sum-exp and cross-entropy; adds the positives to ``slabs``."""
    images, classes, length = scores.shape
    invalid = scores.new_zeros(images if per_image else 1, dtype=torch.int64)
    lse = scores.new_empty((images, length), dtype=torch.float32)
    block_c, block_t = loop_block(scores)
    programs = images * _ceil(length, block_t)
    sums = scores.new_empty((0 if entropy is None else programs, 2), dtype=torch.float64)
    weight, smoothing = (None, 0.0) if entropy is None else entropy
    counting.survey[(programs,)](
        scores, labels.target, lse, slabs, invalid, sums, weight, classes, length,
        *scores.stride(), *labels.target.stride(), slabs.shape[1], labels.ignore_index, smoothing,
        SLABS=slabs.shape[0], BINS=bins, IGNORES=labels.ignores, PER_IMAGE=per_image,
        ENTROPY=entropy is not None, SMOOTHED=smoothing > 0, BLOCK_C=block_c, BLOCK_T=block_t,
        num_warps=WARPS,
    )  # fmt: skip
    return invalid, lse, sums.sum(0) if entropy is not None else sums.view(0)


def push(
    scores: Tensor,
    labels: Labels,
    lse: Tensor,
    slopes: Tensor,
    scale: Tensor | None = None,
    entropy: Entropy | None = None,
) -> Tensor:
    """Gradient of the scores, as ``lovasz::push``; slopes by bin (G, C, 2, B), or (N, C, L)."""
    images, classes, length = scores.shape
    ranked = slopes.dim() == 3
    gradient = torch.empty_like(scores)
    whole, block_c, block_t = whole_block(scores)
    weight, smoothing = (None, 0.0) if entropy is None else entropy
    slopes = slopes.to(torch.float32)
    slopes = slopes if ranked else slopes.contiguous()
    pushing.push[(images * _ceil(length, block_t),)](
        scores, gradient, labels.target, lse.contiguous(), slopes,
        None if scale is None else scale.to(torch.float32), weight,
        None if weight is None else weight.sum(), classes, length, *scores.stride(),
        *labels.target.stride(), *gradient.stride(), *(slopes.stride() if ranked else (0, 0, 0)),
        labels.ignore_index, smoothing,
        BINS=1 if ranked else slopes.shape[3], IGNORES=labels.ignores,
        PER_IMAGE=not ranked and slopes.shape[0] > 1, RANKED=ranked, WHOLE=whole,
        BLOCK_C=block_c, BLOCK_T=block_t, num_warps=WARPS,
    )  # fmt: skip
    return gradient


def exact(
    scores: Tensor, labels: Labels, per_image: bool, alpha: float, beta: float
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Losses and slopes by one sort of all errors, as ``lovasz::exact``."""
    images, classes, length = scores.shape
    groups, pixels = (images, length) if per_image else (1, images * length)
    # One bin: the table of the survey holds the number of positives.
    slabs = scores.new_zeros((MOST_SLABS, groups * classes * 2), dtype=torch.int64)
    invalid, lse, _ = survey(scores, labels, slabs, 1, per_image, None)
    positives = slabs.sum(0).view(groups, classes, 2)[:, :, 1].contiguous()

    keys = scores.new_empty((groups * classes, pixels), dtype=torch.int32)
    block_c, block_t = loop_block(scores)
    ranking.keys[(images * _ceil(length, block_t),)](
        scores, labels.target, lse, keys, classes, length, *scores.stride(),
        *labels.target.stride(), classes * length if per_image else length, pixels,
        labels.ignore_index, IGNORES=labels.ignores, BLOCK_C=block_c, BLOCK_T=block_t,
        num_warps=WARPS,
    )  # fmt: skip
    keys, order = keys.sort(dim=-1)
    losses, slopes = extend(keys, order, scores.shape, per_image, alpha, beta)
    return losses.view(groups, classes), slopes, positives, positives.sum(-1), lse, invalid


def extend(
    keys: Tensor, order: Tensor, shape: torch.Size, per_image: bool, alpha: float, beta: float
) -> tuple[Tensor, Tensor]:
    """Losses of the rows of sorted keys, and slopes (N, C, L)."""
    rows, pixels = keys.shape
    _, classes, length = shape
    blocks = _ceil(pixels, STRIP)
    grid = (rows * blocks,)
    marks = keys.new_empty(keys.shape, dtype=torch.int64)
    ranking.marks[grid](keys, marks, pixels, BLOCK=STRIP, num_warps=WARPS)
    sums = marks.cumsum_(-1)
    width = torch.int32 if pixels < 2**31 else torch.int64
    starts = keys.new_full((rows, pixels + 1), pixels, dtype=width)
    ranking.runs[grid](sums, starts, pixels, BLOCK=STRIP, num_warps=WARPS)
    slopes = keys.new_empty(shape, dtype=torch.float32)
    losses = keys.new_empty((rows, blocks), dtype=torch.float64)
    ranking.extend[grid](
        keys, order, sums, starts, slopes, losses, pixels, length, classes,
        ALPHA=alpha, BETA=beta, PER_IMAGE=per_image, BLOCK=STRIP, num_warps=WARPS,
    )  # fmt: skip
    return losses.sum(-1), slopes


def window_of(classes: int, bins: int) -> int:
    """Bins that `negatives` holds in registers; the cost of a histogram grows with them.

    Probabilities sum to 1, so at most 1/m classes of a pixel have one above m. The window shrinks
    as long as no more than a quarter of the scores can lie above it.
    """
    window = 1 << (bins - 1).bit_length()
    while window > 32:
        u = window / 2 / bins
        edge = ((9 + 16 * u) ** 0.5 - 3) ** 2 / 4  # as bins.bin_edges
        if classes * edge < 4:
            break
        window //= 2
    return min(window, LARGEST_WINDOW)


def chunk_of(work: int, processors: int) -> int:
    """Pixels of a program of `negatives`: long enough to spare additions, enough programs."""
    wanted = max(8 * STRIP, min(64 * STRIP, work // (16 * processors)))
    return wanted // STRIP * STRIP


def strip_of(length: int) -> int:
    """Pixels that `negatives` takes at once, fewer for short images."""
    return max(WARPS * 32, min(STRIP, _power_of_two(length)))


def loop_block(scores: Tensor) -> tuple[int, int]:
    """Classes and pixels of a block for a loop over the classes: what is contiguous is long."""
    classes = scores.shape[1]
    block_c = min(_power_of_two(classes), 64 if _classes_first(scores) else 4)
    return block_c, BLOCK // max(block_c, 4)


def whole_block(scores: Tensor) -> tuple[bool, int, int]:
    """Whether a block holds all classes, and how many classes and pixels it holds."""
    classes = _power_of_two(scores.shape[1])
    if classes <= 64:
        return True, classes, BLOCK // max(classes, 4)
    block_c, block_t = loop_block(scores)
    return False, block_c, block_t


def _classes_first(scores: Tensor) -> bool:
    return scores.stride(1) == 1 and scores.stride(2) != 1


def _processors(device: torch.device) -> int:
    if device.type != "cuda":  # the interpreter
        return 1
    return torch.cuda.get_device_properties(device).multi_processor_count


def _power_of_two(number: int) -> int:
    return 1 << (number - 1).bit_length()


def _ceil(number: int, size: int) -> int:
    return -(-number // size)
