"""From the losses of the classes to the loss, and its gradient."""

from __future__ import annotations

import functools

from torch import Tensor

from lovasz import ops
from lovasz._class_losses import ClassLosses
from lovasz._ranks import Ranks


def reduce_classes(
    found: ClassLosses,
    given: ops.Scores,
    weight: Tensor | None,
    *,
    normalize_weight: bool,
    reduction: str,
    ranks: Ranks | None = None,
    entropy: ops.Entropy | None = None,
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
    dtype = ops.wide_dtype(given.scores)
    mean, by_image = reduction == "mean", given.per_image
    shared = ranks if mean and by_image else None  # whose images the mean is taken over
    weight = weight if weight is None else weight.to(dtype)
    reduce = functools.partial(
        ops.reduce,
        counting=found.counting,
        invalid=found.invalid,
        weight=weight,
        sums=found.sums,
        normalize=normalize_weight,
        mean=mean,
        per_image=by_image and shared is None,
        dtype=dtype,
    )
    losses = found.losses
    value, factors, entropies = reduce(losses)
    attach = functools.partial(
        ops.attach, given=given, slopes=found.slopes, lse=found.lse, mean=entropies, entropy=entropy
    )
    # With a weight that has a gradient, losses have one before they are reduced, not afterwards.
    learned = weight is not None and weight.requires_grad
    if learned:
        losses, cross_entropy = attach(losses, None)
        value, factors, _ = reduce(losses)
    if shared is not None:
        images = ops.images_of(found.counting, (found.invalid > 0).unsqueeze(-1))
        share = shared.total(images).clamp(min=1)
        value, factors = value / share, factors / share
    if reduction == "none":
        value = losses * factors if by_image else (losses * factors).squeeze(0)
    if not learned:
        value, cross_entropy = attach(value, factors)
    if ranks is None:
        return value, cross_entropy
    # The losses of images are each rank's own.
    value = ranks.connected_total(value) if by_image else ranks.replicated(value)
    return value, cross_entropy if cross_entropy is None else ranks.replicated(cross_entropy)
