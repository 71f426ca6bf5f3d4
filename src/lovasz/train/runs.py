"""What a comparison consists of: which runs it needs next, and what those on disk have given."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lovasz.train.writing import write_json

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
        """Whether all that the task asks for stands on disk, or that it diverged."""
        out = Path(self.config(compare).out)
        result = "result.json" if self.test else "val.json"
        return (out / result).exists() or divergence(out) is not None


def record_divergence(folder: Path, sentence: str) -> None:
    """Note in the folder of a run that it has diverged, and so is not to be done again."""
    write_json(folder / "diverged.json", {"diverged": sentence})


def divergence(folder: Path) -> str | None:
    """The sentence of a run that has diverged."""
    path = folder / "diverged.json"
    if not path.exists():
        return None
    sentence: str = json.loads(path.read_text(encoding="utf-8"))["diverged"]
    return sentence


def search_outcome(compare: CompareConfig) -> dict[LossName, dict[float, float | None]]:
    """Validation mIoU of the complete runs of the learning-rate search; None if it diverged."""
    outcome: dict[LossName, dict[float, float | None]] = {}
    for loss in compare.losses:
        outcome[loss] = {}
        for lr in compare.learning_rates:
            folder = Path(compare.run(loss, lr, compare.seeds[0]).out)
            path = folder / "val.json"
            if divergence(folder) is not None:
                outcome[loss][lr] = None
            elif path.exists():
                outcome[loss][lr] = json.loads(path.read_text(encoding="utf-8"))["miou"]
    return outcome


def chosen_lr(compare: CompareConfig, loss: LossName) -> float | None:
    """The learning rate with the highest validation mIoU, once the whole grid is known.

    None before, and where every rate has diverged.
    """
    outcome = search_outcome(compare)[loss]
    if len(outcome) < len(compare.learning_rates):
        return None
    scores = {lr: miou for lr, miou in outcome.items() if miou is not None}
    return max(scores, key=lambda lr: scores[lr], default=None)


def all_diverged(compare: CompareConfig, loss: LossName) -> bool:
    """Whether a loss has no result because it diverged with every learning rate."""
    outcome = search_outcome(compare)[loss]
    return len(outcome) == len(compare.learning_rates) and not any(
        miou is not None for miou in outcome.values()
    )


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


def tally(compare: CompareConfig) -> tuple[int, int]:
    """Runs that are trained or have diverged, and runs of the whole comparison."""
    known: list[bool] = []
    for loss in compare.losses:
        first = [Task(loss, lr, compare.seeds[0], test=False) for lr in compare.learning_rates]
        known += [task.is_done(compare) for task in first]
        lr = chosen_lr(compare, loss)
        if lr is not None:
            others = [Task(loss, lr, seed, test=False) for seed in compare.seeds[1:]]
            known += [task.is_done(compare) for task in others]
        elif not all_diverged(compare, loss):
            known += [False] * len(compare.seeds[1:])
    return sum(known), len(known)


def diverged_runs(compare: CompareConfig) -> list[str]:
    """What the report and the screen say of runs that have diverged, by loss."""
    sentences = []
    for loss in compare.losses:
        if all_diverged(compare, loss):
            rates = ", ".join(f"{lr:g}" for lr in compare.learning_rates)
            sentences.append(
                f"{loss} diverged with every learning rate ({rates}) and has no result; lower ones"
                " may help."
            )
            continue
        sentences += [
            f"{loss} diverged with the learning rate {lr:g}, which cannot be chosen."
            for lr, miou in search_outcome(compare)[loss].items()
            if miou is None
        ]
        lr = chosen_lr(compare, loss)
        if lr is None:
            continue
        sentences += [
            f"{loss} diverged with seed {seed} and the chosen learning rate {lr:g}; its results are"
            " those of the other seeds."
            for seed in compare.seeds[1:]
            if divergence(Path(compare.run(loss, lr, seed).out)) is not None
        ]
    return sentences


@dataclass(frozen=True)
class Run:
    """The outcome of a complete run, as its folder has it."""

    loss: str
    lr: float
    seed: int
    folder: Path
    result: dict[str, Any]
    log: list[dict[str, Any]]

    @property
    def decided(self) -> dict[str, Any] | None:
        """The scores under the fitted decision; None where there is none."""
        found: dict[str, Any] | None = self.result.get("decided")
        return found

    @property
    def decision(self) -> dict[str, Any] | None:
        """What was fitted; runs of earlier versions have none."""
        found: dict[str, Any] | None = self.result.get("decision")
        return found


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
