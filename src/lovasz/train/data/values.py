"""What the numbers or colours in mask files stand for."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lovasz.train.data.base import IGNORE
from lovasz.train.data.colours import class_colours
from lovasz.train.errors import expect

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lovasz.train.data.colours import Colour
    from lovasz.train.data.config import DataConfig

LARGEST = 65535  # of the numbers in mask files


class Values(NamedTuple):
    """What the numbers, or with a table of colours the colours, in mask files stand for.

    Attributes:
        classes: Number, or colour as 0xRRGGBB, and its label; several may have the same label.
        ignored: Those of pixels without a label, even if they stand among the classes.
        others: Whether all further ones are without a label too, instead of an error.
        colours: Whether the masks are read by their colours; else by the numbers in the files,
            which in palette images are the indices.
    """

    classes: tuple[tuple[int, int], ...]
    ignored: tuple[int, ...] = ()
    others: bool = False
    colours: bool = False

    @property
    def of_classes(self) -> list[int]:
        """The first number or colour of each class."""
        first: dict[int, int] = {}
        for code, label in self.classes:
            first.setdefault(label, code)
        return [first[label] for label in sorted(first)]

    def name(self, code: int) -> str:
        """How a number or colour is written in messages.

        >>> Values(()).name(7), Values((), colours=True).name(0x80FF00)
        ('7', '(128, 255, 0)')
        """
        return str(tuple(code.to_bytes(3, "big"))) if self.colours else str(code)

    def expected(self) -> str:
        """What the masks may hold, for messages.

        >>> Values(((0, 0), (1, 1), (2, 2)), ignored=(255,)).expected()
        'labels from 0 to 2 or 255 for no label'
        """
        codes = [code for code, _ in self.classes]
        void = " or ".join(map(self.name, self.ignored[:3]))
        if self.colours:
            words = "one of the colours of the table"
        elif codes == list(range(len(codes))):
            words = f"labels from 0 to {len(codes) - 1}"
        else:
            shown = ", ".join(map(str, codes[:6])) + (", ..." if len(codes) > 6 else "")
            words = f"one of the values {shown}"
        return f"{words} or {void} for no label" if void else words

    def table(self) -> np.ndarray:
        """Number or colour to label: IGNORE where ignored, -1 where it is an error."""
        return _table(self)


@lru_cache(maxsize=4)
def _table(values: Values) -> np.ndarray:
    """Code to label: IGNORE where ignored, -1 where it is an error."""
    size = 1 << 24 if values.colours else LARGEST + 1
    table = np.full(size, IGNORE if values.others else -1, dtype=np.int16)
    for code, label in values.classes:
        table[code] = label
    table[list(values.ignored)] = IGNORE
    return table


def number_values(
    config: DataConfig, names: Sequence[str], own: Sequence[int], ignore: int | None
) -> Values:
    """What the numbers in masks stand for.

    Args:
        config: Options that come before what the folder says.
        names: The classes.
        own: The value of each class, as the folder says; empty for 0, 1, 2 and so on.
        ignore: The ignored value, as the folder says; -1 for all without a class, None for 255
            unless it is that of a class.

    Raises:
        UserError: If the options do not fit the classes or each other.
    """
    given, ignored = config.mask_values, config.ignored
    codes = given or list(own) or list(range(len(names)))
    shown = ", ".join(names[:6]) + ", ..." * (len(names) > 6)
    wanted = f"{len(names)} values, one for each class ({shown})"
    expect(len(codes) == len(names), "mask_values", wanted, given)
    if ignored is None:
        default = 255 if ignore is None else ignore
        ignored = [] if default < 0 or default in codes else [default]
        others = default < 0
    else:
        others = False
        both = sorted(set(ignored) & set(given or []))
        expect(not both, "ignore_index", "values that are not in --mask_values", both)
    classes = tuple((code, label) for label, code in enumerate(codes))
    return Values(classes, tuple(ignored), others)


def colour_values(config: DataConfig, names: list[str], table: list[Colour]) -> Values:
    """What the colours in masks stand for.

    Args:
        config: Its ignored values are those of grey, which is a colour too.
        names: The classes.
        table: Their colours; those of other names are without a label.

    Raises:
        UserError: If a class has no colour, or an option does not go with colours.
    """
    expect(config.mask_values is None, "mask_values", "none beside --palette", config.mask_values)
    codes, void = class_colours(table, names)
    ignored = config.ignored or []
    expect(max(ignored, default=0) <= 255, "ignore_index", "up to 255 with --palette", ignored)
    void += [grey * 0x010101 for grey in ignored if grey * 0x010101 not in codes]
    return Values(tuple(codes.items()), tuple(dict.fromkeys(void)), colours=True)
