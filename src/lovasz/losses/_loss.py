"""The algorithm of every loss: check, prepare, histogram, pool, extend, reduce."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import has_torch_function

from lovasz.core.links import MULTILABEL
from lovasz.core.options import CrossEntropy, Options
from lovasz.core.set_functions import Tversky, as_tversky
from lovasz.kernels import passes, precision, reference
from lovasz.kernels.passes import Counts, Extended, Inputs
from lovasz.kernels.soft import is_soft
from lovasz.losses._averaging import check_averaging, reduce_averaged, weights_of
from lovasz.losses._classes import class_mask, class_weight
from lovasz.losses._inputs import check_set_function, prepare
from lovasz.losses._pool import pool
from lovasz.losses._regions import both_of, region_loss, times
from lovasz.losses._subclasses import plain
from lovasz.losses.distributed import Ranks, check_group, ranks_of
from lovasz.losses.window import check_window


def loss(
    name: str,
    link: str,
    scores: Tensor,
    target: Tensor | Sequence[Tensor],
    o: Options,
    scores_name: str = "logits",
) -> Tensor:
    """A Lovász loss, with a cross-entropy added where that is asked for.

    Args:
        name: of the public function, for sentences about wrong arguments.
        link: how scores become errors, see ``core.links``.
        scores: as the user gave them.
        target: likewise.
        o: options.
        scores_name: what the public function calls the scores.
    """
    # Check options and tensors, and flatten the tensors.
    tensors = (scores, target, o.pixel_weight, o.ignore_mask, o.offsets, o.batch_index)
    if has_torch_function(tensors):
        scores, target = plain(scores), plain(target)
        o = Options._make(plain(option) for option in o)
    tversky = check(name, link, o)
    if o.averaging is not None:
        o = o._replace(per_image=True)
    inputs = prepare(name, scores_name, link, scores, target, o)

    # Which classes count and how much, and where all is computed.
    home, mask, weight, ranks = inputs.scores.device, None, None, None
    classes = inputs.scores.shape[1]
    if o.classes not in ("present", "all"):
        mask = class_mask(name, o.classes, classes, home)
    if o.weight is not None:
        weight = class_weight(name, o.weight, classes, home, o.names.weight)
    if o.cross_entropy is not None:
        inputs = _with_cross_entropy(name, inputs, o.cross_entropy)
    if home.type in precision.WITHOUT_FLOAT64:
        device = precision.float64_device(home)
        inputs, mask, weight = inputs.to(device), _to(mask, device), _to(weight, device)
    if o.process_group is not None:
        ranks = ranks_of(o.process_group)
    absent = o.classes != "present"  # classes without a pixel count too, where there is one at all

    # From the errors of all pixels to the losses of the classes and their slopes.
    extended, counts, lse, invalid = _losses_of_classes(inputs, o, tversky, ranks, absent)

    # From the losses of the classes to the loss, which is connected to the scores here.
    active = None if counts is None else counts.active
    if active is None:
        active = extended.present[0 if absent else 1]
    if mask is not None:
        active = active & mask
    if tversky is None:
        extended = _without_inactive(extended, active, inputs)
    step = reduce if o.averaging is None else reduce_averaged
    value, cross_entropy = step(inputs, extended, counts, active, lse, invalid, weight, ranks, o)
    if o.cross_entropy is not None:
        assert cross_entropy is not None  # asked for above
        value = times(o.cross_entropy.factor, cross_entropy) + value
    return value if inputs.scores.device == home else value.to(home)


def check(name: str, link: str, o: Options) -> Tversky | None:
    """Check everything that does not depend on the tensors; modules do when they are made.

    Returns:
        The set function as Tversky's, if it is one.
    """
    o.check(name, multilabel=link in MULTILABEL)
    tversky = as_tversky(o.set_function)
    if tversky is None:
        check_set_function(name, o.set_function)
    if o.averaging is not None:
        check_averaging(name, o)
    if o.window is not None:
        check_window(name, o.window, per_image=o.per_image, method=o.method)
    if o.process_group is not None:
        options: dict[str, Any] = {"reduction": o.reduction, "method": o.method}
        check_group(name, o.process_group, per_image=o.per_image, **options)
    return tversky


def _losses_of_classes(
    inputs: Inputs, o: Options, tversky: Tversky | None, ranks: Ranks | None, absent: bool
) -> tuple[Extended, Counts | None, Tensor, Tensor]:
    """Losses and slopes; what was counted and added up; log-sum-exp; invalid pixels.

    Without a Lovász loss nothing has to be counted, unless a window remembers it.
    """
    bins = 0 if o.lovasz_factor is None or (o.lovasz_factor == 0 and o.window is None) else o.bins
    small = inputs.segment_ids is not None and passes.are_small(inputs, bins)
    if o.averaging is not None and "dataset" in weights_of(o):
        small = False  # what is sorted by cloud cannot be put together
    if o.method == "histogram" and not small:
        entropy, summed = o.cross_entropy is not None, o.region is not None
        counts = passes.histogram(inputs, bins, entropy, summed)
        if ranks is not None or o.window is not None:
            trained = torch.is_grad_enabled() and inputs.scores.requires_grad
            counts = pool(counts, o, ranks, absent, trained=trained)
        wide = inputs.scores.dtype == torch.float64
        options = (o.set_function, tversky, o.symmetric, inputs.link, wide)
        return passes.extend(counts, *options), counts, counts.lse, counts.invalid
    added = _summed(inputs, ranks, o)
    regions = added.regions if added is not None and added.soft else None
    extended, lse, invalid = passes.sort_and_extend(
        inputs, o.set_function, tversky, o.symmetric, regions
    )
    return extended, added, lse, invalid


def reduce(
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
    """Weighted sum or mean over classes, images and ranks, connected to the scores.

    Returns:
        A scalar, or with "none" the weighted losses, (C,) or for images (N, C); and with sums of
        cross-entropies their mean.
    """
    mean = o.reduction == "mean"
    shared = ranks if mean and o.per_image else None  # whose images the mean is taken over
    per_image = o.per_image and shared is None
    wide = inputs.scores.dtype == torch.float64
    if weight is not None:
        weight = weight.to(torch.float64 if wide else torch.float32)
    # A weight that has a gradient multiplies losses that have one.
    learned = weight if weight is not None and weight.requires_grad else None
    value, cross_entropy, regions = passes.reduce(
        inputs, extended, counts, active, lse, invalid, weight if learned is None else None,
        o.normalize_weight, o.reduction if learned is None else "none", per_image,
    )  # fmt: skip
    if learned is not None:
        total, factors, *_ = reference.reduce(
            value, active, invalid, learned, o.normalize_weight, mean, per_image, wide
        )
        value = value * factors if o.reduction == "none" else total
    if o.cross_entropy is not None or o.region is not None:
        own = None
        if o.region is not None:
            assert regions is not None  # asked for
            own = region_loss(o.region, regions, active, invalid, weight, o, per_image, wide)
        value = both_of(value, own, o)
    if shared is not None:
        bad = (invalid > 0).unsqueeze(-1)
        value = value / shared.total(reference.images_of(active, bad)).clamp(min=1)
    if o.reduction == "none" and not o.per_image:
        value = value.squeeze(0)
    if ranks is None:
        return value, cross_entropy
    # The losses of images are each rank's own.
    value = ranks.connected_total(value) if o.per_image else ranks.replicated(value)
    return value, cross_entropy if cross_entropy is None else ranks.replicated(cross_entropy)


def _with_cross_entropy(name: str, inputs: Inputs, cross_entropy: CrossEntropy) -> Inputs:
    argument = "weight" if inputs.link == "softmax" else "pos_weight"
    scores = inputs.scores
    weight = class_weight(name, cross_entropy.weight, scores.shape[1], scores.device, argument)
    return inputs._replace(class_weight=weight, smoothing=float(cross_entropy.smoothing))


def _summed(inputs: Inputs, ranks: Ranks | None, o: Options) -> Counts | None:
    """What is added up where errors are sorted and not counted; None if nothing has to be."""
    soft = is_soft(inputs.target, inputs.mixture, inputs.label_smoothing)
    if o.cross_entropy is None and o.region is None and not soft:
        return None
    summed = soft or o.region is not None
    if not summed:  # one sum for all groups
        inputs = inputs._replace(per_image=False, segment_ids=None, segments=1)
    counts = passes.histogram(inputs, 0, o.cross_entropy is not None, summed)
    if ranks is not None and counts.sums is not None:
        counts = counts._replace(sums=ranks.total(counts.sums))
    return counts


def _without_inactive(extended: Extended, active: Tensor, inputs: Inputs) -> Extended:
    """Zero for inactive classes, where a set function of the caller's may divide by 0."""
    losses, slopes, present = extended
    if slopes.dim() == 4:
        where = active[..., None, None]
    elif inputs.segment_ids is None:
        where = active.unsqueeze(-1)
    else:
        where = active[inputs.segment_ids].transpose(1, 2)
    return Extended(torch.where(active, losses, 0.0), torch.where(where, slopes, 0.0), present)


def _to(tensor: Tensor | None, device: torch.device) -> Tensor | None:
    return None if tensor is None else tensor.to(device)
