"""Folders of images (PNG, JPEG) and masks (PNG with labels or a palette)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lovasz.train.data.base import IGNORE, DataSet
from lovasz.train.data.layouts import LAYOUTS, Layout
from lovasz.train.errors import UserError

_IMAGES = {".png", ".jpg", ".jpeg"}


@dataclass(frozen=True)
class Files:
    """The image and mask files of one part, read when they are needed."""

    pairs: list[tuple[Path, Path]]
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


def load_folder(root: Path, class_names: Path | None, ignore_index: int) -> DataSet:
    """Find the parts and the classes of the data set in a folder.

    Raises:
        UserError: If the folder has none of the known layouts, or something in it is missing.
    """
    if not root.is_dir():
        raise UserError(f"data: expected a folder, got {root}, which is none")
    layout = next((layout for layout in LAYOUTS if layout.fits(root)), None)
    if layout is None:
        raise UserError(
            f"data: expected {root} to hold train/images and train/masks, images/train and "
            "masks/train, images, masks and train.txt, or Pascal VOC, CamVid, ADE20K or Cityscapes"
        )
    classes = _class_names(root, layout, class_names)
    table = layout.table(len(classes), ignore_index)
    parts: dict[str, Files] = {}
    for part, name in layout.parts.items():
        pairs = _pairs(root, layout, name)
        if pairs:
            parts[part] = Files(pairs, table, len(classes))
    for needed in ("train", "val"):
        if needed not in parts:
            where = (layout.lists or layout.images).format(part=layout.parts[needed])
            raise UserError(f"data: expected images in {root / where}, found none")
    for files in parts.values():
        _check_sizes(files)
    title = f"{root.resolve().name} ({layout.name}), {len(classes)} classes"
    return DataSet(title, classes, dict(parts))


def _class_names(root: Path, layout: Layout, given: Path | None) -> list[str]:
    if given is None and layout.classes:
        return list(layout.classes)
    path = given or root / ("objectInfo150.txt" if layout.name == "ADE20K" else "classes.txt")
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"class_names: expected a text file with one class name per line, cannot read {path}"
        ) from error
    if path.name == "objectInfo150.txt":  # a table with one heading; the last column is the name
        lines = [line.split("\t")[-1].split(",")[0] for line in lines[1:]]
    names = [line for line in lines if line]
    expected = len(layout.labels)
    if not 2 <= len(names) <= IGNORE or (expected and len(names) != expected):
        wanted = expected or f"2 to {IGNORE}"
        raise UserError(f"class_names: expected {wanted} names in {path}, got {len(names)}")
    return names


def _pairs(root: Path, layout: Layout, part: str) -> list[tuple[Path, Path]]:
    """Image and mask files of a part, in the order of their names or of the list."""
    folder = root / layout.images.format(part=part)
    masks = root / layout.masks.format(part=part)
    image_end, mask_end = layout.suffixes
    if layout.lists is None:
        found = sorted(folder.rglob("*")) if folder.is_dir() else []
        images = [p for p in found if p.suffix.lower() in _IMAGES and p.stem.endswith(image_end)]
    else:
        images = _listed(root / layout.lists.format(part=part), folder)
    pairs = []
    for image in images:
        stem = image.stem.removesuffix(image_end) + mask_end
        mask = masks / image.relative_to(folder).with_name(stem + ".png")
        if not mask.is_file():
            raise UserError(f"{image}: expected its mask at {mask}, found none")
        pairs.append((image, mask))
    return pairs


def _listed(path: Path, folder: Path) -> list[Path]:
    """The images that a list file names, with or without file extension."""
    if not path.is_file():
        return []
    images = []
    for line in path.read_text(encoding="utf-8").split():
        names = [line] if Path(line).suffix.lower() in _IMAGES else []
        names += [line + suffix for suffix in sorted(_IMAGES)]
        image = next((folder / name for name in names if (folder / name).is_file()), None)
        if image is None:
            raise UserError(f"{path}: expected an image {line} in {folder}, found none")
        images.append(image)
    return images


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
