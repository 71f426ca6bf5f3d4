"""Logits from untrained to converged, and of networks that are confident and often wrong.

A logit is noise, plus a signal on one class: the right one, or for a share of the pixels another
one. The stages span what a training run goes through: all errors in a narrow peak, errors
everywhere, most errors near 0, all errors near 0; and then mistakes near 1.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

#: shares of the last class, and of the first if there are more than two
RARE_SHARE, COMMON_SHARE = 0.002, 0.3


class Stage(NamedTuple):
    """What logits are drawn from."""

    signal: float
    noise: float  # standard deviation
    wrong: float = 0.0  # share of the pixels with the signal on a wrong class


STAGES = {
    "untrained": Stage(0.0, 0.1),
    "random": Stage(0.0, 1.0),
    "early": Stage(1.5, 1.0),
    "trained": Stage(8.0, 3.0),
    "converged": Stage(12.0, 2.0),
    **{
        f"margin {margin}, {share:.0%} wrong": Stage(margin, 1.0, share)
        for margin in (7, 10, 13, 16)
        for share in (0.02, 0.1, 0.3)
    },
}


def frequencies(classes: int) -> Tensor:
    """Shares of the classes, which fall from the first to the last."""
    if classes == 2:
        return torch.tensor([1 - RARE_SHARE, RARE_SHARE])
    middle = 1 / torch.arange(1.0, classes - 1)
    first = torch.tensor([COMMON_SHARE])
    middle *= (1 - COMMON_SHARE - RARE_SHARE) / middle.sum()
    return torch.cat((first, middle, torch.tensor([RARE_SHARE])))


def draw(stage: str, pixels: int, classes: int = 8, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logits (pixels, classes) in float32 and labels (pixels,)."""
    generator = torch.Generator().manual_seed(seed)
    signal, noise, wrong = STAGES[stage]
    shares = frequencies(classes)
    target = torch.multinomial(shares, pixels, replacement=True, generator=generator)
    shift = torch.randint(1, classes, (pixels,), generator=generator)
    mistaken = torch.rand(pixels, generator=generator) < wrong
    predicted = torch.where(mistaken, (target + shift) % classes, target)
    logits = torch.randn(pixels, classes, generator=generator) * noise
    logits[torch.arange(pixels), predicted] += signal
    return logits, target


def draw_channel(stage: str, pixels: int, share: float, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logits (pixels, 1) of a channel and labels (pixels, 1), of which a share is 1.

    A binary network's margin is the difference of two scores, so it is half of it to either side.
    """
    generator = torch.Generator().manual_seed(seed)
    signal, noise, wrong = STAGES[stage]
    target = (torch.rand(pixels, 1, generator=generator) < share).long()
    mistaken = torch.rand(pixels, 1, generator=generator) < wrong
    sign = torch.where((target == 1) != mistaken, 1.0, -1.0)
    logits = torch.randn(pixels, 1, generator=generator) * noise + sign * signal
    return logits, target
