"""What both passes of the reference compute of every pixel: errors, and derivatives by them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from lovasz.core import bins
from lovasz.core.links import MULTICLASS, PROBABILITIES, UNBOUNDED
from lovasz.kernels.contents import (
    bad_labels,
    outside,
    raise_for_labels,
    raise_for_probabilities,
    raise_for_soft_labels,
    split_target,
)
from lovasz.kernels.precision import to_compute
from lovasz.kernels.segments import Segments, segment_sum
from lovasz.kernels.soft import Soft


class Pixels(NamedTuple):
    """Pixels and their classes or channels."""

    scores: Tensor  # (N, C, L) in the compute dtype; of the softmax the probabilities
    errors: Tensor  # (N, C, L) likewise
    complements: Tensor  # (N, C, L) 1 less errors in [0, 1], with digits that are lost in those
    # (N, C, L) bool, the pixel is of the class, or of the channel's set; of soft labels, the
    # prediction is below the label
    positive: Tensor
    valid: Tensor  # (N, 1, L), or (N, C, L) for multilabel, bool: not ignored


def load(
    scores: Tensor, target: Tensor, lse: Tensor, ignore_index: int | None, link: str
) -> Pixels:
    """Errors of every pixel, for each class or channel."""
    _, valid = split_target(target, ignore_index)
    positive = positives_of(target, scores.shape[1], ignore_index, link)
    scores = to_compute(scores)
    if link in MULTICLASS:
        valid = valid.unsqueeze(1)
    if link == "softmax":
        scores = torch.exp(log_probabilities(scores, lse))
    errors = errors_of(scores, positive, link)
    # The error of a score whose label is the other one.
    complements = errors if link in UNBOUNDED else errors_of(scores, ~positive, link)
    return Pixels(scores, errors, complements, positive, valid)


def load_soft(scores: Tensor, soft: Soft, lse: Tensor, link: str) -> Pixels:
    """The same for soft labels, whose error is the distance of the prediction from the label.

    The set that is counted with the positives has predictions below the label. Of hard labels both
    are what ``load`` makes of them, to the bit.
    """
    scores = to_compute(scores)
    if link == "softmax":
        scores = torch.exp(log_probabilities(scores, lse))
    p, other = predictions_of(scores, link)
    q = soft.labels
    below = (p < q) | (q >= 1)
    errors = torch.where(below, other - (1 - q), p - q).clamp(0.0, 1.0)
    complements = torch.where(below, p + (1 - q), other + q).clamp(0.0, 1.0)
    return Pixels(scores, errors, complements, below, soft.valid)


def predictions_of(scores: Tensor, link: str) -> tuple[Tensor, Tensor]:
    """Predictions in [0, 1] and 1 less them, of scores or of the probabilities of the softmax."""
    if link == "sigmoid":
        return torch.sigmoid(scores), torch.sigmoid(-scores)
    p = scores.clamp(0.0, 1.0)
    return p, 1 - p


def log_probabilities(scores: Tensor, lse: Tensor) -> Tensor:
    """Scores less their log-sum-exp (N, L), which is float64, in the dtype of the scores.

    In two parts: of a score that is nearly as large as it is the difference has all digits.
    """
    most = lse.to(scores.dtype)
    rest = (lse - most).to(scores.dtype)
    return (scores - most.unsqueeze(1)) - rest.unsqueeze(1)


def positives_of(target: Tensor, classes: int, ignore_index: int | None, link: str) -> Tensor:
    """Which pixels are of which class or set, (N, C, L) bool."""
    labels, valid = split_target(target, ignore_index)
    if link not in MULTICLASS:
        return (labels == 1) & valid
    index = torch.arange(classes, device=target.device).view(1, -1, 1)
    return (labels.unsqueeze(1) == index) & valid.unsqueeze(1)


def errors_of(scores: Tensor, positive: Tensor, link: str) -> Tensor:
    """Error of every score, or of every probability of the softmax."""
    margin = torch.where(positive, -scores, scores)  # grows with the error
    if link == "sigmoid":
        return torch.sigmoid(margin)
    if link == "hinge":
        return F.relu(1 + margin)
    if link == "elu":
        # Not F.elu + 1, which rounds errors below 1e-7 to 0.
        return torch.where(margin > -1, 2 + margin, torch.exp((1 + margin).clamp(max=0.0)))
    # Rounding can carry a probability past 1; an error outside [0, 1] would have no bin.
    return torch.where(positive, 1 - scores, scores).clamp(0.0, 1.0)


def by_predictions(pixels: Pixels, slopes: Tensor) -> Tensor:
    """Derivative by predictions or margins from that by the errors, (N, C, L)."""
    # The error of a positive falls as its score rises.
    return torch.where(pixels.positive, -slopes, slopes)


def pull_back(pixels: Pixels, rising: Tensor, link: str) -> Tensor:
    """Derivative by the scores from that by the predictions, (N, C, L)."""
    if link == "softmax":
        p = pixels.scores
        # Relative to the most probable class, so that no digits are lost where its p is nearly 1.
        most = p.detach().argmax(1, keepdim=True)
        rising = rising - rising.gather(1, most)
        return p * (rising - (p * rising).sum(1, keepdim=True))
    if link in PROBABILITIES:
        return rising
    margin = torch.where(pixels.positive, -pixels.scores, pixels.scores)
    if link == "sigmoid":
        return rising * (torch.sigmoid(margin) * torch.sigmoid(-margin))
    if link == "hinge":
        return rising * (1 + margin > 0).to(margin.dtype)
    return rising * torch.exp((1 + margin).clamp(max=0.0))


def bins_of(pixels: Pixels, number: int, link: str) -> Tensor:
    """Bin of each error, int64."""
    errors, complements = pixels.errors.detach(), pixels.complements.detach()
    if link in UNBOUNDED:
        place = bins.position(torch, errors, number, unbounded=True)
    else:
        place = bins.position(torch, errors, number, complements=complements)
    found: Tensor = place.to(torch.int64)
    return found


def count_invalid(
    scores: Tensor,
    target: Tensor,
    lse: Tensor,
    errors: Tensor,
    ignore_index: int | None,
    link: str,
    segments: Segments,
    *,
    soft: Soft | None = None,
    largest: float = torch.inf,
    cross_entropy: bool = False,
) -> Tensor:
    """Number of pixels per group that make the loss meaningless, (G,); raises for them on the CPU.

    Those with an impossible label, and those with a score that is no number, or whose error is not
    below the largest that can be counted. Without softmax those of each class or channel.
    """
    classes = scores.shape[1]
    if soft is None:
        labels, valid = split_target(target, ignore_index)
        bad = bad_labels(labels, valid, link, classes)
        if link in MULTICLASS:
            bad, valid = bad.unsqueeze(1), valid.unsqueeze(1)
    else:
        valid, bad = soft.valid, soft.bad
    if scores.device.type == "cpu" and bool(bad.any()):
        if target.is_floating_point():
            raise_for_soft_labels(target, ignore_index, link, cross_entropy)
        raise_for_labels(target, classes, ignore_index, link, cross_entropy)
    if link == "softmax":
        return segment_sum(bad | (valid & ~lse.isfinite().unsqueeze(1)), segments)
    if link not in PROBABILITIES:
        return segment_sum(bad | (valid & ~(errors < largest)), segments)  # NaN: not less
    if scores.device.type == "cpu":
        raise_for_probabilities(scores, valid, link)
    return segment_sum(bad | (valid & outside(scores)), segments)
