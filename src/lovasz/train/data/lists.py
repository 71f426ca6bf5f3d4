"""Lists of the images of a part, with or without their masks, as text files have them."""

from __future__ import annotations

import csv
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from lovasz.train.data.naming import Key, common_name, composed, is_image, key, preference
from lovasz.train.data.pairs import Pair, Paired
from lovasz.train.data.text import read_lines
from lovasz.train.data.walk import files
from lovasz.train.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lovasz.train.data.pairs import Sides

# Headings of the columns of a table, as they are without `path`, `file`, `name` and `id`.
_HEADINGS = (
    {"image", "images", "img", "imgs", "input", "rgb", "photo", ""},
    {"mask", "masks", "label", "labels", "annotation", "gt", "target", "segmentation"},
)


class Lists:
    """Reads lists of one data set."""

    def __init__(self, root: Path, sides: Sides) -> None:
        self.root, self.sides = root, sides
        self._folders: dict[Path, dict[str, Path]] = {}

    def pair(self, path: Path) -> Paired:
        """The images that a list names, with their masks.

        Raises:
            UserError: If it cannot be read, or names a file that is not there.
        """
        paired = Paired(by_name=False)
        lines = read_lines(path, "lists", "a text file with an image on each line")
        columns: tuple[int, int | None] | None = None
        for number, line in enumerate(lines):
            if number == 0 and (columns := self._columns(line, path)):
                continue
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
            else:
                paired.pairs.append(Pair(image, mask))
        return paired

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

    def _columns(self, line: str, path: Path) -> tuple[int, int | None] | None:
        """The columns of image and mask, if the line is the heading of a table."""
        if self._read(line, path):
            return None
        words = [re.sub(r"[\W_]+|path|file|name|id", "", cell.lower()) for cell in _cells(line)]
        at = [next((k for k, w in enumerate(words) if w in names), None) for names in _HEADINGS]
        return None if at[0] is None else (at[0], at[1])

    def _by_columns(
        self, line: str, columns: tuple[int, int | None], path: Path
    ) -> tuple[Path, Path | None] | None:
        cells = _cells(line)
        if len(cells) <= max(columns[0], columns[1] or 0):
            return None
        image = self._image(cells[columns[0]], path)
        if image is None or columns[1] is None:
            return (image, None) if image else None
        mask = self._find(cells[columns[1]], path, self.sides.place.masks)
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


def _cells(line: str, delimiter: str | None = None) -> list[str]:
    """The cells of a line of a table."""
    delimiter = delimiter or next((mark for mark in "\t;," if mark in line), ",")
    return [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter))]
