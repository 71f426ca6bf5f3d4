"""All masks are looked at before the first step, and what is wrong or missing is said."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from lovasz import LabelCounts
from lovasz.train.data.base import IGNORE, DataSet
from lovasz.train.data.looking import Show, for_each, silent
from lovasz.train.data.masks import read_codes
from lovasz.train.data.part import Files
from lovasz.train.data.statistics import Moments, moments
from lovasz.train.data.statistics import statistics as measure
from lovasz.train.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lovasz.train.data.base import Part

NAMES = {"train": "training", "val": "validation", "test": "test"}


def checked(
    data: DataSet,
    show: Show = silent,
    parts: Iterable[str] | None = None,
    *,
    images: bool = True,
) -> DataSet:
    """The data set with the counts of its labels and with notes on what is missing.

    It also has the mean and spread of its training images, where they were not known. Of several
    processes that train together each looks at its share of the files, and all get the result. The
    labels of data that are composed in memory are counted when somebody asks for them.

    Args:
        data: As it was loaded.
        show: Shows the progress.
        parts: Those to look at; None for all.
        images: Whether to look at images too, where that is needed.

    Raises:
        UserError: If a mask is none, holds a value that stands for nothing, or if a part has no
            labels or labels of one class beside ignored pixels only.
    """
    counts, notes, statistics = dict(data.counts), list(data.notes), data.statistics
    for name, part in data.parts.items():
        if parts is not None and name not in parts:
            continue
        measured = images and name == "train" and not data.statistics.known
        looks = _look(part, name, show, images=images, measured=measured)
        if measured:
            statistics = measure([look.moments for look in looks if look.moments is not None])
        if isinstance(part, Files):
            table = np.stack([look.labels for look in looks])
            _check_labels(data, part, name, table)
            counts[name] = _counts(table)
            notes += _void_masks(name, table)
            if name == "train":
                notes += _absent(data.classes, counts[name])
    return replace(data, counts=counts, notes=notes, statistics=statistics)


class _Seen(NamedTuple):
    """What was seen of an image: pixels of each class and last those without a label, moments."""

    labels: np.ndarray
    moments: Moments | None = None


def _look(part: Part, name: str, show: Show, *, images: bool, measured: bool) -> list[_Seen]:
    """Look at each item of a part as far as it is needed."""
    if not isinstance(part, Files):
        return [_Seen(np.zeros(0), moments(part[k][0])) for k in range(len(part) * measured)]
    # Floating-point pixels may be no numbers, or out of the range.
    images = measured or (images and part.floating)

    def see(index: int) -> _Seen:
        image = part.image(index) if images else None
        found = moments(image) if image is not None and measured else None
        return _Seen(part.count(index), found)

    title = f"looking at the {NAMES[name]} files"
    return for_each(range(len(part)), see, show=show, title=title, threads=part.threads)


def _counts(table: np.ndarray) -> LabelCounts:
    """As `lovasz.count_labels` gives them."""
    pixels = torch.from_numpy(table[:, :-1].copy())
    present = pixels > 0
    return LabelCounts(
        pixels=pixels.sum(0),
        images=present.sum(0),
        image_pixels=(present * pixels.sum(1, keepdim=True)).sum(0),
        present=present,
    )


def _check_labels(data: DataSet, part: Files, name: str, table: np.ndarray) -> None:
    """Refuse a part that nothing can be learned or measured with."""
    sums = table.sum(0)
    present = np.flatnonzero(sums[:-1])
    where = f"the {len(part):,} masks of the {NAMES[name]} part"
    if len(present) == 0:
        values = part.values
        void = ", ".join(values.name(code) for code in _ignored(part, table)[:6])
        raise UserError(
            f"data: expected labels in {where}, found none: all pixels have ignored values"
            f" ({void}); --ignore_index and --mask_values say what the values stand for"
            if not values.colours
            else f"data: expected labels in {where}, found none: all pixels have colours without"
            f" a class ({void})"
        )
    if name == "train" and len(present) == 1 and sums[-1]:
        _refuse_one_class(data, part, int(present[0]), table)


def _refuse_one_class(data: DataSet, part: Files, label: int, table: np.ndarray) -> None:
    """Masks of 0 and 255 are a class and a void for us, and two classes for those who drew them."""
    values, ignored = part.values, _ignored(part, table)
    own = values.of_classes[label]
    void = " and ".join(map(values.name, ignored[:6]))
    sentence = (
        f"data: expected labels of two or more classes in the training part, got only"
        f" {data.classes[label]} ({'colour' if values.colours else 'value'} {values.name(own)})"
        f" and ignored pixels ({void});"
    )
    if values.colours:
        raise UserError(f"{sentence} --palette can give {void} the name of a class")
    if len(data.classes) == 2 and len(ignored) == 1:
        pair = [own, ignored[0]] if label == 0 else [ignored[0], own]
        raise UserError(
            f"{sentence} --mask_values '{pair}' makes {ignored[0]} the class"
            f" {data.classes[1 - label]}"
        )
    raise UserError(f"{sentence} --mask_values gives the value of each class in the masks")


def _ignored(part: Files, table: np.ndarray) -> list[int]:
    """The ignored values or colours of the first mask that has any."""
    index = int(np.flatnonzero(table[:, -1])[0])
    codes = read_codes(part.pairs[index][1], part.reading.orientation, colours=part.values.colours)
    labels = part.target(index).numpy()
    found: list[int] = np.unique(codes[labels == IGNORE]).tolist()
    return found


def _void_masks(name: str, table: np.ndarray) -> list[str]:
    """A note on masks that are ignored as a whole."""
    void = int((table[:, :-1].sum(1) == 0).sum())
    if not void:
        return []
    verb = "has" if void == 1 else "have"
    return [f"{void:,} of {len(table):,} masks of the {NAMES[name]} part {verb} no label."]


def _absent(classes: list[str], counts: LabelCounts) -> list[str]:
    """A note on classes that nothing can be learned about."""
    absent = [
        name for name, pixels in zip(classes, counts.pixels.tolist(), strict=True) if not pixels
    ]
    if not absent:
        return []
    shown = ", ".join(absent[:20]) + (f" and {len(absent) - 20} more" if len(absent) > 20 else "")
    kind = "Class" if len(absent) == 1 else "Classes"
    return [f"{kind} without a pixel in the training part: {shown}."]
