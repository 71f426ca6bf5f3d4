"""Windowed Lovász-Softmax against the loss of the batch and cross-entropy, at small batch sizes.

For each data set, batch size and loss the learning rate of the grid with the highest mIoU on the
validation part is chosen with the first seed; then the other seeds follow. Results are mIoU on the
test part, over the data set. All losses have the same weights, crops and order for a seed, so that
differences are paired by seed. Batch sizes differ in steps and images seen: compare within one.

Each run is a line in a file; runs that have one are not repeated, so that the study can be ended
and continued at any time, and `--table` shows what there is.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from torch import Tensor

from benchmarks.runs import append, read_lines, workers
from benchmarks.speed import ROOT, about
from benchmarks.window_table import print_tables, summary
from lovasz.train.config import TrainConfig
from lovasz.train.data import DataSet, Part, load_data
from lovasz.train.loop import test, train

RUNS = ROOT / "runs" / "window.jsonl"
OUTPUT = ROOT / "benchmarks" / "results" / "window.json"

CROPS = {"scenes": 64, "landcover": 48}
STEPS = {1: 4000, 4: 2500, 16: 900}
LOSSES = ["cross-entropy", "lovasz-softmax", "windowed", "both", "both-windowed"]
RATES = [0.001, 0.003, 0.01]
CHANNELS = [16, 32, 64]


@dataclass(frozen=True)
class Repeated:
    """So many images, one pass over which is the whole training: it goes round a smaller part."""

    part: Part
    length: int

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.part[index % len(self.part)]


@dataclass(frozen=True)
class Setting:
    """One run: what it is known by in the file."""

    data: str
    batch_size: int
    loss: str
    lr: float
    seed: int
    steps: int
    momentum: float
    factor: float = 1.0  # of Lovász-Softmax in a sum

    def config(self, out: str) -> TrainConfig:
        return TrainConfig(
            data=self.data,
            batch_size=self.batch_size,
            loss=self.loss,
            lr=self.lr,
            seed=self.seed,
            momentum=self.momentum,
            crop=CROPS[self.data],
            norm="group",
            model_args={"channels": CHANNELS},
            epochs=1,
            accelerator="cpu",
            threads=1,
            loss_schedule=self.schedule(),
            out=out,
        )

    def schedule(self) -> list[dict[str, float]] | None:
        """The factors of a sum, where they are not 1."""
        if self.factor == 1:
            return None
        return [{"epoch": 0, "cross_entropy": 1, "lovasz": self.factor}]


def prolonged(data: DataSet, images: int) -> DataSet:
    """The same data with a training part of so many images."""
    return replace(data, parts={**data.parts, "train": Repeated(data.parts["train"], images)})


def run(setting: Setting) -> dict:
    """Train and evaluate; the line for the file."""
    with tempfile.TemporaryDirectory() as out:
        config = setting.config(out)
        data = prolonged(load_data(config), setting.steps * setting.batch_size)
        train(config, data, lambda *_: None, lambda: False)
        test(config, data, lambda: False)
        val, result = (
            json.loads((Path(out) / name).read_text()) for name in ("val.json", "result.json")
        )
    return {
        **vars(setting),
        "val": val["miou"],
        "test": result["miou"],
        "accuracy": result["accuracy"],
        "iou": result["iou"],
        "seconds": round(result["seconds"], 1),
    }


def cells(options: argparse.Namespace) -> Iterator[partial[Setting]]:
    """Every data set, batch size and loss: a setting without rate and seed."""
    for batch_size in options.batch_sizes:
        for data in options.data:
            for loss in options.losses:
                steps = options.steps or STEPS[batch_size]
                yield partial(
                    Setting,
                    data=data,
                    batch_size=batch_size,
                    loss=loss,
                    steps=steps,
                    momentum=options.momentum if "windowed" in loss else 0.0,
                    factor=options.factor if "both" in loss else 1.0,
                )


def searches(options: argparse.Namespace, cell: partial[Setting]) -> list[Setting]:
    """The runs that choose the learning rate of a cell."""
    return [cell(lr=lr, seed=options.seeds[0]) for lr in options.rates]


def chosen(options: argparse.Namespace, done: dict[Setting, dict]) -> list[list[Setting]]:
    """The runs that count, by cell and seed, for the cells with a complete search."""
    found = []
    for cell in cells(options):
        tried = searches(options, cell)
        if all(setting in done for setting in tried):
            best = max(tried, key=lambda setting: done[setting]["val"])
            found.append([replace(best, seed=seed) for seed in options.seeds])
    return found


def study(options: argparse.Namespace) -> None:
    """First all rates with the first seed, then the other seeds, one after the other."""
    work(options, [setting for cell in cells(options) for setting in searches(options, cell)])
    by_seed = zip(*chosen(options, read_lines(Setting, options.runs)), strict=True)
    work(options, [setting for row in by_seed for setting in row])


def work(options: argparse.Namespace, settings: list[Setting]) -> None:
    """Do the runs that are not in the file yet, and append each result as it comes."""
    done = read_lines(Setting, options.runs)
    left = [setting for setting in settings if setting not in done]
    with workers(options.jobs, run) as each:
        for number, row in enumerate(each(left), start=1):
            append(options.runs, row)
            print(
                f"{number}/{len(left)} {row['data']} batch {row['batch_size']} {row['loss']}"
                f" lr {row['lr']:g} seed {row['seed']}: val {100 * row['val']:.1f}"
                f" test {100 * row['test']:.1f}, {row['seconds']:.0f} s",
                flush=True,
            )


def main(arguments: list[str]) -> None:
    """Do what is left of the study, print its tables and write the JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks window", description=__doc__)
    parser.add_argument("--table", action="store_true", help="only show and write what there is")
    parser.add_argument("--data", nargs="+", default=list(CROPS), choices=list(CROPS))
    parser.add_argument("--batch-sizes", nargs="+", type=int, default=list(STEPS))
    parser.add_argument("--losses", nargs="+", default=LOSSES)
    parser.add_argument("--rates", nargs="+", type=float, default=RATES)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--momentum", type=float, default=TrainConfig.momentum)
    parser.add_argument("--factor", type=float, default=1.0, help="of Lovász-Softmax in the sums")
    parser.add_argument("--steps", type=int, default=0, help=f"by default by batch size: {STEPS}")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time, one thread each")
    parser.add_argument("--runs", type=Path, default=RUNS, help="one line for each run")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    options = parser.parse_args(arguments)
    if not options.table:
        study(options)
    done = read_lines(Setting, options.runs)
    rows = [[done[s] for s in settings if s in done] for settings in chosen(options, done)]
    found = {
        "about": about(),
        "grid": options.rates,
        "momentum": options.momentum,
        "factor": options.factor,
        "cells": [summary(group) for group in rows],
    }
    print_tables(found)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(found, indent=1) + "\n")
