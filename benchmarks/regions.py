"""Time and memory of losses by sums beside a cross-entropy, against nnU-Net's and MONAI's.

Forward and backward, interleaved, as ratios within a round; in processes of their own with fresh
and with reused memory, as ``speed`` has them. Memory is the peak beyond logits and labels, gradient
included, in one thread. Peers are measured where they are installed: `make peers` installs them in
build/peers, and build/peers/bin/python runs this.
"""

from __future__ import annotations

import argparse
import functools
import json
import math
import multiprocessing
import statistics
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.memory import peak_of
from benchmarks.regions_table import (
    CROSS_ENTROPY,
    DICE,
    DICE_IGNORED,
    DICE_SOFT,
    LOVASZ,
    MONAI,
    MONAI_SOFT,
    NNUNET,
    NNUNET_IGNORED,
    memory_table,
    times_table,
)
from benchmarks.speed import MEMORY, ROOT, about, child
from benchmarks.timing import clock
from lovasz import cross_entropy_dice, cross_entropy_lovasz_softmax
from tools.peers import part_of

OUTPUT = ROOT / "benchmarks" / "results" / "regions.json"

WORKLOADS: dict[str, tuple[int, ...]] = {
    "volume": (2, 14, 96, 96, 96),
    "cityscapes": (2, 19, 512, 1024),
    "few classes": (2, 4, 128, 128, 128),
}
QUICK = {"volume": (2, 4, 8, 9, 8), "images": (2, 5, 16, 12)}


class Inputs(NamedTuple):
    """What losses of one workload are of."""

    logits: Tensor
    target: Tensor
    ignored: Tensor  # the same with a label that is none, C, for a tenth of the pixels
    soft: Tensor  # dense labels of floating numbers


def draw(shape: tuple[int, ...]) -> Inputs:
    """Logits as of an untrained network, and labels in regions as they are in images."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(shape, generator=generator)
    classes, size = shape[1], (shape[0], *shape[2:])
    coarse = [max(1, n // 8) for n in shape[2:]]
    patches = torch.rand((shape[0], classes, *coarse), generator=generator)
    target = F.interpolate(patches, shape[2:]).argmax(1)
    ignored = target.masked_fill(torch.rand(size, generator=generator) < 0.1, classes)
    soft = torch.randn(shape, generator=generator).softmax(1)
    return Inputs(logits.requires_grad_(), target, ignored, soft)


def nnunet(ignore_label: int | None) -> Callable[[Tensor, Tensor], Tensor]:
    """Its loss as its trainer makes it.

    Raises:
        ImportError: if it is not installed.
    """
    part_of("nnunetv2", "training.loss.dice")
    losses: Any = part_of("nnunetv2", "training.loss.compound_losses")
    loss = losses.DC_and_CE_loss(
        {"batch_dice": True, "smooth": 1e-5, "do_bg": False, "ddp": False},
        {},
        ignore_label=ignore_label,
        dice_class=losses.MemoryEfficientSoftDiceLoss,
    )
    return lambda logits, target: loss(logits, target.unsqueeze(1))


def monai(*, soft: bool) -> Callable[[Tensor, Tensor], Tensor]:
    """Its Dice with cross-entropy.

    Raises:
        ImportError: if it is not installed.
    """
    from monai.losses import DiceCELoss  # noqa: PLC0415

    loss = DiceCELoss(softmax=True, to_onehot_y=not soft, include_background=False, batch=True)
    return loss if soft else lambda logits, target: loss(logits, target.unsqueeze(1))


@functools.cache
def ways(shape: tuple[int, ...]) -> dict[str, tuple[Callable[[Tensor, Tensor], Tensor], str]]:
    """The losses that are compared, each with the labels that it takes."""
    dice = partial(cross_entropy_dice, classes="foreground")
    found: dict[str, Any] = {CROSS_ENTROPY: (F.cross_entropy, "target")}
    classes = shape[1]
    for name, make, labels in (
        (NNUNET, lambda: nnunet(None), "target"),
        (NNUNET_IGNORED, lambda: nnunet(classes), "ignored"),
        (MONAI, lambda: monai(soft=False), "target"),
        (MONAI_SOFT, lambda: monai(soft=True), "soft"),
    ):
        try:
            found[name] = (make(), labels)
        except ImportError as error:
            print(f"{name}: not measured, {error}", file=sys.stderr)
    return found | {
        DICE: (dice, "target"),
        DICE_IGNORED: (partial(dice, ignore_index=classes), "ignored"),
        LOVASZ: (cross_entropy_lovasz_softmax, "target"),
        DICE_SOFT: (dice, "soft"),
    }


def times(shape: list[int], threads: int, rounds: int) -> dict:
    """Milliseconds of each way, and ratios to what it is compared with, round by round."""
    torch.set_num_threads(threads)
    inputs, losses = draw(tuple(shape)), ways(tuple(shape))
    seconds: dict[str, list[float]] = {name: [] for name in losses}
    for _ in range(rounds):
        for name, (loss, labels) in losses.items():
            spent = clock(loss, inputs.logits, getattr(inputs, labels))
            seconds[name].append(sum(spent))
    return {name: summary(name, seconds) for name in losses}


def summary(name: str, seconds: dict[str, list[float]]) -> dict:
    """Median milliseconds; median, least and largest ratio to each other way in the round."""
    found: dict = {"ms": 1e3 * statistics.median(seconds[name]), "ratio": {}, "spread": {}}
    for other, base in seconds.items():
        ratios = [a / b for a, b in zip(seconds[name], base, strict=True)]
        found["ratio"][other] = statistics.median(ratios)
        found["spread"][other] = [min(ratios), max(ratios)]
    return found


def memory(shape: list[int]) -> dict[str, int]:
    """Bytes that each way takes at most beyond logits and labels, in one thread.

    Each in a process of its own, which finds nothing that another has left; they are forked, so
    that torch is imported once.
    """
    torch.set_num_threads(1)
    chosen = tuple(shape)
    with multiprocessing.get_context("fork").Pool(1, maxtasksperchild=1) as pool:
        return {name: pool.apply(peak, (chosen, name)) for name in ways(chosen)}


def peak(shape: tuple[int, ...], name: str) -> int:
    """That of one way."""
    work_of((1, shape[1], *[4] * len(shape[2:])), name)()  # what is loaded once
    return peak_of(work_of(shape, name))


def work_of(shape: tuple[int, ...], name: str) -> Callable[[], Tensor]:
    """A gradient, of inputs that are there before."""
    inputs, (loss, labels) = draw(shape), ways(shape)[name]
    target = getattr(inputs, labels)
    return lambda: torch.autograd.grad(loss(inputs.logits, target), inputs.logits)[0]


def measure(shape: tuple[int, ...], options: argparse.Namespace) -> dict:
    """Everything about one workload."""
    entry: dict = {"shape": shape, "scores": math.prod(shape), "rounds": options.rounds, "runs": []}
    for threads in options.threads:
        for kind, environment in MEMORY.items():
            asked = {"shape": shape, "threads": threads, "rounds": options.rounds}
            found = child("regions", {"measure": "times", **asked}, environment)
            entry["runs"].append({"threads": threads, "memory": kind, "ways": found})
    entry["peak_bytes"] = child("regions", {"measure": "memory", "shape": shape})
    return entry


def main(arguments: list[str]) -> None:
    """Measure, print the tables, write the JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks regions", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="tiny inputs")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--only", nargs="+", default=list(WORKLOADS), help="keeps the others")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    options = parser.parse_args(arguments)
    found: dict = {"about": about(), "workloads": {}}
    if options.only != list(WORKLOADS) and options.output.exists():
        found["workloads"] = json.loads(options.output.read_text())["workloads"]
    for name, shape in (QUICK if options.quick else WORKLOADS).items():
        if not options.quick and name not in options.only:
            continue
        found["workloads"][name] = measure(shape, options)
        # What is there so far: all of it takes half an hour.
        one = {**found, "workloads": {name: found["workloads"][name]}}
        print(times_table(one) + "\n\n" + memory_table(one) + "\n", flush=True)
        options.output.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    work = {"times": times, "memory": memory}[asked.pop("measure")]
    print(json.dumps(work(**asked)))
