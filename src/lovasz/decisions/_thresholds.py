"""Thresholds of multilabel scores: pixels of each channel counted by where their logits lie.

Between two edges no threshold can be, so that counts say of each edge what it decides, exactly.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from lovasz.decisions._sample import content_of
from lovasz.decisions._scores import GROUPS, Goal

# Edges of logits, of which 0 is one, in steps of 1/32: a power of two, so that nothing is rounded.
# They go so far that what lies beyond is of no account where probabilities are added up.
_PER_UNIT = 32
_HALF = 20 * _PER_UNIT
_EDGES = 2 * _HALF + 1
BINS = _EDGES + 1


class Thresholds(NamedTuple):
    """Counts of all images so far."""

    # (G, C, 2, B) int64 by group of images: negatives and positives, or all pixels and none, by the
    # number of edges below their logits
    counts: Tensor
    images: int

    @classmethod
    def empty(cls, channels: int) -> Thresholds:
        """Of no image."""
        shape = (GROUPS, channels, 2, BINS)
        return cls(torch.zeros(shape, dtype=torch.int64, device="cpu"), 0)

    def in_group(self, group: int) -> Thresholds:
        """As pixels of one image of this group."""
        counts = torch.zeros_like(self.counts)
        counts[group] = self.counts.sum(0)
        return Thresholds(counts, 1)

    def joined(self, other: Thresholds) -> Thresholds:
        """All pixels of both."""
        return Thresholds(self.counts + other.counts, self.images + other.images)

    def by_edge(self, *, labelled: bool) -> Tensor:
        """Hits, pixels decided so and pixels labelled so for each edge, (G, C, B - 1, 3)."""
        counts = self.counts.double()
        if not labelled:
            counts = counts.sum(2, keepdim=True)
            probable = probabilities()
            counts = torch.cat((counts * (1 - probable), counts * probable), 2)
        above = counts.flip(-1).cumsum(-1).flip(-1)
        hits, decided = above[:, :, 1, 1:], above.sum(2)[..., 1:]
        positives = above[:, :, 1, :1].expand(hits.shape)
        return torch.stack((hits, decided, positives), -1)


def bins_of(logits: Tensor) -> Tensor:
    """How many edges each logit is above: those with a smaller index than this number."""
    places = (logits * _PER_UNIT).ceil_().add_(_HALF).clamp_(0, _EDGES)
    return places.to(torch.int32)


def probabilities() -> Tensor:
    """In the middle of each bin, (B,) float64."""
    return ((torch.arange(BINS).double() - _HALF - 0.5) / _PER_UNIT).sigmoid()


def count_part(
    logits: Tensor, labels: Tensor | None, kept: Tensor, first: int
) -> tuple[Thresholds, Tensor]:
    """Counts of an image or of a part of it, in no group yet, and what they add to it.

    Args:
        logits: (C, L) float32.
        labels: (C, L) zeros and ones, or None.
        kept: (C, L) bool, which are not ignored.
        first: how many logits the parts before have.
    """
    channels = len(logits)
    bins = bins_of(logits)
    positive = torch.zeros_like(bins) if labels is None else labels.to(torch.int64)
    rows = 2 * torch.arange(channels, device=bins.device).unsqueeze(1) + positive
    place = rows * BINS + bins
    table = torch.bincount(place[kept], minlength=channels * 2 * BINS)
    numbers = (logits.view(torch.int32).to(torch.int64) * 2 + positive) * kept
    places = first + torch.arange(numbers.numel(), device=numbers.device)
    counts = torch.zeros((GROUPS, *table.shape), dtype=torch.int64)
    counts[0] = table.cpu()
    shape = (GROUPS, channels, 2, BINS)
    return Thresholds(counts.view(shape), 1), content_of(numbers.flatten(), places)


def best_edges(counts: Tensor, goal: Goal) -> Tensor:
    """The edge of each channel with the largest score, of several the one closest to 0, (C,).

    Args:
        counts: of each edge, (C, E, 3).
        goal: the score. Channels without a pixel of their own keep a threshold of 0.
    """
    scores = goal.by_class(counts)
    far = (torch.arange(_EDGES) - _HALF).abs()
    best = scores >= scores.amax(1, keepdim=True)
    edges = torch.where(best, far, _EDGES).argmin(1)
    return torch.where(counts[:, 0, 2] >= 0.5, edges, _HALF)


def offsets_of(edges: Tensor) -> Tensor:
    """What to add to the logits so that the edges lie at 0, (C,) float32."""
    return (_HALF - edges).to(torch.float32) / _PER_UNIT
