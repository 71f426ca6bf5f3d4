"""The pictures of the report, as data URIs."""

from __future__ import annotations

import base64
import io
import statistics
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.colors import hsv_to_rgb, to_hex
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image

from lovasz.train.data import IGNORE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.axes import Axes

    from lovasz.train.summary import LossSummary, Outcome, Spread, Summary

LEGEND_COLUMNS = 3  # as many titles of losses as fit the width
_FITTED = "with fitted offsets"
BAR_CLASSES = 30  # more are not read in a picture; the table has all
# Told apart by colour-blind readers too (Okabe and Ito).
_LOSS_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
_INK, _GRID = "#33373d", "#e3e6ea"
# Of the IoU with fitted offsets, on the bar of its loss.
_MARKER: Any = {
    "linestyle": "none",
    "marker": "D",
    "markersize": 4,
    "markerfacecolor": "white",
    "markeredgecolor": _INK,
    "markeredgewidth": 1.1,
}
_STYLE: Any = {
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": "#b9bec6",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": _GRID,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "legend.frameon": False,
    "text.parse_math": False,  # a class may be called a_$1
    "svg.hashsalt": "lovasz",  # the same report for the same numbers
}


def loss_colours(count: int) -> list[str]:
    """A colour for each of so many losses.

    >>> loss_colours(2)
    ['#0072b2', '#d55e00']
    """
    if count <= len(_LOSS_COLOURS):
        return list(_LOSS_COLOURS[:count])
    return [to_hex(tuple(hsv_to_rgb((k / count, 0.9, 0.75)).tolist())) for k in range(count)]


def learning_curves(summary: Summary) -> list[str]:
    """Validation mIoU and training loss over the epochs, two pictures."""
    return [
        _curves(summary, "miou", 100, "Validation mIoU (argmax), %"),
        _curves(summary, "loss", 1, "Training loss (each has its own scale)"),
    ]


def _curves(summary: Summary, key: str, factor: float, title: str) -> str:
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(4.8, 3.3), layout="constrained")
        axes = figure.subplots()
        for loss, colour in _coloured(summary):
            _curve(axes, loss, key, factor, colour)
        axes.set(title=title, xlabel="epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.legend()
        return _svg(figure)


def _coloured(summary: Summary) -> Iterator[tuple[LossSummary, str]]:
    return zip(summary.losses, loss_colours(len(summary.losses)), strict=True)


def _curve(axes: Axes, loss: LossSummary, key: str, factor: float, colour: str) -> None:
    """The mean of the seeds, and a band from the lowest to the highest."""
    epochs = [row["epoch"] for row in loss.runs[0].log]
    curves = [[np.nan if r[key] is None else factor * r[key] for r in run.log] for run in loss.runs]
    rows = list(zip(*curves, strict=True))
    marker = "o" if len(epochs) == 1 else None
    means = [statistics.fmean(row) for row in rows]
    axes.plot(epochs, means, color=colour, label=loss.title, linewidth=1.8, marker=marker)
    lowest, highest = [min(row) for row in rows], [max(row) for row in rows]
    axes.fill_between(epochs, lowest, highest, color=colour, alpha=0.15, linewidth=0)


def class_bars(summary: Summary) -> str:
    """IoU of the classes present, the most frequent class first, at most BAR_CLASSES of them.

    Bars are of argmax; a mark on each says where it is with fitted offsets.
    """
    shares = summary.shares()
    present = sorted((k for k, share in enumerate(shares) if share > 0), key=lambda k: -shares[k])
    present = present[:BAR_CLASSES]
    count = len(summary.losses)
    height = 0.8 / count
    places = np.arange(len(present))
    with mpl.rc_context(_STYLE):
        figure = Figure(
            figsize=(9.6, 1.0 + len(present) * (0.16 + 0.14 * count)), layout="constrained"
        )
        axes = figure.subplots()
        for n, (loss, colour) in enumerate(_coloured(summary)):
            heights = places + (n - (count - 1) / 2) * height
            spreads = _spreads(loss.argmax, present)
            several = len(loss.runs) > 1
            axes.barh(
                heights,
                [100 * spread.mean for spread in spreads],
                height * 0.92,
                xerr=[100 * spread.deviation for spread in spreads] if several else None,
                error_kw={"elinewidth": 1, "ecolor": _INK, "capsize": 1.5},
                color=colour,
                label=loss.title,
            )
            if loss.decided is not None:
                means = [100 * spread.mean for spread in _spreads(loss.decided, present)]
                axes.plot(means, heights, **_MARKER)
        if summary.decided:
            axes.plot([], [], label=_FITTED, **_MARKER)
        axes.set_yticks(places, [f"{summary.data.classes[k]}" for k in present])
        axes.set_ylim(len(present) - 0.4, -0.6)
        axes.set_xlim(0, 100)
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel(f"IoU on the {summary.part_name} part, %")
        handles, titles = axes.get_legend_handles_labels()
        order = sorted(range(len(titles)), key=lambda k: titles[k] == _FITTED)  # marks come last
        figure.legend(
            [handles[k] for k in order],
            [titles[k] for k in order],
            loc="outside upper left",
            ncols=min(len(titles), LEGEND_COLUMNS),
            borderaxespad=0,
        )
        return _svg(figure)


def _spreads(outcome: Outcome, present: list[int]) -> list[Spread]:
    """The IoU of classes that are in the truth."""
    return [spread for k in present if (spread := outcome.iou(k)) is not None]


def picture(pixels: np.ndarray[Any, Any]) -> str:
    """An RGB image (H, W, 3)."""
    return _png(Image.fromarray(pixels))


def label_picture(labels: np.ndarray[Any, Any], colours: list[tuple[int, int, int]]) -> str:
    """Labels (H, W) in the colours of the classes; pixels without label stay white."""
    image = Image.fromarray(labels)
    palette = [channel for colour in colours for channel in colour]
    palette += [255] * (3 * (IGNORE + 1) - len(palette))
    image.putpalette(palette)
    return _png(image)


def _png(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return _uri("image/png", buffer.getvalue())


def _svg(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    return _uri("image/svg+xml", buffer.getvalue())


def _uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
