"""Logits from untrained to converged, with rare and common classes.

A logit is noise, plus a signal on the right class. The four stages span what a training run goes
through: all errors in a narrow peak, errors everywhere, most errors near 0, all errors near 0.
"""

from __future__ import annotations

import torch
from torch import Tensor

FREQUENCIES = (0.30, 0.25, 0.20, 0.15, 0.06, 0.03, 0.008, 0.002)
COMMON, RARE = 0, 7

#: signal and standard deviation of the noise
STAGES = {
    "untrained": (0.0, 0.1),
    "early": (1.5, 1.0),
    "trained": (8.0, 3.0),
    "converged": (12.0, 2.0),
}


def draw(stage: str, pixels: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logits (pixels, 8) in float32 and labels (pixels,)."""
    generator = torch.Generator().manual_seed(seed)
    signal, noise = STAGES[stage]
    frequencies = torch.tensor(FREQUENCIES)
    target = torch.multinomial(frequencies, pixels, replacement=True, generator=generator)
    logits = torch.randn(pixels, len(FREQUENCIES), generator=generator) * noise
    logits[torch.arange(pixels), target] += signal
    return logits, target
