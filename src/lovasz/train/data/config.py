"""The options that say what the data are; every command has them."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

from lovasz.train.errors import expect


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
        ignore_index: Value in the mask files of pixels without a label. The folder layouts of
            public data sets bring their own.
    """

    data: str = "landcover"
    grouping: Literal["igbp17", "families"] = "igbp17"
    tail: float = 0.75
    class_names: str | None = None
    ignore_index: int = 255

    def __post_init__(self) -> None:
        """Check the ranges that the types do not say."""
        expect(0 <= self.ignore_index <= 255, "ignore_index", "0 to 255", self.ignore_index)
        expect(0 < self.tail <= 1, "tail", "more than 0 and at most 1", self.tail)

    @property
    def reading(self) -> DataConfig:
        """These options alone, without those of what is done with the data."""
        return DataConfig(**{f.name: getattr(self, f.name) for f in fields(DataConfig)})
