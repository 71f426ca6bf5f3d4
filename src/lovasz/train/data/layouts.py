"""Where well-known data sets keep what, and what their masks hold."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

    from lovasz.train.data.walk import LeftOut

VOC = (
    "background",
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)
CAMVID = (
    "sky",
    "building",
    "pole",
    "road",
    "pavement",
    "tree",
    "sign",
    "fence",
    "car",
    "pedestrian",
    "bicyclist",
)
CITYSCAPES = {
    7: "road",
    8: "sidewalk",
    11: "building",
    12: "wall",
    13: "fence",
    17: "pole",
    19: "traffic light",
    20: "traffic sign",
    21: "vegetation",
    22: "terrain",
    23: "sky",
    24: "person",
    25: "rider",
    26: "car",
    27: "truck",
    28: "bus",
    31: "train",
    32: "motorcycle",
    33: "bicycle",
}


@dataclass(frozen=True)
class Layout:
    """What is special about one of the well-known data sets.

    Attributes:
        name: For messages and the report.
        images: Folder of the images; `{part}` stands for the name of a part.
        masks: Folder of the masks, with the same sub-folders.
        lists: Text file that names the images of a part, one on a line, if there is one.
        parts: Folder or list name of each part.
        endings: What ends the name of an image and of its mask, before the file extension.
        classes: Class names; empty if a file in the folder names them.
        class_table: The file that names them: a table with a heading, the names in its last column.
        labels: Value in the mask files of each class, if it is not the number of the class.
        ignore: Values in the mask files of pixels without label, if the layout fixes them; -1
            stands for all values without a class.
    """

    name: str
    images: str = ""
    masks: str = ""
    lists: str | None = None
    parts: dict[str, str] = field(
        default_factory=lambda: {"train": "train", "val": "val", "test": "test"}
    )
    endings: tuple[str, str] = ("", "")
    classes: tuple[str, ...] = ()
    class_table: str | None = None
    labels: tuple[int, ...] = ()
    ignore: int | None = None

    @property
    def size(self) -> int:
        """The number of classes; 0 where it is not known."""
        return len(self.classes) or len(self.labels)

    def fits(self, root: Path, own_classes: int | None, part: str = "train") -> bool:
        """Whether a part stands where this data set has it.

        Args:
            root: The folder.
            own_classes: Number of class names that the user has for it. With another number than
                its own it is none: others arrange their folders in the same way.
            part: The part.
        """
        name = self.parts.get(part, "")
        folders = [place.replace("{part}", name) for place in (self.images, self.masks)]
        files = [self.lists.replace("{part}", name)] if self.lists else []
        if own_classes is None and self.class_table:
            files.append(self.class_table)
        return (
            bool(name)
            and own_classes in (None, self.size)
            and "{part}" in (self.lists or self.images)
            and all((root / folder).is_dir() for folder in folders)
            and all((root / file).is_file() for file in files)
        )

    def places(self, root: Path, endings: tuple[str, str]) -> Places:
        """Where this data set keeps its parts."""
        parts = {}
        for part, name in self.parts.items():
            images, masks = (root / p.replace("{part}", name) for p in (self.images, self.masks))
            listed = root / self.lists.replace("{part}", name) if self.lists else None
            if part == "train" or (listed.is_file() if listed else images.is_dir()):
                parts[part] = Place(images, masks, listed)
        return Places(self, parts, (endings[0] or self.endings[0], endings[1] or self.endings[1]))


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


# The first that fits is taken.
LAYOUTS = [
    Layout(
        "Pascal VOC",
        "JPEGImages",
        "SegmentationClass",
        lists="ImageSets/Segmentation/{part}.txt",
        classes=VOC,
        ignore=255,
    ),
    Layout("CamVid (SegNet)", "{part}", "{part}annot", classes=CAMVID, ignore=11),
    Layout(
        "ADE20K",
        "images/{part}",
        "annotations/{part}",
        parts={"train": "training", "val": "validation"},
        class_table="objectInfo150.txt",
        labels=tuple(range(1, 151)),
        ignore=0,
    ),
    Layout(
        "Cityscapes",
        "leftImg8bit/{part}",
        "gtFine/{part}",
        parts={"train": "train", "val": "val"},  # the masks of its test part are not public
        endings=("_leftImg8bit", "_gtFine_labelIds"),
        classes=tuple(CITYSCAPES.values()),
        labels=tuple(CITYSCAPES),
        ignore=-1,
    ),
]
