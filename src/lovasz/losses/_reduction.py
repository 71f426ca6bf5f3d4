"""From the losses of the classes to the loss, and its gradient."""

from __future__ import annotations

import torch
from torch import Tensor

from lovasz import kernels
from lovasz.losses._class_losses import ClassLosses
from lovasz.losses.distributed import Ranks


def reduce_classes(
    found: ClassLosses,
    given: kernels.Scores,
    weight: Tensor | None,
    *,
    normalize_weight: bool,
    reduction: str,
    ranks: Ranks | None = None,
    entropy: kernels.Entropy | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Weigh the classes and reduce over them, and over images; connect the result to the scores.

    Args:
        found: losses of the classes.
        given: the scores.
        weight: (C,) or None for ones.
        normalize_weight: divide a mean by the weights of the counting classes, not their number.
        reduction: "mean", "sum" or "none".
        ranks: whose batches are one; with images, whose images are.
        entropy: the cross-entropy that rides along.

    Returns:
        A scalar, or with "none" the weighted losses, (C,) or for images (N, C); and with
        ``entropy`` the mean cross-entropy.
    """
    dtype = kernels.wide_dtype(given.scores)
    mean, by_image = reduction == "mean", given.per_image
    shared = ranks if mean and by_image else None  # whose images the mean is taken over
    weight = weight if weight is None else weight.to(dtype)
    # A weight that has a gradient multiplies losses that have one.
    learned = weight is not None and weight.requires_grad
    images = by_image and shared is None
    value, cross_entropy = kernels.reduce(
        found.losses,
        found.counting,
        found.invalid,
        None if learned else weight,
        found.sums,
        normalize=normalize_weight,
        reduction="none" if learned else reduction,
        per_image=images,
        given=given,
        slopes=found.slopes,
        lse=found.lse,
        entropy=entropy,
    )
    if learned:
        options = (weight, normalize_weight, mean, images, dtype == torch.float64)
        total, factors, *_ = kernels.reduce_with_gradient(
            value, found.counting, found.invalid, *options
        )
        value = value * factors if reduction == "none" else total
    if shared is not None:
        bad = (found.invalid > 0).unsqueeze(-1)
        value = value / shared.total(kernels.images_of(found.counting, bad)).clamp(min=1)
    if reduction == "none" and not by_image:
        value = value.squeeze(0)
    if ranks is None:
        return value, cross_entropy
    # The losses of images are each rank's own.
    value = ranks.connected_total(value) if by_image else ranks.replicated(value)
    return value, cross_entropy if cross_entropy is None else ranks.replicated(cross_entropy)
