"""Data sets of images and label masks, cut into batches that depend only on seed and position."""

from lovasz.train.data.base import IGNORE, DataSet, Part
from lovasz.train.data.batches import training_batches
from lovasz.train.data.checks import checked
from lovasz.train.data.config import DataConfig
from lovasz.train.data.load import load_data
from lovasz.train.data.part import Files
from lovasz.train.data.statistics import IMAGENET, Statistics

__all__ = [
    "IGNORE",
    "IMAGENET",
    "DataConfig",
    "DataSet",
    "Files",
    "Part",
    "Statistics",
    "checked",
    "load_data",
    "training_batches",
]
