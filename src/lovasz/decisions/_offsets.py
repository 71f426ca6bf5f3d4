"""Offsets of the scores by coordinate ascent: for each class in turn the best one of all."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from lovasz.decisions._scores import GROUPS, Goal

# An offset is at most this: a class is then chosen that is 22,000 times less probable.
LIMIT = 10.0
_SWEEPS = 5
_LEAST_GAIN = 1e-4  # of a sweep, or it is the last one


class Pixels(NamedTuple):
    """What offsets are fitted to."""

    scores: Tensor  # (C, M) float32
    labels: Tensor | None  # (M,) int64; None: as probable as the scores say
    weight: Tensor  # (M,) float64, how many pixels each stands for
    group: Tensor  # (M,) int64, of its image
    probable: Tensor | None = None  # (C, M) float32, probabilities where there are no labels

    @classmethod
    def of(cls, scores: Tensor, labels: Tensor | None, weight: Tensor, group: Tensor) -> Pixels:
        """With probabilities, if there are no labels."""
        return cls(scores, labels, weight, group, scores.softmax(0) if labels is None else None)

    def part(self, mask: Tensor) -> Pixels:
        """Some of them."""
        parts = [None if field is None else field[..., mask] for field in self]
        return Pixels(*parts)  # type: ignore[arg-type]

    def mass(self, classes: Tensor, places: Tensor) -> Tensor:
        """Of pixels at these places, how much of the weight is of a class each, float64."""
        weight = self.weight[places]
        if self.probable is not None:
            return weight * self.probable[classes, places]
        assert self.labels is not None
        return weight * (self.labels[places] == classes)

    def positives(self) -> Tensor:
        """Pixels of each class, (C,) float64."""
        if self.probable is not None:
            return (self.probable * self.weight).sum(1)
        assert self.labels is not None
        return torch.bincount(self.labels, self.weight, minlength=len(self.scores))

    def decided(self, offsets: Tensor) -> Tensor:
        """The class with the largest score plus offset, (M,)."""
        return (self.scores + offsets.unsqueeze(1)).max(0).indices  # argmax is slower

    def counts(self, decided: Tensor) -> Tensor:
        """Hits, pixels decided so and pixels labelled so of each class, (C, 3) float64."""
        places, classes = torch.arange(len(decided)), len(self.scores)
        hits = torch.bincount(decided, self.mass(decided, places), minlength=classes)
        found = torch.bincount(decided, self.weight, minlength=classes)
        return torch.stack((hits, found, self.positives()), -1)

    def counts_by_group(self, decided: Tensor) -> Tensor:
        """The same of the images of each group, (G, C, 3)."""
        groups = range(GROUPS)
        return torch.stack(
            [self.part(m).counts(decided[m]) for m in (self.group == g for g in groups)]
        )


def fit_offsets(pixels: Pixels, goal: Goal) -> Tensor:
    """Offsets (C,) float32 with a score that is no less than without any.

    Classes that do not count keep an offset of 0, and so do those of which there is no pixel.
    """
    offsets = torch.zeros(len(pixels.scores), dtype=torch.float32)
    if pixels.scores.shape[1] == 0:
        return offsets
    start = pixels.counts(pixels.decided(offsets))
    moved = goal.active(start[:, 2]) & (start[:, 2] >= 0.5)
    best, value = offsets, float(goal(start))
    for _ in range(_SWEEPS):
        offsets = offsets.clone()
        for index in moved.nonzero().flatten().tolist():
            offsets[index] = _best_offset(pixels, goal, offsets, index)
        # Counted anew: in float32 a pixel may lie on the other side than the ascent has it.
        found = float(goal(pixels.counts(pixels.decided(offsets))))
        gained = found - value
        if gained > 0:
            best, value = offsets, found
        if not gained > _LEAST_GAIN:
            break
    return best


def _best_offset(pixels: Pixels, goal: Goal, offsets: Tensor, index: int) -> float:
    """The offset of one class with the largest score, the others being as they are.

    A pixel is decided to be of the class where the offset is larger than the pixel's ``margin``.
    So with a growing offset one pixel after the other leaves what it was decided to be, and each
    changes the scores of two classes.
    """
    shifted = pixels.scores + offsets.unsqueeze(1)
    shifted[index] = -torch.inf
    most, other = shifted.max(0)
    margin = most - pixels.scores[index]
    start = pixels.counts(torch.where(margin <= -LIMIT, index, other))
    active = goal.active(start[:, 2])
    near = (margin.abs() < LIMIT).nonzero().flatten()
    margin, order = _sorted(margin[near])
    places = near[order]
    other = other[places]
    moved = pixels.weight[places]
    own = pixels.mass(torch.full_like(other, index), places)
    zero = start.new_zeros(1)
    counts = start[index].expand(len(places) + 1, 3).clone()
    counts[1:, :2] += torch.stack((own, moved), -1).cumsum(0)
    total = goal.by_class(counts) * active[index]
    lost = torch.stack((pixels.mass(other, places), moved), -1)
    total += torch.cat((zero, _changes(goal, start, other, lost, active).cumsum(0)))
    # Cuts between pixels, each below the next one: of equal margins none can be told from another.
    ends = margin.new_tensor([-LIMIT, LIMIT])
    low, high = torch.cat((ends[:1], margin)), torch.cat((margin, ends[1:]))
    cut = (low + high) / 2
    cut[0] = (high[0] - 0.5).clamp(min=-LIMIT) if len(margin) else 0.0
    cut[-1] = (low[-1] + 0.5).clamp(max=LIMIT) if len(margin) else 0.0
    total = torch.where((low < cut) & (cut < high), total, -torch.inf)
    best = total >= total.max() - 1e-12
    return float(cut[best][cut[best].abs().argmin()])


def _sorted(numbers: Tensor) -> tuple[Tensor, Tensor]:
    """Float32 numbers in order, and their places.

    They are sorted as integers, of which torch takes an eighth of the time on the CPU: the
    bits of positive numbers have their order, and those of negative ones the reverse.
    """
    bits = numbers.view(torch.int32)
    order = (bits ^ ((bits >> 31) & (2**31 - 1))).argsort(stable=True)
    return numbers[order], order


def _changes(goal: Goal, start: Tensor, other: Tensor, step: Tensor, active: Tensor) -> Tensor:
    """What each pixel that leaves a class changes in the score of that class, (M,).

    Args:
        goal: the score.
        start: counts (C, 3) before the first one leaves.
        other: (M,), the class that the pixel leaves.
        step: (M, 2), what it takes with it of hits and of pixels decided so.
        active: (C,), classes that count.
    """
    order = other.argsort(stable=True)
    classes, step = other[order], step[order]
    sums = step.cumsum(0)
    first = torch.searchsorted(classes, classes)  # where its class begins
    sums = sums - (sums - step)[first]
    before = start[classes]
    positives = before[:, 2:]
    after = torch.cat((before[:, :2] - sums, positives), -1).clamp(min=0)
    earlier = torch.cat((before[:, :2] - sums + step, positives), -1).clamp(min=0)
    change = (goal.by_class(after) - goal.by_class(earlier)) * active[classes]
    return torch.empty_like(change).scatter_(0, order, change)
