"""Folders of images (PNG, JPEG) and masks (PNG with labels or a palette)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lovasz.train.data.base import IGNORE, DataSet
from lovasz.train.data.finding import find_pairs
from lovasz.train.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    from lovasz.train.data.config import DataConfig
    from lovasz.train.data.pairs import Pair


@dataclass(frozen=True)
class Files:
    """The image and mask files of one part, read when they are needed."""

    pairs: list[Pair]
    table: np.ndarray
    classes: int

    def __len__(self) -> int:
        """The number of images."""
        return len(self.pairs)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Read image and mask.

        Raises:
            UserError: If a file cannot be read, or the mask does not fit the image or the classes.
        """
        image = torch.from_numpy(_pixels(self.pairs[index][0], "RGB").copy()).movedim(-1, 0)
        return image, self.target(index)

    def target(self, index: int) -> Tensor:
        """Read the mask alone.

        Raises:
            UserError: If the file cannot be read, or the mask does not fit the classes.
        """
        mask_path = self.pairs[index][1]
        values = _mask(mask_path)
        labels = self.table[values]
        if (labels < 0).any():
            raise UserError(
                f"{mask_path}: expected labels from 0 to {self.classes - 1}"
                f"{self._ignored()}, got {values[labels < 0].max()}"
            )
        return torch.from_numpy(labels.astype(np.uint8))

    def _ignored(self) -> str:
        ignored = np.flatnonzero(self.table == IGNORE)
        return f" or {ignored[0]} for no label" if len(ignored) else ""


def load_folder(config: DataConfig) -> DataSet:
    """The data set in the folder that the configuration names.

    Raises:
        UserError: If the folder is arranged in no known way, or something in it is missing.
    """
    found = find_pairs(config)
    names, values = found.classes
    table = replace(found.layout, labels=values).table(len(names), config.ignore_index)
    parts = {part: Files(pairs, table, len(names)) for part, pairs in found.parts.items()}
    for files in parts.values():
        _check_sizes(files)
    title = f"{found.root.resolve().name} ({found.layout.name}), {len(names)} classes"
    return DataSet(title, names, dict(parts))


def _check_sizes(files: Files) -> None:
    """Compare the sizes of images and masks by their headers, before a run fails hours later."""
    for paths in files.pairs:
        image, mask = (_header(path) for path in paths)
        if image != mask:
            raise UserError(
                f"{paths[1]}: expected a mask of {_size(image)} pixels like {paths[0]}, "
                f"got {_size(mask)}"
            )


def _header(path: Path) -> tuple[int, int]:
    """Width and height."""
    try:
        with Image.open(path) as file:
            return file.size
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise UserError(f"{path}: expected an image, cannot read it") from error


def _mask(path: Path) -> np.ndarray:
    values = _pixels(path)
    if values.ndim != 2 or values.dtype not in (np.uint8, np.bool_):
        kind = "several channels" if values.ndim != 2 else f"{values.dtype} pixels"
        raise UserError(
            f"{path}: expected a mask with one 8-bit label per pixel (grey or palette PNG), "
            f"got an image with {kind}"
        )
    return values.astype(np.uint8)


def _pixels(path: Path, mode: str | None = None) -> np.ndarray:
    try:
        with Image.open(path) as file:
            return np.asarray(file if mode is None else file.convert(mode))
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise UserError(f"{path}: expected an image, cannot read it") from error


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"
