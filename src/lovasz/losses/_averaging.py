r"""Means over images and classes other than that of the images.

With the losses $L_{nc}$ of the classes of images, of which each class has its own
$N_c$ that count, and $L_c$ of the batch as one image:

===========  ==============================================  ===========================
"dataset"    $\frac1C \sum_c L_c$                              mIoU of the batch
"image"      $\frac1N \sum_n \frac1{C_n} \sum_c L_{nc}$       mIoU_I, as ``per_image``
"class"      $\frac1C \sum_c \frac1{N_c} \sum_n L_{nc}$       mIoU_C
===========  ==============================================  ===========================

Wang et al., *Revisiting evaluation metrics for semantic segmentation*, NeurIPS 2023,
arXiv 2310.19252.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from lovasz.core.options import Options, is_number
from lovasz.core.set_functions import as_tversky
from lovasz.kernels import passes, reference
from lovasz.kernels.passes import Counts, Extended, Inputs
from lovasz.losses._regions import both_of, losses_by_sums
from lovasz.losses.distributed import Ranks

MEANS = ("dataset", "image", "class")


def check_averaging(name: str, o: Options) -> None:
    """A word or weights of words, and options for which there are images."""
    wanted = f'{name}: expected averaging to be "dataset", "image", "class", a mapping of these'
    if not isinstance(o.averaging, str | Mapping):
        raise TypeError(f"{wanted} to weights or None, got {o.averaging!r}")
    weights = weights_of(o)
    if not weights or not weights.keys() <= set(MEANS):
        raise ValueError(f"{wanted} to weights or None, got {o.averaging!r}")
    for value in weights.values():
        if not is_number(value):
            raise TypeError(f"{wanted} to numbers or None, got {o.averaging!r}")
        if not 0 <= float(value) < math.inf:
            raise ValueError(
                f"{wanted} to finite weights that are not negative or None, got {o.averaging!r}"
            )
    others = (("per_image", o.per_image, False), ("window", o.window, None))
    for argument, given, other in (*others, ("reduction", o.reduction, "mean")):
        if given != other:
            raise ValueError(f"{name}: expected {argument}={other!r} with averaging, got {given!r}")
    if o.method != "histogram" and "dataset" in weights:
        raise ValueError(
            f'{name}: expected method="histogram" with averaging of the dataset, because errors of'
            f" images are sorted apart, got {o.method!r}"
        )


def weights_of(o: Options) -> Mapping[str, float]:
    """Weight of each mean."""
    if isinstance(o.averaging, str):
        return {o.averaging: 1.0}
    assert o.averaging is not None  # or nobody would ask
    return o.averaging


def _of_batch(counts: Counts, inputs: Inputs, ranks: Ranks | None, o: Options) -> Extended:
    """Losses and slopes of all images as of one, on all ranks."""
    table = counts.counts.sum(0, keepdim=True)
    regions = None if counts.regions is None else counts.regions.sum(0, keepdim=True)
    if ranks is not None:
        table = ranks.total(table)
        regions = None if regions is None else ranks.total(regions)
    wide = inputs.scores.dtype == torch.float64
    return passes.extend(
        counts._replace(counts=table, regions=regions),
        o.set_function, as_tversky(o.set_function), o.symmetric, inputs.link, wide,
    )  # fmt: skip


class _Factors:
    """What the losses of classes and images are multiplied by, and those of the batch."""

    def __init__(
        self,
        active: Tensor,
        invalid: Tensor,
        weight: Tensor | None,
        ranks: Ranks | None,
        o: Options,
    ) -> None:
        wide = torch.float64 if weight is None else weight.dtype
        bad = (invalid > 0).unsqueeze(-1)
        images = reference.images_of(active, bad)
        counting = active.sum(0, keepdim=True)  # images of each class
        if ranks is not None:
            images, counting = ranks.total(images), ranks.total(counting)

        def share(where: Tensor) -> Tensor:
            none = torch.zeros(len(where), dtype=torch.int64, device=where.device)
            losses = torch.zeros(where.shape, dtype=torch.float64, device=where.device)
            options = (weight, o.normalize_weight, True, False, wide == torch.float64)
            return reference.reduce(losses, where, none, *options)[1]

        weights = weights_of(o)
        by_image = share(active) / images.clamp(min=1)
        of_batch = share(counting > 0)
        by_class = of_batch * active / counting.clamp(min=1)
        self.by_image = weights.get("image", 0.0) * by_image + weights.get("class", 0.0) * by_class
        self.of_batch = weights.get("dataset", 0.0) * of_batch


def reduce_averaged(
    inputs: Inputs,
    extended: Extended,
    counts: Counts | None,
    active: Tensor,
    lse: Tensor,
    invalid: Tensor,
    weight: Tensor | None,
    ranks: Ranks | None,
    o: Options,
) -> tuple[Tensor, Tensor | None]:
    """The weighted sum of means, connected to the scores; and the mean cross-entropy.

    Args:
        inputs: scores and labels.
        extended: losses and slopes of images.
        counts: what was counted and added up, of images.
        active: (N, C) bool, classes that count.
        lse: as for ``Counts``.
        invalid: likewise.
        weight: (C,), class weights, or None.
        ranks: whose images the means are taken over.
        o: options.
    """
    wide = inputs.scores.dtype == torch.float64
    factors = _Factors(active, invalid, weight, ranks, o)
    by_image, of_batch = factors.by_image, factors.of_batch
    # The batch is all ranks', its value counts once; slopes are those of this rank's own pixels.
    size = 1 if ranks is None else ranks.size
    counted = counts is not None and counts.counts.shape[3] > 0
    mixed = counted and "dataset" in weights_of(o)
    if mixed:
        assert counts is not None  # see above
        whole = _of_batch(counts, inputs, ranks, o)
        first = torch.zeros_like(extended.losses)
        first[0] = (of_batch * whole.losses)[0] / size
        slopes = by_image[..., None, None] * extended.slopes
        slopes = slopes + of_batch[..., None, None] * whole.slopes
        extended = extended._replace(
            losses=by_image * extended.losses + first, slopes=slopes.to(extended.slopes.dtype)
        )
    everything = torch.ones_like(active)
    value, cross_entropy, regions = passes.reduce(
        inputs, extended, counts, everything, lse, invalid, None, False, "none", True
    )
    value = (value if mixed else value * by_image).sum()
    region = None
    if o.region is not None:
        assert regions is not None  # asked for
        region = _region(regions, active, invalid, factors, ranks, o)
    value = both_of(value, region, o).to(torch.float64 if wide else torch.float32)
    if ranks is None:
        return value, cross_entropy
    value = ranks.connected_total(value)
    return value, cross_entropy if cross_entropy is None else ranks.replicated(cross_entropy)


def _region(
    regions: Tensor,
    active: Tensor,
    invalid: Tensor,
    factors: _Factors,
    ranks: Ranks | None,
    o: Options,
) -> Tensor:
    """The loss by sums, of which this rank's share of that of the batch is the value."""
    assert o.region is not None  # or nobody would ask
    in_batch = factors.of_batch > 0
    losses, active = losses_by_sums(o.region, regions, active)
    if o.region.pooled:
        factors = _Factors(active, invalid, None, ranks, o)
    region = (losses * factors.by_image).sum()
    if "dataset" not in weights_of(o):
        return region
    batch = regions.sum(0, keepdim=True)
    if ranks is not None:
        batch = batch + (ranks.total(batch) - batch).detach()
    losses, _ = losses_by_sums(o.region, batch, in_batch)
    size = 1 if ranks is None else ranks.size
    own = (losses * factors.of_batch).sum()
    return region + own + (own / size - own).detach()
