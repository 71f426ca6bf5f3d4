"""From the configuration to a data set."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lovasz.train.data.config import OF_FOLDERS, DataConfig
from lovasz.train.data.folders import load_folder
from lovasz.train.data.landcover import load_landcover
from lovasz.train.data.scenes import load_scenes
from lovasz.train.errors import expect

if TYPE_CHECKING:
    from lovasz.train.data.base import DataSet


def load_data(config: DataConfig) -> DataSet:
    """The data set that the configuration names.

    Raises:
        UserError: If it cannot be read, or an option does not go with it.
    """
    if config.data not in ("landcover", "scenes"):
        return load_folder(config)
    defaults = DataConfig()
    for name in OF_FOLDERS:
        value = getattr(config, name)
        none = f"none, for {config.data} is no folder"
        expect(value == getattr(defaults, name), name, none, value)
    if config.data == "landcover":
        return load_landcover(config.grouping)
    return load_scenes(config.tail)
