r"""A sample of pixels of fixed size that does not depend on batches, their order or processes.

Pixels fall into strata by their label and the best other class, because a decision changes between
those two. Each pixel has a key, a hash of what its image holds and of its place. Of every stratum
the pixels with the smallest keys are kept, as many as have room in all: so every kept pixel stands
for $n / m$ of its stratum, of whose n pixels m are kept. Two samples that are put together are the
sample of both.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from lovasz.decisions._scores import GROUPS

_POSITIVE = 2**63 - 1
# Multipliers of the finaliser of splitmix64, as signed numbers.
_MULTIPLIERS = (0xBF58476D1CE4E5B9 - 2**64, 0x94D049BB133111EB - 2**64)


class Sample(NamedTuple):
    """Kept pixels and how many there were, sorted by stratum and key."""

    scores: Tensor  # (M, C) float32, less the largest of the pixel
    stratum: Tensor  # (M,) int64, label · C + best other class
    key: Tensor  # (M,) int64, not negative
    counts: Tensor  # (C · C,) int64, of all pixels
    images: int

    @classmethod
    def empty(cls, classes: int) -> Sample:
        """Of no image."""
        none = torch.zeros(0, dtype=torch.int64, device="cpu")
        counts = none.new_zeros(classes * classes)
        return cls(none.new_zeros((0, classes), dtype=torch.float32), none, none, counts, 0)

    @property
    def labels(self) -> Tensor:
        """(M,) int64."""
        return self.stratum // self.scores.shape[1]

    @property
    def group(self) -> Tensor:
        """Which group of images a pixel belongs to, (M,) int64."""
        return self.key % GROUPS

    def weight(self) -> Tensor:
        """How many pixels each stands for, (M,) float64."""
        kept = torch.bincount(self.stratum, minlength=len(self.counts))
        return (self.counts.double() / kept.clamp(min=1))[self.stratum]

    def in_group(self, group: int) -> Sample:
        """As pixels of one image of this group."""
        return self._replace(key=self.key - self.group + group, images=1)

    def joined(self, other: Sample) -> Sample:
        """All pixels of both."""
        return Sample(
            torch.cat((self.scores, other.scores)),
            torch.cat((self.stratum, other.stratum)),
            torch.cat((self.key, other.key)),
            self.counts + other.counts,
            self.images + other.images,
        )

    def cut(self, pixels: int) -> Sample:
        """Those that have room, and as many of each stratum as of every other that has more."""
        order = self.key.argsort(stable=True)
        order = order[self.stratum[order].argsort(stable=True)]
        stratum = self.stratum[order]
        first = torch.searchsorted(stratum, stratum)
        rank = torch.arange(len(stratum)) - first
        order = order[rank < _level(self.counts, pixels)]
        return self._replace(
            scores=self.scores[order], stratum=self.stratum[order], key=self.key[order]
        )


def of_part(
    scores: Tensor, labels: Tensor | None, places: Tensor, first: int
) -> tuple[Sample, Tensor]:
    """All counted pixels of an image or of a part of it, in no group yet, and what they add to it.

    Args:
        scores: (C, P) float32.
        labels: (P,) int64, or None for the class with the largest score.
        places: (P,) int64, where the pixels are in the part.
        first: how many pixels the parts before have.
    """
    classes = len(scores)
    top, best = scores.max(0)
    scores = scores - top
    first_class = best if labels is None else labels
    others = scores.scatter(0, first_class.unsqueeze(0), -torch.inf)
    stratum = first_class * classes + others.max(0).indices
    places = places + first
    content = content_of(top.view(torch.int32).to(torch.int64) + _mixed(stratum), places)
    key = _mixed(_mixed(content) + _mixed(places)) & _POSITIVE
    key = key - key % GROUPS  # the lowest digits are those of the image
    counts = torch.bincount(stratum, minlength=classes * classes)
    return Sample(scores.t().cpu(), stratum.cpu(), key.cpu(), counts.cpu(), 1), content


def content_of(numbers: Tensor, places: Tensor) -> Tensor:
    """What these numbers at these places are in the sum over an image that says its group."""
    return _mixed(numbers + _mixed(places)).sum()


def group_of(content: Tensor) -> int:
    """The group of an image whose parts have this sum."""
    return int(_mixed(content) % GROUPS)


def _mixed(number: Tensor) -> Tensor:
    """A hash of integers of 64 bits, whose products wrap around."""
    for shift, multiplier in zip((30, 27), _MULTIPLIERS, strict=True):
        number = (number ^ _shifted(number, shift)) * multiplier
    return number ^ _shifted(number, 31)


def _shifted(number: Tensor, bits: int) -> Tensor:
    """To the right, with zeros from the left."""
    right: Tensor = (number >> bits) & (2 ** (64 - bits) - 1)
    return right


def _level(counts: Tensor, pixels: int) -> int:
    """The largest q for which the sum of min(n, q) over all strata has room, and at least 1."""
    ordered = counts[counts > 0].sort().values
    if int(ordered.sum()) <= pixels:
        return pixels
    # With q = n of the k-th stratum those before it are whole, and the others have q pixels each.
    below = ordered.cumsum(0) - ordered
    left = torch.arange(len(ordered), 0, -1)
    fits = below + ordered * left <= pixels
    k = int(fits.sum())  # a larger q has less room: the first ones fit
    return max(1, int((pixels - below[k]) // left[k]))
