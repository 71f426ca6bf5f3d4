"""Data sets of images and label masks, cut into batches that depend only on seed and position."""

from lovasz.train.data.base import IGNORE, DataSet, Part
from lovasz.train.data.batches import normalise, training_batches
from lovasz.train.data.load import load_data

__all__ = ["IGNORE", "DataSet", "Part", "load_data", "normalise", "training_batches"]
