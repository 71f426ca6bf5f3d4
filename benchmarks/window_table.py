"""Means, paired differences and their confidence intervals from the runs of the window study."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from itertools import groupby
from typing import TypeVar

from scipy.stats import t as student

S = TypeVar("S")  # a seed

#: second minus first
PAIRS = [
    ("cross-entropy", "lovasz-softmax"),
    ("cross-entropy", "windowed"),
    ("cross-entropy", "both"),
    ("cross-entropy", "both-windowed"),
    ("lovasz-softmax", "windowed"),
    ("both", "both-windowed"),
]


def summary(rows: list[dict]) -> dict:
    """The runs of one data set, batch size and loss, with the chosen rate."""
    first = rows[0]
    return {
        **{name: first[name] for name in ("data", "batch_size", "loss", "lr", "steps")},
        "test": {str(row["seed"]): row["test"] for row in rows},
        "accuracy": {str(row["seed"]): row["accuracy"] for row in rows},
        "iou": [mean_of(values) for values in zip(*(row["iou"] for row in rows), strict=True)],
        "seconds": round(statistics.fmean(row["seconds"] for row in rows), 1),
    }


def mean_of(values: tuple[float | None, ...]) -> float | None:
    """The mean of the IoU of a class; None if it is not in the truth."""
    return None if None in values else statistics.fmean(values)


def interval(values: list[float]) -> tuple[float, float]:
    """Mean and half the width of its 95 % confidence interval; infinite for one value.

    >>> mean, half = interval([1.0, 2.0, 3.0])
    >>> mean, round(half, 3)
    (2.0, 2.484)
    """
    count = len(values)
    if count < 2:
        return values[0], math.inf
    spread = statistics.stdev(values) / math.sqrt(count)
    return statistics.fmean(values), float(student.ppf(0.975, count - 1)) * spread


def shown(values: list[float], *, sign: str = "") -> str:
    """Per cent, mean and interval.

    >>> shown([0.5]), shown([-0.01, -0.02, -0.03], sign="+")
    ('50.0', '−2.0 ± 2.5')
    """
    if not values:
        return ""
    mean, half = interval(values)
    text = f"{100 * mean:{sign}.1f}".replace("-", "−")
    return text if math.isinf(half) else f"{text} ± {100 * half:.1f}"


def miou_table(found: dict) -> str:
    """One row for each data set and batch size, one column for each loss."""
    losses = list(dict.fromkeys(cell["loss"] for cell in found["cells"]))
    lines = [
        "| data | batch size | steps | " + " | ".join(losses) + " |",
        "|---" * (3 + len(losses)) + "|",
    ]
    for (data, size), cells in grouped(found):
        columns = [
            f"{shown(list(cells[loss]['test'].values()))} ({cells[loss]['lr']:g})"
            if loss in cells
            else ""
            for loss in losses
        ]
        steps = next(iter(cells.values()))["steps"]
        lines.append(f"| {data} | {size} | {steps:,} | " + " | ".join(columns) + " |")
    return "\n".join(lines)


def difference_table(found: dict) -> str:
    """One row for each data set and batch size, one column for each pair of losses."""
    losses = {cell["loss"] for cell in found["cells"]}
    pairs = [pair for pair in PAIRS if losses.issuperset(pair)]
    lines = [
        "| data | batch size | " + " | ".join(f"{b} − {a}" for a, b in pairs) + " |",
        "|---" * (2 + len(pairs)) + "|",
    ]
    for (data, size), cells in grouped(found):
        columns = [
            shown(paired(cells[a]["test"], cells[b]["test"]), sign="+")
            if a in cells and b in cells
            else ""
            for a, b in pairs
        ]
        lines.append(f"| {data} | {size} | " + " | ".join(columns) + " |")
    return "\n".join(lines)


def paired(first: Mapping[S, float], second: Mapping[S, float]) -> list[float]:
    """Second minus first, for the seeds that both have."""
    return [value - first[seed] for seed, value in second.items() if seed in first]


def grouped(found: dict) -> list[tuple[tuple[str, int], dict[str, dict]]]:
    """Cells by data set and batch size, then by loss."""

    def key(cell: dict) -> tuple[str, int]:
        return cell["data"], cell["batch_size"]

    groups = groupby(sorted(found["cells"], key=key), key=key)
    return [(name, {cell["loss"]: cell for cell in cells}) for name, cells in groups]


def print_tables(found: dict) -> None:
    """Both, and how many seeds they have."""
    print(
        f"\nmIoU, test, % (learning rate), momentum {found['momentum']:g},"
        f" factor {found.get('factor', 1):g}\n"
    )
    print(miou_table(found))
    print("\nDifferences paired by seed\n")
    print(difference_table(found), flush=True)
