"""The names of the classes, from the files in which people have them."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from lovasz.train.data.base import IGNORE
from lovasz.train.data.colours import colour_file, names_of, read_colours
from lovasz.train.data.text import read_lines
from lovasz.train.data.walk import folders
from lovasz.train.errors import UserError

if TYPE_CHECKING:
    from lovasz.train.data.config import DataConfig
    from lovasz.train.data.layouts import Layout

_EXPECTED = "a text file with one class name per line"
_FILES = ("classes.txt", "class_names.txt", "_classes.csv")


class Classes(NamedTuple):
    """Class names, and the value in the mask files of each if it is not its number."""

    names: list[str]
    values: tuple[int, ...] = ()


def own_classes(root: Path, config: DataConfig) -> Classes | None:
    """What the user says the classes are: by an option, a file in the folder, or their colours.

    Raises:
        UserError: If the file cannot be read or its names are none.
    """
    if config.class_names:
        return _from(Path(config.class_names))
    # Roboflow writes the same table into the folder of each part.
    places = [root, *(folder for folder in folders(root) if "train" in folder.name.lower())]
    found = [place / name for place in places for name in _FILES if (place / name).is_file()]
    if found:
        return _from(found[0])
    path = colour_file(root, config.palette)
    return _checked(Classes(names_of(read_colours(path))), path) if path else None


def is_class_file(path: Path) -> bool:
    """Whether a file has such a name, so that it is none of the images."""
    return path.name in (*_FILES, "labelmap.txt")


def known_classes(root: Path, layout: Layout) -> Classes:
    """The classes of a well-known data set, or the sentence that there are none.

    Raises:
        UserError: If the folder has no file with their names.
    """
    if layout.classes:
        return Classes(list(layout.classes), layout.labels)
    path = root / (layout.class_table or _FILES[0])
    if not layout.class_table:
        return _from(path)
    rows = read_lines(path, "class_names", "a table of classes")[1:]
    names = [row.split("\t")[-1].split(",")[0] for row in rows]
    if len(names) != layout.size:
        raise UserError(f"class_names: expected {layout.size} names in {path}, got {len(names)}")
    return Classes(names, layout.labels)


def _from(path: Path) -> Classes:
    lines = read_lines(path, "class_names", _EXPECTED)
    return _checked(_table(lines, path) if path.suffix.lower() == ".csv" else Classes(lines), path)


def _checked(classes: Classes, path: Path) -> Classes:
    names = classes.names
    if not 2 <= len(names) <= IGNORE:
        raise UserError(f"class_names: expected 2 to {IGNORE} names in {path}, got {len(names)}")
    twice = next((name for k, name in enumerate(names) if name in names[:k]), None)
    if twice:
        raise UserError(f"class_names: expected different names in {path}, got {twice} twice")
    return classes


def _table(lines: list[str], path: Path) -> Classes:
    """The classes of a table of values and names, as Roboflow's _classes.csv."""
    rows = [[cell.strip() for cell in row] for row in csv.reader(lines)]
    try:
        found = sorted((int(row[0]), row[1]) for row in rows[1:])
    except (IndexError, ValueError) as error:
        raise UserError(
            f"class_names: expected a value and a name on each line of {path} but the first,"
            f" cannot read it"
        ) from error
    values = tuple(value for value, _ in found)
    names = [name for _, name in found]
    return Classes(names, () if values == tuple(range(len(values))) else values)
