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
        class_losses: losses and counting classes, (G, C), and which groups are invalid.
        weight: (C,) or None for ones.
        normalize_weight: divide a mean by the weights of the counting classes, not their number.
        per_image: whether the rows are images.
        reduction: "mean", "sum" or "none".
        ranks: whose images are one batch, with ``per_image``; losses of classes are of all ranks
            already.

    Returns:
        A scalar; with "none" the weighted losses, (C,) or with ``per_image`` (N, C).
    """
    losses = class_losses.losses
    factors = _factors(
        class_losses,
        weight if weight is None else weight.to(losses.dtype),
        normalize_weight=normalize_weight,
        per_image=per_image,
        mean=reduction == "mean",
        ranks=ranks,
    )
    weighted = losses * factors
    if reduction == "none":
        return weighted if per_image else weighted.squeeze(0)
    by_image = weighted.sum(1)
    if not per_image:
        return by_image.squeeze(0)
    # Images in which nothing counts change nothing, not even the order of this sum.
    total = by_image.sum()
    return total if ranks is None else ranks.connected_total(total)


def _factors(
    class_losses: ClassLosses,
    weight: Tensor | None,
    *,
    normalize_weight: bool,
    per_image: bool,
    mean: bool,
    ranks: Ranks | None,
) -> Tensor:
    """What every loss is multiplied by before the sum, (G, C): a mean is linear in the losses.

    One table, so that few operators have a gradient. NaN for groups with invalid pixels, as a
    factor, so that value and gradient tell the same.
    """
    losses, counting, bad, _ = class_losses
    active = counting.to(losses.dtype)
    factors = active if weight is None else active * weight
    if mean:
        if weight is None or not normalize_weight:
            share = active.sum(1, keepdim=True).clamp(min=1)
        else:
            share = factors.sum(1, keepdim=True)
            share = share.masked_fill(share <= 0, 1.0)
        factors = factors / share
        if per_image:
            # Images in which nothing counts are as if they were not there, but an invalid one is.
            images = (counting.any(1, keepdim=True) | bad).sum()
            images = images if ranks is None else ranks.total(images)
            factors = factors / images.clamp(min=1)
    return factors.masked_fill(bad, torch.nan)
