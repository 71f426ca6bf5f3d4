"""The report of an evaluation: numbers, classes and pictures on one page."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lovasz.train.evaluate import WORST
from lovasz.train.report import environment, machine, picture_rows, versions
from lovasz.train.summary import FINE

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from lovasz.train.data import DataSet


@dataclass(frozen=True)
class ClassRow:
    """What the confusion matrix says of a class; None where it has nothing to divide by."""

    name: str
    share: float
    iou: float | None
    recall: float | None
    precision: float | None

    def percent(self, name: str) -> str:
        """One of the numbers for a table."""
        value = getattr(self, name)
        if value is not None:
            return f"{100 * value:.2f}" if name == "share" else f"{100 * value:.1f}"
        return "absent" if name == "iou" else "–"


def class_rows(classes: Sequence[str], result: dict[str, Any]) -> list[ClassRow]:
    """The classes of a result, in their order.

    >>> row, _ = class_rows(["a", "b"], {"confusion": [[3, 1], [0, 0]], "iou": [0.75, None]})
    >>> [row.percent(name) for name in ("share", "iou", "recall", "precision")]
    ['100.00', '75.0', '75.0', '100.0']
    """
    matrix: list[list[int]] = result["confusion"]
    total = sum(map(sum, matrix))
    rows = []
    for k, name in enumerate(classes):
        truth, predicted = sum(matrix[k]), sum(row[k] for row in matrix)
        rows.append(
            ClassRow(
                name,
                share=truth / max(1, total),
                iou=result["iou"][k],
                recall=matrix[k][k] / truth if truth else None,
                precision=matrix[k][k] / predicted if predicted else None,
            )
        )
    return rows


def figures(result: dict[str, Any]) -> dict[str, str]:
    """The means of a result in percent, by their titles."""
    named = {"mIoU": result["miou"]}
    named |= {f"mIoU {words}": result[name] for name, words in FINE.items()}
    named["Pixel accuracy"] = result["accuracy"]
    return {name: "–" if v is None else f"{100 * v:.1f}" for name, v in named.items()}


def evaluation_report(
    data: DataSet,
    result: dict[str, Any],
    shown: dict[str, np.ndarray[Any, Any]],
    remarks: Sequence[str],
) -> str:
    """The page for a result and its pictures."""
    pictures, legend = picture_rows(data, [shown])
    return (
        environment()
        .get_template("evaluation.html.j2")
        .render(
            data=data,
            result=result,
            # Without the folders of the machine.
            network="/".join(Path(result["checkpoint"]).parts[-2:]),
            headline=f"{figures(result)['mIoU']} % mIoU on the {result['part']} images.",
            remarks=remarks,
            figures=figures(result),
            rows=class_rows(data.classes, result),
            worst=WORST,
            pictures=pictures,
            legend=legend,
            machine=machine(),
            versions=versions(),
            date=datetime.now(timezone.utc).date().isoformat(),
        )
    )
