"""From the sums of classes to a loss by sums, in plain torch: they are few numbers."""

from __future__ import annotations

import torch
from torch import Tensor

from lovasz.core.options import Options
from lovasz.core.regions import Region
from lovasz.kernels import reference


def region_loss(
    region: Region,
    sums: Tensor,
    active: Tensor,
    invalid: Tensor,
    weight: Tensor | None,
    o: Options,
    per_image: bool,
    wide: bool,
) -> Tensor:
    """Weighted sum or mean over classes and images; with "none" the losses, (G, C) or (G, 1).

    Args:
        region: loss of a class by its sums, or of all classes.
        sums: (G, C, 8) float64, connected to the scores; NaN for invalid groups.
        active: (G, C) bool, classes that count.
        invalid: (G,) int64, invalid pixels.
        weight: (C,) or None, class weights.
        o: options, of which the reduction is read.
        per_image: whether groups are images, of which the mean is taken.
        wide: whether the loss is float64 instead of float32.
    """
    losses, active = losses_by_sums(region, sums, active)
    mean = o.reduction == "mean"
    total, factors, *_ = reference.reduce(
        losses, active, invalid, weight, o.normalize_weight, mean, per_image, wide
    )
    return (losses * factors).to(total.dtype) if o.reduction == "none" else total


def losses_by_sums(region: Region, sums: Tensor, active: Tensor) -> tuple[Tensor, Tensor]:
    """Losses that count, 0 elsewhere, and which these are: (G, C), or of all classes (G, 1)."""
    if region.pooled:  # one loss of the classes that count
        sums = sums.masked_fill(~active.unsqueeze(-1), 0.0)
        active = active.any(1, keepdim=True)
    return region(sums).masked_fill(~active, 0.0), active


def both_of(value: Tensor, region: Tensor | None, o: Options) -> Tensor:
    """Lovász loss and loss by sums, each times its factor; at least one of the two is there."""
    lovasz = None if o.lovasz_factor is None else times(o.lovasz_factor, value)
    if region is None:
        assert lovasz is not None
        return lovasz
    region = times(o.region_factor, region)
    return region if lovasz is None else lovasz + region


def times(factor: float, value: Tensor) -> Tensor:
    """The product; without an operator for the usual factor of 1."""
    # Compilers fuse the product, and would compile anew for a factor that is 1 and then is not.
    return value if not torch.compiler.is_compiling() and factor == 1 else factor * value
