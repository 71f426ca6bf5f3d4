"""The report of an evaluation: numbers, classes and pictures on one page."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lovasz.train.evaluate import WORST
from lovasz.train.fitted import gain_words, points
from lovasz.train.report import environment, machine, picture_rows, versions
from lovasz.train.summary import FINE

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from lovasz import Decision
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
    return {
        name: "–" if value is None else f"{100 * value:.1f}"
        for name, value in _means(result).items()
    }


def differences(result: dict[str, Any]) -> dict[str, str]:
    """What the fitted decision changes in the means, in points, by their titles."""
    after = _means(result["decided"])
    return {
        name: "–" if value is None else points(after[name] - value)
        for name, value in _means(result).items()
    }


def _means(result: dict[str, Any]) -> dict[str, Any]:
    """The means of a result, by their titles; None over no image."""
    named = {"mIoU": result["miou"]}
    named |= {f"mIoU {words}": result[name] for name, words in FINE.items()}
    return {**named, "Pixel accuracy": result["accuracy"]}


def evaluation_report(
    data: DataSet,
    result: dict[str, Any],
    shown: list[dict[str, np.ndarray[Any, Any]]],
    remarks: Sequence[str],
    decision: Decision | None,
) -> str:
    """The page for a result and its pictures, those of argmax first."""
    pictures, legend = picture_rows(data, shown)
    decided = result.get("decided")
    return (
        environment()
        .get_template("evaluation.html.j2")
        .render(
            data=data,
            result=result,
            # Without the folders of the machine.
            network="/".join(Path(result["checkpoint"]).parts[-2:]),
            headline=_headline(result),
            decided=decided and figures(decided),
            **({} if decision is None else _of_decision(data, result, decision)),
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


def _of_decision(data: DataSet, result: dict[str, Any], decision: Decision) -> dict[str, Any]:
    """What the page shows of the fitted decision beside its means."""
    return {
        "differences": differences(result),
        "rows_decided": class_rows(data.classes, result["decided"]),
        "offsets": [f"{value:+.2f}".replace("-", "−") for value in decision.offsets.tolist()],
        "validation": {
            "argmax": f"{100 * decision.score_of_argmax:.1f}",
            "fitted": f"{100 * decision.score:.1f}",
            "gain": gain_words(decision),
        },
    }


def _headline(result: dict[str, Any]) -> str:
    """The mIoU in a sentence."""
    part, before = f"the {result['part']} images", figures(result)["mIoU"]
    if "decided" not in result:
        return f"{before} % mIoU on {part}."
    after = figures(result["decided"])["mIoU"]
    return f"mIoU on {part}: {before} % by argmax, {after} % by the fitted decision."
