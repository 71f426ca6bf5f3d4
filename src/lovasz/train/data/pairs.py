"""Pairs of an image and its mask in two folders, or in one, by the names of the files."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from lovasz.train.data.naming import (
    LOSSLESS,
    Key,
    common_name,
    composed,
    filled,
    hint,
    key,
    preference,
    suggest,
    suggest_within,
)
from lovasz.train.data.walk import OTHER_KINDS, Content, LeftOut, walk
from lovasz.train.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    from lovasz.train.data.layouts import Place


class Pair(NamedTuple):
    """The files of an image and of its mask."""

    image: Path
    mask: Path


@dataclass
class Paired:
    """What has been found of a part.

    Attributes:
        pairs: In the order of the images' paths, or of the list.
        missing: Images without a mask.
        left_out: What else is there.
        parts: The pairs of each part, if a list of all of them says which is in which.
        by_name: Whether masks have been looked for by the names of their images.
    """

    pairs: list[Pair] = field(default_factory=list)
    missing: list[Path] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    parts: dict[str, list[Pair]] = field(default_factory=dict)
    by_name: bool = True


class Sides:
    """The files of the folder of images and of that of masks, each by its key.

    Attributes:
        images: Of each key the files, in the order of preference.
        masks: Likewise.
        left_out: Files that are neither.
    """

    def __init__(self, place: Place, endings: tuple[str, str]) -> None:
        self.place, self.endings = place, endings
        self.images: dict[Key, list[Path]] = defaultdict(list)
        self.masks: dict[Key, list[Path]] = defaultdict(list)
        self.left_out: list[LeftOut] = []
        self.mask_files: list[Path] = []  # whatever their names end in
        images, masks = place.images, place.masks
        if images and images == masks:
            content = self._content(images)
            for path in content.images:
                self._sort_in(path, images, self._is_mask(path))
        else:
            for folder, is_mask in ((images, False), (masks, True)):
                # The masks may be in a sub-folder of the images, which is then none of theirs.
                without = frozenset({masks} if masks and not is_mask else ())
                if folder:
                    for path in self._content(folder, without).images:
                        self._sort_in(path, folder, is_mask)
        for paths in (*self.images.values(), *self.masks.values()):
            paths.sort(key=preference)

    def _content(self, folder: Path, without: frozenset[Path] = frozenset()) -> Content:
        content = walk(folder, without) if folder.is_dir() else Content([], [])
        self.left_out += content.left_out
        return content

    def _is_mask(self, path: Path) -> bool:
        """Whether a file in a folder of both is a mask: by the longer ending, or losslessness."""
        image_end, mask_end = self.endings
        if len(image_end) != len(mask_end):
            longer = max(self.endings, key=len)
            return (common_name(path.name, longer) is None) == (longer == image_end)
        if image_end != mask_end:
            return common_name(path.name, mask_end) is not None
        return path.suffix.lower() in LOSSLESS

    def _sort_in(self, path: Path, folder: Path, is_mask: bool) -> None:
        ending = self.endings[is_mask]
        if is_mask or self.place.images == self.place.masks:
            self.mask_files.append(path)
        name = common_name(path.name, ending)
        if name is None:
            self.left_out.append(LeftOut(path, f"names without {ending}"))
        else:
            (self.masks if is_mask else self.images)[key(path, folder, name)].append(path)

    def mask(self, at: Key, image: Path) -> Path | None:
        """The mask of an image with this key.

        Raises:
            UserError: If there are several, and nothing says which.
        """
        found = self.masks.get(at) or self.masks.get(self._whole(at, image)) or []
        lossless = [path for path in found if path.suffix.lower() in LOSSLESS]
        if len(lossless) > 1:
            names = " and ".join(path.name for path in lossless)
            raise UserError(
                f"{image}: expected one mask in {lossless[0].parent}, found {names}; say which"
                f" kind to take, for example by --mask_ending {self.endings[1]}{lossless[0].suffix}"
            )
        return next(iter(lossless or found), None)

    @staticmethod
    def _whole(at: Key, image: Path) -> Key:
        """The key of a mask that is named after the whole name of its image, a.jpg.png."""
        return Key(at.folder, composed(image.name))

    def pair(self) -> Paired:
        """All images with their masks."""
        paired = Paired(left_out=list(self.left_out))
        for at, images in self.images.items():
            own = [image for image in images if self._whole(at, image) in self.masks]
            chosen = own or images[:1]
            for image in chosen:
                mask = self.mask(at, image)
                if mask is None:
                    paired.missing.append(image)
                else:
                    paired.pairs.append(Pair(image, mask))
            paired.left_out += [
                LeftOut(image, "images beside one of the same name")
                for image in images
                if image not in chosen
            ]
        paired.pairs.sort()
        paired.left_out += self.unused_masks({pair.mask for pair in paired.pairs})
        return paired

    def unused_masks(self, used: set[Path]) -> list[LeftOut]:
        """Masks that no image has."""
        left_out = []
        for masks in self.masks.values():
            taken = any(mask in used for mask in masks)
            why = "masks beside one of the same name" if taken else "masks without an image"
            left_out += [LeftOut(mask, why) for mask in masks if mask not in used]
        return left_out

    def sentence(self, missing: list[Path]) -> str:
        """What to do about images without a mask."""
        image, (images, masks, _) = missing[0], self.place
        name = common_name(image.name, self.endings[0]) or image.stem
        place = filled(self.endings[1], name)
        if not place.lower().endswith(LOSSLESS):
            place += ".png"
        if masks and images and image.is_relative_to(images):
            place = str(masks / image.parent.relative_to(images) / place)
        sentence = f"{image}: expected its mask at {place}, found none"
        if len(missing) > 1:
            sentence += f", nor for {len(missing) - 1} more"
        return f"{sentence}; {self._hint(missing)}"

    def nothing(self, missing: list[Path]) -> str:
        """The sentence for folders without an image, or whose images have no mask."""
        kind = "images with masks" if missing else "images"
        sentence = f"data: expected {kind} in {self.place.images}, found none"
        if self.endings[0]:
            sentence += f" with the ending {self.endings[0]}"
        if self.place.images == self.place.masks and (ends := suggest_within(self.mask_files)):
            sentence += f"; {hint(ends)}"
        return sentence

    def _hint(self, missing: list[Path]) -> str:
        ends = suggest(missing, self.mask_files)
        # Of a few images that lack a mask names do not say why.
        if ends and ends != self.endings and 2 * len(missing) > len(self.images):
            return hint(ends)
        name = common_name(missing[0].name, self.endings[0]) or missing[0].stem
        for mask in self.mask_files:
            if mask.stem == filled(self.endings[1], name):
                return f"{mask} is there, but the sub-folders have to be the same"
        if not self.mask_files:
            kinds = sorted({path.suffix for path, why in self.left_out if why == OTHER_KINDS})
            if kinds:
                return f"masks are read from images, and there are only {', '.join(kinds)} files"
        return "--without_mask leave-out goes on without such images"
