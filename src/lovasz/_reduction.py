"""From the losses of the classes to the loss."""

from __future__ import annotations

import torch
from torch import Tensor

from lovasz._class_losses import ClassLosses
from lovasz._ranks import Ranks


def reduce_classes(
    class_losses: ClassLosses,
    weight: Tensor | None,
    *,
    normalize_weight: bool,
    per_image: bool,
    reduction: str,
    ranks: Ranks | None = None,
) -> Tensor:
    """Weigh the classes and reduce over them, and over images.

    Args:
        class_losses: losses and counting classes, (G, C).
        weight: (C,) or None for ones.
        normalize_weight: divide a mean by the weights of the counting classes, not their number.
        per_image: whether the rows are images.
        reduction: "mean", "sum" or "none".
        ranks: whose images are one batch, with ``per_image``; losses of classes are of all ranks
            already.

    Returns:
        A scalar; with "none" the weighted losses, (C,) or with ``per_image`` (N, C).
    """
    losses, counting, _ = class_losses
    one = torch.ones((), dtype=losses.dtype, device=losses.device)
    alpha = one.expand(losses.shape[1]) if weight is None else weight.to(losses.dtype)
    weighted = losses * alpha
    if reduction == "none":
        return weighted if per_image else weighted.squeeze(0)
    if reduction == "sum":
        total = weighted.sum()
        return total if ranks is None or not per_image else ranks.connected_total(total)
    share = torch.where(counting, alpha if normalize_weight else one, 0.0).sum(1)
    by_image = weighted.sum(1) / torch.where(share > 0, share, one)
    # Images in which nothing counts are as if they were not there.
    total, images = by_image.sum(), counting.any(1).sum()
    if ranks is not None and per_image:
        total, images = ranks.connected_total(total), ranks.total(images)
    return total / images.clamp(min=1)


def mean_entropy(class_losses: ClassLosses, like: Tensor) -> Tensor:
    """Mean cross-entropy in the dtype of ``like``; 0 where there is nothing to take a mean of."""
    sums = class_losses.entropy
    assert sums is not None  # asked for by the caller
    total, weights = sums.unbind()
    return torch.where(weights > 0, total / torch.where(weights > 0, weights, 1.0), 0.0).to(
        like.dtype
    )
