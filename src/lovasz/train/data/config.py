"""The options that say what the data are; every command has them."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field, fields
from typing import Literal, NamedTuple

from lovasz.train.errors import expect

PARTS = ("train", "val", "test")
# Options of folders with images and masks alone.
OF_FOLDERS = (
    *("class_names", "images", "masks", "image_ending", "mask_ending", "lists", "parts"),
    *("split", "split_seed", "without_mask", "mask_values", "palette", "value_range"),
    *("orientation", "channels"),
)


class Evaluation(NamedTuple):
    """What is asked of a data set that a trained network is evaluated on: one part, whichever.

    Attributes:
        classes: The names of the classes where the folder has none of its own.
        divide: Whether images that are not divided are; else all are the test part.
    """

    classes: list[str]
    divide: bool = True


# Options that are paths, of these options and of those that commands add.
PATHS = ("data", "class_names", "images", "masks", "lists", "palette", "out")


@dataclass(kw_only=True)
class DataConfig:
    """What a data set is read from, and how.

    Args:
        data: `landcover`, the embedded data set, `scenes`, digits composed to scenes with a long
            tail of classes, or a folder with images and masks.
        grouping: Classes of the embedded data set: the 17 of the source, or its 10 families
            (all forests one class, both shrublands one, both savannas one, both croplands one).
        tail: Frequency of each digit of `scenes` as a fraction of that of the digit before it.
        class_names: Text file with one class name per line, for `--data FOLDER`; by default
            classes.txt in the folder.
        images: Folder of the images: its name, or its path from `data` on, in which `{part}`
            stands for the name of a part. By default any of the usual names, as are images,
            img_dir and JPEGImages.
        masks: Folder of the masks, likewise; by default masks, labels, ann_dir, SegmentationClass
            and the like.
        image_ending: What ends the names of images and is missing in those of their masks, for
            example _sat, _sat.jpg to say the extension too, or sat_* for a beginning.
        mask_ending: What ends the names of masks, likewise, for example _mask.
        lists: Text file with the images of a part, `{part}` in the place of its name, for example
            'splits/{part}.txt'; without `{part}`, of all parts, which its column split says or
            the option split divides. On each line an image, or an image and its mask. By default
            train.txt and so on.
        parts: Names of the parts in folders and lists, for example
            '{"train": "fold1", "val": "fold2"}'; by default train, val, valid, test and the like.
        split: Fractions of the images in the training, validation and test part, for data that is
            not divided; without a third number there is no test part. By default 0.7, 0.15, 0.15.
        split_seed: Another number divides the images in another way.
        without_mask: What to do if an image has no mask.
        ignore_index: Value in the mask files of pixels without a label, or several in brackets;
            by default 255, unless it is the value of a class. The folder layouts of public data
            sets bring their own.
        mask_values: Value in the mask files of each class, in the order of the names, for example
            '[0, 255]'; by default 0, 1, 2 and so on.
        palette: Text file with the colour of each class, for masks that are read by their colours:
            a name and a colour in a line, as road 128 64 128. By default labelmap.txt in the
            folder, if there are masks with colours.
        value_range: Numbers in the image files that become black and white, for example
            '[0, 4095]'; by default the range of their type.
        orientation: Whether images are turned upright as their EXIF orientation says, as on a
            screen, or left as they are stored, for masks that were drawn on stored pixels.
        channels: Number of channels of the images; 0 for that of the files. 3 makes colour of
            grey, 1 grey of colour; of more channels the first are taken, and 4 takes the
            transparency of PNG and WebP as the fourth.
        normalisation: Mean and spread that images are normalised by: those of ImageNet, those of
            the training part (`train`), or by default those of ImageNet where the files hold three
            channels of bytes and those of the training part elsewhere.
    """

    data: str = "landcover"
    grouping: Literal["igbp17", "families"] = "igbp17"
    tail: float = 0.75
    class_names: str | None = None
    images: str | None = None
    masks: str | None = None
    image_ending: str = ""
    mask_ending: str = ""
    lists: str | None = None
    parts: dict[str, str] = field(default_factory=dict)
    split: list[float] | None = None
    split_seed: int = 0
    without_mask: Literal["stop", "leave-out"] = "stop"
    ignore_index: int | list[int] | None = None
    mask_values: list[int] | None = None
    palette: str | None = None
    value_range: list[float] | None = None
    orientation: Literal["upright", "stored"] = "upright"
    channels: int = 0
    normalisation: Literal["auto", "imagenet", "train"] = "auto"

    def __post_init__(self) -> None:
        """Check the ranges that the types do not say."""
        _check_codes("ignore_index", self.ignored)
        _check_codes("mask_values", self.mask_values)
        low_high = self.value_range
        ordered = low_high is None or (len(low_high) == 2 and low_high[0] < low_high[1])
        expect(ordered, "value_range", "two numbers, the smaller one first", low_high)
        expect(self.channels >= 0, "channels", "0 or more", self.channels)
        for name in PATHS:
            value = getattr(self, name, None)
            if value is not None:  # shells leave --data=~/a as it is
                setattr(self, name, os.path.expanduser(value))
        check_split(self.split)
        expect(self.split_seed >= 0, "split_seed", "0 or more", self.split_seed)
        known = set(self.parts) <= set(PARTS)
        expect(known, "parts", f"names for {', '.join(PARTS)}", self.parts)
        expect(0 < self.tail <= 1, "tail", "more than 0 and at most 1", self.tail)

    @property
    def ignored(self) -> list[int] | None:
        """The ignored values, None if they are not given."""
        return [self.ignore_index] if isinstance(self.ignore_index, int) else self.ignore_index

    @property
    def reading(self) -> DataConfig:
        """These options alone, without those of what is done with the data."""
        return DataConfig(**{f.name: getattr(self, f.name) for f in fields(DataConfig)})


def check_split(split: list[float] | None) -> None:
    """Raise a UserError unless these are fractions with which a run can be evaluated."""
    fits = split is None or (
        len(split) in (2, 3)
        and all(0 <= fraction < 1 for fraction in split)
        and min(split[:2]) > 0
        and math.isclose(sum(split), 1, abs_tol=1e-6)
    )
    expect(
        fits,
        "split",
        "two or three fractions with a sum of 1, of which only the third may be 0",
        split,
    )


def _check_codes(name: str, codes: list[int] | None) -> None:
    """Raise a UserError unless these are different numbers that mask files may hold."""
    fits = codes is None or (
        len(set(codes)) == len(codes) and all(0 <= code <= 65535 for code in codes)
    )
    expect(fits, name, "different numbers from 0 to 65535", codes)
