"""The exact method in plain torch: sort the errors, extend, bring the slopes back to the pixels."""

from __future__ import annotations

import torch
from torch import Tensor

from lovasz.core.extension import extend_sorted
from lovasz.core.set_functions import SetFunction
from lovasz.kernels.tables import WEIGHT_UNIT, Groups, fixed_point


def sort_errors(errors: Tensor, valid: Tensor, arrangement: Groups) -> tuple[Tensor, Tensor]:
    """Errors (N, C, L) as rows (G, C, P), descending, -1 for what is not valid, and their order."""
    rows = arrange(torch.where(valid, errors, -1.0), arrangement, -1.0)
    # Stable, so that a run can be repeated; the slopes do not depend on the order of equal errors.
    errors, order = rows.sort(dim=-1, descending=True, stable=True)
    return errors, order


def arrange(by_pixel: Tensor, arrangement: Groups, fill: float) -> Tensor:
    """(N, C, L) as one row for each group and class, (G, C, P).

    Clouds get rows as long as all of them together, filled up: their lengths are known to the
    device alone.
    """
    if arrangement.group is not None:
        clouds = torch.arange(arrangement.groups, device=by_pixel.device).view(-1, 1, 1)
        return torch.where(arrangement.group.unsqueeze(1) == clouds, by_pixel, fill)
    if arrangement.per_image:
        return by_pixel
    return by_pixel.transpose(0, 1).flatten(1).unsqueeze(0)


def extend_ranked(
    errors: Tensor,
    order: Tensor,
    positive: Tensor,
    arrangement: Groups,
    delta: SetFunction,
    pixel_weight: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Losses (G, C), slopes (N, C, L), positives and pixels (G, C) from sorted errors.

    Args:
        errors: (G, C, P), as ``sort_errors`` returns them.
        order: (G, C, P), likewise.
        positive: (N, C, L) bool.
        arrangement: which pixels belong together.
        delta: Δ(fn, fp, positives).
        pixel_weight: (N, L) or (N, C, L), or None for ones.
    """
    valid = errors >= 0
    positives = arrange(positive, arrangement, False).gather(-1, order) & valid
    mass, unit = None, 1
    if pixel_weight is not None:
        weight = fixed_point(pixel_weight)
        weight = weight if weight.dim() == 3 else weight.unsqueeze(1)
        unit = WEIGHT_UNIT
        mass = arrange(weight.expand_as(positive), arrangement, 0).gather(-1, order)
    losses, slopes = extend_sorted(errors, positives, valid, delta, mass, unit)
    slopes = slopes.to(errors.dtype)
    by_pixel = slopes.scatter(-1, order, slopes)  # not in place, which vmap has no rule for
    if arrangement.group is not None:
        by_pixel = by_pixel.sum(0, keepdim=True)  # the fill has slopes of 0
    elif not arrangement.per_image:
        images, classes, length = positive.shape
        by_pixel = by_pixel.view(classes, images, length).transpose(0, 1).contiguous()
    return losses, by_pixel, positives.sum(-1), valid.sum(-1)
