"""Tables of colours: which colour in the masks is which class."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from lovasz.train.data.text import read_lines
from lovasz.train.errors import UserError

# What tables call pixels without a label, when no list of classes says so.
VOID = {"void", "ignore", "ignored", "unlabeled", "unlabelled"}

_RGB = r"(?:#[0-9a-fA-F]{6}|\d{1,3}[,;\s]+\d{1,3}[,;\s]+\d{1,3})"
_LINES = [
    re.compile(rf"(?P<name>[^:]+?)\s*:\s*(?P<rgb>{_RGB})\s*(?::.*)?"),  # labelmap.txt of CVAT
    re.compile(rf"(?P<rgb>{_RGB})[,;:\s]+(?P<name>.*\S)"),
    re.compile(rf"(?P<name>.*?\S)[,;\s]+(?P<rgb>{_RGB})"),
]
_EXPECTED = "a text file with lines of a name and a colour (road 128 64 128, or road #804080)"


class Colour(NamedTuple):
    """A line of a table: a class and its colour as 0xRRGGBB."""

    name: str
    code: int

    @property
    def rgb(self) -> tuple[int, int, int]:
        """Red, green and blue."""
        return self.code >> 16, self.code >> 8 & 255, self.code & 255


def read_colours(path: Path) -> list[Colour]:
    """The colours of a file, in its order.

    A line has a name and a colour, in either order: `road 128 64 128`, `128,64,128,road`,
    `road: 128,64,128::` (as in the labelmap.txt of CVAT) or `#804080 road`. Lines without a digit
    or that begin with # are headings and comments. A name may have several colours.

    Raises:
        UserError: If the file cannot be read, or a line has no colour or one that came before.
    """
    table: dict[int, str] = {}
    for line in read_lines(path, "palette", _EXPECTED):
        comment = line.startswith("#") and not re.match(r"#[0-9a-fA-F]{6}\b", line)
        if comment or not re.search(r"\d|#[0-9a-fA-F]{6}\b", line):
            continue
        colour = parse_colour(line)
        if colour is None:
            raise UserError(f"palette: expected a name and a colour in {path}, got {line!r}")
        if table.setdefault(colour.code, colour.name) != colour.name:
            raise UserError(
                f"palette: expected one class for each colour in {path}, got {colour.rgb} for"
                f" {table[colour.code]} and {colour.name}"
            )
    if not table:
        raise UserError(f"palette: expected {_EXPECTED}, found none in {path}")
    return [Colour(name, code) for code, name in table.items()]


def parse_colour(line: str) -> Colour | None:
    r"""The name and colour in a line; None if there are none.

    >>> parse_colour("road:128,64,128::"), parse_colour("64 128 64\tAnimal")
    (Colour(name='road', code=8405120), Colour(name='Animal', code=4227136))
    >>> parse_colour("class 1 0 0 255"), parse_colour("road 300 0 0")
    (Colour(name='class 1', code=255), None)
    """
    for pattern in _LINES:
        match = pattern.fullmatch(line)
        if match is None:
            continue
        rgb, name = match["rgb"], match["name"].strip("\"' ,;:\t")
        if rgb.startswith("#"):
            return Colour(name, int(rgb[1:], 16))
        red, green, blue = (int(number) for number in re.findall(r"\d+", rgb))
        if max(red, green, blue) <= 255 and name:
            return Colour(name, red << 16 | green << 8 | blue)
    return None


def colour_file(root: Path, palette: str | None) -> Path | None:
    """The table that the option names, or the labelmap.txt of a folder; None if there is none."""
    if palette is not None:
        return Path(palette)
    path = root / "labelmap.txt"
    return path if path.is_file() else None


def class_colours(table: list[Colour], classes: list[str]) -> tuple[dict[int, int], list[int]]:
    """The label of each colour, and the colours that no class has.

    Raises:
        UserError: If a class has no colour.
    """
    labels = {name: label for label, name in enumerate(classes)}
    of = {colour.code: labels[colour.name] for colour in table if colour.name in labels}
    for name, label in labels.items():
        if label not in of.values():
            names = ", ".join(dict.fromkeys(colour.name for colour in table))
            raise UserError(f"palette: expected a colour for the class {name}, got {names}")
    return of, [colour.code for colour in table if colour.code not in of]


def first_colours(table: list[Colour], classes: list[str]) -> list[tuple[int, int, int]]:
    """The first colour of each class, for pictures; none if a class has no colour."""
    first = {colour.name: colour.rgb for colour in reversed(table)}
    return [first[name] for name in classes] if set(classes) <= set(first) else []


def names_of(table: list[Colour]) -> list[str]:
    """The classes of a table where no other list names them: all but those of VOID."""
    return [name for name in dict.fromkeys(c.name for c in table) if name.lower() not in VOID]
