"""How the labels' resolution lies on that of the scores, as the kernels are told it.

Outputs x of an axis lie among its sources at (x · step + offset) / whole, which are integers: the
source is their quotient and the weight of the next one what is left of it, so that the weights are
those of ``core.upsampling`` to the last digit of float32 whatever the sizes. In float32 alone they
are off by 3e-5 at 512 pixels. The nearest source is that of torch, which multiplies in float32.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from lovasz.core.upsampling import LINEAR_CORNERS, NEAREST
from lovasz.kernels.triton import blocks


class Axis(NamedTuple):
    """How the outputs of an axis lie among its sources; the numbers that the kernels get."""

    size: int  # outputs
    source: int
    step: int  # output x lies at max(0, x · step + offset) / whole
    offset: int
    whole: int
    ratio: float  # sources to outputs, for the nearest

    @classmethod
    def of(cls, source: int, size: int, mode: str) -> Axis:
        """As ``core.upsampling`` defines it."""
        ratio = source / size
        if mode == NEAREST:
            return cls(size, source, source, 0, size, ratio)
        if mode == LINEAR_CORNERS:
            return cls(size, source, source - 1, 0, max(size - 1, 1), ratio)
        return cls(size, source, 2 * source, source - size, 2 * size, ratio)

    def margin(self, mode: str) -> int:
        """Outputs by which rounding may move where a source begins to be the nearest."""
        return 1 + self.size // 2**22 if mode == NEAREST else 0

    def readers(self, mode: str) -> int:
        """Outputs that may read a source, at most: neighbours."""
        if mode == NEAREST:
            most = self.whole // self.step + 1 + 2 * self.margin(mode)
        else:
            most = 2 * self.whole // self.step + 1 if self.step > 0 else self.size
        return min(most, self.size)

    def reads(self, first: int, last: int, mode: str) -> tuple[int, int]:
        """Sources [begin, end) in which are all that outputs first to last read."""
        margin = 1 + self.source // 2**22 if mode == NEAREST else 0
        begin, end = (max(x * self.step + self.offset, 0) // self.whole for x in (first, last))
        return max(begin - margin, 0), min(end + 2 + margin, self.source)


class Upsampling(NamedTuple):
    """Both resolutions."""

    axes: tuple[Axis, Axis, Axis]  # of depth, height and width
    mode: str

    @classmethod
    def of(cls, scores: Tensor, size: Sequence[int], mode: str) -> Upsampling:
        """From scores (N, C, d, h, w) to (D, H, W)."""
        sizes = zip(scores.shape[2:], size, strict=True)
        depth, height, width = (Axis.of(int(n), int(x), mode) for n, x in sizes)
        return cls((depth, height, width), mode)

    @property
    def length(self) -> int:
        """Outputs, L."""
        return math.prod(axis.size for axis in self.axes)

    @property
    def numbers(self) -> tuple[int | float, ...]:
        """Of all axes, for the kernels."""
        return tuple(number for axis in self.axes for number in axis)

    @property
    def dimensions(self) -> int:
        """Axes to interpolate along; those in front that have a size of 1 are left out."""
        sizes = [(axis.source, axis.size) for axis in self.axes]
        return 3 if sizes[0] != (1, 1) else 2 if sizes[1] != (1, 1) else 1

    @property
    def wide(self) -> bool:
        """Whether positions need 64 bits, which take several times as long to divide."""
        largest = max(2 * (axis.source + 2) * (axis.size + 2) for axis in self.axes)
        sources = math.prod(axis.source for axis in self.axes)
        return max(largest, self.length + blocks.BLOCK, sources + blocks.BLOCK) >= 2**31

    def reads(self, first: int, last: int) -> tuple[int, int]:
        """Sources [start, end), in memory order, with all that outputs [first, last) read."""
        (_, d, *_), (height, h, *_), (width, w, *_) = self.axes
        places = zip(*(self._places(x, height, width) for x in (first, last - 1)), strict=True)
        start, inner = 0, d * h * w
        for axis, (low, high) in zip(self.axes, places, strict=True):
            inner //= axis.source
            begin, end = axis.reads(low, high, self.mode)
            if low != high or end - begin > 1:  # of the axes that follow there may be any
                return start + begin * inner, start + end * inner
            start += begin * inner
        return start, start + 1

    @staticmethod
    def _places(pixel: int, height: int, width: int) -> tuple[int, int, int]:
        return pixel // width // height, pixel // width % height, pixel % width
