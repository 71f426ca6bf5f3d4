"""The launches of the kernels for classes that exclude each other.

Nothing here waits for the device. Tensors are read in place whatever their strides. Everything that
decides how to launch is known to the host: shapes, strides, dtypes and the number of processors.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lovasz.kernels.triton import blocks, counting, pushing, ranking, tallying
from lovasz.kernels.triton.blocks import ceil_div
from lovasz.kernels.triton.inputs import Entropy, Labels, Weights


def count(
    scores: Tensor,
    labels: Labels,
    bins: int,
    per_image: bool,
    entropy: Entropy | None,
    weights: Weights | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Counts, log-sum-exp, invalid pixels and cross-entropy, as ``lovasz::count``."""
    images, classes, _ = scores.shape
    groups = images if per_image else 1
    shared = weights is None and blocks.has_ptx(scores.device)
    few = shared and blocks.owns_pixels(scores)
    tables = blocks.new_tables(scores, groups, bins, weighted=weights is not None, few=few)
    slabs, invalid = tables
    if shared:
        lse, sums = tally(scores, labels, tables, bins, per_image, entropy)
        return blocks.sum_slabs(slabs, classes, bins), lse, invalid, sums
    lse, sums = survey(scores, labels, tables, bins, per_image, entropy, weights)
    if weights is None:
        count_negatives(scores, labels, lse, slabs, bins, per_image)
        return blocks.sum_slabs(slabs, classes, bins), lse, invalid, sums
    add_masses(scores, labels, lse, slabs, bins, per_image, weights.mass)
    counts = blocks.sum_slabs(slabs, classes, bins)
    # Every class has the whole mass, and what is not in another bin is in the first.
    whole = weights.mass.view(groups, -1).sum(1, keepdim=True)
    counts[:, :, 0, 0] = whole - counts.sum((2, 3))
    return counts, lse, invalid, sums


def tally(
    scores: Tensor,
    labels: Labels,
    tables: tuple[Tensor, Tensor],
    bins: int,
    per_image: bool,
    entropy: Entropy | None,
) -> tuple[Tensor, Tensor]:
    """Log-sum-exp and cross-entropy; adds all errors, and invalid pixels, to the tables."""
    slabs, invalid = tables
    images, classes, length = scores.shape
    table = blocks.table_of(scores, bins)
    chunk = blocks.tally_of(images * length, table.block_t, scores.device)
    programs = images * ceil_div(length, chunk)
    lse, sums = _results(scores, programs, entropy)
    weight, smoothing = (None, 0.0) if entropy is None else entropy
    unit = blocks.unit_of(scores)
    tallying.tally[(programs,)](
        scores, labels.target, lse, slabs, invalid, sums, weight, classes // unit, length,
        *blocks.in_units(scores, unit), *labels.target.stride(), slabs.shape[1],
        labels.ignore_index, smoothing, chunk,
        SLABS=slabs.shape[0], BINS=bins, WINDOW=table.window, GROUP=table.group,
        GROUPS=table.groups, CELLS=table.cells, IGNORES=labels.ignores, PER_IMAGE=per_image,
        ENTROPY=entropy is not None, SMOOTHED=smoothing > 0, OWNED=blocks.owns_pixels(scores),
        UNIT=unit, BLOCK_C=table.block_c, BLOCK_T=table.block_t, num_warps=blocks.WARPS,
    )  # fmt: skip
    return lse, blocks.add_sums(sums)


def count_negatives(
    scores: Tensor, labels: Labels, lse: Tensor, slabs: Tensor, bins: int, per_image: bool
) -> None:
    """Add the negatives to ``slabs``."""
    images, classes, length = scores.shape
    chunk = blocks.chunk_of(images * length * ceil_div(classes, 4), scores.device)
    programs = images * ceil_div(length, chunk) * ceil_div(classes, 4)
    counting.negatives[(programs,)](
        scores, labels.target, lse, slabs, classes, length, *scores.stride(),
        *labels.target.stride(), slabs.shape[1], labels.ignore_index, chunk,
        SLABS=slabs.shape[0], BINS=bins, WINDOW=blocks.window_of(classes, bins),
        IGNORES=labels.ignores, PER_IMAGE=per_image, BLOCK_T=blocks.strip_of(length),
        num_warps=blocks.WARPS,
    )  # fmt: skip


def add_masses(
    scores: Tensor,
    labels: Labels,
    lse: Tensor,
    slabs: Tensor,
    bins: int,
    per_image: bool,
    mass: Tensor,
) -> None:
    """Add the masses of the negatives to ``slabs``, but those of the first bin."""
    images, classes, length = scores.shape
    block_c, block_t = blocks.loop_block(scores)
    counting.masses[(images * ceil_div(length, block_t),)](
        scores, labels.target, lse, slabs, mass, classes, length, *scores.stride(),
        *labels.target.stride(), slabs.shape[1],
        SLABS=slabs.shape[0], BINS=bins, PER_IMAGE=per_image, BLOCK_C=block_c, BLOCK_T=block_t,
        num_warps=blocks.WARPS,
    )  # fmt: skip


def survey(
    scores: Tensor,
    labels: Labels,
    tables: tuple[Tensor, Tensor],
    bins: int,
    per_image: bool,
    entropy: Entropy | None,
    weights: Weights | None = None,
) -> tuple[Tensor, Tensor]:
    """Log-sum-exp and cross-entropy; adds the positives, and invalid pixels, to the tables."""
    slabs, invalid = tables
    images, classes, length = scores.shape
    block_c, block_t = blocks.loop_block(scores)
    programs = images * ceil_div(length, block_t)
    lse, sums = _results(scores, programs, entropy)
    weight, smoothing = (None, 0.0) if entropy is None else entropy
    pixel_weight, mass = (None, None) if weights is None else weights
    unit = blocks.unit_of(scores)
    counting.survey[(programs,)](
        scores, labels.target, lse, slabs, invalid, sums, weight, pixel_weight, mass,
        classes // unit, length, *blocks.in_units(scores, unit), *labels.target.stride(),
        slabs.shape[1], labels.ignore_index, smoothing,
        SLABS=slabs.shape[0], BINS=bins, IGNORES=labels.ignores, PER_IMAGE=per_image,
        ENTROPY=entropy is not None, SMOOTHED=smoothing > 0, UNIT=unit, BLOCK_C=block_c,
        BLOCK_T=block_t, num_warps=blocks.WARPS,
    )  # fmt: skip
    return lse, blocks.add_sums(sums)


def _results(scores: Tensor, programs: int, entropy: Entropy | None) -> tuple[Tensor, Tensor]:
    """Log-sum-exp, and the parts of the cross-entropy, to be filled."""
    images, _, length = scores.shape
    lse = scores.new_empty((images, length), dtype=torch.float32)
    return lse, blocks.new_sums(scores, programs, entropy is not None)


def push(
    scores: Tensor,
    labels: Labels,
    lse: Tensor,
    slopes: Tensor,
    factors: Tensor | None,
    scale: Tensor | None = None,
    entropy: Entropy | None = None,
    pixel_weight: Tensor | None = None,
) -> Tensor:
    """Gradient of the scores from slopes by bin (G, C, 2, B), or by pixel (N, C, L)."""
    images, classes, length = scores.shape
    ranked = slopes.dim() == 3
    gradient = blocks.new_gradient(scores, weighted=pixel_weight is not None)
    weight, smoothing = (None, 0.0) if entropy is None else entropy
    slopes = slopes.to(torch.float32)
    slopes = slopes if ranked else slopes.contiguous()
    factors, per_image = blocks.factors_of(slopes, factors)
    given = (
        scores, gradient, labels.target, lse.contiguous(), slopes, factors,
        None if scale is None else scale.to(torch.float32), weight,
        None if weight is None else weight.sum(),
    )  # fmt: skip
    unit = blocks.unit_of(scores, gradient)
    where = (
        length, *blocks.in_units(scores, unit), *labels.target.stride(),
        *blocks.in_units(gradient, unit),
        *(slopes.stride() if ranked else (0, 0, 0)), labels.ignore_index, smoothing,
    )  # fmt: skip
    options = {
        "BINS": 1 if ranked else slopes.shape[3],
        "IGNORES": labels.ignores,
        "PER_IMAGE": per_image,
        "RANKED": ranked,
        "PTX": blocks.has_ptx(scores.device),
        "num_warps": blocks.WARPS,
    }
    block_t = blocks.column_of(scores)
    if block_t > 0:
        pushing.push_columns[(images * ceil_div(length, block_t),)](
            *given, *where, CLASSES=classes,
            BLOCK_T=block_t, **options,
        )  # fmt: skip
        return blocks.times_weight(gradient, pixel_weight, scores)
    whole, block_c, block_t = blocks.whole_block(scores)
    pushing.push[(images * ceil_div(length, block_t),)](
        *given, classes // unit, *where, WHOLE=whole, UNIT=unit, BLOCK_C=block_c, BLOCK_T=block_t,
        **options,
    )  # fmt: skip
    return blocks.times_weight(gradient, pixel_weight, scores)


def exact(
    scores: Tensor, labels: Labels, per_image: bool, alpha: float, beta: float
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Losses and slopes by one sort of all errors, as ``lovasz::exact``."""
    images, classes, length = scores.shape
    groups, pixels = (images, length) if per_image else (1, images * length)
    # One bin: the table of the survey holds the number of positives.
    slabs, invalid = tables = blocks.new_tables(scores, groups, 1, weighted=False, few=False)
    lse, _ = survey(scores, labels, tables, 1, per_image, None)
    positives = blocks.sum_slabs(slabs, classes, 1)[:, :, 1, 0].contiguous()

    keys = scores.new_empty((groups * classes, pixels), dtype=torch.int32)
    block_c, block_t = blocks.loop_block(scores)
    ranking.keys[(images * ceil_div(length, block_t),)](
        scores, labels.target, lse, keys, classes, length, *scores.stride(),
        *labels.target.stride(), classes * length if per_image else length, pixels,
        labels.ignore_index, IGNORES=labels.ignores, BLOCK_C=block_c, BLOCK_T=block_t,
        num_warps=blocks.WARPS,
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
    parts = ceil_div(pixels, blocks.STRIP)
    grid = (rows * parts,)
    marks = keys.new_empty(keys.shape, dtype=torch.int64)
    ranking.marks[grid](keys, marks, pixels, BLOCK=blocks.STRIP, num_warps=blocks.WARPS)
    sums = marks.cumsum_(-1)
    width = torch.int32 if pixels < 2**31 else torch.int64
    starts = keys.new_full((rows, pixels + 1), pixels, dtype=width)
    ranking.runs[grid](sums, starts, pixels, BLOCK=blocks.STRIP, num_warps=blocks.WARPS)
    slopes = keys.new_empty(shape, dtype=torch.float32)
    losses = keys.new_empty((rows, parts), dtype=torch.float64)
    ranking.extend[grid](
        keys, order, sums, starts, slopes, losses, pixels, length, classes,
        ALPHA=alpha, BETA=beta, PER_IMAGE=per_image, BLOCK=blocks.STRIP, num_warps=blocks.WARPS,
    )  # fmt: skip
    return losses.sum(-1), slopes
