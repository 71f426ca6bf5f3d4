"""Time of the names of other libraries and of losses of probabilities, as ratios.

To what they replace, the algorithm as published (``tools.published``): a sort and a difference for
each class or mask; and to the same loss of logits. Forward and backward, each pair of methods in
processes of its own, with fresh and with reused memory, as ``benchmarks.speed`` has them.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from benchmarks.speed import MEMORY, ROOT, about, child
from benchmarks.tables import compat_table
from benchmarks.timing import clock, ratios_of
from lovasz import (
    lovasz_sigmoid,
    lovasz_sigmoid_from_probabilities,
    lovasz_softmax,
    lovasz_softmax_from_probabilities,
)
from lovasz.compat import lovasz_losses, mmseg, pointcept, smp
from tools import published

OUTPUT = ROOT / "benchmarks" / "results" / "compat.json"
CLASSES, MASKS, LABELS = (8, 21, 128, 128), (8, 512, 512), (8, 19, 128, 128)
SORT = {"method": "sort"}


class Case(NamedTuple):
    """A loss, its input, and what it is compared with."""

    shape: tuple[int, ...]
    ours: Callable[[Tensor, Tensor], Any]
    others: dict[str, Callable[[Tensor, Tensor], Any]]  # of the same scores, or logits
    probabilities: bool = False

    @property
    def classes(self) -> int:
        """Number of labels, which is 2 of masks."""
        return self.shape[1] if self.shape == CLASSES else 2


def mask(loss: Callable[..., Tensor], **options: Any) -> Callable[[Tensor, Tensor], Tensor]:
    """A loss of this package as one of masks (N, *)."""
    return lambda x, y: loss(x, y, multilabel=False, **options)


def connected(function: Callable[[Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    """Slopes of sorted labels, with a loss and its gradient beside which they are seen."""
    return lambda x, y: function(y.reshape(-1)).sum() + x[:1, 0, :1].sum()


def channels(x: Tensor, y: Tensor) -> Tensor:
    """The published hinge of every channel."""
    pairs = zip(x.unbind(1), y.unbind(1), strict=True)
    return torch.stack([published.lovasz_hinge(*pair) for pair in pairs]).mean()


SOFTMAX = {"published": published.lovasz_softmax_of_probabilities, "logits": lovasz_softmax}
HINGE = {"published": published.lovasz_hinge}
SIGMOID = {"published": published.lovasz_sigmoid, "logits": mask(lovasz_sigmoid, **SORT)}
CASES = {
    "lovasz_softmax_from_probabilities": Case(
        CLASSES, lovasz_softmax_from_probabilities, SOFTMAX, True
    ),
    "the same, exact": Case(
        CLASSES,
        lambda x, y: lovasz_softmax_from_probabilities(x, y, **SORT),
        {**SOFTMAX, "logits": lambda x, y: lovasz_softmax(x, y, **SORT)},
        True,
    ),
    "lovasz_sigmoid_from_probabilities": Case(
        MASKS,
        mask(lovasz_sigmoid_from_probabilities),
        {**SIGMOID, "logits": mask(lovasz_sigmoid)},
        True,
    ),
    "compat lovasz_softmax": Case(CLASSES, lovasz_losses.lovasz_softmax, SOFTMAX, True),
    "compat lovasz_softmax of one map": Case(
        MASKS, lambda x, y: lovasz_losses.lovasz_softmax(x, y, classes=[1]), SIGMOID, True
    ),
    "compat lovasz_hinge": Case(
        MASKS,
        lovasz_losses.lovasz_hinge,
        {"published": lambda x, y: published.lovasz_hinge(x, y, per_image=True)},
    ),
    "compat lovasz_grad": Case(
        MASKS,
        connected(lovasz_losses.lovasz_grad),
        {"published": connected(lambda y: published.jaccard_weights(y.float()))},
    ),
    "smp multiclass": Case(
        CLASSES, smp.LovaszLoss("multiclass"), {"published": published.lovasz_softmax}
    ),
    "smp binary": Case(MASKS, smp.LovaszLoss("binary"), HINGE),
    "smp multilabel": Case(LABELS, smp.LovaszLoss("multilabel"), {"published": channels}),
    "smp binary of probabilities": Case(
        MASKS, smp.LovaszLoss("binary", from_logits=False), SIGMOID, True
    ),
    "Pointcept multiclass": Case(
        CLASSES, pointcept.LovaszLoss("multiclass"), {"published": published.lovasz_softmax}
    ),
    "Pointcept binary": Case(MASKS, pointcept.LovaszLoss("binary"), HINGE),
    "mmsegmentation multi_class": Case(
        CLASSES, mmseg.LovaszLoss(), {"published": published.lovasz_softmax}
    ),
    "mmsegmentation binary": Case(MASKS, mmseg.LovaszLoss("binary"), HINGE),
}


def draw(case: Case, shape: tuple[int, ...]) -> tuple[Tensor, Tensor, Tensor]:
    """Logits, what the loss takes, which are the logits or their probabilities, and labels."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(shape, generator=generator)
    of_classes = case.shape == CLASSES
    labels = (shape[0], *shape[2:]) if of_classes else shape
    target = torch.randint(case.classes, labels, generator=generator)
    scores = logits
    if case.probabilities:
        scores = logits.softmax(1) if of_classes else logits.sigmoid()
    return logits.requires_grad_(), scores.detach().clone().requires_grad_(), target


def measure(name: str, shape: list[int], threads: int, rounds: int) -> dict:
    """Milliseconds of one case, and its ratios to what it is compared with."""
    torch.set_num_threads(threads)
    case = CASES[name]
    logits, scores, target = draw(case, tuple(shape))
    times: dict[str, list[float]] = {key: [] for key in ("ours", *case.others)}
    for _ in range(rounds):
        times["ours"].append(sum(clock(case.ours, scores, target)))
        for key, other in case.others.items():
            times[key].append(sum(clock(other, logits if key == "logits" else scores, target)))
    return ratios_of(times)


def main(arguments: list[str]) -> None:
    """Measure, print the table, write the JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks compat", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="tiny inputs, one round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--cases", nargs="+", default=list(CASES), help="again; keeps the others")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    options = parser.parse_args(arguments)
    found: dict = {"about": about(), "threads": options.threads, "cases": {}}
    if options.cases != list(CASES) and options.output.exists():
        found["cases"] = json.loads(options.output.read_text())["cases"]
    for name, case in ((name, CASES[name]) for name in options.cases):
        shape = (*case.shape[:-2], 8, 8) if options.quick else case.shape
        runs = []
        for threads in options.threads:
            for memory, environment in MEMORY.items():
                rounds = 1 if options.quick else options.rounds
                arguments = {"name": name, "shape": shape, "threads": threads, "rounds": rounds}
                values = child("compat", arguments, environment)
                runs.append({"threads": threads, "memory": memory, "values": values})
        found["cases"][name] = {"shape": shape, "runs": runs}
        # What is there so far: all of it takes half an hour on a busy machine.
        print(compat_table({"cases": {name: found["cases"][name]}}), flush=True)
        options.output.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    print(json.dumps(measure(**json.loads(sys.argv[1]))))
