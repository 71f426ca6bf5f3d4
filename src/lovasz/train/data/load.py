"""From the configuration to a data set."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from lovasz.train.data.config import OF_FOLDERS, DataConfig
from lovasz.train.data.folders import load_folder
from lovasz.train.data.landcover import load_landcover
from lovasz.train.data.looking import Show, silent
from lovasz.train.data.scenes import load_scenes
from lovasz.train.data.statistics import Statistics
from lovasz.train.errors import expect

if TYPE_CHECKING:
    from lovasz.train.data.base import DataSet
    from lovasz.train.data.config import Evaluation


def load_data(
    config: DataConfig, show: Show = silent, evaluation: Evaluation | None = None
) -> DataSet:
    """The data set that the configuration names; `checked` looks at what its files hold.

    Args:
        config: What to read, and how.
        show: Shows the progress.
        evaluation: What a trained network needs that is evaluated on it; None to train on it.

    Raises:
        UserError: If it cannot be read, or an option does not go with it.
    """
    for name, owner in (("grouping", "landcover"), ("tail", "scenes")):
        value, default = getattr(config, name), getattr(DataConfig, name)
        wanted = f"{default}, for the data are not {owner}"
        expect(config.data == owner or value == default, name, wanted, value)
    if config.data not in ("landcover", "scenes"):
        return load_folder(config, show, evaluation)
    defaults = DataConfig()
    for name in OF_FOLDERS:
        value = getattr(config, name)
        none = f"none, for {config.data} is no folder"
        expect(value == getattr(defaults, name), name, none, value)
    composed = config.data == "scenes"
    data = load_scenes(config.tail) if composed else load_landcover(config.grouping)
    if config.normalisation != "train":
        return data
    return replace(data, statistics=Statistics.unknown(data.statistics.channels))
