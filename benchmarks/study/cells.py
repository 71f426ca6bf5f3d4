"""From the rows of the study to what is compared: each loss at its own rate, seed by seed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby

from benchmarks.runs import setting_of
from benchmarks.study.choice import CHOOSING, chosen
from benchmarks.study.training import Setting

#: The decision whose validation score chooses the rate for each decision of the test part.
CHOSEN_BY = {name: name for name in CHOOSING} | {"unlabelled": "argmax", "image": "argmax"}


@dataclass(frozen=True)
class Cell:
    """A loss on a task, with the rate that is best on the validation part under a decision."""

    task: str
    loss: str
    decision: str
    lr: float
    rows: Mapping[int, dict]  # by seed, in order

    def values(self, name: str) -> dict[int, float]:
        """A score of the test part, by seed."""
        return {seed: row["test"][self.decision][name] for seed, row in self.rows.items()}

    def by_class(self) -> list[list[float | None]]:
        """The IoU of each class, a list of all classes for each seed."""
        return [row["test"][self.decision]["iou"] for row in self.rows.values()]

    def gains(self) -> dict[int, float]:
        """What the decision gains over argmax of the same networks, on the test part."""
        argmax = {seed: row["test"]["argmax"]["miou"] for seed, row in self.rows.items()}
        return {seed: value - argmax[seed] for seed, value in self.values("miou").items()}

    def foretold(self) -> dict[int, float]:
        """What fitted offsets gain on images of the validation part they were not fitted to."""
        scores = {seed: row["val"] for seed, row in self.rows.items()}
        return {seed: val["fitted"] - val["argmax"] for seed, val in scores.items()}

    def calibration(self) -> dict[int, float]:
        """The calibration error, by seed."""
        return {seed: row["calibration_error"] for seed, row in self.rows.items()}


Cells = dict[tuple[str, str, str], Cell]


def cells_of(rows: Iterable[dict]) -> Cells:
    """By task, loss and decision; of those whose search is complete.

    The seed of the search is the first one of all; trainings that diverged have no scores.
    """
    found: Cells = {}
    kept = sorted(rows, key=lambda row: (row["task"], row["loss"]))
    for (task, loss), group in groupby(kept, key=lambda row: (row["task"], row["loss"])):
        known = {setting_of(Setting, row): row for row in group}
        first = min(setting.seed for setting in known)
        grid = sorted((s for s in known if s.seed == first), key=lambda s: s.lr)
        for decision, by in CHOSEN_BY.items():
            lr = chosen(grid, known, by)
            if lr is None:
                continue
            seeds = {s.seed: row for s, row in known.items() if s.lr == lr and row["val"]}
            found[task, loss, decision] = Cell(
                task, loss, decision, lr, dict(sorted(seeds.items()))
            )
    return found
