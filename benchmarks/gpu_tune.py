"""What the constants of ``lovasz/kernels/triton/blocks.py`` should be on a CUDA or ROCm device.

One constant at a time takes other values; every operator that it concerns is timed against itself
with the value of the file, interleaved, as a ratio. To be read, not to be believed blindly: what is
best for one workload may be bad for another, and two constants may depend on each other.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from benchmarks.cuda import about, clock, copy_bandwidth
from benchmarks.gpu import DTYPES, MULTILABEL, RESULTS, inputs
from lovasz.core.options import DEFAULT_BINS as BINS
from lovasz.kernels import triton as gpu

Operator = Callable[[], Any]

HISTOGRAMS = ("histogram", "histogram_multilabel")
BACKWARDS = ("backward", "backward_multilabel")
#: other values, and the operators that depend on them
CANDIDATES: dict[str, tuple[tuple[int, ...], tuple[str, ...]]] = {
    "WARPS": ((2, 4, 8), (*HISTOGRAMS, *BACKWARDS, "extend")),
    "BLOCK": ((1024, 2048, 4096), ("histogram", *BACKWARDS)),
    "STRIP": ((512, 1024, 2048, 4096), HISTOGRAMS),
    "USE_PTX": ((False, True), HISTOGRAMS),
    "TABLE_CELLS": ((2816, 5632, 11008), ("histogram",)),
    "SHARED_PROGRAMS": ((1, 2, 4, 8, 16), ("histogram",)),
    "SHARED_STRIPS": ((1, 2, 4, 8), ("histogram",)),
    "FEWEST_STRIPS": ((1, 2, 4, 8, 16), ("histogram_multilabel",)),
    "PROGRAMS": ((4, 8, 16, 32), ("histogram_multilabel",)),
    "ABOVE_WINDOW": ((1, 2, 4, 8), ("histogram",)),
    "FEW_COPIES": ((4, 16, 64), HISTOGRAMS),
    "MOST_COPIES": ((8, 32, 64, 256), HISTOGRAMS),
    "EXTEND_BLOCK": ((128, 256, 512, 1024), ("extend",)),
}


def softmax_operators(logits: torch.Tensor, target: torch.Tensor) -> dict[str, Operator]:
    """Both passes over logits of classes, and what is between them."""
    if logits.dim() == 2:  # points, (P, C)
        logits, target = logits.t().unsqueeze(0), target.unsqueeze(0)
    scores, labels = logits.detach().flatten(2), target.flatten(1)
    counts, lse, *_ = gpu.histogram(scores, labels, BINS, None, False, "softmax")
    slopes = torch.rand(counts.shape, device=scores.device)
    factors = torch.rand(counts.shape[:2], device=scores.device)
    return {
        "histogram": lambda: gpu.histogram(scores, labels, BINS, None, False, "softmax"),
        "extend": lambda: gpu.extend(counts, 1.0, 1.0, False),
        "backward": lambda: gpu.backward(scores, labels, lse, slopes, factors, None, "softmax"),
    }


def multilabel_operators(logits: torch.Tensor, target: torch.Tensor) -> dict[str, Operator]:
    """Both passes over logits of multilabel channels."""
    scores, labels = logits.detach().flatten(2), target.flatten(2)
    slopes = torch.rand((1, scores.shape[1], 2, BINS), device=scores.device)
    lse = scores.new_empty(0)
    factors = torch.rand((1, scores.shape[1]), device=scores.device)
    return {
        "histogram_multilabel": lambda: gpu.histogram(scores, labels, BINS, None, False, "sigmoid"),
        "backward_multilabel": lambda: gpu.backward(
            scores, labels, lse, slopes, factors, None, "sigmoid"
        ),
    }


@contextmanager
def constant(name: str, value: int) -> Iterator[None]:
    """A constant of ``blocks`` with another value."""
    from lovasz.kernels.triton import blocks  # noqa: PLC0415

    before = getattr(blocks, name)
    setattr(blocks, name, value)
    try:
        yield
    finally:
        setattr(blocks, name, before)


def sweep(
    operators: dict[str, Operator],
    names: list[str],
    rounds: int,
    timed: Callable[[Operator], float] = clock,
    unseen: int = 2,
) -> dict[str, dict[str, dict[int, float]]]:
    """For operator, constant and value, the time as a ratio to that with the value of the file.

    Rounds that are not seen compile and warm up.
    """
    found: dict[str, dict[str, dict[int, float]]] = {}
    for operator, work in operators.items():
        for name in names:
            values, concerned = CANDIDATES[name]
            if operator not in concerned:
                continue
            ratios: dict[int, list[float]] = {value: [] for value in values}
            for turn in range(unseen + rounds):
                base = timed(work)
                for value in values:
                    with constant(name, value):
                        taken = timed(work)
                    if turn >= unseen:
                        ratios[value].append(taken / base)
            medians = {value: statistics.median(kept) for value, kept in ratios.items()}
            found.setdefault(operator, {})[name] = medians
    return found


def main(arguments: list[str]) -> None:
    """Sweep, print a line for each operator and constant, and write the JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks gpu-tune", description=__doc__)
    parser.add_argument("--workloads", default="cityscapes,ade,scannet,masks,many labels")
    parser.add_argument("--constants", default=",".join(CANDIDATES))
    parser.add_argument("--stages", default="random,trained")
    parser.add_argument("--dtype", default="float32", choices=DTYPES)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--output", type=Path, default=RESULTS / "gpu-tune.json")
    options = parser.parse_args(arguments)
    if not torch.cuda.is_available():
        sys.exit("benchmarks gpu-tune: there is no CUDA or ROCm device here, so nothing was tuned")
    found: dict[str, Any] = {"about": about(copy_bandwidth()), "workloads": {}}
    for workload in options.workloads.split(","):
        for stage in options.stages.split(","):
            given = inputs(workload, stage, DTYPES[options.dtype])
            if workload in MULTILABEL:
                operators = multilabel_operators(*given)
            else:
                operators = softmax_operators(*given)
            result = sweep(operators, options.constants.split(","), options.rounds)
            found["workloads"][f"{workload} {options.dtype} {stage}"] = result
            for operator, constants in result.items():
                for name, ratios in constants.items():
                    words = " ".join(f"{value}:{ratio:.2f}" for value, ratio in ratios.items())
                    print(f"{workload} {stage} {operator} {name}: {words}", flush=True)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(found, indent=1) + "\n")
