"""The image and mask files of a part of a data set, as tensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lovasz.train.data.images import read_image
from lovasz.train.data.masks import count_mask, read_mask

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np
    from torch import Tensor

    from lovasz.train.data.images import Reading
    from lovasz.train.data.values import Values

_AT_ONCE = 100_000_000  # pixels that may be in memory, times a few bytes


@dataclass(frozen=True)
class Files:
    """The image and mask files of one part, read when they are needed.

    Attributes:
        pairs: Image and mask of each item.
        values: What the masks hold.
        classes: Number of classes.
        reading: How images are read.
        as_bytes: Whether the images are bytes; else all are float32, also those with bytes.
        floating: Whether there are images with floating-point pixels, which may be none.
        pixels: Of the largest image.
    """

    pairs: Sequence[tuple[Path, Path]]
    values: Values
    classes: int
    reading: Reading
    as_bytes: bool = True
    floating: bool = False
    pixels: int = 0

    @property
    def threads(self) -> int:
        """How many of its files may be read at once, so that large ones do not fill the memory."""
        return max(1, min(8, _AT_ONCE // max(1, self.pixels)))

    def __len__(self) -> int:
        """The number of images."""
        return len(self.pairs)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Read image and mask.

        Raises:
            UserError: If a file cannot be read, or the mask does not fit the image or the classes.
        """
        return self.image(index), self.target(index)

    def image(self, index: int) -> Tensor:
        """Read the image alone.

        Raises:
            UserError: If the file cannot be read.
        """
        image = read_image(self.pairs[index][0], self.reading)
        return image if self.as_bytes else image.float()

    def target(self, index: int) -> Tensor:
        """Read the mask alone.

        Raises:
            UserError: If the file cannot be read, or the mask does not fit the classes.
        """
        return read_mask(self.pairs[index][1], self.values, self.reading.orientation)

    def count(self, index: int) -> np.ndarray:
        """Pixels of each class in a mask, and last those without a label.

        Raises:
            UserError: As `target`.
        """
        path = self.pairs[index][1]
        return count_mask(path, self.values, self.reading.orientation, self.classes)
