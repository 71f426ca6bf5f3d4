"""Lists of the images of a part, with or without their masks, as text files have them."""

from __future__ import annotations

import csv
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from lovasz.train.data.config import PARTS
from lovasz.train.data.naming import Key, common_name, composed, is_image, key, preference
from lovasz.train.data.pairs import Pair, Paired
from lovasz.train.data.text import read_lines
from lovasz.train.data.walk import files
from lovasz.train.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lovasz.train.data.folder_names import FolderNames
    from lovasz.train.data.pairs import Sides

# Headings of the columns of a table, as they are without `path`, `file`, `name` and `id`.
_HEADINGS = (
    {"image", "images", "img", "imgs", "input", "rgb", "photo", ""},
    {"mask", "masks", "label", "labels", "annotation", "gt", "target", "segmentation"},
    {"split", "part", "subset", "set"},
)


class Columns(NamedTuple):
    """Where a table has what; its parts only matter if it is one list for all of them."""

    image: int
    mask: int | None
    part: int | None
    delimiter: str


class Lists:
    """Reads lists of one data set.

    Args:
        root: Its folder.
        sides: Its images and masks.
        names: What its parts are called.
    """

    def __init__(self, root: Path, sides: Sides, names: FolderNames) -> None:
        self.root, self.sides, self.names = root, sides, names
        self._folders: dict[Path, dict[str, Path]] = {}

    def pair(self, path: Path) -> Paired:
        """The images that a list names, with their masks.

        Raises:
            UserError: If it cannot be read, or names a file that is not there.
        """
        paired = Paired(by_name=False)
        lines = read_lines(path, "lists", "a text file with an image on each line")
        columns = self._columns(lines[0], path) if lines else None
        for line in lines[1:] if columns else lines:
            found = self._by_columns(line, columns, path) if columns else self._read(line, path)
            if found is None:
                if line.startswith("#"):
                    continue
                raise UserError(self._unknown(line, path))
            image, mask = found
            if mask is None:
                paired.by_name = True
                mask = self.sides.mask(self._key(image), image)
            if mask is None:
                paired.missing.append(image)
                continue
            paired.pairs.append(Pair(image, mask))
            if columns and columns.part is not None:
                part = self._part(_cells(line, columns.delimiter)[columns.part], path)
                paired.parts.setdefault(part, []).append(paired.pairs[-1])
        return paired

    def _part(self, name: str, path: Path) -> str:
        for part in PARTS:
            if self.names.is_part(name, part):
                return part
        raise UserError(f"{path}: expected {', '.join(PARTS)} as parts, got {name}")

    def _read(self, line: str, path: Path) -> tuple[Path, Path | None] | None:
        """Image and mask of a line: the whole line, or else two names on it."""
        image = self._image(line, path)
        if image:
            return image, None
        for first, second in _halves(line):
            image = self._image(first, path)
            mask = self._find(second, path, self.sides.place.masks) if image else None
            if image and mask:
                return image, mask
        return None

    def _columns(self, line: str, path: Path) -> Columns | None:
        """The columns of a table, if the line is its heading."""
        if self._read(line, path):
            return None
        delimiter = _delimiter(line)
        words = [
            re.sub(r"[\W_]+|path|file|name|id", "", cell.lower())
            for cell in _cells(line, delimiter)
        ]
        at = [next((k for k, w in enumerate(words) if w in names), None) for names in _HEADINGS]
        return None if at[0] is None else Columns(at[0], at[1], at[2], delimiter)

    def _by_columns(
        self, line: str, columns: Columns, path: Path
    ) -> tuple[Path, Path | None] | None:
        cells = _cells(line, columns.delimiter)
        if len(cells) <= max(at for at in columns[:3] if at is not None):
            return None
        image = self._image(cells[columns.image], path)
        if image is None or columns.mask is None:
            return (image, None) if image else None
        mask = self._find(cells[columns.mask], path, self.sides.place.masks)
        return (image, mask) if mask else None

    def _image(self, name: str, path: Path) -> Path | None:
        """The image that a list calls so, with or without extension and ending."""
        folder = self.sides.place.images
        name = name.replace("\\", "/")
        ending = self.sides.endings[0]
        if folder:
            at = Path(name)
            for base in (folder, self.root, path.parent):
                if (base / at).is_relative_to(folder):
                    inner = (base / at).relative_to(folder)
                    for common in (inner.name, common_name(f"{inner.name}.png", ending)):
                        place = common and Key(composed(inner.parent.as_posix()), composed(common))
                        if place and self.sides.images.get(place):
                            return self.sides.images[place][0]
        return self._find(name, path, folder)

    def _find(self, name: str, path: Path, folder: Path | None) -> Path | None:
        """The file of this name in the folder, in that of the data set or in that of the list."""
        name = name.replace("\\", "/")
        for base in filter(None, (folder, self.root, path.parent)):
            for spelled in dict.fromkeys((name, name.lstrip("/"))):
                at = base / (os.path.normpath(spelled) if ".." in spelled else spelled)
                found = self._inside(at.parent).get(composed(at.name))
                if found:
                    return found
        return None

    def _inside(self, folder: Path) -> dict[str, Path]:
        """The images in a folder by their names, and by those without extension."""
        if folder not in self._folders:
            if not folder.is_dir():
                return {}
            images = sorted(filter(is_image, files(folder)), key=preference, reverse=True)
            by_stem = {composed(path.stem): path for path in images}
            self._folders[folder] = by_stem | {composed(path.name): path for path in images}
        return self._folders[folder]

    def _key(self, image: Path) -> Key:
        """The key by which the mask of an image is looked for."""
        folder = self.sides.place.images
        name = common_name(image.name, self.sides.endings[0])
        if folder and name and image.is_relative_to(folder):
            return key(image, folder, name)
        return Key("", composed(name or image.stem))

    def _unknown(self, line: str, path: Path) -> str:
        folder = self.sides.place.images
        where = f" in {folder}" if folder else f" below {self.root}"
        pair = " or a pair of image and mask" if len(_cells(line)) > 1 or " " in line else ""
        sentence = f"{path}: expected an image{pair} {line}{where}, found none"
        parts = Path(_cells(line.split(maxsplit=1)[0])[0].replace("\\", "/")).parts
        for k in range(1, len(parts)):
            if self._find("/".join(parts[k:]), path, None):
                return f"{sentence}; {'/'.join(parts[k:])} is there: list paths from there on"
        return sentence


def _halves(line: str) -> Iterator[tuple[str, str]]:
    """The ways to read a line as two names."""
    for delimiter in "\t;,":
        cells = _cells(line, delimiter)
        if len(cells) == 2:
            yield cells[0], cells[1]
    for space in re.finditer(r"\s+", line):
        yield line[: space.start()].strip("\"'"), line[space.end() :].strip("\"'")


def _delimiter(line: str) -> str:
    """What separates the cells of a line of a table."""
    return next((mark for mark in "\t;," if mark in line), ",")


def _cells(line: str, delimiter: str | None = None) -> list[str]:
    """The cells of a line of a table."""
    delimiter = delimiter or _delimiter(line)
    return [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter))]
