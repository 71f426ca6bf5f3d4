"""Which folders and lists hold the parts of a data set; what to do where that is not clear."""

from __future__ import annotations

import os
from dataclasses import replace
from shlex import quote
from typing import TYPE_CHECKING

from lovasz.train.data.config import PARTS
from lovasz.train.data.layouts import LAYOUTS
from lovasz.train.data.naming import hint, is_image, suggest_within
from lovasz.train.data.survey import Survey
from lovasz.train.data.walk import LeftOut, files, folders, holds_images
from lovasz.train.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    from lovasz.train.data.config import DataConfig
    from lovasz.train.data.layouts import Layout, Places


def find_places(
    root: Path,
    config: DataConfig,
    own_classes: int | None,
    needed: tuple[str, ...] = ("train",),
) -> Places:
    """The places of a data set.

    Args:
        root: Its folder.
        config: The options with names of folders and lists.
        own_classes: Number of class names that the user has for it.
        needed: Parts of which one must be there.

    Raises:
        UserError: If there are no such places, or several that might be meant.
    """
    for known in LAYOUTS:
        layout = _renamed(known, config)
        if any(layout.fits(root, own_classes, part) for part in needed):
            return layout.places(root, (config.image_ending, config.mask_ending))
    survey = Survey(root, config, needed)
    places = survey.listed() if config.lists else survey.divided() or survey.listed()
    places = places or survey.together() or survey.beside()
    if places is None:
        raise UserError(_nothing(survey))
    for part, name in config.parts.items():
        if part not in places.parts or not places.divided:
            raise UserError(
                f"parts: expected a folder or list {name} of the {part} part in {root}, found none;"
                f" {survey.has()}"
            )
    return replace(places, left_out=_unread(survey, places))


def _renamed(layout: Layout, config: DataConfig) -> Layout:
    """A well-known data set in which options rename something."""
    return replace(
        layout,
        images=config.images or layout.images,
        masks=config.masks or layout.masks,
        lists=config.lists or layout.lists,
        parts={**layout.parts, **config.parts},
    )


def _unread(survey: Survey, places: Places) -> list[LeftOut]:
    """What looks like a part of the data set and is in no place."""
    used = {folder for place in places.parts.values() for folder in place[:2] if folder}
    lists = {place.list for place in places.parts.values()}
    unused = [survey.list_of(part) for part in PARTS]
    left_out = [
        LeftOut(path, "lists beside folders") for path in unused if path and path not in lists
    ]

    def look(folder: Path) -> None:
        for path in files(folder):
            if is_image(path):
                left_out.append(LeftOut(path, "images outside of the folders"))
        for inner in folders(folder):
            if inner in used:
                continue
            if any(inner in place.parents for place in used):
                look(inner)
            elif holds_images(inner):
                left_out.append(LeftOut(inner, "other folders"))

    if used and survey.root not in used:  # lists alone may take their files from anywhere
        look(survey.root)
    return left_out


def _nothing(survey: Survey) -> str:
    """The sentence for a folder in which nothing fits, with what would."""
    root = survey.root
    sentence = (
        f"data: expected {root} to hold train/images and train/masks, images/train and"
        " masks/train, train_images and train_masks, or images and masks with or without"
        " train.txt and val.txt, or Pascal VOC, CamVid, ADE20K or Cityscapes;"
    )
    plain = replace(survey.config, images=None, masks=None, lists=None, parts={})
    for folder in folders(root):
        inner = Survey(folder, plain)
        if inner.divided() or inner.together():
            return f"{sentence} {folder} does: pass --data {folder}"
    kinds = {kind for _, kind in survey.table if kind}
    if len(kinds) == 1:
        given, other = ("masks", "images") if kinds == {"masks"} else ("images", "masks")
        where = next(paths[0] for at, paths in survey.table.items() if at[1] == given).parent
        known = {path for paths in survey.table.values() for path in paths}
        rest = [path.name for path in folders(where) if path not in known and holds_images(path)]
        if len(rest) == 1:
            return f"{sentence} the {other} may be in {rest[0]}: pass --{other} {quote(rest[0])}"
        names = ", ".join(path.name for path in folders(where))
        return f"{sentence} {where} has {names}: name the folder of the {other} by --{other}"
    level = folders(root)
    images = [
        path
        for folder in (root, *level, *(inner for outer in level for inner in folders(outer)))
        for path in files(folder)
        if is_image(path)
    ]
    ends = suggest_within(images)
    if ends:
        return f"{sentence} it has images and masks beside each other: {hint(ends)}"
    places = sorted({os.path.relpath(path.parent, root) for path in images})
    if not places:
        return f"{sentence} {survey.has()} and no images in them"
    shown = ", ".join(places[:4]) + (" and others" if len(places) > 4 else "")
    return f"{sentence} it has images in {shown}: --images and --masks say which are which"
