"""Soft labels in plain torch, and the sums over pixels that losses by sums are made of.

A soft label q in [0, 1] says how much of a pixel belongs to a class. It is given as a number for
each pixel and class, or follows from label maps and label smoothing.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from lovasz.core.links import MULTICLASS
from lovasz.kernels.contents import LABEL_TOLERANCE, bad_labels, split_target
from lovasz.kernels.precision import compute_dtype
from lovasz.kernels.segments import Segments


class Soft(NamedTuple):
    """Soft labels of every pixel, for each class or channel."""

    raw: Tensor  # (N, C, L) in [0, 1], before label smoothing
    labels: Tensor  # (N, C, L) likewise, after it
    valid: Tensor  # (N, 1, L), or (N, C, L) for multilabel, bool: not ignored
    bad: Tensor  # of the shape of valid, bool: pixels whose labels are none


def is_soft(target: Tensor, mixture: Tensor | None, label_smoothing: float) -> bool:
    """Whether labels are soft, not one of them for each pixel or one for each channel."""
    return mixture is not None or label_smoothing > 0 or target.is_floating_point()


def read_labels(
    scores: Tensor,
    target: Tensor,
    ignore_index: int | None,
    link: str,
    mixture: Tensor | None,
    label_smoothing: float,
    pixel_weight: Tensor | None,
) -> Soft:
    """Labels of any kind as soft ones, in the compute dtype of the scores (N, C, L)."""
    dtype, classes = compute_dtype(scores), scores.shape[1]
    if target.is_floating_point():
        raw, valid, bad = _given(target.to(dtype), ignore_index, link, pixel_weight)
    elif link in MULTICLASS:
        maps = target if mixture is not None else target.unsqueeze(1)
        if mixture is None:
            mixture = torch.ones((len(target), 1), device=target.device)
        raw, valid, bad = _mixed(maps, mixture.to(dtype), classes, ignore_index, link)
    else:
        labels, valid = split_target(target, ignore_index)
        bad = bad_labels(labels, valid, link, classes)
        raw = ((labels == 1) & valid).to(dtype)
    labels = raw
    if label_smoothing > 0:
        labels = (1 - label_smoothing) * raw + label_smoothing / classes
    return Soft(raw, labels, valid, bad)


def _given(
    labels: Tensor, ignore_index: int | None, link: str, pixel_weight: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Labels (N, C, L) themselves. Pixels without weight are ignored ones."""
    valid = torch.ones_like(labels, dtype=torch.bool)
    if link in MULTICLASS:
        valid = valid[:, :1]
    elif ignore_index is not None:
        valid = labels != ignore_index
    if pixel_weight is not None:
        weight = pixel_weight if pixel_weight.dim() == 3 else pixel_weight.unsqueeze(1)
        valid = valid & (weight != 0)
    bad = ~((labels >= -LABEL_TOLERANCE) & (labels <= 1 + LABEL_TOLERANCE))  # NaN too
    if link in MULTICLASS:
        above = ~(labels.sum(1, keepdim=True) <= 1 + LABEL_TOLERANCE)
        bad = bad.any(1, keepdim=True) | above
    bad = bad & valid
    return torch.where(valid & ~bad, labels, 0.0).clamp(0.0, 1.0), valid, bad


def _mixed(
    maps: Tensor, mixture: Tensor, classes: int, ignore_index: int | None, link: str
) -> tuple[Tensor, Tensor, Tensor]:
    """Label maps (N, K, L), weighted by (N, K); one that is ignored at a pixel has no say there."""
    labels, valid = split_target(maps, ignore_index)
    bad = bad_labels(labels, valid, link, classes)
    weight = torch.where(valid, mixture.unsqueeze(-1), 0.0)  # (N, K, L)
    total = weight.sum(1, keepdim=True)
    images, _, length = labels.shape
    raw = mixture.new_zeros((images, classes, length))
    raw = raw.scatter_add(1, labels.clamp(0, classes - 1), weight)
    raw = torch.where(total > 0, raw / torch.where(total > 0, total, 1.0), 0.0)
    # Where only maps without weight are left, nobody has a say.
    return raw.clamp(0.0, 1.0), total > 0, bad.any(1, keepdim=True)


def sums_of(p: Tensor, soft: Soft, segments: Segments, pixel_weight: Tensor | None) -> Tensor:
    """Sums over the pixels of each group, (G, C, 8) float64, as ``core.regions`` lists them.

    Args:
        p: (N, C, L), predictions.
        soft: labels.
        segments: groups of pixels.
        pixel_weight: (N, L) or (N, C, L), or None for ones.
    """
    q = soft.labels
    weight = soft.valid.to(torch.float64)
    if pixel_weight is not None:
        own = pixel_weight if pixel_weight.dim() == 3 else pixel_weight.unsqueeze(1)
        weight = torch.where(soft.valid, own.double(), 0.0)
    p = torch.where(soft.valid, p, 0.0)  # no NaN of an ignored pixel

    def total(summand: Tensor) -> Tensor:
        return _sum(weight * summand, segments)

    sums = [total(p), total(q), total(p * q), total((p - q).abs()), total(p * p), total(q * q)]
    sums += [total(soft.raw), total(torch.ones_like(p))]
    return torch.stack(sums, -1)


def _sum(values: Tensor, segments: Segments) -> Tensor:
    """Sums of values (N, C, L) by group, (G, C)."""
    if segments.ids is not None:
        sums = values.new_zeros((values.shape[1], segments.number))
        ids = segments.ids.expand(values.shape[1], -1)
        return sums.scatter_add(1, ids, values.squeeze(0)).t()
    by_image = values.sum(2)
    return by_image if segments.per_image else by_image.sum(0, keepdim=True)


def slopes_of(p: Tensor, q: Tensor, by_regions: Tensor, segments: Segments) -> Tensor:
    """Derivative by the predictions from that by the sums (G, C, 8), (N, C, L)."""

    def at_pixels(column: int) -> Tensor:
        values = by_regions[..., column].to(p.dtype)
        if segments.ids is not None:
            return values[segments.ids].transpose(1, 2)
        return values.unsqueeze(-1)

    by_p, by_product, by_distance, by_square = (at_pixels(column) for column in (0, 2, 3, 4))
    return by_p + by_product * q + by_distance * torch.sign(p - q) + 2 * by_square * p
