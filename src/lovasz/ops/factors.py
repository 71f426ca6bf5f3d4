"""What the losses of the classes are multiplied by before they are summed, in plain torch."""

from __future__ import annotations

import torch
from torch import Tensor


def factors(
    counting: Tensor,
    invalid: Tensor,
    weight: Tensor | None,
    normalize: bool,
    mean: bool,
    per_image: bool,
    wide: bool,
) -> Tensor:
    """Reference of ``lovasz::factors``: a mean or sum over classes, and over images, as a table.

    A mean is linear in the losses, so few operators have a gradient. NaN for groups with invalid
    pixels, so that value and gradient tell the same.
    """
    bad = (invalid > 0).unsqueeze(-1)
    active = counting.to(torch.float64 if wide else torch.float32)
    table = active if weight is None else active * weight
    if mean:
        if weight is None or not normalize:
            share = active.sum(1, keepdim=True).clamp(min=1)
        else:
            share = table.sum(1, keepdim=True)
            share = share.masked_fill(share <= 0, 1.0)
        table = table / share
        if per_image:
            table = table / images_of(counting, bad).clamp(min=1)
    return table.masked_fill(bad, torch.nan)


def images_of(counting: Tensor, bad: Tensor) -> Tensor:
    """Images of which a mean is taken, (): those in which a class counts, and the bad (G, 1)."""
    return (counting.any(1, keepdim=True) | bad).sum()
