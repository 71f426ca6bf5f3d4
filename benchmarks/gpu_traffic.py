"""What the GPU kernels ask of a device's memories, for scores of several distributions.

No device is needed: the kernels are compiled for one of NVIDIA and executed by the machine of the
tests, on an excerpt of each workload, in programs of the size that the whole workload has. For a
score: instructions (of PTX, of which the device's own are fewer or more); bytes of global memory,
in sectors of 32 bytes for a warp and an instruction, whether a cache has them or not; cycles of the
banks of shared memory for the 32 scores of a warp. For a pixel: atomic additions to global memory,
and how many of them share the address that has the most. A multiprocessor of an H100 has 10.7
cycles for 32 scores of float32 in the time in which they are read from memory once.
"""

from __future__ import annotations

import argparse

import pytest
import torch
from tests.gpu.machine.launching import use_machine
from tests.gpu.machine.meter import Meter

from benchmarks.gpu import STAGES
from benchmarks.workloads import draw
from lovasz.ops import gpu
from lovasz.ops.gpu import blocks, channels

#: shape of the whole workload, and whether its channels are sets of their own
WORKLOADS = {
    "cityscapes": ((2, 19, 512 * 1024), False),
    "ade": ((2, 150, 512 * 512), False),
    "binary": ((8, 1, 512 * 512), True),
}
MULTIPROCESSORS = 132
BINS = 1024
PASSES = ("tally", "count", "push", "push_columns")


def excerpt(shape: tuple[int, int, int], stage: str, scores: int) -> tuple[torch.Tensor, ...]:
    """Logits (1, C, L) and labels of so many scores, drawn as for the times."""
    classes = shape[1]
    length = max(scores // classes // 4096, 1) * 4096
    logits, target = draw((1, classes, length), "trained" if stage == "trained" else "random")
    factor = STAGES[stage]
    return logits.detach() * (1.0 if factor is None else factor), target


def traffic(shape: tuple[int, int, int], own_sets: bool, stage: str, scores: int) -> dict:
    """Meters of the two passes by kernel, and the number of scores and pixels."""
    with pytest.MonkeyPatch.context() as patch:
        meters = use_machine(patch)
        logits, target = excerpt(shape, stage, scores)
        # As many pixels to a program as in the whole workload.
        share = logits.shape[2] / (shape[0] * shape[2])
        patch.setattr(blocks, "processors", lambda device: max(round(MULTIPROCESSORS * share), 1))
        if own_sets:
            wanted = (torch.rand(logits.shape) < 0.5).long()
            if stage == "trained":
                logits = logits + 8 * (2 * wanted - 1)
            counts, _, _ = channels.count_channels(logits, wanted, BINS, None, False, "sigmoid")
            slopes = gpu.weigh(counts, 1.0, 1.0, False)[1]
            channels.push_channels(logits, wanted, slopes, None, "sigmoid")
        else:
            counts, lse, _, _ = gpu.count(logits, target, BINS, None, False, True)
            slopes = gpu.weigh(counts, 1.0, 1.0, False)[1]
            gpu.push(logits, target, lse, slopes, None, True)
    return {name: meter for name, meter in meters.items() if name in PASSES} | {
        "scores": logits.numel(),
        "pixels": logits.shape[2],
    }


def line_of(meter: Meter, scores: int, pixels: int) -> str:
    """One row of the table."""
    numbers = [
        32 * sum(meter.executed.values()) / scores,
        *(32 * meter.sectors[kind] / scores for kind in ("read", "written", "added")),
        32 * meter.cycles / scores,
        sum(meter.added.values()) / pixels,
        max(meter.added.values(), default=0) / pixels,
    ]
    return " | ".join(f"{number:.3g}" for number in numbers)


def main(arguments: list[str]) -> None:
    """Execute and print, as a table in Markdown."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks gpu-traffic", description=__doc__)
    parser.add_argument("--workloads", nargs="+", choices=WORKLOADS, default=list(WORKLOADS))
    parser.add_argument("--scores", type=int, default=2**20, help="of an excerpt; default 2^20")
    options = parser.parse_args(arguments)
    print(
        "| workload, kernel | scores | instructions | read, B | written, B | added to, B"
        " | cycles of banks for 32 | additions for a pixel | at one address |\n"
        "|---|---|---|---|---|---|---|---|---|"
    )
    for name in options.workloads:
        for stage in STAGES:
            found = traffic(*WORKLOADS[name], stage, options.scores)
            scores, pixels = found.pop("scores"), found.pop("pixels")
            for kernel, meter in found.items():
                print(f"| {name}, `{kernel}` | {stage} | {line_of(meter, scores, pixels)} |")
