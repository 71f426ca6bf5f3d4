"""Which folders and lists of a data set hold the images and masks of which part."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field, replace
from itertools import product
from typing import TYPE_CHECKING, NamedTuple

from lovasz.train.data.config import PARTS
from lovasz.train.data.layouts import LAYOUTS, Layout
from lovasz.train.data.naming import is_image
from lovasz.train.data.walk import LeftOut, entries, folders, holds_images, is_hidden
from lovasz.train.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    from lovasz.train.data.config import DataConfig

# Names of folders and lists, as `_plain` has them.
_PART_NAMES = {
    "train": ("train", "training", "trn", "tr"),
    "val": ("val", "valid", "validation", "dev", "va"),
    "test": ("test", "testing", "tst", "ts"),
}
_KIND_NAMES = {
    "images": (
        *("images", "image", "imgs", "img", "imgdir", "imagedir", "jpegimages", "rgb"),
        *("photos", "photo", "pictures", "inputs", "input"),
    ),
    "masks": (
        *("masks", "mask", "maskdir", "labels", "label", "labeldir", "anndir", "annotations"),
        *("annotation", "annots", "annot", "anns", "ann", "gt", "gts", "groundtruth"),
        *("segmentationclass", "segmentationclasspng", "segmentations", "segmentation"),
        *("targets", "target"),
    ),
}
_LIST_FOLDERS = ("", "ImageSets/Segmentation", "ImageSets", "splits", "split", "lists", "list")
_LIST_KINDS = (".txt", ".csv", ".tsv", ".lst")


class Place(NamedTuple):
    """Where the images and masks of a part are: in two folders, or named by a list.

    Attributes:
        images: Folder of the images; None where lists alone say where they are.
        masks: Folder of the masks, None likewise, or if the part has none.
        list: File that names the images.
    """

    images: Path | None
    masks: Path | None
    list: Path | None = None


@dataclass(frozen=True)
class Places:
    """Where everything is.

    Attributes:
        layout: What is special about the data set; its name is a description of the folders for
            any but the well-known ones.
        parts: The place of each part. What is not divided stands at `train`.
        endings: Those of images and masks.
        divided: Whether the folder says which image belongs to which part.
        left_out: Folders and files that are in no place.
    """

    layout: Layout
    parts: dict[str, Place]
    endings: tuple[str, str]
    divided: bool = True
    left_out: list[LeftOut] = field(default_factory=list)


# Part and kind, each of which the name of a folder may say or not.
_Meaning = tuple[str | None, str | None]


def find_places(root: Path, config: DataConfig, own_classes: int | None) -> Places:
    """The places of a data set.

    Args:
        root: Its folder.
        config: The options with names of folders and lists.
        own_classes: Number of class names that the user has for it. A well-known data set with
            another number is none: others arrange their folders in the same way.

    Raises:
        UserError: If there are no such places, or several that might be meant.
    """
    for known in LAYOUTS:
        layout = _adapted(known, config)
        if layout.fits(root) and own_classes in (None, known.size):
            return _places_of(root, layout, config)
    survey = Survey(root, config)
    places = survey.listed() if config.lists else survey.divided() or survey.listed()
    places = places or survey.together() or survey.beside()
    if places is None:
        raise UserError(survey.nothing())
    return replace(places, left_out=survey.unread(places))


def _adapted(layout: Layout, config: DataConfig) -> Layout:
    """A well-known data set in which the user has renamed something."""
    return replace(
        layout,
        images=config.images or layout.images,
        masks=config.masks or layout.masks,
        lists=config.lists or layout.lists,
        parts={**layout.parts, **config.parts},
    )


def _places_of(root: Path, layout: Layout, config: DataConfig) -> Places:
    parts = {}
    for part, name in layout.parts.items():
        images = root / layout.images.format(part=name)
        masks = root / layout.masks.format(part=name)
        listed = root / layout.lists.format(part=name) if layout.lists else None
        if part != "test" or (listed.is_file() if listed else images.is_dir()):
            parts[part] = Place(images, masks, listed)
    endings = (config.image_ending or layout.endings[0], config.mask_ending or layout.endings[1])
    return Places(layout, parts, endings)


class Survey:
    """The sub-folders of a folder by what their names mean, two levels deep."""

    def __init__(self, root: Path, config: DataConfig) -> None:
        self.root, self.config = root, config
        self.endings = (config.image_ending, config.mask_ending)
        self.part_names = {
            part: (_plain(config.parts[part]),) if part in config.parts else names
            for part, names in _PART_NAMES.items()
        }
        self.meanings = self._meanings()
        self.table: dict[_Meaning, list[Path]] = {}
        for folder in folders(root):
            self._add(folder, self.meanings.get(_plain(folder.name)))
        for kind in ("images", "masks"):
            given = getattr(config, kind)
            if given is not None:
                self._given(kind, given)

    def _meanings(self) -> dict[str, _Meaning]:
        """What each name of a folder means: a part, a kind, or both, in either order."""
        meanings: dict[str, _Meaning] = {}
        kinds = {
            kind: names if given is None else (_plain(given),)
            for kind, names in _KIND_NAMES.items()
            for given in [getattr(self.config, kind)]
        }
        for part, names in self.part_names.items():
            meanings.update(dict.fromkeys(names, (part, None)))
        for kind, names in kinds.items():
            meanings.update(dict.fromkeys(names, (None, kind)))
            for part, part_names in self.part_names.items():
                for one, other in product(names, part_names):
                    meanings[one + other] = meanings[other + one] = (part, kind)
        return meanings

    def _add(self, folder: Path, meaning: _Meaning | None) -> None:
        """Take up a folder and, if its name means something, those in it."""
        if meaning is None:
            return
        self.table.setdefault(meaning, []).append(folder)
        for inner in folders(folder):
            part, kind = self.meanings.get(_plain(inner.name), (None, None))
            if (part or kind) and not (part and meaning[0]) and not (kind and meaning[1]):
                both = (part or meaning[0], kind or meaning[1])
                self.table.setdefault(both, []).append(inner)

    def _given(self, kind: str, given: str) -> None:
        """Take up the folder that an option names, in place of any other."""
        found = [meaning for meaning in self.table if meaning[1] == kind]
        if "{part}" in given or (self.root / given).is_dir():
            for meaning in found:
                del self.table[meaning]
        if "{part}" in given:
            for part in PARTS:
                places = [self.root / given.format(part=name) for name in self._spelled(part)]
                existing = [place for place in places if place.is_dir()]
                if existing:
                    self.table[part, kind] = existing[:1]
        elif (self.root / given).is_dir():
            self._add(self.root / given, (None, kind))
        if not any(meaning[1] == kind for meaning in self.table):
            raise UserError(
                f"{kind}: expected a folder {given} in {self.root} or in the folders of its parts,"
                f" found none; {self._has()}"
            )

    def _spelled(self, part: str) -> list[str]:
        """The names of a part in the usual spellings."""
        if part in self.config.parts:
            return [self.config.parts[part]]
        names = self.part_names[part]
        return [spelling for name in names for spelling in (name, name.title(), name.upper())]

    def _pick(self, part: str | None, kind: str | None) -> Path | None:
        """The folder of this meaning."""
        found = self.table.get((part, kind), [])
        if len(found) > 1:
            found = [folder for folder in found if holds_images(folder)] or found[:1]
        if len(found) > 1:
            names = [os.path.relpath(folder, self.root) for folder in found]
            raise UserError(
                f"{kind or 'parts'}: expected one folder of {kind or 'the part'}"
                f"{f' of the {part} part' if part and kind else ''} in {self.root}, found"
                f" {' and '.join(names)}; {self._choice(found[0], part, kind)}"
            )
        return found[0] if found else None

    @staticmethod
    def _choice(folder: Path, part: str | None, kind: str | None) -> str:
        if kind is None:
            return f"""say which one by --parts '{{"{part}": "{folder.name}"}}'"""
        return f"say which one, for example by --{kind} {folder.name}"

    def divided(self) -> Places | None:
        """Folders that say which part they hold."""
        parts = {}
        for part in PARTS:
            images, masks = self._pick(part, "images"), self._pick(part, "masks")
            if images is None and self.config.images is None:
                images = self._pick(part, None)
            if images:
                parts[part] = Place(images, masks)
        images, masks, _ = parts.get("train", Place(None, None))
        if images is None or masks is None:
            return None
        by_part = images.parent == masks.parent
        return self._places("folders by part" if by_part else "folders by kind", parts)

    def listed(self) -> Places | None:
        """Lists beside folders that do not say it."""
        lists = {part: self._list_of(part) for part in PARTS}
        images, masks = self._pick(None, "images"), self._pick(None, "masks")
        given = self.config.lists
        if given and "{part}" not in given:
            return self._places("a list", {"train": Place(images, masks, self.root / given)}, False)
        parts = {part: Place(images, masks, path) for part, path in lists.items() if path}
        if "train" in parts:
            return self._places("lists", parts)
        if given:
            path = self.root / given.format(part="train")
            raise UserError(f"lists: expected a list of the training part at {path}, found none")
        return None

    def _list_of(self, part: str) -> Path | None:
        given = self.config.lists
        own = self.config.parts.get(part)
        if given:
            paths = [self.root / given.format(part=name) for name in self._spelled(part)]
            return next((path for path in paths if path.is_file()), None)
        for place in _LIST_FOLDERS:
            folder = self.root / place
            found = [
                folder / entry.name
                for entry in (entries(folder) if folder.is_dir() else [])
                if entry.is_file() and not is_hidden(entry.name)
            ]
            for path in found:
                same = path.stem == own if own else _plain(path.stem) in self.part_names[part]
                if same and path.suffix.lower() in _LIST_KINDS:
                    return path
        return None

    def together(self) -> Places | None:
        """One folder of images and one of masks, not divided."""
        images, masks = self._pick(None, "images"), self._pick(None, "masks")
        if images is None or masks is None:
            return None
        return self._places("images and masks", {"train": Place(images, masks)}, False)

    def beside(self) -> Places | None:
        """Images and masks in one folder, told apart by their names."""
        parts = {
            part: Place(folder, folder)
            for part in PARTS
            for folder in [self._pick(part, None)]
            if folder and holds_images(folder)
        }
        name = "images beside masks"
        if "train" in parts:
            return self._places(name, parts)
        files = any(is_image(path) for path in self._files())
        if files or any(self.endings):
            return self._places(name, {"train": Place(self.root, self.root)}, False)
        return None

    def _places(self, name: str, parts: dict[str, Place], divided: bool = True) -> Places:
        return Places(Layout(name), parts, self.endings, divided)

    def _files(self) -> list[Path]:
        """The files in the folder itself."""
        found = entries(self.root)
        return [self.root / e.name for e in found if e.is_file() and not is_hidden(e.name)]

    def unread(self, places: Places) -> list[LeftOut]:
        """What looks like a part of the data set and is in no place."""
        used = {folder for place in places.parts.values() for folder in place[:2] if folder}
        left_out: list[LeftOut] = []

        def look(folder: Path) -> None:
            if folder in used:
                return
            if any(folder in place.parents for place in used):
                for entry in entries(folder):
                    path = folder / entry.name
                    if path.is_dir() and not is_hidden(entry.name):
                        look(path)
                    elif is_image(path) and not is_hidden(entry.name):
                        left_out.append(LeftOut(path, "images outside of the folders"))
            elif holds_images(folder):
                left_out.append(LeftOut(folder, "other folders"))

        look(self.root)
        lists = {place.list for place in places.parts.values()}
        unused = [self._list_of(part) for part in PARTS]
        left_out += [
            LeftOut(p, "lists, for folders say it") for p in unused if p and p not in lists
        ]
        return left_out

    def nothing(self) -> str:
        """The sentence for a folder in which nothing fits."""
        sentence = (
            f"data: expected {self.root} to hold train/images and train/masks, images/train and"
            " masks/train, train_images and train_masks, or images and masks with or without"
            " train.txt and val.txt, or Pascal VOC, CamVid, ADE20K or Cityscapes;"
        )
        for folder in folders(self.root):
            inner = Survey(folder, replace(self.config, images=None, masks=None, lists=None))
            if inner.divided() or inner.listed() or inner.together():
                return f"{sentence} {folder} does: pass --data {folder}"
        kinds = {kind for _, kind in self.table if kind}
        if len(kinds) == 1:
            other = "images" if kinds == {"masks"} else "masks"
            return f"{sentence} {self._has()}: name the folder of the {other} by --{other}"
        return f"{sentence} {self._has()}, which --images and --masks can name"

    def _has(self) -> str:
        """What there is instead."""
        names = [folder.name for folder in folders(self.root)]
        if not names:
            return "it has no folders"
        shown = ", ".join(names[:8]) + (" and others" if len(names) > 8 else "")
        return f"it has the {'folder' if len(names) == 1 else 'folders'} {shown}"


def _plain(name: str) -> str:
    """A name without case and separators.

    >>> _plain("Train_Images"), _plain("imagesTr")
    ('trainimages', 'imagestr')
    """
    return re.sub(r"[\W_]+", "", name).lower()
