"""Tables and the picture of the single questions: the window in a sum, and raw logits."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from statistics import fmean

from benchmarks.study.cells import cells_of
from benchmarks.study.losses import TITLES
from benchmarks.study.tables import table, title
from benchmarks.study.variants import TITLES as VARIANTS
from benchmarks.window_table import paired, shown

#: What the window is compared with.
WITHOUT = "both"
#: Losses of the picture, with their colours (Okabe and Ito).
FED = {
    "cross-entropy": "#0072b2",
    "probabilities": "#009e73",
    "raw-logits": "#d55e00",
}


def window_table(found: dict) -> str:
    """Differences to the sum without a window, under both decisions, and the calibration."""
    cells = cells_of(found["rows"])
    (task,) = {task for task, _, _ in cells}
    rows = []
    for loss in (WITHOUT, *VARIANTS):
        if (task, loss, "argmax") not in cells:
            continue
        argmax, fitted = (cells[task, loss, way] for way in ("argmax", "fitted"))
        differences = [
            ""
            if loss == WITHOUT
            else shown(
                paired(cells[task, WITHOUT, way].values("miou"), cell.values("miou")), sign="+"
            )
            for way, cell in (("argmax", argmax), ("fitted", fitted))
        ]
        scores = [shown(list(cell.values("miou").values())) for cell in (argmax, fitted)]
        name = "no window" if loss == WITHOUT else VARIANTS[loss]
        calibration = shown(list(argmax.calibration().values()))
        rows.append([name, scores[0], differences[0], scores[1], differences[1], calibration])
    head = ["sum with cross-entropy", "argmax", "difference", "fitted offsets", "difference"]
    return table([*head, "calibration error"], rows)


def class_differences(found: dict, loss: str = "both-0.9") -> str:
    """What a variant changes in the IoU of each class, under argmax, mean over the seeds."""
    cells = cells_of(found["rows"])
    (task,) = {task for task, _, _ in cells}
    first, second = (cells[task, name, "argmax"].by_class() for name in (WITHOUT, loss))
    names = found["tasks"][task]["classes"]
    means = [
        [fmean(seed[k] or 0.0 for seed in seeds) for seeds in (first, second)]
        for k in range(len(names))
    ]
    rows = [
        [name, f"{100 * before:.1f}", f"{100 * (after - before):+.1f}".replace("-", "−")]
        for name, (before, after) in zip(names, means, strict=True)
    ]
    return table(["class", "no window", "difference"], rows)


def gradient_table(found: dict) -> str:
    """Norms, agreement of the steps, and angles of the two parts, for each third of training."""
    heads = ["", "first third", "second third", "last third"]
    rows = [
        [name, *(f"{third[name]:.2f}" for third in found["thirds"])] for name in found["thirds"][0]
    ]
    return table(heads, rows)


def fed_picture(found: dict, path: Path) -> None:
    """mIoU of every seed and rate: what the function of probabilities was fed, on each task."""
    import matplotlib as mpl  # noqa: PLC0415 - only this command draws
    from matplotlib.figure import Figure  # noqa: PLC0415

    mpl.rcParams["svg.hashsalt"] = "fed"  # the same file for the same numbers
    tasks = list(dict.fromkeys(row["task"] for row in found["rows"]))
    figure = Figure(figsize=(2.6 * len(tasks) + 0.6, 3.2), layout="constrained")
    axes = figure.subplots(1, len(tasks), squeeze=False)[0]
    for axis, task in zip(axes, tasks, strict=True):
        rates = sorted({row["lr"] for row in found["rows"] if row["task"] == task})
        for place, (loss, colour) in enumerate(FED.items()):
            rows = [row for row in found["rows"] if (row["task"], row["loss"]) == (task, loss)]
            for rate, marker in zip(rates, "v^s", strict=False):
                values = [100 * row["test"]["argmax"]["miou"] for row in of_rate(rows, rate)]
                label = f"learning rate {rate:g}" if place == 0 else None
                axis.plot(
                    [place] * len(values), values, marker, color=colour, alpha=0.6, label=label
                )
        axis.set_xticks(range(len(FED)), ["cross-\nentropy", "fed prob-\nabilities", "fed\nlogits"])
        axis.set_xlim(-0.5, len(FED) - 0.5)
        axis.set_ylim(0)
        axis.set_title(title(found, task))
        axis.grid(axis="y", alpha=0.3)
    axes[0].set_ylabel("mIoU of the test part, %")
    axes[0].legend(fontsize=7)
    figure.savefig(path, metadata={"Date": None})


def of_rate(rows: Iterable[dict], rate: float) -> list[dict]:
    """Those of a rate that did not diverge."""
    return [row for row in rows if row["lr"] == rate and row["val"]]


def fed_table(found: dict) -> str:
    """The same with each loss at the rate that is best on the validation part."""
    cells = cells_of(found["rows"])
    tasks = list(dict.fromkeys(row["task"] for row in found["rows"]))
    rows = []
    for loss in FED:
        numbers = [
            shown(list(cells[task, loss, way].values("miou").values()))
            for task in tasks
            for way in ("argmax", "fitted")
        ]
        rows.append([{**TITLES, **VARIANTS}[loss], *numbers])
    heads = [
        f"{title(found, task)}, {way}" for task in tasks for way in ("argmax", "fitted offsets")
    ]
    return table(["loss", *heads], rows)
