"""Mean and spread of the channels of images, by which they are normalised."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Sequence

_STRIP = 1 << 18  # pixels that are summed at a time, in double precision
_ROUNDING = 1e-12


class Statistics(NamedTuple):
    """Of each channel, in units of bytes: 0 to 255."""

    mean: tuple[float, ...]
    spread: tuple[float, ...]

    @classmethod
    def unknown(cls, channels: int) -> Statistics:
        """Of images that nobody has looked at: with these whatever is normalised becomes NaN."""
        return cls((math.nan,) * channels, (math.nan,) * channels)

    @property
    def known(self) -> bool:
        """Whether they are more than a number of channels."""
        return not math.isnan(self.mean[0])

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

    def displayed(self, image: Tensor) -> Tensor:
        """An image (channels, H, W) as bytes (3, H, W) of red, green and blue, for pictures.

        Bytes are shown as they are; other numbers, whose range may be mostly empty, with their
        mean as middle grey and two spreads to either side. One or two channels become grey, of more
        the first three are taken.
        """
        if image.dtype != torch.uint8:
            mean, spread = (torch.tensor(v).view(-1, 1, 1) for v in (self.mean, self.spread))
            image = (127.5 + (image - mean) / spread * (127.5 / 2)).clamp(0, 255).to(torch.uint8)
        return image[:3] if len(image) >= 3 else image[:1].expand(3, -1, -1)


# Which most networks that users bring were trained with.
IMAGENET = Statistics((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))


class Moments(NamedTuple):
    """Of the pixels of one image: how many, and of each channel their sum and that of squares."""

    pixels: int
    total: tuple[float, ...]
    squares: tuple[float, ...]


def moments(image: Tensor) -> Moments:
    """The moments of an image (channels, H, W) of 0 to 255."""
    total = torch.zeros(len(image), dtype=torch.float64)
    squares = torch.zeros_like(total)
    for strip in image.flatten(1).split(_STRIP, 1):
        numbers = strip.double()
        total += numbers.sum(1)
        squares += numbers.square_().sum(1)
    return Moments(image[0].numel(), tuple(total.tolist()), tuple(squares.tolist()))


def statistics(parts: Sequence[Moments]) -> Statistics:
    """Mean and spread over all pixels of images.

    The sums are exact, so that it does not matter in which order or by how many processes the
    images were read. A channel that is the same everywhere has the spread 1.

    >>> statistics([Moments(2, (4.0,), (16.0,)), Moments(2, (4.0,), (16.0,))])
    Statistics(mean=(2.0,), spread=(2.0,))
    """
    count = sum(part.pixels for part in parts)
    mean, spread = [], []
    for channel in range(len(parts[0].total)):
        average = math.fsum(part.total[channel] for part in parts) / count
        square = math.fsum(part.squares[channel] for part in parts) / count
        mean.append(average)
        variance = square - average**2
        # What is left of a constant channel is rounding.
        spread.append(math.sqrt(variance) if variance > _ROUNDING * square else 1.0)
    return Statistics(tuple(mean), tuple(spread))
