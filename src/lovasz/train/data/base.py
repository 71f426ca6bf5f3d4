"""What a data set is to the rest of the trainer."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

from torch.utils.data import Dataset

from lovasz import LabelCounts, count_labels
from lovasz.train.data.images import Reading
from lovasz.train.data.statistics import IMAGENET, Statistics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from torch import Tensor

# The label of pixels that are neither trained on nor evaluated, whatever the files say. Labels
# are kept as bytes, so that there can be up to 255 classes.
IGNORE = 255


class Part(Protocol):
    """The training, validation or test part of a data set."""

    def __len__(self) -> int:
        """The number of images."""
        ...

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """The image (channels, H, W) and its labels (H, W) as bytes.

        The image has bytes too, or float32 in units of bytes, but the same for all images.
        """
        ...


@dataclass(frozen=True)
class DataSet:
    """Named classes and the parts of the data.

    Attributes:
        title: One line for the report.
        classes: Class names; label k is classes[k].
        parts: `train` and `val`, and `test` if there is one.
        colours: One RGB triple for each class, for the pictures.
        caveats: Sentences that a reader of the results should know.
        upright: Whether a mirrored or turned image may be one of another class, as with digits;
            training then leaves the crops as they are.
        statistics: What the images are normalised by, and so the number of their channels.
            Unknown for data that are to be normalised by their own, until `checked` measures them.
        reading: How its image files are read.
        mask_values: Value in mask files of each class; where masks are read by colours, and where
            there are no files, its label.
        notes: Sentences about what was done with the files, for screen and report.
        left_out: Of each reason the files that are left out for it.
        counts: The labels of the parts that have been looked at.
    """

    title: str
    classes: list[str]
    parts: dict[str, Part]
    colours: list[tuple[int, int, int]] = field(default_factory=list)
    caveats: list[str] = field(default_factory=list)
    upright: bool = False
    statistics: Statistics = IMAGENET
    reading: Reading = Reading()  # noqa: RUF009 (a tuple: nothing can change it)
    mask_values: list[int] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    left_out: dict[str, list[str]] = field(default_factory=dict)
    counts: dict[str, LabelCounts] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Give classes without colours of their own the colours of a wheel, and values."""
        if not self.colours:
            object.__setattr__(self, "colours", _wheel(len(self.classes)))
        if not self.mask_values:
            object.__setattr__(self, "mask_values", list(range(len(self.classes))))

    @property
    def evaluated(self) -> str:
        """The part that results are reported on: `test`, or `val` where there is no test part."""
        return "test" if "test" in self.parts else "val"

    @cached_property
    def label_counts(self) -> LabelCounts:
        """Pixels and images of each class in the training part, counted when first asked for."""
        return self.count("train")

    def count(
        self, part: str, progress: Callable[[Iterable[Any]], Iterable[Any]] | None = None
    ) -> LabelCounts:
        """Pixels and images of each class in a part."""
        if part in self.counts:
            return self.counts[part]
        return count_labels(
            _Targets(self.parts[part]),
            len(self.classes),
            ignore_index=IGNORE,
            progress=progress,
        )


@dataclass(frozen=True)
class _Targets(Dataset["Tensor"]):
    """The labels of a part, without its images where they can be had so."""

    part: Part

    def __len__(self) -> int:
        return len(self.part)

    def __getitem__(self, index: int) -> Tensor:
        # Files have it: masks are small, and decoding the images would take most of the time.
        target = getattr(self.part, "target", None)
        labels: Tensor = self.part[index][1] if target is None else target(index)
        return labels


def _wheel(count: int) -> list[tuple[int, int, int]]:
    """Colours that differ between neighbours: golden-angle hues, three brightnesses."""
    wheel = []
    for k in range(count):
        rgb = colorsys.hls_to_rgb(k * 0.618 % 1, (0.45, 0.62, 0.32)[k % 3], 0.65)
        wheel.append((round(255 * rgb[0]), round(255 * rgb[1]), round(255 * rgb[2])))
    return wheel
