"""Loss and gradient against float64, for every method, stage of training and size.

The truth is the sorting method on the same logits in float64, which the tests hold against an
independent oracle. Of every input the loss itself is compared, and those of a common and of a rare
class alone; of channels, that of a common and that of a rare mask.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from benchmarks import distributions
from lovasz import error_bound, lovasz_hinge, lovasz_sigmoid, lovasz_softmax
from lovasz.core.options import DEFAULT_BINS
from tools import published

RESULTS = Path(__file__).parent / "results" / "accuracy.json"
# Gives the mean loss of all classes and those of the listed ones.
Losses = Callable[[Tensor, Tensor, list[int]], list[Tensor]]
GROUPS = WHOLE, COMMON, RARE = "all classes", "common", "rare"
#: classes, and up to how many pixels: the truth, sorted in float64, takes a while
SIZES = {2: 100_000, 5: 1_000_000, 19: 100_000, 150: 10_000}
PIXELS = (10_000, 100_000, 1_000_000)
CHANNELS = {"sigmoid": lovasz_sigmoid, "hinge": lovasz_hinge}


def _ours(method: str) -> Losses:
    def losses(logits: Tensor, target: Tensor, classes: list[int]) -> list[Tensor]:
        values = lovasz_softmax(logits, target, reduction="none", method=method)
        return [lovasz_softmax(logits, target, method=method), *values[classes]]

    return losses


def _published(logits: Tensor, target: Tensor, classes: list[int]) -> list[Tensor]:
    each = [published.lovasz_softmax(logits, target, classes=[c]) for c in classes]
    return [published.lovasz_softmax(logits, target), *each]


CONTENDERS: dict[str, Losses] = {
    "histogram": _ours("histogram"),
    "sort": _ours("sort"),
    "published": _published,
}


class Accuracy(NamedTuple):
    """Deviation from float64."""

    group: str
    contender: str
    loss_error: float  # absolute; the loss of classes is in [0, 1]
    gradient_error: float  # relative, in the Euclidean norm over all logits


def evaluate(
    losses: Losses, logits: Tensor, target: Tensor, classes: list[int]
) -> list[tuple[float, Tensor]]:
    """Value and gradient of each of the losses."""
    logits = logits.detach().requires_grad_()
    return [
        (value.item(), torch.autograd.grad(value, logits, retain_graph=True)[0].double())
        for value in losses(logits, target, classes)
    ]


def measure(stage: str, pixels: int, classes: int = 8, seed: int = 0) -> list[Accuracy]:
    """All contenders on the mean loss, and on those of a common and of a rare class."""
    logits, target = distributions.draw(stage, pixels, classes, seed)
    chosen = [0, classes - 1]
    truth = evaluate(CONTENDERS["sort"], logits.double(), target, chosen)
    return [
        _deviation(group, name, found, exact)
        for name, losses in CONTENDERS.items()
        for group, found, exact in zip(
            GROUPS, evaluate(losses, logits, target, chosen), truth, strict=True
        )
    ]


def measure_channel(loss: str, stage: str, pixels: int, seed: int = 0) -> list[Accuracy]:
    """Both methods on the loss of a common and of a rare mask."""
    results = []
    for group, share in ((COMMON, 0.3), (RARE, distributions.RARE_SHARE)):
        logits, target = distributions.draw_channel(stage, pixels, share, seed)

        def losses(x: Tensor, y: Tensor, _: list[int], method: str = "sort") -> Tensor:
            return CHANNELS[loss](x, y, multilabel=True, method=method).reshape(1)

        (truth,) = evaluate(losses, logits.double(), target, [0])
        for method in ("histogram", "sort"):
            (found,) = evaluate(lambda x, y, c, m=method: losses(x, y, c, m), logits, target, [0])
            results.append(_deviation(group, method, found, truth))
    return results


def _deviation(
    group: str, contender: str, found: tuple[float, Tensor], exact: tuple[float, Tensor]
) -> Accuracy:
    size = exact[1].norm()
    # Nothing is wrong with a gradient of 0, as the hinge has of a network that is always right.
    relative = float((found[1] - exact[1]).norm() / size) if size > 0 else 0.0
    return Accuracy(group, contender, abs(found[0] - exact[0]), relative)


def rows(pixels: list[int], classes: list[int]) -> Iterator[dict]:
    """Everything that is measured, a row for each input and group."""
    for stage in distributions.STAGES:
        for count in pixels:
            for number in classes:
                if count <= SIZES[number]:
                    found = measure(stage, count, number)
                    yield from _as_rows(f"softmax, {number} classes", stage, count, found)
            for loss in CHANNELS:
                yield from _as_rows(loss, stage, count, measure_channel(loss, stage, count))


def _as_rows(loss: str, stage: str, pixels: int, found: list[Accuracy]) -> Iterator[dict]:
    for group in dict.fromkeys(r.group for r in found):
        yield {
            "loss": loss,
            "stage": stage,
            "pixels": pixels,
            "class": group,
            **{
                r.contender: [float(f"{error:.2e}") for error in (r.loss_error, r.gradient_error)]
                for r in found
                if r.group == group
            },
        }


def main(arguments: list[str]) -> None:
    """Measure, print a line for each input, and write the JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks accuracy", description=__doc__)
    parser.add_argument("--pixels", type=int, nargs="+", default=PIXELS)
    parser.add_argument("--classes", type=int, nargs="+", default=list(SIZES), choices=SIZES)
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    kept = []
    for row in rows(options.pixels, options.classes):
        kept.append(row)
        found = {name: row[name] for name in CONTENDERS if name in row}
        cells = [f"{name} {loss:.1e} {gradient:.1e}" for name, (loss, gradient) in found.items()]
        about = f"{row['loss']}, {row['stage']}, {row['pixels']:,}, {row['class']}"
        print(f"{about}: {' | '.join(cells)}", flush=True)
    lines = ",\n".join(json.dumps(row) for row in kept)
    head = json.dumps({"bins": DEFAULT_BINS, "bound": error_bound(DEFAULT_BINS)})[:-1]
    options.output.write_text(f'{head}, "rows": [\n{lines}\n]}}\n')
