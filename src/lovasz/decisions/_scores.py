"""The score that decisions are fitted for, and how sure its gain is."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from lovasz.core.set_functions import SetFunction

#: Images are dealt to so many groups, by which the gain is spread.
GROUPS = 16
# 97.5 % quantiles of Student's t, by degrees of freedom from 1 on.
_T = (12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23, 2.20, 2.18, 2.16, 2.14, 2.13)
_FEWEST = 4  # groups with an image, for an interval


class Goal(NamedTuple):
    """The mean over classes of 1 − Δ."""

    set_function: SetFunction
    chosen: Tensor | None  # (C,) bool, classes that count; None: all, or those present
    present: bool  # whether a class has to have a pixel to count

    def by_class(self, counts: Tensor) -> Tensor:
        """1 − Δ of counts (…, C, 3): hits, pixels decided so, pixels labelled so."""
        hits, decided, positives = counts.unbind(-1)
        cost: Tensor = self.set_function(positives - hits, decided - hits, positives)
        return 1 - cost

    def active(self, positives: Tensor) -> Tensor:
        """Which classes count, (…, C) bool. Of expected pixels there has to be half a one."""
        if self.chosen is not None:
            return self.chosen.expand(positives.shape)
        return positives >= 0.5 if self.present else torch.ones_like(positives, dtype=torch.bool)

    def __call__(self, counts: Tensor) -> Tensor:
        """The mean of (…, C, 3), (…): NaN where no class counts."""
        scores = torch.where(self.active(counts[..., 2]), self.by_class(counts), torch.nan)
        return scores.nanmean(-1)


class Gain(NamedTuple):
    """A difference of scores, and between what it lies in 19 of 20 cases."""

    value: float
    low: float
    high: float


def gain_of(goal: Goal, before: Tensor, after: Tensor) -> Gain:
    """What a decision gains, with an interval from leaving out one group of images at a time.

    Args:
        goal: the score.
        before: counts (G, C, 3) of argmax, of each group of images.
        after: those of the other decision.
    """
    totals = torch.stack((before, after))
    there = totals[0, :, :, 2].sum(-1) > 0
    whole = goal(totals.sum(1))
    value = float(whole[1] - whole[0])
    groups = int(there.sum())
    if groups < _FEWEST:
        return Gain(value, -math.inf, math.inf)
    without = goal((totals.sum(1, keepdim=True) - totals)[:, there])  # the jackknife
    differences = without[1] - without[0]
    spread = (groups - 1) / groups * (differences - differences.mean()).square().sum()
    margin = _T[groups - 2] * math.sqrt(float(spread))
    return Gain(value, value - margin, value + margin)
