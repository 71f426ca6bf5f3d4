"""From a folder to the image and mask of each part, with what is left out and why."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lovasz.train.data.classes import Classes, is_class_file, known_classes, own_classes
from lovasz.train.data.config import PARTS
from lovasz.train.data.folder_names import FolderNames
from lovasz.train.data.lists import Lists
from lovasz.train.data.pairs import Pair, Sides
from lovasz.train.data.places import find_places
from lovasz.train.data.walk import LeftOut, entries, reasons, what_is_left_out
from lovasz.train.errors import UserError, expect

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lovasz.train.data.config import DataConfig, Evaluation
    from lovasz.train.data.layouts import Layout, Place, Places

_SPLIT = (0.7, 0.15, 0.15)


@dataclass(frozen=True)
class Found:
    """The files of a data set.

    Attributes:
        root: Its folder.
        layout: How it is arranged, and what the masks of a well-known data set hold.
        classes: The names of the classes, and their values where these are not their numbers.
        parts: `train` and `val`, and `test` if there is one.
        left_out: Files and folders that are not used.
        remarks: Sentences about the parts that a reader of the results should know.
    """

    root: Path
    layout: Layout
    classes: Classes
    parts: dict[str, list[Pair]]
    left_out: list[LeftOut] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    @property
    def notes(self) -> list[str]:
        """What is used and what is not, and why, in a line; then the remarks."""
        used = ", ".join(f"{len(pairs)} {part}" for part, pairs in self.parts.items())
        return [
            f"Images: {used}. {what_is_left_out(self.left_out, self.root)}".rstrip(),
            *self.remarks,
        ]

    @property
    def reasons(self) -> dict[str, list[str]]:
        """Of each reason what is left out for it: paths from the folder on, as text."""
        return reasons(self.left_out, self.root)


def find_pairs(config: DataConfig, evaluation: Evaluation | None = None) -> Found:
    """Find the parts and the classes of the data set in the folder `config.data`.

    Args:
        config: Where to look.
        evaluation: What a trained network needs that is evaluated on it; None to train on it.

    Raises:
        UserError: If the folder is arranged in no known way, something in it is missing, or an
            option does not apply to it.
    """
    root = Path(config.data)
    if not root.is_dir():
        raise UserError(f"data: expected a folder, got {root}, which is none")
    entries(root)  # an error if it cannot be read
    classes = own_classes(root, config)
    needed = PARTS[::-1] if evaluation else PARTS[:1]
    places = find_places(root, config, len(classes.names) if classes else None, needed)
    layout = places.layout
    if classes is None and evaluation and not layout.size:
        classes = Classes(evaluation.classes)
    if classes is None:
        classes = known_classes(root, layout)
    parts, left_out = _paired(root, places, config, needed if places.divided else PARTS[:1])
    remarks = _shared(parts)
    undivided = not places.divided and list(parts) == ["train"]
    if undivided and evaluation and not evaluation.divide:
        parts = {"test": parts["train"]}
    elif undivided:
        parts = _divided(parts.get("train", []), config.split or _SPLIT, config.split_seed)
        remarks.append(_how(config))
    elif config.split:
        parts = _completed(parts, root, config)
        remarks.append(_how(config))
    else:
        expect(
            config.split_seed == 0,
            "split_seed",
            f"0, for {root} says which image is in which part",
            config.split_seed,
        )
    if evaluation is None:
        _check(parts, places, root)
    read = {place.list for place in places.parts.values()}
    left_out = [one for one in left_out if one.path not in read and not is_class_file(one.path)]
    return Found(root, layout, classes, parts, left_out + places.left_out, remarks)


def _paired(
    root: Path, places: Places, config: DataConfig, needed: tuple[str, ...]
) -> tuple[dict[str, list[Pair]], list[LeftOut]]:
    """The pairs of each part that has any."""
    sides: dict[tuple[Path | None, Path | None], Sides] = {}
    parts: dict[str, list[Pair]] = {}
    left_out: list[LeftOut] = []
    by_name = False  # whether any mask has been found by the name of its image
    for part, place in places.parts.items():
        if part not in needed and place.masks is None and place.list is None:
            left_out += _without_masks(place, places)
            continue
        if place[:2] not in sides:
            sides[place[:2]] = Sides(place, places.endings)
        both = sides[place[:2]]
        lists = Lists(root, both, FolderNames(config))
        paired = lists.pair(place.list) if place.list else both.pair()
        by_name |= paired.by_name
        if paired.missing and config.without_mask == "stop":
            raise UserError(both.sentence(paired.missing))
        if needed == (part,) and not paired.pairs and not place.list:
            raise UserError(both.nothing(paired.missing))
        left_out += [LeftOut(image, "images without a mask") for image in paired.missing]
        left_out += paired.left_out
        if paired.parts and not places.divided:
            parts = {name: paired.parts[name] for name in PARTS if name in paired.parts}
        elif paired.pairs:
            parts[part] = paired.pairs
    if any(place.list for place in places.parts.values()):
        left_out += _unlisted(parts, sides)
        for name in ("image_ending", "mask_ending"):
            given = getattr(config, name)
            expect(by_name or not given, name, "none, for the lists name the masks", given)
    return parts, left_out


def _without_masks(place: Place, places: Places) -> list[LeftOut]:
    """The images of a part for which there is no folder of masks."""
    both = Sides(place, places.endings)
    images = [image for images in both.images.values() for image in images]
    return [LeftOut(image, "images of a part without masks") for image in images]


def _unlisted(
    parts: dict[str, list[Pair]], sides: dict[tuple[Path | None, Path | None], Sides]
) -> list[LeftOut]:
    """The files in the folders of images and masks that no list names."""
    images = {pair.image for pairs in parts.values() for pair in pairs}
    masks = {pair.mask for pairs in parts.values() for pair in pairs}
    left_out = []
    for both in sides.values():
        left_out += both.left_out
        for files, used, kind in (
            (both.images, images, "images"),
            (both.masks, masks, "masks"),
        ):
            rest = [path for paths in files.values() for path in paths if path not in used]
            left_out += [LeftOut(path, f"{kind} in no list") for path in rest]
    return left_out


def _shared(parts: dict[str, list[Pair]]) -> list[str]:
    """Sentences about images that come twice, which makes results look better than they are."""
    remarks = []
    for part, pairs in parts.items():
        twice = [image for image, n in Counter(pair.image for pair in pairs).items() if n > 1]
        if twice:
            remarks.append(
                f"Images that come more than once in the {part} part: {len(twice)}, for example"
                f" {twice[0].name}."
            )
    for one, other in combinations(parts, 2):
        both = sorted({p.image for p in parts[one]} & {p.image for p in parts[other]})
        if both:
            remarks.append(
                f"Images that are both in the {one} and in the {other} part: {len(both)}, for"
                f" example {both[0].name}."
            )
    return remarks


def _divided(pairs: list[Pair], fractions: Sequence[float], seed: int) -> dict[str, list[Pair]]:
    """The pairs by chance in parts of such fractions of their number, none of them empty."""
    names = [part for part, fraction in zip(PARTS, fractions, strict=False) if fraction > 0]
    expect(len(pairs) >= len(names), "split", f"{len(names)} images or more", len(pairs))
    order = np.random.default_rng(seed).permutation(len(pairs))
    ends = [round(end * len(pairs)) for end in np.cumsum(fractions[: len(names)])]
    for k in range(len(names) - 1):  # at least one for each part, those that follow too
        least = (ends[k - 1] if k else 0) + 1
        ends[k] = min(max(ends[k], least), len(pairs) - (len(names) - 1 - k))
    chosen = np.split(order, ends[: len(names) - 1])
    return {
        name: sorted(pairs[k] for k in indices) for name, indices in zip(names, chosen, strict=True)
    }


def _completed(
    parts: dict[str, list[Pair]], root: Path, config: DataConfig
) -> dict[str, list[Pair]]:
    """The training part divided into those parts that the folder lacks."""
    fractions = config.split or _SPLIT
    for part, fraction in zip(PARTS[1:], fractions[1:], strict=False):
        if fraction > 0 and part in parts:
            raise UserError(
                f"split: expected none, or parts that {root} lacks, got a fraction for the {part}"
                " part, which it has"
            )
    drawn = _divided(parts.get("train", []), fractions, config.split_seed)
    return {
        part: drawn.get(part, parts.get(part, []))
        for part in PARTS
        if part in drawn or part in parts
    }


def _how(config: DataConfig) -> str:
    """How the images were divided."""
    fractions = " : ".join(f"{fraction:g}" for fraction in config.split or _SPLIT)
    return f"The images were divided by chance, {fractions}, with the seed {config.split_seed}."


def _check(parts: dict[str, list[Pair]], places: Places, root: Path) -> None:
    """Raise a UserError unless there is something to train on and to evaluate."""
    for part in ("train", "val"):
        if part in parts:
            continue
        sentence = f"data: expected images in {_where(part, places, root)}, found none"
        place = places.parts.get(part)
        if place and place.images and not place.masks and not place.list:
            sentence = f"data: expected masks of {place.images}, found no folder of them"
        if part == "val":
            sentence += "; --split '[0.85, 0.15]' takes a validation part from the training part"
        raise UserError(sentence)


def _where(part: str, places: Places, root: Path) -> str:
    """Where a part that is not there might be."""
    place = places.parts.get(part)
    if place:
        return str(place.list or place.images or root)
    train = places.parts["train"]
    where = os.path.relpath(train.list or train.images or root, root)
    other = where.replace("training", "validation").replace("train", part)
    return str(root / other) if other != where else f"a folder of the {part} part in {root}"
