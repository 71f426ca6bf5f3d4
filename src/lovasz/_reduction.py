"""From the losses of the classes to the loss."""

from __future__ import annotations

from torch import Tensor

from lovasz import ops
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
        class_losses: losses and counting classes, (G, C), and the invalid pixels of the groups.
        weight: (C,) or None for ones.
        normalize_weight: divide a mean by the weights of the counting classes, not their number.
        per_image: whether the rows are images.
        reduction: "mean", "sum" or "none".
        ranks: whose images are one batch, with ``per_image``; losses of classes are of all ranks
            already.

    Returns:
        A scalar; with "none" the weighted losses, (C,) or with ``per_image`` (N, C).
    """
    losses, counting, invalid, _ = class_losses
    mean = reduction == "mean"
    shared = ranks if mean and per_image else None  # whose images the mean is taken over
    factors = ops.factors(
        counting,
        invalid,
        weight if weight is None else weight.to(losses.dtype),
        normalize=normalize_weight,
        mean=mean,
        per_image=per_image and shared is None,
        dtype=losses.dtype,
    )
    if shared is not None:
        images = ops.images_of(counting, (invalid > 0).unsqueeze(-1))
        factors = factors / shared.total(images).clamp(min=1)
    weighted = losses * factors
    if reduction == "none":
        return weighted if per_image else weighted.squeeze(0)
    by_image = weighted.sum(1)
    if not per_image:
        return by_image.squeeze(0)
    # Images in which nothing counts change nothing, not even the order of this sum.
    total = by_image.sum()
    return total if ranks is None else ranks.connected_total(total)
