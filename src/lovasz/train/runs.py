"""What a comparison consists of: which runs it needs next, and what those on disk have given."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lovasz.train.config import CompareConfig, LossName, TrainConfig


@dataclass(frozen=True)
class Task:
    """One training run, and whether its network is evaluated on the test part as well."""

    loss: LossName
    lr: float
    seed: int
    test: bool

    def config(self, compare: CompareConfig) -> TrainConfig:
        """The configuration of the run."""
        return compare.run(self.loss, self.lr, self.seed)

    def is_done(self, compare: CompareConfig) -> bool:
        """Whether all that the task asks for stands on disk."""
        out = Path(self.config(compare).out)
        return (out / ("result.json" if self.test else "val.json")).exists()


def search_outcome(compare: CompareConfig) -> dict[LossName, dict[float, float]]:
    """Validation mIoU of the runs of the learning-rate search that are complete."""
    outcome: dict[LossName, dict[float, float]] = {}
    for loss in compare.losses:
        outcome[loss] = {}
        for lr in compare.learning_rates:
            path = Path(compare.run(loss, lr, compare.seeds[0]).out) / "val.json"
            if path.exists():
                outcome[loss][lr] = json.loads(path.read_text(encoding="utf-8"))["miou"]
    return outcome


def chosen_lr(compare: CompareConfig, loss: LossName) -> float | None:
    """The learning rate with the highest validation mIoU, once the whole grid is known."""
    scores = search_outcome(compare)[loss]
    if len(scores) < len(compare.learning_rates):
        return None
    return max(scores, key=lambda lr: scores[lr])


def open_tasks(compare: CompareConfig) -> list[Task]:
    """The tasks that can start now: the search first, then the seeds of losses with a rate.

    Starting the seeds of one loss while another is still searching keeps all cores busy.
    """
    tasks = [
        Task(loss, lr, compare.seeds[0], test=False)
        for loss in compare.losses
        for lr in compare.learning_rates
    ]
    for loss in compare.losses:
        lr = chosen_lr(compare, loss)
        if lr is not None:
            tasks += [Task(loss, lr, seed, test=True) for seed in compare.seeds]
    return [task for task in tasks if not task.is_done(compare)]


@dataclass(frozen=True)
class Run:
    """The outcome of a complete run, as its folder has it."""

    loss: str
    lr: float
    seed: int
    folder: Path
    result: dict[str, Any]
    log: list[dict[str, Any]]


def read_run(config: TrainConfig) -> Run | None:
    """The run in `config.out`, if it is complete."""
    folder = Path(config.out)
    if not (folder / "result.json").exists():
        return None
    lines = (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()
    return Run(
        config.loss,
        config.lr,
        config.seed,
        folder,
        json.loads((folder / "result.json").read_text(encoding="utf-8")),
        [json.loads(line) for line in lines],
    )


def finished_runs(compare: CompareConfig) -> list[Run]:
    """The runs that the results are made of, as far as they are complete, by loss and seed."""
    runs = []
    for loss in compare.losses:
        lr = chosen_lr(compare, loss)
        for seed in compare.seeds if lr is not None else []:
            run = read_run(compare.run(loss, lr, seed))  # type: ignore[arg-type]
            if run is not None:
                runs.append(run)
    return runs
