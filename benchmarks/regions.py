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
from lovasz import cross_entropy_dice, cross_entropy_lovasz_softmax, deep_supervision
from tools.peers import part_of

OUTPUT = ROOT / "benchmarks" / "results" / "regions.json"

# Of deep supervision: each scale has half the resolution of the one before.
WEIGHTS = [8 / 15, 4 / 15, 2 / 15, 1 / 15]

Loss = Callable[[Any, Tensor], Tensor]


class Workload(NamedTuple):
    """Logits, and whether there are those of lower resolutions too."""

    shape: tuple[int, ...]
    scales: bool = False


WORKLOADS = {
    "volume": Workload((2, 14, 96, 96, 96)),
    "cityscapes": Workload((2, 19, 512, 1024)),
    "few classes": Workload((2, 4, 128, 128, 128)),
    "volume, four scales": Workload((2, 14, 96, 96, 96), True),
}
QUICK = {
    "volume": Workload((2, 4, 8, 9, 8)),
    "images": Workload((2, 5, 16, 12)),
    "scales": Workload((2, 4, 16, 16, 24), True),
}


class Inputs(NamedTuple):
    """What losses of one workload are of."""

    logits: Tensor | list[Tensor]
    target: Tensor
    ignored: Tensor  # the same with a label that is none, C, for a tenth of the pixels
    soft: Tensor  # dense labels of floating numbers


def draw(workload: Workload) -> Inputs:
    """Logits as of an untrained network, and labels in regions as they are in images."""
    shape = workload.shape
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(shape, generator=generator)
    classes, size = shape[1], (shape[0], *shape[2:])
    coarse = [max(1, n // 8) for n in shape[2:]]
    patches = torch.rand((shape[0], classes, *coarse), generator=generator)
    target = F.interpolate(patches, shape[2:]).argmax(1)
    ignored = target.masked_fill(torch.rand(size, generator=generator) < 0.1, classes)
    if workload.scales:
        sizes = ([n >> k for n in shape[2:]] for k in range(len(WEIGHTS)))
        scales = [torch.randn((*shape[:2], *size), generator=generator) for size in sizes]
        return Inputs([x.requires_grad_() for x in scales], target, ignored, target)
    soft = torch.randn(shape, generator=generator).softmax(1)
    return Inputs(logits.requires_grad_(), target, ignored, soft)


def nnunet(ignore_label: int | None) -> Loss:
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


def monai(*, soft: bool) -> Loss:
    """Its Dice with cross-entropy.

    Raises:
        ImportError: if it is not installed.
    """
    from monai.losses import DiceCELoss  # noqa: PLC0415

    loss = DiceCELoss(softmax=True, to_onehot_y=not soft, include_background=False, batch=True)
    return loss if soft else lambda logits, target: loss(logits, target.unsqueeze(1))


def over_scales(loss: Loss) -> Loss:
    """The weighted sum as the peers have it, of labels that are the nearest pixels."""

    def summed(logits: list[Tensor], target: Tensor) -> Tensor:
        total = torch.zeros(())
        for k, (weight, scores) in enumerate(zip(WEIGHTS, logits, strict=True)):
            step = slice(2**k // 2, None, 2**k)
            small = target[(slice(None), *[step] * (target.dim() - 1))]
            total = total + weight * loss(scores, small)
        return total

    return summed


@functools.cache
def ways(workload: Workload) -> dict[str, tuple[Loss, str]]:
    """The losses that are compared, each with the labels that it takes."""
    classes = workload.shape[1]
    dice = partial(cross_entropy_dice, classes="foreground")
    theirs: dict[str, tuple[Loss, str]] = {CROSS_ENTROPY: (F.cross_entropy, "target")}
    for name, make, labels in (
        (NNUNET, lambda: nnunet(None), "target"),
        (NNUNET_IGNORED, lambda: nnunet(classes), "ignored"),
        (MONAI, lambda: monai(soft=False), "target"),
        (MONAI_SOFT, lambda: monai(soft=True), "soft"),
    ):
        try:
            theirs[name] = (make(), labels)
        except ImportError as error:
            print(f"{name}: not measured, {error}", file=sys.stderr)
    ours: dict[str, tuple[Loss, str]] = {
        DICE: (dice, "target"),
        DICE_IGNORED: (partial(dice, ignore_index=classes), "ignored"),
        LOVASZ: (cross_entropy_lovasz_softmax, "target"),
        DICE_SOFT: (dice, "soft"),
    }
    if not workload.scales:
        return theirs | ours
    found = {name: (over_scales(loss), labels) for name, (loss, labels) in theirs.items()}
    for name, (loss, labels) in ours.items():
        found[name] = (partial(deep_supervision, loss, weights=WEIGHTS), labels)
    return {name: found[name] for name in found if name not in (MONAI_SOFT, DICE_SOFT)}


def times(workload: list, threads: int, rounds: int) -> dict:
    """Milliseconds of each way, and ratios to all others, round by round."""
    torch.set_num_threads(threads)
    chosen = restored(workload)
    inputs, losses = draw(chosen), ways(chosen)
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


def memory(workload: list) -> dict[str, int]:
    """Bytes that each way takes at most beyond logits and labels, in one thread.

    Each in a process of its own, which finds nothing that another has left; they are forked, so
    that torch is imported once.
    """
    torch.set_num_threads(1)
    chosen = restored(workload)
    with multiprocessing.get_context("fork").Pool(1, maxtasksperchild=1) as pool:
        return {name: pool.apply(peak, (chosen, name)) for name in ways(chosen)}


def peak(workload: Workload, name: str) -> int:
    """That of one way."""
    size = [16 if workload.scales else 4] * len(workload.shape[2:])
    small = workload._replace(shape=(1, workload.shape[1], *size))
    work_of(small, name)()  # what is loaded once
    return peak_of(work_of(workload, name))


def work_of(workload: Workload, name: str) -> Callable[[], tuple[Tensor, ...]]:
    """Gradients, of inputs that are there before."""
    inputs, (loss, labels) = draw(workload), ways(workload)[name]
    target = getattr(inputs, labels)
    return lambda: torch.autograd.grad(loss(inputs.logits, target), inputs.logits)


def restored(workload: list) -> Workload:
    """A workload that has been JSON."""
    shape, scales = workload
    return Workload(tuple(shape), scales)


def measure(workload: Workload, options: argparse.Namespace) -> dict:
    """Everything about one workload."""
    sizes = [1 / 2 ** (k * len(workload.shape[2:])) for k in range(len(WEIGHTS))]
    entry: dict = {
        **workload._asdict(),
        "scores": round(math.prod(workload.shape) * (sum(sizes) if workload.scales else 1)),
        "rounds": options.rounds,
        "runs": [],
    }
    for threads in options.threads:
        for kind, environment in MEMORY.items():
            asked = {"workload": workload, "threads": threads, "rounds": options.rounds}
            found = child("regions", {"measure": "times", **asked}, environment)
            entry["runs"].append({"threads": threads, "memory": kind, "ways": found})
    entry["peak_bytes"] = child("regions", {"measure": "memory", "workload": workload})
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
    for name, workload in (QUICK if options.quick else WORKLOADS).items():
        if not options.quick and name not in options.only:
            continue
        found["workloads"][name] = measure(workload, options)
        # What is there so far: all of it takes half an hour.
        one = {**found, "workloads": {name: found["workloads"][name]}}
        print(times_table(one) + "\n\n" + memory_table(one) + "\n", flush=True)
        options.output.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    work = {"times": times, "memory": memory}[asked.pop("measure")]
    print(json.dumps(work(**asked)))
