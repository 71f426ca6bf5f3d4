"""The operators between the passes in plain torch, for classes and for channels."""

from __future__ import annotations

import torch
from torch import Tensor

from lovasz.core.bins import bin_centres, unbounded_bin_centres
from lovasz.core.extension import extend_counts
from lovasz.core.set_functions import Tversky


def weigh(
    counts: Tensor,
    alpha: float,
    beta: float,
    wide: bool,
    unit: int = 1,
    unbounded: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """Reference of ``lovasz::weigh``."""
    centres = (unbounded_bin_centres if unbounded else bin_centres)(counts.shape[-1], counts.device)
    losses, slopes = extend_counts(counts, centres, Tversky(alpha, beta), unit)
    return losses, slopes if wide else slopes.to(torch.float32), seen_in(counts)


def seen_in(counts: Tensor) -> Tensor:
    """Whether there are pixels at all, and pixels of the class, (2, G, C)."""
    sides = counts.any(-1)  # they are never negative
    return torch.stack((sides.any(-1), sides[..., 1]))


def reduce(
    losses: Tensor,
    counting: Tensor,
    invalid: Tensor,
    weight: Tensor | None,
    normalize: bool,
    mean: bool,
    per_image: bool,
    wide: bool,
    sums: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Total, factors, mean cross-entropy and its derivative by the sum; all of it differentiable.

    NaN for groups with invalid pixels, so that value and gradient tell the same.
    """
    bad = (invalid > 0).unsqueeze(-1)
    dtype = torch.float64 if wide else torch.float32
    active = counting.to(dtype)
    factors = active if weight is None else active * weight
    if mean:
        if weight is None or not normalize:
            share = active.sum(1, keepdim=True).clamp(min=1)
        else:
            share = factors.sum(1, keepdim=True)
            share = share.masked_fill(share <= 0, 1.0)
        factors = factors / share
        if per_image:
            factors = factors / images_of(counting, bad).clamp(min=1)
    factors = factors.masked_fill(bad, torch.nan)
    # Images in which nothing counts change nothing, not even the order of this sum.
    total = (losses * factors).sum(1).sum()
    if sums is None:
        return total.to(dtype), factors, losses.new_empty(0, dtype=dtype), factors.new_empty(0)
    summed, weights = sums.unbind()
    divisor = weights.masked_fill(weights <= 0, torch.inf)  # so that the mean of nothing is 0
    return total.to(dtype), factors, (summed / divisor).to(dtype), (1 / divisor).to(dtype)


def images_of(counting: Tensor, bad: Tensor) -> Tensor:
    """Images of which a mean is taken, (): those in which a class counts, and the bad (G, 1)."""
    return (counting.any(1, keepdim=True) | bad).sum()
