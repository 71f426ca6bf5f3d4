"""Training with soft labels: smoothed ones, and those of a teacher; with Lovász-Softmax or JML.

The embedded land-cover data and the network of `lovasz train`, with weights, crops and order that a
seed fixes, so that differences are paired by seed. Every variant has the same learning rate and
epochs, which were not searched for. A teacher is wider and trained for longer; there is one for
each seed, with another seed. Numbers are of the test part, after the last epoch.

Each run is a line in a file; runs that have one are not repeated, so that the study can be ended
and continued at any time, and `--table` shows what there is.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from benchmarks.runs import append, read_lines, workers
from benchmarks.soft_table import TITLES, table
from benchmarks.speed import ROOT, about
from benchmarks.study.scores import Calibration
from lovasz import JaccardMetric, cross_entropy_lovasz_softmax
from lovasz.train.config import TrainConfig
from lovasz.train.data import DataSet, load_data
from lovasz.train.data.batches import steps_per_epoch, training_batches
from lovasz.train.evaluate import evaluate
from lovasz.train.model import build_model
from lovasz.train.processes import make_fabric

FOLDER = ROOT / "runs" / "soft-study"
OUTPUT = ROOT / "benchmarks" / "results" / "soft-study.json"

TEACHER = "teacher"
CHANNELS = {TEACHER: [48, 96, 160, 192]}  # of the others that of the network by default
SMOOTHING = 0.1
WARMUP = 0.05

Loss = Callable[[Tensor, Tensor, Tensor | None], Tensor]


@dataclass(frozen=True)
class Setting:
    """One run: what it is known by in the file."""

    variant: str
    seed: int
    epochs: int
    lr: float
    teacher_epochs: int = 0  # of the teacher that it needs

    def config(self) -> TrainConfig:
        """For the parts of the trainer."""
        args = {"channels": CHANNELS[self.variant]} if self.variant in CHANNELS else {}
        return TrainConfig(
            data="landcover",
            model_args=args,
            # Not the weights and crops of the student that learns from it.
            seed=self.seed + (1000 if self.variant == TEACHER else 0),
            lr=self.lr,
            epochs=self.epochs,
            accelerator="cpu",
            threads=1,
        )


def losses() -> dict[str, Loss]:
    """Of logits, labels, and probabilities of a teacher."""
    upsampled = partial(cross_entropy_lovasz_softmax, upsample="bilinear")
    jml = {"lovasz_weight": 0.0, "region": JaccardMetric(), "classes": "present"}

    def of_teacher(logits: Tensor, _: Tensor, soft: Tensor | None, **options) -> Tensor:
        return upsampled(logits, soft, **options)

    def mixed(logits: Tensor, target: Tensor, soft: Tensor | None) -> Tensor:
        entropy = upsampled(logits, soft, lovasz_weight=0.0)
        return entropy + upsampled(logits, target, cross_entropy_weight=0.0)

    def of_labels(logits: Tensor, target: Tensor, _: Tensor | None, **options) -> Tensor:
        return upsampled(logits, target, **options)

    smooth = {"label_smoothing": SMOOTHING}
    both = {**smooth, "lovasz_label_smoothing": SMOOTHING}
    return {
        TEACHER: of_labels,
        "hard": of_labels,
        "hard-jml": partial(of_labels, **jml),
        "smooth-ce": partial(of_labels, **smooth),
        "smooth-both": partial(of_labels, **both),
        "smooth-jml": partial(of_labels, **both, **jml),
        "teacher-hard": mixed,
        "teacher-both": of_teacher,
        "teacher-jml": partial(of_teacher, **jml),
    }


def run(folder: Path, setting: Setting) -> dict:
    """Train and evaluate; the line for the file."""
    torch.set_num_threads(1)
    config, started = setting.config(), time.perf_counter()
    data = load_data(config)
    teacher = load_teacher(folder, setting, len(data.classes))
    network = train(config, data, losses()[setting.variant], teacher)
    if setting.variant == TEACHER:
        torch.save(network.state_dict(), teacher_file(folder, setting.seed, setting.epochs))
    fabric = make_fabric(config)
    model = fabric.setup(network)
    scores = evaluate(fabric, model, data, part="test", config=config, stop=lambda: False)
    return {
        **asdict(setting),
        "miou": scores.miou,
        "accuracy": scores.accuracy,
        "ece": calibration_error(network, data, config.batch_size),
        "iou": scores.iou,
        "seconds": round(time.perf_counter() - started, 1),
    }


def train(config: TrainConfig, data: DataSet, loss: Loss, teacher: nn.Module | None) -> nn.Module:
    """As `lovasz train` does, but for labels that depend on the image."""
    torch.manual_seed(config.seed)
    network = build_model(config, len(data.classes)).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), config.lr, weight_decay=config.weight_decay)
    per_epoch = steps_per_epoch(data.parts["train"], config.batch_size)
    total = per_epoch * config.epochs
    scheduler = LambdaLR(optimizer, lambda step: rate(step, total))
    network.train()
    for epoch in range(config.epochs):
        for images, labels in training_batches(data.parts["train"], config, epoch, 0):
            normal, target = data.statistics.normalise(images), labels.long()
            soft = None if teacher is None else probabilities(teacher, normal)
            loss(network(normal), target, soft).backward()
            optimizer.step()
            optimizer.zero_grad()
            scheduler.step()
    return network


def rate(step: int, total: int) -> float:
    """The learning rate of a step as a fraction of the highest one."""
    warmup = round(WARMUP * total)
    if step < warmup:
        return (step + 1) / warmup
    return float((1 - (step - warmup) / max(1, total - warmup)) ** 0.9)


@torch.no_grad()
def probabilities(network: nn.Module, normal: Tensor) -> Tensor:
    """Of every class, at the resolution of the images."""
    size = normal.shape[2:]
    return F.interpolate(network(normal), size, mode="bilinear").softmax(1)


@torch.no_grad()
def calibration_error(network: nn.Module, data: DataSet, batch_size: int) -> float:
    """Of the test part, as `Calibration` defines it."""
    network.eval()
    part = data.parts["test"]
    calibration = Calibration()
    for start in range(0, len(part), batch_size):
        pairs = [part[index] for index in range(start, min(start + batch_size, len(part)))]
        images, labels = (torch.stack(each) for each in zip(*pairs, strict=True))
        calibration.update(probabilities(network, data.statistics.normalise(images)), labels)
    return calibration.error()


def teacher_file(folder: Path, seed: int, epochs: int) -> Path:
    """Where the weights of a teacher are."""
    return folder / f"teacher-{seed}-{epochs}.pt"


def load_teacher(folder: Path, setting: Setting, classes: int) -> nn.Module | None:
    """The network whose labels the variant has, in evaluation mode."""
    if not setting.teacher_epochs:
        return None
    teacher = Setting(TEACHER, setting.seed, setting.teacher_epochs, setting.lr)
    network = build_model(teacher.config(), classes)
    path = teacher_file(folder, setting.seed, setting.teacher_epochs)
    network.load_state_dict(torch.load(path, weights_only=True))
    return network.to(memory_format=torch.channels_last).eval()


def settings(options: argparse.Namespace) -> tuple[list[Setting], list[Setting]]:
    """The teachers, and the runs that are compared, seed by seed."""
    long = options.teacher_epochs
    needed = any(name.startswith(TEACHER) for name in options.variants)
    teachers = [Setting(TEACHER, seed, long, options.lr) for seed in options.seeds if needed]
    compared = [
        Setting(name, seed, options.epochs, options.lr, long * name.startswith(TEACHER))
        for seed in options.seeds
        for name in options.variants
    ]
    return teachers, compared


def work(options: argparse.Namespace, wanted: list[Setting]) -> None:
    """Do the runs that are not in the file yet."""
    options.folder.mkdir(parents=True, exist_ok=True)
    file = options.folder / "runs.jsonl"
    left = [setting for setting in wanted if setting not in read_lines(Setting, file)]
    with workers(options.jobs, partial(run, options.folder)) as each:
        for number, row in enumerate(each(left), start=1):
            append(file, row)
            print(
                f"{number}/{len(left)} {row['variant']} seed {row['seed']}: mIoU"
                f" {100 * row['miou']:.1f}, calibration error {100 * row['ece']:.1f},"
                f" {row['seconds']:.0f} s",
                flush=True,
            )


def summary(options: argparse.Namespace, done: dict[Setting, dict]) -> dict:
    """What the table is made of."""
    teachers, compared = settings(options)
    variants: dict[str, dict] = {}
    for setting in compared:
        if setting in done:
            kept = variants.setdefault(setting.variant, {"miou": {}, "accuracy": {}, "ece": {}})
            for key, values in kept.items():
                values[str(setting.seed)] = done[setting][key]
    return {
        "about": about(),
        "study": {
            "epochs": options.epochs,
            "teacher_epochs": options.teacher_epochs,
            "lr": options.lr,
            "smoothing": SMOOTHING,
            "seeds": options.seeds,
        },
        "teachers": {str(s.seed): done[s]["miou"] for s in teachers if s in done},
        "variants": variants,
    }


def main(arguments: list[str]) -> None:
    """Do what is left of the study, print its table and write the JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks soft-study", description=__doc__)
    parser.add_argument("--table", action="store_true", help="only show and write what there is")
    parser.add_argument("--variants", nargs="+", default=list(TITLES), choices=list(TITLES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--teacher-epochs", type=int, default=40)
    parser.add_argument("--lr", type=float, default=0.003)
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, one thread each")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="of runs and teachers")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    options = parser.parse_args(arguments)
    if not options.table:
        for wanted in settings(options):  # the teachers first
            work(options, wanted)
    found = summary(options, read_lines(Setting, options.folder / "runs.jsonl"))
    print(table(found))
    options.output.write_text(json.dumps(found, indent=1) + "\n")
