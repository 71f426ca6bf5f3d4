"""The launches of the kernels for channels that are sets of their own; see ``launch``."""

from __future__ import annotations

import torch
from torch import Tensor

from lovasz.core.bins import LARGEST_ERROR
from lovasz.core.links import UNBOUNDED
from lovasz.kernels.triton import blocks, channel_passes
from lovasz.kernels.triton.blocks import ceil_div
from lovasz.kernels.triton.inputs import Entropy, Labels, Weights
from lovasz.kernels.triton.launch import extend


def count(
    scores: Tensor,
    labels: Labels,
    bins: int,
    per_image: bool,
    link: str,
    entropy: Entropy | None = None,
    weights: Weights | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Counts, invalid pixels and cross-entropy, as ``lovasz::count_channels``."""
    top = LARGEST_ERROR if link in UNBOUNDED else 2.0
    counts, invalid, sums = _count(scores, labels, bins, per_image, link, top, entropy, weights)
    if weights is not None:
        # What is not in another bin is in the first.
        positive = weights.mass * (labels.target.to(torch.int64) == 1)
        whole = torch.stack((weights.mass - positive, positive), 2).sum(-1)  # (N, C, 2)
        whole = whole if per_image else whole.sum(0, keepdim=True)
        counts[:, :, :, 0] = whole - counts.sum(3)
    return counts, invalid, sums


def _count(
    scores: Tensor,
    labels: Labels,
    bins: int,
    per_image: bool,
    link: str,
    top: float,
    entropy: Entropy | None,
    weights: Weights | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """The same, without the first bin where there are weights; errors below ``top`` are good."""
    images, classes, length = scores.shape
    groups = images if per_image else 1
    shared = weights is None and blocks.has_ptx(scores.device)
    slabs, invalid = blocks.new_tables(
        scores, groups, bins, weighted=weights is not None, few=shared
    )
    chunk = blocks.chunk_of(images * length * classes, scores.device)
    programs = images * ceil_div(length, chunk) * classes
    sums = blocks.new_sums(scores, programs, entropy is not None)
    window = blocks.channel_window_of(bins, shared=shared)
    weight, mass = (None, None) if weights is None else weights
    channel_passes.count[(programs,)](
        scores, labels.target, slabs, invalid, sums, None if entropy is None else entropy.weight,
        weight, mass, classes, length, *scores.stride(), *labels.target.stride(), slabs.shape[1],
        labels.ignore_index, chunk, top,
        LINK=link, SLABS=slabs.shape[0], BINS=bins, WINDOW=window,
        CELLS=blocks.table_cells(2 * window) if shared else 0, IGNORES=labels.ignores,
        PER_IMAGE=per_image, ENTROPY=entropy is not None,
        BLOCK_T=blocks.STRIP if shared else blocks.strip_of(length), num_warps=blocks.WARPS,
    )  # fmt: skip
    return blocks.sum_slabs(slabs, classes, bins), invalid, blocks.add_sums(sums)


def push(
    scores: Tensor,
    labels: Labels,
    slopes: Tensor,
    factors: Tensor | None,
    link: str,
    scale: Tensor | None = None,
    entropy: Entropy | None = None,
    pixel_weight: Tensor | None = None,
) -> Tensor:
    """Gradient of the scores from slopes by bin (G, C, 2, B), or by pixel (N, C, L)."""
    images, classes, length = scores.shape
    ranked = slopes.dim() == 3
    gradient = blocks.new_gradient(scores, weighted=pixel_weight is not None)
    slopes = slopes.to(torch.float32)
    slopes = slopes if ranked else slopes.contiguous()
    factors, per_image = blocks.factors_of(slopes, factors)
    block_c, block_t = blocks.loop_block(scores)
    channel_passes.push[(images * ceil_div(classes, block_c) * ceil_div(length, block_t),)](
        scores, gradient, labels.target, slopes, factors,
        None if scale is None else scale.to(torch.float32),
        None if entropy is None else entropy.weight, classes, length, *scores.stride(),
        *labels.target.stride(), *gradient.stride(), *(slopes.stride() if ranked else (0, 0, 0)),
        labels.ignore_index,
        LINK=link, BINS=1 if ranked else slopes.shape[3], IGNORES=labels.ignores,
        PER_IMAGE=per_image, RANKED=ranked, BLOCK_C=block_c,
        BLOCK_T=block_t, num_warps=blocks.WARPS,
    )  # fmt: skip
    return blocks.times_weight(gradient, pixel_weight, scores)


def exact(
    scores: Tensor, labels: Labels, per_image: bool, link: str, alpha: float, beta: float
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Losses and slopes by one sort of all errors, as ``lovasz::exact_channels``."""
    images, classes, length = scores.shape
    groups, pixels = (images, length) if per_image else (1, images * length)
    # Of one bin: numbers of negatives and positives.
    counts, invalid, _ = _count(scores, labels, 1, per_image, link, float("inf"), None, None)
    keys = scores.new_empty((groups * classes, pixels), dtype=torch.int32)
    block_c, block_t = blocks.loop_block(scores)
    channel_passes.keys[(images * ceil_div(classes, block_c) * ceil_div(length, block_t),)](
        scores, labels.target, keys, classes, length, *scores.stride(), *labels.target.stride(),
        classes * length if per_image else length, pixels, labels.ignore_index,
        LINK=link, IGNORES=labels.ignores, BLOCK_C=block_c, BLOCK_T=block_t, num_warps=blocks.WARPS,
    )  # fmt: skip
    keys, order = keys.sort(dim=-1)
    losses, slopes = extend(keys, order, scores.shape, per_image, alpha, beta)
    positives = counts[:, :, 1, 0].contiguous()
    return losses.view(groups, classes), slopes, positives, counts.sum((2, 3)), invalid
