"""The report of a run or a comparison: one page of HTML that needs nothing else."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from lovasz import __version__
from lovasz.train.compare import cores
from lovasz.train.config import CompareConfig, TrainConfig, options
from lovasz.train.data.config import PATHS
from lovasz.train.evaluate import WORST
from lovasz.train.figures import (
    BAR_CLASSES,
    class_bars,
    label_picture,
    learning_curves,
    loss_colours,
    picture,
)
from lovasz.train.headline import headline, notes
from lovasz.train.summary import FINE, TITLES
from lovasz.train.writing import write_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lovasz.train.data import DataSet
    from lovasz.train.summary import Summary

_PACKAGES = ("torch", "monai", "lightning-fabric", "torchmetrics", "numpy")


@dataclass(frozen=True)
class PictureRow:
    """One image with its truth and the prediction of each loss, as data URIs."""

    image: str
    truth: str
    predictions: list[str]


def write_report(
    path: Path, config: TrainConfig | CompareConfig, summary: Summary, *, complete: bool
) -> None:
    """Write report.html for what is there; `complete` tells whether runs are still missing."""
    comparing = isinstance(config, CompareConfig)
    pictured = _pictured(summary)
    rows, seen = (
        picture_rows(summary.data, _shown(summary), tuple(pictured)) if summary.losses else ([], [])
    )
    text = (
        environment()
        .get_template("report.html.j2")
        .render(
            summary=summary,
            config=config,
            comparing=comparing,
            complete=complete,
            titles=TITLES,
            fine=FINE,
            worst=WORST,
            loss_colours=loss_colours(len(summary.losses)),
            bar_classes=BAR_CLASSES,
            headline=headline(summary),
            notes=notes(summary),
            command=f"lovasz {'compare' if comparing else 'train'} --config config.yaml",
            options=_shown_options(config),
            versions=versions(),
            machine=machine(),
            date=datetime.now(timezone.utc).date().isoformat(),
            curves=learning_curves(summary) if summary.losses else [],
            bars=class_bars(summary) if summary.losses else "",
            picture_rows=rows,
            picture_titles=[
                head or loss.title for loss in summary.losses for head in pictured.values()
            ],
            legend=seen,
        )
    )
    write_text(path, text)


def environment() -> Environment:
    """The templates of this package."""
    return Environment(
        loader=PackageLoader("lovasz.train", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )


def machine() -> str:
    """Processor, cores and accelerator; never a name or a path of the machine."""
    words = f"{_processor()}, {cores()} cores"
    if torch.cuda.is_available():
        words += f", {torch.cuda.get_device_name()}"
    return words


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def versions() -> str:
    """Of this package and of those whose results it depends on."""
    found = [f"lovasz {__version__}", f"Python {platform.python_version()}"]
    for name in _PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:  # for example a torch that was built in place
            found.append(name)
    return ", ".join(found)


def _shown_options(config: TrainConfig | CompareConfig) -> str:
    """The configuration as YAML, without the folders of the machine it ran on."""
    kept = options(config)
    for name in PATHS:
        if kept[name] is not None and os.path.isabs(kept[name]):
            kept[name] = Path(kept[name]).name
    text: str = yaml.safe_dump(kept, sort_keys=False, allow_unicode=True)
    return text


def _pictured(summary: Summary) -> dict[str, str]:
    """Which labels there are pictures of, and how they are headed: of several losses argmax."""
    if len(summary.losses) == 1 and summary.decided:
        return {"prediction": "Argmax", "decided": "Fitted offsets"}
    return {"prediction": ""}


def _shown(summary: Summary) -> list[dict[str, np.ndarray[Any, Any]]]:
    """The pictures of the first seed of each loss."""
    kept = []
    for loss in summary.losses:
        with np.load(loss.runs[0].folder / "pictures.npz") as file:
            kept.append(dict(file))
    return kept


def picture_rows(
    data: DataSet,
    kept: list[dict[str, np.ndarray[Any, Any]]],
    names: Sequence[str] = ("prediction",),
) -> tuple[list[PictureRow], list[tuple[str, str]]]:
    """Pictures of the same images by several networks, and the legend of the classes in them.

    Args:
        data: Classes and colours.
        kept: The pictures of each network.
        names: Which labels of each network are shown.
    """
    rows = []
    labels: set[int] = set()
    for k in range(sum(name.startswith("image") for name in kept[0])):
        found = [arrays[f"{name}{k}"] for arrays in kept for name in names]
        shown = [kept[0][f"truth{k}"], *found]
        labels.update(*(np.unique(array).tolist() for array in shown))
        truth, *predictions = [label_picture(array, data.colours) for array in shown]
        rows.append(PictureRow(picture(kept[0][f"image{k}"]), truth, predictions))
    legend = [
        (name, "#{:02x}{:02x}{:02x}".format(*data.colours[k]))
        for k, name in enumerate(data.classes)
        if k in labels
    ]
    return rows, legend
