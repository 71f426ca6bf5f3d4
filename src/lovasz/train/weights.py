"""`lovasz weights`: what the classes of a data set weigh."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from rich.progress import track
from rich.table import Table

from lovasz import class_weights
from lovasz.train.config import Config, Scheme
from lovasz.train.data import load_data
from lovasz.train.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

    from lovasz import LabelCounts


@dataclass
class WeightsConfig:
    """Count the labels of a data set, show what each class weighs, and write it to a file.

    Args:
        data: `landcover`, the embedded data set, `scenes`, digits composed to scenes, or a folder
            with images and masks.
        grouping: Classes of the embedded data set: the 17 of the source, or its 10 families.
        tail: Frequency of each digit of `scenes` as a fraction of that of the digit before it.
        class_names: Text file with one class name per line; by default classes.txt in the folder.
        ignore_index: Value in the mask files of pixels without a label.
        part: The part to count.
        scheme: How to weigh: one of the schemes of lovasz.class_weights, or all of them.
        scheme_args: Keyword arguments for lovasz.class_weights, for example '{"beta": 0.999}',
            with a scheme that has them.
        out: JSON file for counts and weights, written anew each time.
    """

    data: str
    grouping: Literal["igbp17", "families"] = "igbp17"
    tail: float = 0.75
    class_names: str | None = None
    ignore_index: int = 255
    part: Literal["train", "val", "test"] = "train"
    scheme: Literal[Scheme, "all"] = "all"
    scheme_args: dict[str, Any] = field(default_factory=dict)
    out: str = "runs/weights.json"


def weights(config: WeightsConfig, console: Console) -> int:
    """Count, print, write; returns the exit status.

    Raises:
        UserError: If data or options do not fit, or the file cannot be written.
    """
    data = load_data(
        Config(
            data=config.data,
            grouping=config.grouping,
            tail=config.tail,
            class_names=config.class_names,
            ignore_index=config.ignore_index,
        )
    )
    if config.part not in data.parts:
        raise UserError(f"part: expected one of {', '.join(data.parts)}, got {config.part}")
    counts = data.count(
        config.part,
        lambda items: track(items, "labels", console=console, transient=True),
    )
    columns = _columns(config, counts)
    console.print(data.title, highlight=False)
    console.print(_table(config.part, data.classes, counts, columns))
    content = {
        "data": data.title,
        "part": config.part,
        "classes": data.classes,
        "pixels": counts.pixels.tolist(),
        "images": counts.images.tolist(),
        "weights": columns,
    }
    out = Path(config.out)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise UserError(f"out: cannot write to {out}: {error.strerror}") from error
    console.print(f"Written: {out}", highlight=False, soft_wrap=True)
    return 0


def _columns(config: WeightsConfig, counts: LabelCounts) -> dict[str, list[float]]:
    """The weights of each scheme that is asked for."""
    schemes = get_args(Scheme) if config.scheme == "all" else (config.scheme,)
    try:
        return {
            scheme: class_weights(counts, scheme, **config.scheme_args).tolist()
            for scheme in schemes
        }
    except (TypeError, ValueError) as error:
        raise UserError(f"scheme: {error}") from error


def _table(
    part: str, classes: list[str], counts: LabelCounts, columns: dict[str, list[float]]
) -> Table:
    images, total = len(counts.present), max(1, int(counts.pixels.sum()))
    table = Table(title=f"Labels of the {part} part, {images} images")
    table.add_column("class")
    for name in ("pixels", "%", "images", *columns):
        table.add_column(name, justify="right", no_wrap=True)
    for k, name in enumerate(classes):
        pixels = int(counts.pixels[k])
        table.add_row(
            name,
            f"{pixels:,}",
            f"{100 * pixels / total:.2f}",
            f"{int(counts.images[k]):,}",
            *(f"{column[k]:.3f}" for column in columns.values()),
        )
    return table
