"""The launches of both passes over soft labels, and over labels of losses by sums."""

from __future__ import annotations

import torch
from torch import Tensor

from lovasz.kernels.segments import by_image
from lovasz.kernels.triton import blocks
from lovasz.kernels.triton.backward_soft import backward_soft
from lovasz.kernels.triton.histogram_soft import histogram_soft
from lovasz.kernels.triton.histograms import groups_of
from lovasz.kernels.triton.inputs import (
    NUMBERS,
    Clouds,
    CrossEntropy,
    Labels,
    SoftLabels,
    SoftWeights,
    Weights,
)
from lovasz.kernels.triton.lse_and_positives import lse_and_positives
from lovasz.kernels.triton.scan_soft import scan_soft


def histogram(
    scores: Tensor,
    labels: SoftLabels,
    bins: int,
    per_image: bool,
    link: str,
    cross_entropy: CrossEntropy | None = None,
    weights: SoftWeights | None = None,
    clouds: Clouds | None = None,
    copies_bytes: int | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """As ``histograms.histogram``, and sums over the pixels of each group and class."""
    images, classes, _ = scores.shape
    groups = groups_of(images, per_image, clouds)
    shared = weights is None and bins > 0 and blocks.has_ptx(scores.device)
    copies, invalid = blocks.new_copies(
        scores, groups, bins, weighted=weights is not None, few=shared, most_bytes=copies_bytes
    )
    lse, sums = _read_classes(
        scores, labels, copies, invalid, per_image, link, cross_entropy, weights, clouds
    )
    regions, of_channels = histogram_soft(
        *(scores, labels, lse, copies, invalid, bins, per_image, link),
        *(cross_entropy, weights, clouds),
        shared=shared,
    )
    counts = blocks.sum_copies(copies, groups, classes, bins)
    if weights is not None and bins > 0:
        # What is in no other cell is in the first of the negatives.
        counts[:, :, 0, 0] = weights.of_groups(per_image, clouds) - counts.sum((2, 3))
    lse = scores.new_empty(0, dtype=torch.float64) if lse is None else lse
    return counts, lse, invalid, sums if link == "softmax" else of_channels, regions


def _read_classes(
    scores: Tensor,
    labels: SoftLabels,
    copies: Tensor,
    invalid: Tensor,
    per_image: bool,
    link: str,
    cross_entropy: CrossEntropy | None,
    weights: SoftWeights | None,
    clouds: Clouds | None,
) -> tuple[Tensor | None, Tensor]:
    """Log-sum-exp and cross-entropy with softmax, and what is wrong with all labels of a pixel."""
    if link == "softmax" and labels.maps > 0 and labels.mixture is None:
        hard = Labels(labels.target[:, 0], int(labels.ignore_index), labels.ignores)
        weight = fixed = None
        if weights is not None:
            weight, fixed = weights.weight[:, 0].contiguous(), weights.fixed[:, 0]
        by_pixel = None if fixed is None else Weights(weight, fixed)
        return lse_and_positives(
            scores, hard, copies, invalid, 0, per_image, cross_entropy, by_pixel, clouds
        )
    if link == "softmax" or (link == "probabilities" and labels.kind == NUMBERS):
        return scan_soft(scores, labels, invalid, per_image, link, cross_entropy, weights, clouds)
    return None, blocks.new_sums(scores, 0, False).view(0)


def backward(
    scores: Tensor,
    labels: SoftLabels,
    lse: Tensor,
    slopes: Tensor | None,
    factors: Tensor | None,
    link: str,
    scale: Tensor | None = None,
    cross_entropy: CrossEntropy | None = None,
    pixel_weight: Tensor | None = None,
    clouds: Clouds | None = None,
    by_regions: Tensor | None = None,
    *,
    in_place: bool = False,
) -> Tensor:
    """As ``gradient.backward``, and by derivatives by the sums (1, N or clouds, C, 8)."""
    gradient = scores if in_place else torch.empty_like(scores)
    if slopes is None:
        factors = None
    else:
        slopes = slopes.to(torch.float32)
        slopes = slopes.contiguous() if slopes.dim() > 3 else slopes
    if factors is not None:
        factors = factors.to(torch.float32).contiguous()
    if pixel_weight is not None and pixel_weight.dim() == 2:
        pixel_weight = pixel_weight.unsqueeze(1)
    per_image = slopes is not None and clouds is None and by_image(slopes, factors)
    scale = None if scale is None else scale.to(torch.float32)
    backward_soft(
        *(scores, gradient, labels, lse, slopes, factors, link, per_image, scale, cross_entropy),
        *(pixel_weight, clouds, by_regions),
    )
    return gradient
