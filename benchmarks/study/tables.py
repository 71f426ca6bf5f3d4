"""The tables of docs/comparison.md from the rows of the study."""

from __future__ import annotations

from collections.abc import Callable
from statistics import fmean

from benchmarks.study.cells import Cell, Cells, cells_of
from benchmarks.study.losses import TITLES
from benchmarks.study.scores import DECISIONS
from benchmarks.study.tasks import COMPARED
from benchmarks.window_table import paired, shown

BASE = "cross-entropy"
SHORT = ("cross-entropy", "dice", "lovasz", "both")  # of the README


def main_table(found: dict) -> str:
    """mIoU of each loss under argmax and under fitted offsets, task by task."""
    cells = cells_of(found["rows"])
    head = [
        "loss",
        "argmax",
        "fitted offsets",
        "gain of the offsets",
        "foretold",
        "pixel accuracy, argmax",
        "calibration error",
    ]
    return "\n\n".join(
        f"**{title(found, task)}** ({about_seeds(cells, task)})\n\n"
        + table(head, [main_row(cells, task, loss) for loss in losses_of(cells, task)])
        for task in tasks_of(cells)
    )


def main_row(cells: Cells, task: str, loss: str) -> list[str]:
    """A row of `main_table`."""
    argmax, fitted = cells[task, loss, "argmax"], cells[task, loss, "fitted"]
    both = [with_rate(cell) for cell in (argmax, fitted)]
    gains = [shown(list(found.values()), sign="+") for found in (fitted.gains(), fitted.foretold())]
    more = [list(argmax.values("accuracy").values()), list(argmax.calibration().values())]
    return [TITLES[loss], *both, *gains, *map(shown, more)]


def with_rate(cell: Cell) -> str:
    """The mIoU, and the rate in brackets."""
    return f"{shown(list(cell.values('miou').values()))} ({cell.lr:g})"


def difference_table(found: dict) -> str:
    """Differences of the mIoU to cross-entropy, under both decisions, paired by seed."""
    cells = cells_of(found["rows"])
    tasks = tasks_of(cells)
    lines = []
    for loss in (name for name in TITLES if name != BASE):
        for decision in ("argmax", "fitted"):
            numbers = [difference(cells, task, loss, decision) for task in tasks]
            lines.append([TITLES[loss], DECISIONS[decision].split(" on ")[0], *numbers])
    return table(["loss", "decision", *(title(found, task) for task in tasks)], lines)


def difference(cells: Cells, task: str, loss: str, decision: str) -> str:
    """To cross-entropy under the same decision."""
    first, second = cells.get((task, BASE, decision)), cells.get((task, loss, decision))
    if first is None or second is None:
        return ""
    return shown(paired(first.values("miou"), second.values("miou")), sign="+")


def decision_table(found: dict) -> str:
    """All decisions, for two losses: mIoU of the data set, of the images, and accuracy."""
    cells = cells_of(found["rows"])
    lines = []
    for task in tasks_of(cells):
        for loss in ("cross-entropy", "both"):
            for decision, name in DECISIONS.items():
                cell = cells.get((task, loss, decision))
                if cell is not None:
                    numbers = [
                        shown(list(cell.values(score).values()))
                        for score in ("miou", "image_miou", "accuracy")
                    ]
                    lines.append([title(found, task), TITLES[loss], name, *numbers])
    head = ["data", "loss", "decision", "mIoU", "mean mIoU of the images", "pixel accuracy"]
    return table(head, lines)


def class_table(found: dict) -> str:
    """The IoU of each class of each task, mean over the seeds."""
    cells = cells_of(found["rows"])
    columns: list[tuple[str, str]] = [
        (loss, way) for loss in ("cross-entropy", "lovasz", "both") for way in ("argmax", "fitted")
    ]
    heads = ["class", *(f"{TITLES[loss]}, {way}" for loss, way in columns)]
    tables = []
    for task in tasks_of(cells):
        kept = [cells[task, loss, way] for loss, way in columns if (task, loss, way) in cells]
        if len(kept) < len(columns):
            continue
        means = [class_means(cell) for cell in kept]
        rows = [
            [name, *("" if m[k] is None else f"{100 * m[k]:.1f}" for m in means)]  # type: ignore[operator]
            for k, name in enumerate(found["tasks"][task]["classes"])
        ]
        tables.append(f"**{title(found, task)}**\n\n" + table(heads, rows))
    return "\n\n".join(tables)


def class_means(cell: Cell) -> list[float | None]:
    """Mean over the seeds; None for a class that the truth lacks."""
    return [
        None if None in values else fmean(v for v in values if v is not None)
        for values in zip(*cell.by_class(), strict=True)
    ]


def title(found: dict, task: str) -> str:
    """Of a task, as the file of results has it."""
    return str(found["tasks"][task]["title"])


def tasks_of(cells: Cells) -> list[str]:
    """Those of which there is something, in the order of the study."""
    there = {task for task, _, _ in cells}
    return [task for task in COMPARED if task in there]


def losses_of(cells: Cells, task: str) -> list[str]:
    """Those that are complete on a task, in the order of the study."""
    return [
        loss for loss in TITLES if all((task, loss, way) in cells for way in ("argmax", "fitted"))
    ]


def about_seeds(cells: Cells, task: str) -> str:
    """How many seeds the rows have."""
    counts = {len(cell.rows) for (name, _, _), cell in cells.items() if name == task}
    return f"{min(counts)} seeds" if len(counts) == 1 else f"{min(counts)} to {max(counts)} seeds"


def table(head: list[str], rows: list[list[str]]) -> str:
    """In Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def data_table(found: dict) -> str:
    """What each task is."""
    kept = found["tasks"]
    rows = [
        [kept[task]["title"], kept[task]["about"], str(len(kept[task]["classes"]))]
        for task in COMPARED
        if task in kept
    ]
    return table(["data", "what they are", "classes"], rows)


def short_table(found: dict) -> str:
    """Four losses on every task: mIoU under argmax, and with fitted offsets."""
    cells = cells_of(found["rows"])
    tasks = tasks_of(cells)
    rows = []
    for loss in SHORT:
        numbers = [
            " → ".join(
                f"{100 * fmean(cells[task, loss, way].values('miou').values()):.1f}"
                for way in ("argmax", "fitted")
                if (task, loss, way) in cells
            )
            for task in tasks
        ]
        rows.append([TITLES[loss], *numbers])
    return table(["", *(title(found, task) for task in tasks)], rows)


RENDERED: dict[str, Callable[[dict], str]] = {
    "study data": data_table,
    "study": main_table,
    "study differences": difference_table,
    "study decisions": decision_table,
    "study classes": class_table,
}
