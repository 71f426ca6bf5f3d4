"""A folder in any of the usual arrangements, found by the names of what is in it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from lovasz.train.data.config import PARTS
from lovasz.train.data.folder_names import FolderNames, Meaning, plain
from lovasz.train.data.layouts import Layout, Place, Places
from lovasz.train.data.naming import is_image
from lovasz.train.data.pairs import Sides
from lovasz.train.data.walk import files, folders, holds_images
from lovasz.train.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    from lovasz.train.data.config import DataConfig

_LIST_FOLDERS = ("", "ImageSets/Segmentation", "ImageSets", "splits", "split", "lists", "list")
_LIST_KINDS = (".txt", ".csv", ".tsv", ".lst")


class Survey:
    """The sub-folders of a folder by what their names mean, two levels deep."""

    def __init__(
        self, root: Path, config: DataConfig, needed: tuple[str, ...] = ("train",)
    ) -> None:
        self.root, self.config, self.needed = root, config, needed
        self.endings = (config.image_ending, config.mask_ending)
        self.names = FolderNames(config)
        self.table: dict[Meaning, list[Path]] = {}
        for folder in folders(root):
            self._add(folder, self.names.meaning(folder.name))
        for kind in ("images", "masks"):
            given = getattr(config, kind)
            if given:
                self._given(kind, given)

    def _add(self, folder: Path, meaning: Meaning) -> None:
        """Take up a folder and, if its name means something, those in it."""
        if meaning == (None, None):
            return
        self.table.setdefault(meaning, []).append(folder)
        for inner in folders(folder):
            part, kind = self.names.meaning(inner.name)
            if (part or kind) and not (part and meaning[0]) and not (kind and meaning[1]):
                both = (part or meaning[0], kind or meaning[1])
                self.table.setdefault(both, []).append(inner)

    def _given(self, kind: str, given: str) -> None:
        """Take up the folder that an option names, in place of any other."""
        is_path = (self.root / given).is_dir()
        if "{part}" in given or is_path:
            self.table = {at: found for at, found in self.table.items() if at[1] != kind}
        if "{part}" in given:
            for part in PARTS:
                places = [self.root / place for place in self.names.spelled(given, part)]
                existing = [place for place in places if place.is_dir()]
                if existing:
                    self.table[part, kind] = existing[:1]
        elif is_path:
            self._add(self.root / given, (None, kind))
        if not any(at[1] == kind for at in self.table):
            raise UserError(
                f"{kind}: expected a folder {given} in {self.root} or in the folders of its parts,"
                f" found none; {self.has()}"
            )

    def _pick(self, part: str | None, kind: str | None) -> Path | None:
        """The folder of this meaning.

        Raises:
            UserError: If there are several with images.
        """
        found = self.table.get((part, kind), [])
        if len(found) > 1:
            found = [folder for folder in found if holds_images(folder)] or found[:1]
        if len(found) < 2:
            return found[0] if found else None
        names = [os.path.relpath(folder, self.root) for folder in found]
        of_part = f" of the {part} part" if part else ""
        first, place = found[0].name, names[0].replace(part or "", "{part}")
        if kind is None:
            choice = f"""--parts '{{"{part}": "{first}"}}'"""
        elif plain(first) != plain(found[1].name):
            choice = f"--{kind} {first}"
        else:
            choice = f"--{kind} '{place if part else names[0]}'"
        raise UserError(
            f"{kind or 'parts'}: expected one folder of {kind or 'images'}{of_part} in"
            f" {self.root}, found {' and '.join(names)}; say which one, for example by {choice}"
        )

    def divided(self) -> Places | None:
        """Folders that say which part they hold."""
        parts = {}
        for part in PARTS:
            images, masks = self._pick(part, "images"), self._pick(part, "masks")
            if images is None and not self.config.images:
                images = self._pick(part, None)
            if images:
                parts[part] = Place(images, masks)
        complete = [parts[part] for part in self.needed if part in parts and parts[part].masks]
        if not complete:
            return None
        images, masks, _ = complete[0]
        assert images is not None
        assert masks is not None
        by_part = images.parent == masks.parent
        return self._places("folders by part" if by_part else "folders by kind", parts)

    def listed(self) -> Places | None:
        """Lists beside folders that do not say the part.

        Raises:
            UserError: If a list that an option names is not there.
        """
        images, masks = self._pick(None, "images"), self._pick(None, "masks")
        given = self.config.lists
        if given and "{part}" not in given:
            return self._places("a list", {"train": Place(images, masks, self.root / given)}, False)
        lists = {part: self.list_of(part) for part in PARTS}
        if images is None and masks is None and lists["train"]:
            place = Place(self.root, self.root)
            images, masks = place[:2] if self._tells_apart(place) else (None, None)
        parts = {part: Place(images, masks, path) for part, path in lists.items() if path}
        if any(part in parts for part in self.needed):
            return self._places("lists", parts)
        if given:
            part = self.needed[0]
            path = self.root / self.names.spelled(given, part)[0]
            name = {"train": "training", "val": "validation"}.get(part, part)
            raise UserError(f"lists: expected a list of the {name} part at {path}, found none")
        return None

    def list_of(self, part: str) -> Path | None:
        """The list of a part.

        Raises:
            UserError: If there are several.
        """
        given = self.config.lists
        if given and "{part}" in given:
            paths = [self.root / place for place in self.names.spelled(given, part)]
            return next((path for path in paths if path.is_file()), None)
        for place in _LIST_FOLDERS:
            folder = self.root / place
            found = [
                path
                for path in (files(folder) if folder.is_dir() else [])
                if path.suffix.lower() in _LIST_KINDS and self.names.is_part(path.stem, part)
            ]
            if len(found) > 1:
                raise UserError(
                    f"lists: expected one list of the {part} part in {folder}, found"
                    f" {' and '.join(path.name for path in found)}; say which one, for example by"
                    f" --lists '{found[0].name.replace(found[0].stem, '{part}')}'"
                )
            if found:
                return found[0]
        return None

    def together(self) -> Places | None:
        """One folder of images and one of masks, not divided."""
        images, masks = self._pick(None, "images"), self._pick(None, "masks")
        if images is None or masks is None:
            return None
        return self._places("images and masks", {"train": Place(images, masks)}, False)

    def beside(self) -> Places | None:
        """Images and masks in one folder, told apart by their names."""
        name = "images beside masks"
        parts = {
            part: Place(folder, folder)
            for part in PARTS
            for folder in [self._pick(part, None)]
            if folder and holds_images(folder)
        }
        found = [parts[part] for part in self.needed if part in parts]
        if found and self._tells_apart(found[0]):
            return self._places(name, parts)
        place = Place(self.root, self.root)
        may = any(self.endings) or any(map(is_image, files(self.root)))
        if not found and may and self._tells_apart(place):
            return self._places(name, {"train": place}, False)
        return None

    def _tells_apart(self, place: Place) -> bool:
        """Whether names tell images from masks in one folder."""
        both = Sides(place, self.endings)
        return any(at in both.masks for at in both.images)

    def _places(self, name: str, parts: dict[str, Place], divided: bool = True) -> Places:
        return Places(Layout(name), parts, self.endings, divided)

    def has(self) -> str:
        """What there is instead of what was expected."""
        names = [folder.name for folder in folders(self.root)]
        if not names:
            return "it has no folders"
        shown = ", ".join(names[:8]) + (" and others" if len(names) > 8 else "")
        return f"it has the {'folder' if len(names) == 1 else 'folders'} {shown}"
