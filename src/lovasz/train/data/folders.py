"""From a folder of images and masks to a data set."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lovasz.train.data.base import DataSet
from lovasz.train.data.colours import colour_file, first_colours, read_colours
from lovasz.train.data.finding import find_pairs
from lovasz.train.data.headers import Heads, look_at_heads
from lovasz.train.data.images import Reading
from lovasz.train.data.looking import Show, silent
from lovasz.train.data.part import Files
from lovasz.train.data.statistics import IMAGENET, Statistics
from lovasz.train.data.values import colour_values, number_values
from lovasz.train.errors import expect

if TYPE_CHECKING:
    from lovasz.train.data.config import DataConfig, Evaluation


def load_folder(
    config: DataConfig, show: Show = silent, evaluation: Evaluation | None = None
) -> DataSet:
    """The data set in the folder `config.data`: its parts, its classes, and how it is read.

    The heads of all files are read; `checks.checked` looks at the masks, and measures the mean and
    spread of the images where those of ImageNet do not fit.

    Args:
        config: What to read, and how.
        show: Shows the progress.
        evaluation: What a trained network needs that is evaluated on it; None to train on it.

    Raises:
        UserError: If nothing is found, something is missing, or files and options do not fit.
    """
    found = find_pairs(config, evaluation)
    names = found.classes.names
    low_high = config.value_range
    reading = Reading(
        config.orientation, (low_high[0], low_high[1]) if low_high else None, config.channels
    )
    heads = look_at_heads(found.parts, reading, show)
    table = colour_file(found.root, config.palette)
    colours = read_colours(table) if table else []
    if colours and (config.palette is not None or heads.coloured):
        values = colour_values(config, names, colours)
    else:
        own = found.classes.values or found.layout.labels
        values = number_values(config, names, own, found.layout.ignore)
    reading = reading._replace(channels=heads.channels)
    parts = {
        name: Files(
            pairs,
            values,
            len(names),
            reading,
            as_bytes=heads.as_bytes,
            floating=heads.floating,
            pixels=heads.pixels,
        )
        for name, pairs in found.parts.items()
    }
    title = f"{found.root.resolve().name} ({found.layout.name}), {len(names)} classes"
    return DataSet(
        title,
        names,
        dict(parts),
        first_colours(colours, names),
        statistics=_statistics(config, heads),
        reading=reading,
        mask_values=[] if values.colours else values.of_classes,
        notes=[*found.notes, *heads.notes],
        left_out=found.reasons,
    )


def _statistics(config: DataConfig, heads: Heads) -> Statistics:
    """Those of ImageNet where they fit, unless the options say otherwise."""
    three = heads.channels == IMAGENET.channels
    if config.normalisation == "imagenet":
        expect(three, "normalisation", f"train for {heads.channels} channels", "imagenet")
        return IMAGENET
    fits = config.normalisation == "auto" and three and heads.as_bytes
    return IMAGENET if fits else Statistics.unknown(heads.channels)
