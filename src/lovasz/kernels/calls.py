"""The functions that call the operators: one for each step, whatever the link."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from lovasz.core.links import MULTICLASS, UNBOUNDED
from lovasz.core.set_functions import SetFunction, as_tversky
from lovasz.kernels import ranking, reference, schema
from lovasz.kernels.tables import WEIGHT_UNIT, Groups, good_weight, per_group

assert schema is not None  # defines the operators


class Scores(NamedTuple):
    """Scores and labels, and how to read them: what both passes need to know."""

    scores: Tensor  # (N, C, L)
    target: Tensor  # (N, L) class indices, or (N, C, L) zeros and ones for links of channels
    link: str  # see ``links``
    ignore_index: int | None = None
    per_image: bool = False  # one group for each image
    pixel_weight: Tensor | None = None  # of the shape of the target
    group: Tensor | None = None  # (N, L) int64, N = 1: one group for each of its numbers
    groups: int = 1  # with ``group``

    @property
    def multiclass(self) -> bool:
        """Whether classes exclude each other."""
        return self.link in MULTICLASS

    @property
    def softmax(self) -> bool:
        """Whether the scores are logits of classes."""
        return self.link == "softmax"

    @property
    def unbounded(self) -> bool:
        """Whether errors can be larger than 1."""
        return self.link in UNBOUNDED

    @property
    def unit(self) -> int:
        """What a pixel of weight 1 counts."""
        return 1 if self.pixel_weight is None else WEIGHT_UNIT

    @property
    def arrangement(self) -> Groups:
        """Which pixels belong together."""
        return Groups(self.per_image, self.group, self.groups)

    def to(self, device: torch.device) -> Scores:
        """The same on a device; the gradient finds its way back."""
        fields = self._asdict()
        for name, field in fields.items():
            if isinstance(field, Tensor):
                fields[name] = field.to(device)
        return self._replace(**fields)


class Entropy(NamedTuple):
    """Cross-entropy that rides along, defined as torch defines it."""

    weight: Tensor | None  # (C,), weights of the classes, or of the positives of channels
    smoothing: float  # label smoothing; 0 for channels

    def to(self, device: torch.device) -> Entropy:
        """The same on a device."""
        return self._replace(weight=None if self.weight is None else self.weight.to(device))


class Counted(NamedTuple):
    """Result of ``count``."""

    counts: Tensor  # (G, C, 2, B) int64, negatives and positives by bin of ascending error
    lse: Tensor  # (N, L) wide, log-sum-exp of the scores; (0,) without softmax
    invalid: Tensor  # (G,) int64, pixels with an impossible label or a score that is no number
    entropy: Tensor  # (2,) float64, sums of cross-entropies and of their weights; else (0,)


def count(given: Scores, bins: int, entropy: Entropy | None = None) -> Counted:
    """Count the errors of every class in bins.

    Args:
        given: scores and labels; no gradient flows.
        bins: number of bins B.
        entropy: the cross-entropy to compute as well, of logits alone (softmax or sigmoid).

    Returns:
        Counts in units of ``given.unit``, log-sum-exp, the number of invalid pixels per group, and
        the cross-entropy.

    Raises:
        ValueError: on the CPU, if a label is neither a class nor ``ignore_index``, or a
            probability is outside [0, 1]. Other devices report both in ``invalid`` alone, because
            raising would have to wait for them.
    """
    scores = given.scores.detach()
    common = (scores, given.target, bins, given.ignore_index, given.per_image)
    weight, smoothing = (None, 0.0) if entropy is None else entropy
    tail = (given.pixel_weight, given.group, given.groups)
    if given.multiclass:
        riding = (entropy is not None, weight, smoothing)
        counts, lse, invalid, sums = torch.ops.lovasz.count(*common, given.softmax, *riding, *tail)
    else:
        lse = scores.new_empty(0)
        counts, invalid, sums = torch.ops.lovasz.count_channels(
            *common, given.link, entropy is not None, weight, *tail
        )
    return Counted(counts, lse, _with_bad_weights(invalid, given), sums)


class Weighed(NamedTuple):
    """Result of ``weigh``."""

    losses: Tensor  # (G, C) float64
    slopes: Tensor  # (G, C, 2, B), derivatives of the losses by the errors
    seen: Tensor  # (2, G, C) bool, whether there are pixels at all, and pixels of the class


def weigh(
    counts: Tensor,
    alpha: float,
    beta: float,
    wide: bool,
    unit: int = 1,
    unbounded: bool = False,
) -> Weighed:
    """Losses and slopes of Tversky's set functions from counts, as ``extension.extend_counts``.

    Args:
        counts: (G, C, 2, B), as ``count`` returns them.
        alpha: weight of a false positive.
        beta: weight of a false negative.
        wide: whether the slopes are float64 instead of float32.
        unit: what one pixel counts, a power of two, for counts in fixed point.
        unbounded: whether the bins are those of errors without a bound.
    """
    return Weighed(*torch.ops.lovasz.weigh(counts, alpha, beta, wide, unit, unbounded))


def reduce(
    losses: Tensor,
    counting: Tensor,
    invalid: Tensor,
    weight: Tensor | None,
    sums: Tensor | None,
    *,
    normalize: bool,
    reduction: str,
    per_image: bool,
    given: Scores,
    slopes: Tensor,
    lse: Tensor,
    entropy: Entropy | None = None,
) -> tuple[Tensor, Tensor | None]:
    """The sum of the losses, a mean, or all of them; connected to the scores.

    Args:
        losses: (G, C), without a gradient.
        counting: (G, C) bool, classes that take part.
        invalid: (G,) invalid pixels; NaN where there are any.
        weight: (C,) of the wide dtype, or None for ones; no gradient flows to it.
        sums: (2,) of cross-entropies and of their weights, to take a mean of too.
        normalize: divide a mean by the weights of the counting classes, not by their number.
        reduction: "none", "sum" or "mean".
        per_image: whether the groups are images, over which a mean is taken too; of those in which
            a class counts.
        given: scores, to which the gradient flows, and labels.
        slopes: (G, C, 2, B), derivatives of the losses with respect to the errors by bin, or
            (N, C, L) by pixel; the weights of the pixels are in the latter already.
        lse: as ``count`` and ``exact`` return it.
        entropy: as for ``count``.

    Returns:
        The value in wide precision, () or for "none" (G, C); and with ``sums`` the mean
        cross-entropy, ().
    """
    class_weight, smoothing = (None, 0.0) if entropy is None else entropy
    value, _, cross_entropy, _ = torch.ops.lovasz.reduce(
        losses, counting, invalid, weight, normalize, reduction, per_image, sums,
        given.scores, given.target, lse, slopes, class_weight, given.group, given.pixel_weight,
        given.ignore_index, given.link, smoothing,
    )  # fmt: skip
    return value, None if sums is None else cross_entropy


class Exact(NamedTuple):
    """Result of ``exact``."""

    losses: Tensor  # (G, C) float64
    slopes: Tensor  # (N, C, L) wide, derivatives of the losses by the errors, by pixel
    positives: Tensor  # (G, C) int64
    pixels: Tensor  # (G, C) int64, not ignored
    lse: Tensor  # as for Counted
    invalid: Tensor  # as for Counted


def exact(given: Scores, set_function: SetFunction, symmetric: bool = False) -> Exact:
    """Sort the errors of every class and extend the set function, one operator where it is known.

    Args:
        given: scores and labels; no gradient flows.
        set_function: Δ(fn, fp, positives).
        symmetric: mean of the extensions for the set of a channel and for its complement.

    Returns:
        Losses and slopes, exact up to the rounding of the errors.
    """
    scores = given.scores.detach()
    common = (scores, given.target, given.ignore_index, given.per_image)
    tversky = as_tversky(set_function)
    plain = given.pixel_weight is None and given.group is None
    if tversky is not None and plain and given.multiclass and not symmetric:
        operator = torch.ops.lovasz.exact
        return Exact(*operator(*common, given.softmax, tversky.alpha, tversky.beta))
    if tversky is not None and plain and not symmetric:
        operator = torch.ops.lovasz.exact_channels
        losses, slopes, positives, pixels, invalid = operator(
            *common, given.link, tversky.alpha, tversky.beta
        )
        return Exact(losses, slopes, positives, pixels, scores.new_empty(0), invalid)
    if given.multiclass:
        errors, order, lse, invalid = torch.ops.lovasz.rank(
            *common, given.softmax, given.group, given.groups
        )
        positive = reference.positives_of(given.target, scores.shape[1], given.ignore_index)
    else:
        errors, order, invalid = torch.ops.lovasz.rank_channels(
            *common, given.link, given.group, given.groups
        )
        lse, positive = scores.new_empty(0), given.target == 1
    tail = (given.arrangement, set_function, given.pixel_weight)
    losses, slopes, positives, pixels = ranking.extend_ranked(errors, order, positive, *tail)
    if symmetric:
        others, other_slopes, *_ = ranking.extend_ranked(errors, order, ~positive, *tail)
        losses, slopes = (losses + others) / 2, (slopes + other_slopes) / 2
    return Exact(losses, slopes, positives, pixels, lse, _with_bad_weights(invalid, given))


def _with_bad_weights(invalid: Tensor, given: Scores) -> Tensor:
    """Add the pixels whose weight is none."""
    if given.pixel_weight is None:
        return invalid
    bad = ~good_weight(given.pixel_weight)
    if given.ignore_index is not None:
        bad = bad & (given.target != given.ignore_index)
    return invalid + per_group(bad if bad.dim() == 2 else bad.sum(1), given.arrangement)
