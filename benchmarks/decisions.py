"""Deciding for the IoU against argmax: a training study, and what a decision costs.

The network and data of `lovasz train`, with several losses and seeds. Offsets are fitted on the
validation part, with its labels and without, and on the test part without labels; all numbers are
of the test part. Costs are ratios to argmax of the same logits, interleaved, with fresh and with
reused memory, as ``speed`` has them.

Each run is a line in a file; runs that have one are not repeated, so that the study can be ended
and continued at any time, and ``--table`` shows what there is.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.speed import MEMORY, ROOT, about, child
from benchmarks.timing import timer
from lovasz import Decision, DecisionFit, image_decision, upsampled_argmax
from lovasz.metrics import DatasetIoU, DatasetScore, ImageIoU, ImageScore
from lovasz.train.checkpoint import read as read_checkpoint
from lovasz.train.config import TrainConfig
from lovasz.train.data import IGNORE, DataSet, load_data
from lovasz.train.loop import train
from lovasz.train.model import build_model

RUNS = ROOT / "runs" / "decisions.jsonl"
OUTPUT = ROOT / "benchmarks" / "results" / "decisions.json"
LOSSES = ["cross-entropy", "both", "lovasz-softmax"]
# Two crops of logits, and the part of their resolution that upsampled ones have.
SHAPES = {"cityscapes": (1, 19, 512, 1024), "ade": (1, 150, 512, 512)}
FACTOR = 4


@dataclass(frozen=True)
class Setting:
    """One run: what it is known by in the file."""

    data: str
    loss: str
    seed: int
    epochs: int
    lr: float

    def config(self, out: str) -> TrainConfig:
        """For the parts of the trainer."""
        return TrainConfig(**asdict(self), accelerator="cpu", threads=1, out=out)


def run(setting: Setting) -> dict:
    """Train, fit and evaluate; the line for the file."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as out:
        config = setting.config(out)
        data = load_data(config)
        train(config, data, lambda *_: None, lambda: False)
        network = build_model(config, len(data.classes), data.statistics.channels)
        network.load_state_dict(read_checkpoint(Path(out) / "checkpoint.pt")["model"])
    return {**asdict(setting), **scores_of(network.eval(), data)}


@torch.no_grad()
def scores_of(network: nn.Module, data: DataSet) -> dict:
    """Scores of each decision on the test part, and what each fit says of itself."""
    classes = len(data.classes)
    fits = {name: DecisionFit(classes, ignore_index=IGNORE, upsample="bilinear") for name in FITS}
    for part in ("val", "test"):
        for logits, target in outputs(network, data, part):
            for name, (fitted_on, labelled) in FITS.items():
                if fitted_on == part:
                    fits[name].update(logits, target if labelled else None)
    decisions: dict[str, Decision] = {"argmax": Decision(classes)}
    decisions |= {name: fit.compute() for name, fit in fits.items()}
    ways: dict[str, Callable[[Tensor], Tensor]] = dict(decisions)
    ways |= {f"image {score}": partial(image_decision, score=score) for score in ("dice", "iou")}
    metrics = {name: metrics_of(classes) for name in ways}
    for logits, target in outputs(network, data, "test"):
        size = target.shape[1:]
        enlarged = nn.functional.interpolate(logits, size, mode="bilinear")
        for name, way in ways.items():
            labels = way(enlarged)
            for metric in metrics[name].values():
                metric.update(labels, target)
    return {
        "scores": {
            name: {key: metric.compute().item() for key, metric in found.items()}
            for name, found in metrics.items()
        },
        "fits": {name: about_fit(decisions[name]) for name in FITS},
    }


# The part that offsets are fitted on, and whether with its labels.
FITS = {
    "validation": ("val", True),
    "validation, no labels": ("val", False),
    "test, no labels": ("test", False),
}


def outputs(network: nn.Module, data: DataSet, part: str) -> Iterable[tuple[Tensor, Tensor]]:
    """Logits and labels of one image after the other."""
    for index in range(len(data.parts[part])):
        image, labels = data.parts[part][index]
        yield network(data.statistics.normalise(image[None])), labels[None].long()


def metrics_of(classes: int) -> dict:
    """What is reported of a decision."""
    return {
        "miou": DatasetIoU(classes, ignore_index=IGNORE),
        "accuracy": DatasetScore(classes, "accuracy", average="micro", ignore_index=IGNORE),
        "image miou": ImageIoU(classes, ignore_index=IGNORE),
        "image dice": ImageScore(classes, "dice", ignore_index=IGNORE),
    }


def about_fit(decision: Decision) -> dict:
    """Offsets, scores where fitted and the gain on other images; JSON knows no infinity."""
    return {
        "offsets": decision.offsets.tolist(),
        "score of argmax": decision.score_of_argmax,
        "score": decision.score,
        "gain": decision.gain,
        "interval": [end if abs(end) < float("inf") else None for end in decision.interval],
    }


def costs(shape: list[int], rounds: int) -> dict[str, float]:
    """Median ratios of a decision to argmax of the same logits, in one thread."""
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(*shape, generator=generator)
    images, classes, *size = shape
    low = torch.randn(images, classes, *[n // FACTOR for n in size], generator=generator)
    decision, masks = Decision(classes), Decision(classes, multilabel=True)
    for one in (decision, masks):
        one.offsets.copy_(torch.randn(classes, generator=generator))
    last = logits.to(memory_format=torch.channels_last)

    def positive() -> Tensor:
        return (logits > 0).long()

    pairs: dict[str, tuple[Callable[[], Tensor], Callable[[], Tensor]]] = {
        "contiguous": (lambda: logits.argmax(1), lambda: decision(logits)),
        "channels last": (lambda: last.argmax(1), lambda: decision(last)),
        "upsampled": (lambda: upsampled_argmax(low, size), lambda: decision(low, size)),
        "masks": (positive, lambda: masks(logits)),
        "per image": (lambda: logits.argmax(1), lambda: image_decision(logits)),
    }
    ratios: dict[str, list[float]] = {name: [] for name in pairs}
    for _ in range(rounds):
        for name, (base, other) in pairs.items():
            before = seconds(base)
            ratios[name].append(seconds(other) / before)
    return {name: statistics.median(found) for name, found in ratios.items()}


def seconds(call: Callable[[], Tensor]) -> float:
    """Of the second call of two."""
    call()
    now = timer()
    start = now()
    call()
    return now() - start


def read(path: Path) -> dict[Setting, dict]:
    """The runs in the file; a line that was cut off is left out."""
    found = {}
    for line in path.read_text().splitlines() if path.exists() else []:
        if line.endswith("}"):
            row = json.loads(line)
            found[Setting(**{name: row[name] for name in Setting.__annotations__})] = row
    return found


def work(options: argparse.Namespace, wanted: list[Setting]) -> None:
    """Do the runs that are not in the file yet, and append each as it comes."""
    left = [setting for setting in wanted if setting not in read(options.runs)]
    options.runs.parent.mkdir(parents=True, exist_ok=True)

    def note(rows: Iterable[dict]) -> None:
        for row in rows:
            text = options.runs.read_text() if options.runs.exists() else ""
            with options.runs.open("a") as file:
                file.write("\n" * (not text.endswith("\n") and bool(text)) + json.dumps(row) + "\n")

    if options.jobs == 1:
        note(map(run, left))
        return
    with get_context("spawn").Pool(options.jobs) as pool:
        note(pool.imap_unordered(run, left))


def table(rows: list[dict]) -> str:
    """Mean and standard deviation over the seeds, in points, of each loss and decision."""
    lines = ["| loss | decision | mIoU | accuracy | image mIoU | image Dice |", "|---" * 6 + "|"]
    for data, loss in dict.fromkeys((row["data"], row["loss"]) for row in rows):
        runs = [row["scores"] for row in rows if (row["data"], row["loss"]) == (data, loss)]
        for name in runs[0]:
            cells = []
            for key in ("miou", "accuracy", "image miou", "image dice"):
                values = [100 * scores[name][key] for scores in runs]
                spread = statistics.stdev(values) if len(values) > 1 else 0.0
                cells.append(f"{statistics.mean(values):.1f} ± {spread:.1f}")
            lines.append(f"| {data}: {loss} | {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main(arguments: list[str]) -> None:
    """Do what is left of the study, print its table and write the JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks decisions", description=__doc__)
    parser.add_argument("--table", action="store_true", help="only show and write what there is")
    parser.add_argument("--data", nargs="+", default=["landcover"])
    parser.add_argument("--losses", nargs="+", default=LOSSES)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=TrainConfig.epochs)
    parser.add_argument("--lr", type=float, default=TrainConfig.lr)
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time, one thread each")
    parser.add_argument("--rounds", type=int, default=5, help="of the costs; 0 leaves them out")
    parser.add_argument("--runs", type=Path, default=RUNS, help="one line for each run")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    options = parser.parse_args(arguments)
    wanted = [
        Setting(data, loss, seed, options.epochs, options.lr)
        for seed in options.seeds
        for data in options.data
        for loss in options.losses
    ]
    if not options.table:
        work(options, wanted)
    done = read(options.runs)
    rows = [done[setting] for setting in wanted if setting in done]
    found: dict = {"about": about(), "runs": rows}
    if options.rounds:
        found["costs"] = {
            name: {
                kind: child("decisions", {"shape": shape, "rounds": options.rounds}, environment)
                for kind, environment in MEMORY.items()
            }
            for name, shape in SHAPES.items()
        }
        print(json.dumps(found["costs"], indent=1))
    print(table(rows))
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    print(json.dumps(costs(**json.loads(sys.argv[1]))))
