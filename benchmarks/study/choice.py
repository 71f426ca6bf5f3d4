"""Which trainings belong to the study: a grid of rates for the first seed, then the other seeds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import product

from benchmarks.study.training import Setting

#: The decisions under which a rate is chosen, each by its own score of the validation part.
CHOOSING = ("argmax", "fitted")
RATES = (0.001, 0.003, 0.01)
SEEDS = (0, 1, 2, 3, 4)

Rows = Mapping[Setting, dict]


def search(task: str, loss: str, steps: int, rates: Sequence[float], seed: int) -> list[Setting]:
    """The trainings by which a rate is chosen."""
    return [Setting(task, loss, rate, seed, steps) for rate in rates]


def chosen(settings: Iterable[Setting], rows: Rows, decision: str) -> float | None:
    """The rate with the highest mIoU on the validation part under a decision; None if one lacks.

    Of equal ones it is the first.
    """
    found = [(setting.lr, rows.get(setting)) for setting in settings]
    if any(row is None for _, row in found):
        return None
    scores = {rate: row["val"][decision] for rate, row in found if row and row["val"]}
    return max(scores, key=lambda rate: scores[rate]) if scores else None


def wanted(
    tasks: Mapping[str, int],
    losses: Sequence[str],
    rates: Sequence[float],
    seeds: Sequence[int],
    rows: Rows,
) -> list[Setting]:
    """What is missing and can be done now: searches first, then the seeds of the chosen rates.

    Args:
        tasks: Names and steps.
        losses: Names.
        rates: The grid.
        seeds: The first one is that of the searches.
        rows: What there is.
    """
    searches, others = [], []
    for (task, steps), loss in product(tasks.items(), losses):
        grid = search(task, loss, steps, rates, seeds[0])
        searches += grid
        best = {chosen(grid, rows, decision) for decision in CHOOSING} - {None}
        others += [
            Setting(task, loss, rate, seed, steps)
            for seed in seeds[1:]
            for rate in sorted(rate for rate in best if rate is not None)
        ]
    missing = [setting for setting in searches if setting not in rows]
    return missing or [setting for setting in others if setting not in rows]
