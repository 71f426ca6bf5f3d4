"""The launches of the histogram pass: which kernels count, and what their copies add up to.

Nothing in any launch waits for the device. Tensors are read in place whatever their strides.
Everything that decides how to launch is known to the host: shapes, strides, dtypes and the number
of processors.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lovasz.core.bins import LARGEST_ERROR
from lovasz.core.links import UNBOUNDED
from lovasz.kernels.triton import blocks
from lovasz.kernels.triton.histogram_multilabel import histogram_multilabel
from lovasz.kernels.triton.histogram_registers import histogram_registers
from lovasz.kernels.triton.histogram_shared import histogram_shared
from lovasz.kernels.triton.histogram_weighted import histogram_weighted
from lovasz.kernels.triton.inputs import Clouds, CrossEntropy, Labels, Weights
from lovasz.kernels.triton.lse_and_positives import lse_and_positives


def histogram(
    scores: Tensor,
    labels: Labels,
    bins: int,
    per_image: bool,
    link: str,
    cross_entropy: CrossEntropy | None = None,
    weights: Weights | None = None,
    clouds: Clouds | None = None,
    copies_bytes: int | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Histogram (G, C, 2, B), log-sum-exp, invalid pixels and sums, as the operator has them.

    Of 0 bins for a cross-entropy alone, for which nothing is counted. ``copies_bytes`` is how much
    the copies of the histogram may take, if less than usual.
    """
    if link != "softmax":
        largest = LARGEST_ERROR if link in UNBOUNDED else 2.0
        counts, invalid, sums = count_multilabel(
            *(scores, labels, bins, per_image, link, largest, cross_entropy, weights, clouds),
            copies_bytes=copies_bytes,
        )
        if weights is not None and bins > 0:
            _fill_first_bin(counts, labels, weights, per_image, link, clouds)
        return counts, scores.new_empty(0, dtype=torch.float64), invalid, sums
    images, classes, _ = scores.shape
    groups = groups_of(images, per_image, clouds)
    shared = weights is None and bins > 0 and blocks.has_ptx(scores.device)
    few = shared and blocks.owns_pixels(scores)
    weighted = weights is not None
    copies, invalid = blocks.new_copies(
        scores, groups, bins, weighted=weighted, few=few, most_bytes=copies_bytes
    )
    arguments = (scores, labels, copies, invalid, bins, per_image, cross_entropy)
    if shared:
        lse, sums = histogram_shared(*arguments)
        return blocks.sum_copies(copies, groups, classes, bins), lse, invalid, sums
    lse, sums = lse_and_positives(*arguments, weights, clouds)
    if bins == 0:
        return blocks.sum_copies(copies, groups, classes, bins), lse, invalid, sums
    if weights is None:
        histogram_registers(scores, labels, lse, copies, bins, per_image)
        return blocks.sum_copies(copies, groups, classes, bins), lse, invalid, sums
    histogram_weighted(scores, labels, lse, copies, bins, per_image, weights, clouds)
    counts = blocks.sum_copies(copies, groups, classes, bins)
    # The weights of a class are those of all pixels, and what is in no other bin is in the first.
    whole = (
        weights.fixed.view(groups, -1).sum(1) if clouds is None else clouds.sum(weights.fixed[0])
    )
    counts[:, :, 0, 0] = whole.unsqueeze(1) - counts.sum((2, 3))
    return counts, lse, invalid, sums


def count_multilabel(
    scores: Tensor,
    labels: Labels,
    bins: int,
    per_image: bool,
    link: str,
    largest: float,
    cross_entropy: CrossEntropy | None = None,
    weights: Weights | None = None,
    clouds: Clouds | None = None,
    copies_bytes: int | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Histogram, invalid pixels and sums without softmax; with weights without the first bin.

    Errors below ``largest`` are valid.
    """
    images, classes, _ = scores.shape
    shared = weights is None and bins > 0 and blocks.has_ptx(scores.device)
    groups = groups_of(images, per_image, clouds)
    copies, invalid = blocks.new_copies(
        scores,
        groups,
        bins,
        weighted=weights is not None,
        few=shared,
        most_bytes=copies_bytes,
    )
    arguments = (scores, labels, copies, invalid, bins, per_image, link, largest)
    sums = histogram_multilabel(*arguments, cross_entropy, weights, clouds, shared=shared)
    return blocks.sum_copies(copies, groups, classes, bins), invalid, sums


def groups_of(images: int, per_image: bool, clouds: Clouds | None) -> int:
    """Number of groups."""
    if clouds is not None:
        return clouds.number
    return images if per_image else 1


def _sum(values: Tensor, clouds: Clouds | None) -> Tensor:
    """Sums of values (N, ..., L) over each image, or over each cloud."""
    return values.sum(-1) if clouds is None else clouds.sum(values[0])


def _fill_first_bin(
    counts: Tensor,
    labels: Labels,
    weights: Weights,
    per_image: bool,
    link: str,
    clouds: Clouds | None,
) -> None:
    """What is in no other bin is in the first."""
    target, fixed = labels.target.to(torch.int64), weights.fixed
    if link == "probabilities":
        classes = counts.shape[1]
        inside = (target >= 0) & (target < classes)
        own = torch.where(inside, fixed, 0)
        whole = _sum(fixed, clouds).unsqueeze(1)
        if clouds is None:
            group = torch.arange(len(fixed), device=fixed.device).unsqueeze(1)
        else:
            group = clouds.ids
        cell = group * classes + target.clamp(0, classes - 1)
        positive = fixed.new_zeros(len(whole) * classes)
        positive = positive.scatter_add_(0, cell.flatten(), own.flatten()).view(-1, classes)
    else:
        positive, whole = _sum(fixed * (target == 1), clouds), _sum(fixed, clouds)
    sides = torch.stack((whole - positive, positive), 2)  # (N, C, 2), or (G, C, 2)
    sides = sides if per_image or clouds is not None else sides.sum(0, keepdim=True)
    counts[:, :, :, 0] = sides - counts.sum(3)
