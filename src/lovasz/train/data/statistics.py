"""Mean and spread of the channels of images, by which they are normalised."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Statistics(NamedTuple):
    """Of each channel, in units of bytes: 0 to 255."""

    mean: tuple[float, ...]
    spread: tuple[float, ...]

    @property
    def channels(self) -> int:
        """The number of channels."""
        return len(self.mean)

    def normalise(self, images: Tensor) -> Tensor:
        """Images (N, channels, H, W) of 0 to 255 to numbers around 0.

        They are channels last, which is faster on processors.
        """
        mean, spread = (
            torch.tensor(values, device=images.device).view(-1, 1, 1)
            for values in (self.mean, self.spread)
        )
        return ((images.float() - mean) / spread).contiguous(memory_format=torch.channels_last)


# Which most networks that users bring were trained with.
IMAGENET = Statistics((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
