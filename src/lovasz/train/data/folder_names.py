"""What the names of folders say: which part of a data set is in them, and which kind of file."""

from __future__ import annotations

import re
from itertools import product
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lovasz.train.data.config import DataConfig

# Names of folders and lists, as `plain` has them.
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

# Part and kind, each of which a name may say or not.
Meaning = tuple[str | None, str | None]


class FolderNames:
    """The usual names, and in their place those that options give."""

    def __init__(self, config: DataConfig) -> None:
        self.given = config.parts
        self.parts = {
            part: (plain(config.parts[part]),) if part in config.parts else names
            for part, names in _PART_NAMES.items()
        }
        self._meanings = self._combined(config)

    def _combined(self, config: DataConfig) -> dict[str, Meaning]:
        """What each name means: a part, a kind, or both, in either order."""
        meanings: dict[str, Meaning] = {}
        for part, names in self.parts.items():
            meanings.update(dict.fromkeys(names, (part, None)))
        for kind, usual in _KIND_NAMES.items():
            given = getattr(config, kind)
            names = (plain(given),) if given else usual
            if names == ("",):  # a path as `.` is no name
                continue
            meanings.update(dict.fromkeys(names, (None, kind)))
            for part, part_names in self.parts.items():
                for one, other in product(names, part_names):
                    meanings[one + other] = meanings[other + one] = (part, kind)
        return meanings

    def meaning(self, folder: str) -> Meaning:
        """What the name of a folder says."""
        return self._meanings.get(plain(folder), (None, None))

    def is_part(self, name: str, part: str) -> bool:
        """Whether a name is that of a part."""
        return name == self.given[part] if part in self.given else plain(name) in self.parts[part]

    def spelled(self, template: str, part: str) -> list[str]:
        """A template with the names of a part in the usual spellings in place of `{part}`."""
        names = [self.given[part]] if part in self.given else self.parts[part]
        spellings = [s for name in names for s in (name, name.title(), name.upper())]
        return [
            template.replace("{part}", name)
            for name in (names if self.given.get(part) else spellings)
        ]


def plain(name: str) -> str:
    """A name without case and separators.

    >>> plain("Train_Images"), plain("imagesTr")
    ('trainimages', 'imagestr')
    """
    return re.sub(r"[\W_]+", "", name).lower()
