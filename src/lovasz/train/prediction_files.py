"""The files that a prediction leaves: masks, overlays and probabilities, each written at once."""

from __future__ import annotations

import math
import os
import tempfile
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image

from lovasz.train.errors import UserError, WriteError
from lovasz.train.writing import replacing

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from typing import BinaryIO

    from torch import Tensor

    Colours = Sequence[tuple[int, int, int]]

_LONGEST_JPEG = 65_500  # pixels of a side
_IN_MEMORY = 1 << 30  # bytes
_OPAQUE = 0.5  # share of the colours in an overlay


@contextmanager
def _new(path: Path) -> Iterator[BinaryIO]:
    """A file that is there whole or not at all, with its folder.

    Raises:
        UserError: If it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WriteError.of(path, error) from error
    with replacing(path, durable=False) as file:  # what is lost can be predicted again
        yield file


def mask_values(values: Sequence[int]) -> list[int]:
    """Those of the training masks where a byte holds them all, else the numbers of the classes.

    >>> mask_values([0, 255]), mask_values([0, 1000])
    ([0, 255], [0, 1])
    """
    return list(values) if max(values) <= 255 else list(range(len(values)))


def write_mask(path: Path, labels: Tensor, values: Sequence[int], colours: Colours) -> None:
    """A palette PNG of labels (H, W): of each class its value and its colour."""
    picture = Image.fromarray(np.asarray(values, dtype=np.uint8)[labels.cpu().numpy()])
    # All 256 entries: with fewer the file would have fewer bits, which not all programs read.
    palette = np.zeros((256, 3), dtype=np.uint8)
    palette[list(values)] = colours
    picture.putpalette(palette.tobytes())
    with _new(path) as file:
        picture.save(file, "PNG")


def write_overlay(path: Path, shown: Tensor, labels: Tensor, colours: Colours) -> None:
    """A JPEG of an image of bytes (3, H, W) blended with the colours of its labels (H, W).

    It has the size of the image unless that is more than a JPEG may have.
    """
    flat = np.asarray(colours, dtype=np.uint8)[labels.cpu().numpy()]
    picture = Image.blend(
        Image.fromarray(shown.movedim(0, -1).numpy()), Image.fromarray(flat), _OPAQUE
    )
    picture.thumbnail((_LONGEST_JPEG, _LONGEST_JPEG), Image.Resampling.BOX)
    # Without subsampling, which would blur the edges of the classes.
    with _new(path) as file:
        picture.save(file, "JPEG", quality=90, subsampling=0)


@contextmanager
def half_precision(shape: Sequence[int], folder: Path) -> Iterator[Tensor]:
    """A float16 tensor to fill: in memory, or of more than 1 GB in a temporary file in the folder.

    Raises:
        UserError: If there is no room for the file.
    """
    size = 2 * math.prod(shape)
    if size <= _IN_MEMORY:
        yield torch.empty(*shape, dtype=torch.float16)
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            if hasattr(os, "posix_fallocate"):  # a full disk is an error now, a crash later
                os.posix_fallocate(file.fileno(), 0, size)
            yield torch.from_numpy(np.memmap(file, np.float16, "w+", shape=tuple(shape)))
    except OSError as error:
        raise UserError(
            f"probabilities: cannot write {size:,} bytes to {folder}: {error.strerror or error}"
        ) from error


def write_probabilities(path: Path, probabilities: Tensor, classes: Sequence[str]) -> None:
    """A compressed NumPy file: `probabilities` (classes, H, W) in float16, and `classes`."""
    arrays = {"probabilities": probabilities.cpu().half().numpy(), "classes": np.array(classes)}
    with _new(path) as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
