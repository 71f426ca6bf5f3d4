"""The steps between checked inputs and the loss, each a call of the operators."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from lovasz.core.links import UNBOUNDED
from lovasz.core.regions import PIXELS, RAW, Q
from lovasz.core.set_functions import SetFunction, Tversky
from lovasz.kernels import operators, reference
from lovasz.kernels.fixed_point import SCALE, is_weight
from lovasz.kernels.segments import Segments, segment_sum
from lovasz.kernels.soft import is_soft
from lovasz.kernels.sorting import extend_pixels

assert operators is not None  # defines torch.ops.lovasz


#: Points of a cloud for each bin, on average, from which on clouds have histograms.
POINTS_BY_BIN = 4


class Inputs(NamedTuple):
    """Scores and labels, and how to read them: what both passes need to know."""

    scores: Tensor  # (N, C, L)
    # (N, L) class indices, or (N, C, L) zeros and ones for multilabel; or soft labels (N, C, L); or
    # with a mixture maps of class indices (N, K, L)
    target: Tensor
    link: str  # see ``core.links``
    ignore_index: int | None = None
    per_image: bool = False  # one group for each image
    pixel_weight: Tensor | None = None  # (N, L), or (N, C, L) for multilabel
    segment_ids: Tensor | None = None  # (N, L) int64, N = 1: one group for each of its numbers
    segments: int = 1  # with segment ids
    class_weight: Tensor | None = None  # (C,), of the cross-entropy
    smoothing: float = 0.0  # likewise
    # With a mode of ``core.upsampling`` the scores are (N, C, d, h, w), and L is that of the size.
    upsample: str | None = None
    size: tuple[int, ...] | None = None  # and not empty: packages of AOTInductor lose such
    mixture: Tensor | None = None  # (N, K), weights of the label maps
    label_smoothing: float = 0.0  # of all but the cross-entropy

    @property
    def groups(self) -> Segments:
        """Which pixels have losses of their own."""
        return Segments(self.per_image, self.segment_ids, self.segments)

    def to(self, device: torch.device) -> Inputs:
        """The same on a device; the gradient finds its way back."""
        fields = self._asdict()
        for name, field in fields.items():
            if isinstance(field, Tensor):
                fields[name] = field.to(device)
        return self._replace(**fields)


class Counts(NamedTuple):
    """Histograms of the errors."""

    counts: Tensor  # (G, C, 2, B) int64, negatives and positives by bin of ascending error
    lse: Tensor  # (N, L), log-sum-exp of the scores; (0,) without softmax
    invalid: Tensor  # (G,) int64, pixels with an impossible label or a score that is no number
    sums: Tensor | None  # (2,) float64, of the cross-entropies and of their weights
    scale: int  # what a pixel of weight 1 counts
    regions: Tensor | None = None  # (G, C, 8), the sums of ``core.regions``
    soft: bool = False  # whether those of the labels take the place of the numbers of positives
    active: Tensor | None = None  # (G, C) bool; None: the classes of which there are pixels


class Extended(NamedTuple):
    """Losses of the classes, one row for each group; no gradient."""

    losses: Tensor  # (G, C) float64
    slopes: Tensor  # derivatives by the errors: (G, C, 2, B) by bin, or (N, C, L) by pixel
    present: Tensor  # (2, G, C) bool, whether there are pixels at all, and pixels of the class


class Sorted(NamedTuple):
    """What the exact method has in the place of histograms."""

    extended: Extended
    lse: Tensor  # as for Counts
    invalid: Tensor  # as for Counts


class Reduced(NamedTuple):
    """The loss and what there is beside it, connected to the scores."""

    value: Tensor  # (), or (G, C)
    cross_entropy: Tensor | None  # (), its mean
    regions: Tensor | None  # (G, C, 8)


def histogram(inputs: Inputs, bins: int, cross_entropy: bool, regions: bool = False) -> Counts:
    """Count the errors of every class in bins, and add up what else is asked for.

    Args:
        inputs: scores and labels; no gradient flows.
        bins: number of bins, or 0 to count nothing.
        cross_entropy: whether to add up the cross-entropy.
        regions: whether to add up predictions and labels; of soft labels that is always done.

    Raises:
        ValueError: on the CPU, if a label is neither a class nor ``ignore_index``, or a
            probability or a soft label is outside [0, 1]. Other devices report both in ``invalid``
            alone, because raising would have to wait for them.
    """
    counts, lse, invalid, sums, summed = torch.ops.lovasz.histogram(
        inputs.scores.detach(), inputs.target, bins, inputs.ignore_index, inputs.per_image,
        inputs.link, cross_entropy, inputs.class_weight, inputs.smoothing, inputs.pixel_weight,
        inputs.segment_ids, inputs.segments, inputs.upsample, inputs.size,
        inputs.mixture, inputs.label_smoothing, regions,
    )  # fmt: skip
    scale = 1
    if inputs.pixel_weight is not None:
        scale, invalid = SCALE, invalid + _bad_weights(inputs)
    soft = summed.dim() == 3 and is_soft(inputs.target, inputs.mixture, inputs.label_smoothing)
    sums = sums if cross_entropy else None
    return Counts(counts, lse, invalid, sums, scale, summed if summed.dim() == 3 else None, soft)


def extend(
    counts: Counts,
    set_function: SetFunction,
    tversky: Tversky | None,
    symmetric: bool,
    link: str,
    wide: bool,
) -> Extended:
    """Extend a set function at the histograms, by an operator where it is Tversky's.

    Args:
        counts: histograms.
        set_function: Δ(fn, fp, positives).
        tversky: the same as Tversky's, or None.
        symmetric: mean of the extensions for the set of a channel and for its complement.
        link: whose errors were counted.
        wide: whether the slopes are float64 instead of float32.

    Returns:
        Losses and slopes, 0 of no bins.
    """
    unbounded = link in UNBOUNDED
    table, regions = counts.counts, counts.regions
    mass = regions[..., Q] if regions is not None and counts.soft else None
    if table.shape[3] == 0:
        losses, dtype = table.sum((2, 3)), torch.float64 if wide else torch.float32
        present = losses.bool().expand(2, *losses.shape)
        extended = Extended(losses.double(), table.to(dtype), present)
    elif tversky is not None:
        extended = Extended(
            *torch.ops.lovasz.extend(
                table, tversky.alpha, tversky.beta, wide, counts.scale, unbounded, mass
            )
        )
    else:
        extended = Extended(
            *reference.extend_by(set_function, table, wide, counts.scale, unbounded, mass)
        )
    if regions is not None:
        extended = extended._replace(present=present_in(regions))
    if not symmetric:
        return extended
    # The complement has the same errors: its positives are the negatives.
    swapped = counts._replace(counts=table.flip(2))
    if regions is not None:
        before, own, after = regions[..., :Q], regions[..., Q : Q + 1], regions[..., Q + 1 :]
        swapped = swapped._replace(
            regions=torch.cat((before, regions[..., PIXELS:] - own, after), -1)
        )
    losses, slopes, _ = extend(swapped, set_function, tversky, False, link, wide)
    return extended._replace(
        losses=(extended.losses + losses) / 2, slopes=(extended.slopes + slopes.flip(2)) / 2
    )


def present_in(regions: Tensor) -> Tensor:
    """Whether there are pixels at all, and labels of a class, (2, G, C)."""
    return torch.stack((regions[..., PIXELS], regions[..., RAW])) > 0


def sort_and_extend(
    inputs: Inputs,
    set_function: SetFunction,
    tversky: Tversky | None,
    symmetric: bool,
    regions: Tensor | None = None,
) -> Sorted:
    """Sort the errors of every class and extend a set function, exact but for their rounding.

    Args:
        inputs: scores and labels; no gradient flows.
        set_function: Δ(fn, fp, positives).
        tversky: the same as Tversky's, or None.
        symmetric: mean of the extensions for the set of a channel and for its complement.
        regions: sums of soft labels; None for hard ones.
    """
    scores, weight = inputs.scores.detach(), inputs.pixel_weight
    common = (scores, inputs.target, inputs.ignore_index, inputs.per_image, inputs.link)
    groups = (inputs.segment_ids, inputs.segments)
    upsampled = (inputs.upsample, inputs.size)
    soft = (inputs.mixture, inputs.label_smoothing)
    if tversky is not None:
        losses, slopes, positives, pixels, lse, invalid = torch.ops.lovasz.sort_and_extend(
            *common, tversky.alpha, tversky.beta, symmetric, weight, *groups, *upsampled, *soft,
            regions,
        )  # fmt: skip
    else:
        errors, order, lse, invalid, positive = torch.ops.lovasz.sort(
            *common, *groups, *upsampled, weight, *soft
        )
        losses, slopes, positives, pixels = extend_pixels(
            errors, order, positive, inputs.groups, set_function, symmetric, weight, regions
        )
    if weight is not None:
        invalid = invalid + _bad_weights(inputs)
    present = torch.stack((pixels, positives)) > 0 if regions is None else present_in(regions)
    return Sorted(Extended(losses, slopes, present), lse, invalid)


def are_small(inputs: Inputs, bins: int) -> bool:
    """Whether clouds are so small that histograms of them take more memory than sorting them.

    Known from shapes alone, so that every device decides alike. A table and the slopes of its bins
    take 24 bytes for each bin, slopes by pixel four for each, and sorting takes longer.
    """
    points = inputs.scores.shape[2]
    return points < POINTS_BY_BIN * bins * inputs.segments


def reduce(
    inputs: Inputs,
    extended: Extended,
    counts: Counts | None,
    active: Tensor,
    lse: Tensor,
    invalid: Tensor,
    weight: Tensor | None,
    normalize: bool,
    reduction: str,
    per_image: bool,
) -> Reduced:
    """Weighted sum or mean of the losses of classes and images, and what is summed beside them.

    All of it is connected to the scores.

    Args:
        inputs: scores, to which the gradient flows, and labels.
        extended: losses and slopes.
        counts: what was added up; None if nothing was.
        active: (G, C) bool, classes that count.
        lse: as for ``Counts``.
        invalid: likewise.
        weight: (C,), class weights without a gradient, or None.
        normalize: whether a mean is divided by the sum of the weights.
        reduction: "mean", "sum" or "none".
        per_image: whether the groups are images, of which the mean is taken.
    """
    sums = None if counts is None else counts.sums
    regions = None if counts is None else counts.regions
    value, _, cross_entropy, _, connected = torch.ops.lovasz.reduce(
        extended.losses, active, invalid, weight, normalize, reduction, per_image, sums,
        inputs.scores, inputs.target, lse, extended.slopes, inputs.class_weight,
        inputs.segment_ids, inputs.pixel_weight, inputs.mixture, regions,
        inputs.ignore_index, inputs.link, inputs.smoothing, inputs.upsample, inputs.size,
        inputs.label_smoothing,
    )  # fmt: skip
    return Reduced(
        value,
        None if sums is None else cross_entropy,
        None if regions is None else connected,
    )


def _bad_weights(inputs: Inputs) -> Tensor:
    """Number of pixels per group whose weight is none, (G,)."""
    assert inputs.pixel_weight is not None
    bad = ~is_weight(inputs.pixel_weight)
    if inputs.ignore_index is not None and bad.shape == inputs.target.shape:
        bad = bad & (inputs.target != inputs.ignore_index)
    return segment_sum(bad, inputs.groups)
