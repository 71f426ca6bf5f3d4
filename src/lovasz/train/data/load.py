"""From the configuration to a data set."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lovasz.train.data.folders import load_folder
from lovasz.train.data.landcover import load_landcover
from lovasz.train.data.scenes import load_scenes

if TYPE_CHECKING:
    from lovasz.train.data.base import DataSet
    from lovasz.train.data.config import DataConfig


def load_data(config: DataConfig) -> DataSet:
    """The data set that the configuration names."""
    if config.data == "landcover":
        return load_landcover(config.grouping)
    if config.data == "scenes":
        return load_scenes(config.tail)
    return load_folder(config)
