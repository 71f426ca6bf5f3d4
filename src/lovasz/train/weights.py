"""`lovasz weights`: what the classes of a data set weigh."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from rich.cells import cell_len
from rich.table import Table

from lovasz import class_weights
from lovasz.train.config import Scheme
from lovasz.train.data import DataConfig, checked, load_data
from lovasz.train.errors import UserError
from lovasz.train.progress import counted

if TYPE_CHECKING:
    from rich.console import Console

    from lovasz import LabelCounts


@dataclass(kw_only=True)
class WeightsConfig(DataConfig):
    """Count the labels of a data set, show what each class weighs, and write it to a file.

    Args:
        part: The part to count.
        scheme: How to weigh: one of the schemes of lovasz.class_weights, or all of them.
        scheme_args: Keyword arguments for lovasz.class_weights, for example '{"beta": 0.999}',
            with a scheme that has them.
        out: JSON file for counts and weights, written anew each time.
    """

    part: Literal["train", "val", "test"] = "train"
    scheme: Literal[Scheme, "all"] = "all"
    scheme_args: dict[str, Any] = field(default_factory=dict)
    out: str = "runs/weights.json"


def weights(config: WeightsConfig, console: Console) -> int:
    """Count, print, write; returns the exit status.

    Raises:
        UserError: If data or options do not fit, or the file cannot be written.
    """
    show = counted(console)
    data = load_data(config, show)
    if config.part not in data.parts:
        raise UserError(f"part: expected one of {', '.join(data.parts)}, got {config.part}")
    size = len(data.parts[config.part])
    data = checked(data, show, [config.part], images=False)
    counts = data.count(config.part, lambda items: show(items, "counting the labels", size))
    columns = _columns(config, counts)
    for line in (data.title, *data.notes):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    for table in _tables(config.part, data.classes, counts, columns, console.width):
        console.print(table)
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


def _tables(
    part: str, classes: list[str], counts: LabelCounts, columns: dict[str, list[float]], width: int
) -> list[Table]:
    """One table, or where so many columns do not fit the screen several, each with the classes."""
    total = max(1, int(counts.pixels.sum()))
    cells = {
        "pixels": [f"{int(pixels):,}" for pixels in counts.pixels],
        "%": [f"{100 * int(pixels) / total:.2f}" for pixels in counts.pixels],
        "images": [f"{int(images):,}" for images in counts.images],
        **{name: [f"{weight:.3f}" for weight in column] for name, column in columns.items()},
    }
    for_names = min(max(map(cell_len, ["class", *classes])), max(width // 3, 12))
    groups: list[list[str]] = [[]]
    room = free = width - for_names - 4
    for name, column in cells.items():
        needed = max(map(len, [name, *column])) + 3
        if needed > room and groups[-1]:
            groups.append([])
            room = free
        groups[-1].append(name)
        room -= needed
    title = f"Labels of the {part} part, {len(counts.present)} images"
    return [_table(title if k == 0 else None, classes, cells, g) for k, g in enumerate(groups)]


def _table(
    title: str | None, classes: list[str], cells: dict[str, list[str]], names: list[str]
) -> Table:
    """The table of these columns."""
    table = Table(title=title)
    table.add_column("class", overflow="fold")
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    for row in zip(classes, *(cells[name] for name in names), strict=True):
        table.add_row(*row)
    return table
