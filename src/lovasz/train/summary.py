"""From the runs on disk to the numbers of the report: means, spreads, differences by seed."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from itertools import combinations
from typing import TYPE_CHECKING, Any

from lovasz.train.config import CompareConfig, TrainConfig
from lovasz.train.runs import chosen_lr, diverged_runs, search_outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from lovasz.train.data import DataSet
    from lovasz.train.runs import Run

TITLES = {
    "cross-entropy": "Cross-entropy",
    "lovasz-softmax": "Lovász-Softmax",
    "both": "Cross-entropy + Lovász-Softmax",
    "windowed": "Windowed Lovász-Softmax",
    "both-windowed": "Cross-entropy + windowed Lovász-Softmax",
}


# The result's other means of the IoU, and how the report heads them.
FINE = {
    "miou_i": "per image",
    "miou_c": "per class",
    "miou_i_worst": "worst images",
    "miou_c_worst": "worst per class",
}


@dataclass(frozen=True)
class Spread:
    """Numbers of several runs.

    >>> str(Spread([0.20, 0.22, 0.24])), f"{Spread([0.02, -0.03]):+}", str(Spread([0.5]))
    ('22.0 ± 2.0', '−0.5 ± 3.5', '50.0')
    """

    values: list[float]

    @property
    def mean(self) -> float:
        """The mean."""
        return statistics.fmean(self.values)

    @property
    def deviation(self) -> float:
        """The sample standard deviation; 0 for a single run."""
        return statistics.stdev(self.values) if len(self.values) > 1 else 0.0

    def __format__(self, sign: str) -> str:
        mean = f"{100 * self.mean:{sign}.1f}".replace("-", "−")
        return f"{mean} ± {100 * self.deviation:.1f}" if len(self.values) > 1 else mean

    def __str__(self) -> str:
        return format(self)


@dataclass(frozen=True)
class Outcome:
    """The scores of the runs of a loss under one decision, as result.json has them."""

    results: list[dict[str, Any]]
    mious: list[float]

    @property
    def miou(self) -> Spread:
        """Mean IoU over the classes present."""
        return Spread(self.mious)

    @property
    def fine(self) -> list[Spread | None]:
        """Means over images and their classes; None for runs of a version that had none."""
        return [
            Spread([result[name] for result in self.results])
            if all(result.get(name) is not None for result in self.results)
            else None
            for name in FINE
        ]

    @property
    def accuracy(self) -> Spread:
        """Share of right pixels."""
        return Spread([result["accuracy"] for result in self.results])

    def iou(self, label: int) -> Spread | None:
        """IoU of a class; None if it is absent from the truth."""
        values = [result["iou"][label] for result in self.results]
        return None if values[0] is None else Spread(values)

    @property
    def mean_iou(self) -> Spread:
        """The mean of these IoUs, which is `miou` but where the decision was fitted to them."""
        return Spread([result["miou"] for result in self.results])


@dataclass(frozen=True)
class LossSummary:
    """All complete runs of one loss, by argmax and by the decision that each of them fitted."""

    name: str
    runs: list[Run]
    argmax: Outcome
    decided: Outcome | None = None
    difference: str = ""
    decided_difference: str = ""

    @property
    def title(self) -> str:
        """The name for headings."""
        return TITLES[self.name]

    @property
    def lr(self) -> float:
        """The learning rate of all the runs."""
        return self.runs[0].lr

    @property
    def minutes(self) -> float:
        """Training time of a run."""
        return statistics.fmean(run.result["seconds"] for run in self.runs) / 60

    @property
    def outcomes(self) -> dict[str, Outcome]:
        """Under each decision, by its name."""
        return {"argmax": self.argmax} | ({"fitted": self.decided} if self.decided else {})

    @property
    def gain(self) -> Spread:
        """What fitted offsets gain on validation images that they were not fitted to."""
        return Spread([run.decision["gain"] for run in self.runs if run.decision])

    @property
    def within_noise(self) -> int:
        """Runs whose gain may be due to the choice of images."""
        return sum(run.decision["within_noise"] for run in self.runs if run.decision)

    def offset(self, label: int) -> str:
        """What the decisions add to the logit of a class, on average over the runs."""
        found = [run.decision["offsets"][label] for run in self.runs if run.decision]
        return f"{statistics.fmean(found):+.2f}".replace("-", "−")


@dataclass(frozen=True)
class Difference:
    """Second loss minus first loss, for the seeds that both have."""

    first: str
    second: str
    by_seed: dict[int, float]

    @property
    def spread(self) -> Spread:
        """Mean and deviation over the seeds."""
        return Spread(list(self.by_seed.values()))

    @property
    def higher(self) -> int:
        """Seeds for which the second loss is ahead."""
        return sum(value > 0 for value in self.by_seed.values())


@dataclass(frozen=True)
class Summary:
    """Everything that the report shows about the runs."""

    data: DataSet
    losses: list[LossSummary]
    differences: list[Difference]
    search: dict[str, dict[float, float | None]]
    chosen: dict[str, float | None] = field(default_factory=dict)
    diverged: list[str] = field(default_factory=list)
    decided_differences: list[Difference] = field(default_factory=list)

    @property
    def decided(self) -> bool:
        """Whether all runs have a fitted decision: some alone would not be a fair comparison."""
        return bool(self.losses) and all(loss.decided for loss in self.losses)

    @property
    def in_sample(self) -> bool:
        """Whether decisions were fitted to the part that is reported."""
        return self.data.evaluated == "val"

    @property
    def all_differences(self) -> dict[str, list[Difference]]:
        """Under each decision, by its name."""
        found = {"argmax": self.differences}
        return found | ({"fitted": self.decided_differences} if self.decided else {})

    @property
    def part_name(self) -> str:
        """The part that was evaluated, in words."""
        return "test" if self.data.evaluated == "test" else "validation"

    @property
    def ranks(self) -> bool:
        """Whether every two losses share seeds enough, two, to say which of them is ahead."""
        pairs = len(self.losses) * (len(self.losses) - 1) // 2
        shared = [len(pair.by_seed) for pair in self.differences]
        return 0 < pairs == len(shared) and min(shared) > 1

    def shares(self) -> list[float]:
        """Share of each class among the labelled pixels of the evaluated part."""
        rows = [sum(row) for row in self.losses[0].runs[0].result["confusion"]]
        return [row / max(1, sum(rows)) for row in rows]


def summarise(config: TrainConfig | CompareConfig, data: DataSet, runs: list[Run]) -> Summary:
    """Group the runs by loss and pair them by seed."""
    by_loss: dict[str, list[Run]] = {}
    for run in runs:
        by_loss.setdefault(run.loss, []).append(run)
    decided = bool(runs) and all(run.decided and run.decision for run in runs)
    differences = _differences(by_loss, _miou)
    others = _differences(by_loss, _decided_miou) if decided else []
    first = next(iter(by_loss), "")
    to_first, others_to_first = (
        {d.second: f"{d.spread:+}" for d in found if d.first == first}
        for found in (differences, others)
    )
    losses = [
        LossSummary(
            name,
            found,
            Outcome([run.result for run in found], [_miou(run) for run in found]),
            _decided_outcome(found) if decided else None,
            to_first.get(name, ""),
            others_to_first.get(name, ""),
        )
        for name, found in by_loss.items()
    ]
    if isinstance(config, TrainConfig):
        return Summary(data, losses, differences, {}, decided_differences=others)
    outcome = search_outcome(config) if len(config.learning_rates) > 1 else {}
    return Summary(
        data,
        losses,
        differences,
        {str(loss): scores for loss, scores in outcome.items()},
        {str(loss): chosen_lr(config, loss) for loss in config.losses},
        diverged_runs(config),
        others,
    )


def _miou(run: Run) -> float:
    miou: float = run.result["miou"]
    return miou


def _decided_miou(run: Run) -> float:
    """Under the fitted decision, of images that it was not fitted to."""
    assert run.decided
    assert run.decision
    if run.result["part"] == "val":  # to which it was: each half by what the other half gives
        return _miou(run) + float(run.decision["gain"])
    return float(run.decided["miou"])


def _decided_outcome(runs: list[Run]) -> Outcome:
    results = [run.decided for run in runs if run.decided]
    return Outcome(results, [_decided_miou(run) for run in runs])


def _differences(by_loss: dict[str, list[Run]], miou: Callable[[Run], float]) -> list[Difference]:
    """Of every two losses, for the seeds that both have."""
    differences = []
    for first, second in combinations(by_loss, 2):
        before = {run.seed: miou(run) for run in by_loss[first]}
        pairs = {
            run.seed: miou(run) - before[run.seed] for run in by_loss[second] if run.seed in before
        }
        if pairs:
            differences.append(Difference(first, second, pairs))
    return differences
