"""Time and memory of losses and labels of upsampled logits, against ``F.interpolate`` and torch.

Forward and backward by logits of low resolution with labels of full resolution, interleaved, as
ratios to ``F.interpolate`` and ``F.cross_entropy`` within a round; in processes of their own with
fresh and with reused memory, as ``speed`` has them. Memory is the peak beyond logits and labels,
gradient included, in one thread. On some workloads what is torch's own is compiled as well.
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
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.memory import peak_of
from benchmarks.speed import MEMORY, ROOT, about, child
from benchmarks.timing import clock, timer
from benchmarks.upsampling_table import (
    ALONE,
    ARGMAX,
    BOTH,
    COMPILED,
    ENLARGED,
    LABELS,
    PAIR,
    STORED,
    memory_table,
    times_table,
)
from lovasz import cross_entropy_lovasz_softmax, upsampled_argmax

OUTPUT = ROOT / "benchmarks" / "results" / "upsampling.json"


class Workload(NamedTuple):
    """Logits of low resolution, and the sizes of the labels."""

    shape: tuple[int, ...]
    size: tuple[int, ...]
    align_corners: bool = False
    dtype: str = "float32"
    memory_format: str = "contiguous_format"
    compiled: bool = False  # torch.compile as well: 5 to 10 s more in every process

    @property
    def mode(self) -> str:
        """The linear mode for as many axes."""
        return {2: "bilinear", 3: "trilinear"}[len(self.size)]

    @property
    def scores(self) -> int:
        """Number of scores at full resolution."""
        return math.prod((*self.shape[:2], *self.size))


CITYSCAPES = (512, 1024)
# From 1/4, 1/8 and 1/2 of the resolution, and by ratios that are no integers.
WORKLOADS = {
    "cityscapes": Workload((2, 19, 128, 256), CITYSCAPES, compiled=True),
    "ade": Workload((2, 150, 128, 128), (512, 512), compiled=True),
    "ade-of-4": Workload((4, 150, 128, 128), (512, 512), compiled=True),
    "voc": Workload((8, 21, 128, 128), (512, 512)),
    "cityscapes-8": Workload((2, 19, 64, 128), CITYSCAPES),
    "ratio": Workload((2, 19, 150, 300), CITYSCAPES),
    "corners": Workload((2, 19, 97, 97), (769, 769), align_corners=True),
    "volume": Workload((1, 4, 48, 48, 48), (96, 96, 96)),
    "bfloat16": Workload(
        (2, 19, 128, 256), CITYSCAPES, dtype="bfloat16", memory_format="channels_last"
    ),
}
QUICK = {
    "images": Workload((1, 5, 8, 12), (31, 48), compiled=True),
    "volume": Workload((1, 3, 4, 4, 5), (8, 8, 9), align_corners=True),
    "bfloat16": Workload((1, 5, 4, 6), (9, 13), dtype="bfloat16", memory_format="channels_last"),
}

LARGE = 50_000_000  # scores: a round of these takes a minute, and one less will do


def draw(workload: Workload) -> tuple[Tensor, Tensor]:
    """Logits as of an untrained network, and labels."""
    generator = torch.Generator().manual_seed(0)
    size = (workload.shape[0], *workload.size)
    target = torch.randint(workload.shape[1], size, generator=generator)
    logits = torch.randn(workload.shape, generator=generator).to(
        getattr(torch, workload.dtype), memory_format=getattr(torch, workload.memory_format)
    )
    return logits.requires_grad_(), target


def enlarge(workload: Workload) -> Callable[[Tensor], Tensor]:
    """Torch's interpolation to the sizes of the labels."""
    return partial(
        F.interpolate,
        size=workload.size,
        mode=workload.mode,
        align_corners=workload.align_corners,
    )


@functools.cache
def ways(workload: Workload) -> dict[str, Callable[[Tensor, Tensor], Tensor]]:
    """The losses that are compared."""
    enlarged = enlarge(workload)
    upsampled = partial(
        cross_entropy_lovasz_softmax,
        upsample=workload.mode,
        align_corners=workload.align_corners,
    )

    def pair(logits: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(enlarged(logits), target)

    found = {
        PAIR: pair,
        STORED: lambda logits, target: cross_entropy_lovasz_softmax(enlarged(logits), target),
        BOTH: upsampled,
        ALONE: partial(upsampled, lovasz_weight=0.0),
    }
    if workload.compiled:
        found[COMPILED] = torch.compile(pair, dynamic=False)
    return found


def argmaxes(workload: Workload) -> dict[str, Callable[[Tensor], Tensor]]:
    """Labels of the enlarged logits, in int64."""
    enlarged = enlarge(workload)
    options = {"upsample": workload.mode, "align_corners": workload.align_corners}
    return {
        ARGMAX: lambda logits: enlarged(logits).argmax(1),
        LABELS: partial(upsampled_argmax, size=workload.size, **options),
    }


def clock_labels(call: Callable[[Tensor], Tensor], logits: Tensor) -> float:
    """Seconds of the second call of two, as ``clock`` has them."""
    with torch.no_grad():
        call(logits)
        now = timer()
        start = now()
        call(logits)
        return now() - start


def times(workload: list, threads: int, rounds: int) -> dict:
    """Milliseconds of each way, and ratios to what it is compared with, round by round."""
    torch.set_num_threads(threads)
    chosen = restored(workload)
    logits, target = draw(chosen)
    losses = ways(chosen)
    big = enlarge(chosen)(logits).detach().requires_grad_()
    seconds: dict[str, list[float]] = {name: [] for name in (*losses, ENLARGED, ARGMAX, LABELS)}
    if COMPILED in losses:
        losses[COMPILED](logits, target)
    for _ in range(rounds):
        for name, loss in losses.items():
            seconds[name].append(sum(clock(loss, logits, target)))
        seconds[ENLARGED].append(sum(clock(F.cross_entropy, big, target)))
        for name, call in argmaxes(chosen).items():
            seconds[name].append(clock_labels(call, logits))
    return {
        name: summary(spent, seconds[ARGMAX if name in (ARGMAX, LABELS) else PAIR])
        for name, spent in seconds.items()
    }


def summary(seconds: list[float], base: list[float]) -> dict:
    """Median milliseconds, and the median, least and largest ratio to the base of the round."""
    ratios = [a / b for a, b in zip(seconds, base, strict=True)]
    return {
        "ms": 1e3 * statistics.median(seconds),
        "ratio": statistics.median(ratios),
        "spread": [min(ratios), max(ratios)],
    }


def memory(workload: list) -> dict[str, int]:
    """Bytes that each way takes at most beyond logits and labels, in one thread.

    Each in a process of its own, which finds nothing that another has left; they are forked, so
    that torch is imported once.
    """
    torch.set_num_threads(1)
    chosen = restored(workload)
    with multiprocessing.get_context("fork").Pool(1, maxtasksperchild=1) as pool:
        names = [*ways(chosen), ARGMAX, LABELS]
        return {name: pool.apply(peak, (chosen, name)) for name in names}


def peak(workload: Workload, name: str) -> int:
    """That of one way."""
    # What is loaded once; what is compiled is compiled for one shape.
    axes = len(workload.size)
    small = workload._replace(shape=(1, 3, *[4] * axes), size=(8,) * axes)
    work_of(workload if name == COMPILED else small, name)()
    return peak_of(work_of(workload, name))


def work_of(workload: Workload, name: str) -> Callable[[], Tensor]:
    """A gradient or labels, of inputs that are there before."""
    logits, target = draw(workload)
    if name in (ARGMAX, LABELS):
        return partial(argmaxes(workload)[name], logits.detach())
    loss = ways(workload)[name]
    return lambda: torch.autograd.grad(loss(logits, target), logits)[0]


def restored(workload: list) -> Workload:
    """A workload that has been JSON."""
    shape, size, *rest = workload
    return Workload(tuple(shape), tuple(size), *rest)


def measure(workload: Workload, options: argparse.Namespace) -> dict:
    """Everything about one workload."""
    rounds = options.rounds - (options.rounds > 2 and workload.scores > LARGE)
    entry: dict = {
        **workload._asdict(),
        "scores": workload.scores,
        "rounds": rounds,
        "runs": [],
    }
    for threads in options.threads:
        for kind, environment in MEMORY.items():
            asked = {"workload": workload, "threads": threads, "rounds": rounds}
            found = child("upsampling", {"measure": "times", **asked}, environment)
            entry["runs"].append({"threads": threads, "memory": kind, "ways": found})
    entry["peak_bytes"] = child("upsampling", {"measure": "memory", "workload": workload})
    return entry


def main(arguments: list[str]) -> None:
    """Measure, print the tables, write the JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks upsampling", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="tiny inputs")
    parser.add_argument("--rounds", type=int, default=3)
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
        # What is there so far: all of it takes a quarter of an hour.
        one = {**found, "workloads": {name: found["workloads"][name]}}
        print(times_table(one) + "\n\n" + memory_table(one) + "\n", flush=True)
        options.output.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    work = {"times": times, "memory": memory}[asked.pop("measure")]
    print(json.dumps(work(**asked)))
