"""Cross-entropy as torch defines it, in the passes of the reference."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from lovasz.core.links import MULTICLASS
from lovasz.kernels.contents import split_target
from lovasz.kernels.pixels import Pixels, log_probabilities, positives_of
from lovasz.kernels.precision import compute_dtype, to_compute
from lovasz.kernels.soft import Soft


def sums_of(
    scores: Tensor,
    target: Tensor,
    lse: Tensor,
    pixels: Pixels,
    ignore_index: int | None,
    link: str,
    class_weight: Tensor | None,
    smoothing: float,
    pixel_weight: Tensor | None,
    soft: Soft | None = None,
) -> Tensor:
    """Sum of the weighted cross-entropies, and of their weights, as torch defines both, (2,).

    Soft labels are used where ``target`` holds no index of each pixel.
    """
    if link in MULTICLASS and (soft is None or target.dim() == 2):
        options = (class_weight, smoothing, pixel_weight)
        return _sums_of_classes(scores, target, lse, ignore_index, *options)
    if soft is not None:
        weighted = _of_soft_labels(scores, lse, soft, link, class_weight, smoothing)
        weight = torch.ones_like(soft.valid, dtype=weighted.dtype)
        if pixel_weight is not None:
            weight = pixel_weight.to(weighted.dtype).view_as(soft.valid)
        both = torch.stack((weight * weighted, weight))
        return torch.where(soft.valid, both, 0.0).sum((1, 2, 3), dtype=torch.float64)
    x = pixels.scores
    nll = F.softplus(torch.where(pixels.positive, -x, x))
    if class_weight is not None:
        own = class_weight.to(x.dtype).view(1, -1, 1)
        nll = torch.where(pixels.positive, own * nll, nll)
    weight = torch.ones_like(x) if pixel_weight is None else pixel_weight.to(x.dtype)
    both = torch.stack((weight * nll, weight))
    return torch.where(pixels.valid, both, 0.0).sum((1, 2, 3), dtype=torch.float64)


def _sums_of_classes(
    scores: Tensor,
    target: Tensor,
    lse: Tensor,
    ignore_index: int | None,
    class_weight: Tensor | None,
    smoothing: float,
    pixel_weight: Tensor | None,
) -> Tensor:
    labels, valid = split_target(target, ignore_index)
    nll = -log_probabilities(to_compute(scores), lse)
    weight = _weights(class_weight, scores)
    labels = labels.clamp(0, scores.shape[1] - 1)
    own = weight[labels]
    summands = (1 - smoothing) * own * nll.gather(1, labels.unsqueeze(1)).squeeze(1)
    if smoothing > 0:
        share = smoothing / scores.shape[1]
        summands = summands + share * (weight.view(1, -1, 1) * nll).sum(1)
    both = torch.stack((summands, own.to(summands.dtype)))
    if pixel_weight is not None:
        both = both * pixel_weight.to(both.dtype)
    return torch.where(valid, both, 0.0).sum((1, 2), dtype=torch.float64)


def _of_soft_labels(
    scores: Tensor,
    lse: Tensor,
    soft: Soft,
    link: str,
    class_weight: Tensor | None,
    smoothing: float,
) -> Tensor:
    """Cross-entropy of each pixel, (N, 1, L), or of each channel, (N, C, L)."""
    x, q = to_compute(scores), soft.raw
    weight = _weights(class_weight, x).view(1, -1, 1)
    if link in MULTICLASS:
        # No product of 0 and infinity where a probability is 0 and nothing asks for it.
        nll = torch.where(smoothed(q, smoothing) > 0, -log_probabilities(x, lse), 0.0)
        return (weight * smoothed(q, smoothing) * nll).sum(1, keepdim=True)
    return weight * q * F.softplus(-x) + (1 - q) * F.softplus(x)


def smoothed(q: Tensor, smoothing: float) -> Tensor:
    """Soft labels (N, C, L) with label smoothing."""
    return (1 - smoothing) * q + smoothing / q.shape[1] if smoothing > 0 else q


def gradient_of(
    pixels: Pixels,
    target: Tensor,
    link: str,
    class_weight: Tensor | None,
    smoothing: float,
    soft: Soft | None = None,
) -> Tensor:
    """Derivative of the sum of the cross-entropies by the scores, (N, C, L)."""
    x = pixels.scores
    if soft is not None and not (link in MULTICLASS and target.dim() == 2):
        weight = _weights(class_weight, x).view(1, -1, 1)
        if link in MULTICLASS:
            own = weight * smoothed(soft.raw, smoothing)
            return x * own.sum(1, keepdim=True) - own
        return (1 - soft.raw) * torch.sigmoid(x) - weight * soft.raw * torch.sigmoid(-x)
    if link in MULTICLASS:
        weight = _weights(class_weight, x)
        own = weight[target.to(torch.int64).clamp(0, len(weight) - 1)].unsqueeze(1)
        share = smoothing / len(weight) * weight.view(1, -1, 1)
        common = (1 - smoothing) * own + share.sum()
        # Not those of the pixels: of smoothed labels they are the predictions below them.
        positive = positives_of(target, len(weight), None, link)
        hit = torch.where(positive, (1 - smoothing) * own, 0.0)
        return x * common - hit - share
    missing = -torch.sigmoid(-x)
    if class_weight is not None:
        missing = missing * class_weight.to(x.dtype).view(1, -1, 1)
    return torch.where(pixels.positive, missing, torch.sigmoid(x))


def _weights(class_weight: Tensor | None, scores: Tensor) -> Tensor:
    if class_weight is None:
        return torch.ones(scores.shape[1], dtype=compute_dtype(scores), device=scores.device)
    return class_weight.to(compute_dtype(scores))
