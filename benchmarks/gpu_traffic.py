"""What the GPU kernels ask of a device's memories, for scores of several distributions.

No device is needed: the kernels are compiled for one of NVIDIA and executed by an emulator
(``tools/ptx_emulator``), on an excerpt of each workload, in programs of the size that the whole
workload has. For a score: instructions (of PTX, of which the device's own are fewer or more); bytes
of global memory, in sectors of 32 bytes for a warp and an instruction, whether a cache has them or
not; cycles of the banks of shared memory for the 32 scores of a warp. For a pixel: atomic additions
to global memory, and how many of them share the address that has the most. A multiprocessor of an
H100 has 10.7 cycles for 32 scores of float32 in the time in which they are read from memory once.
"""

from __future__ import annotations

import argparse

import pytest
import torch

from benchmarks.gpu import MULTILABEL, STAGES, inputs
from benchmarks.workloads import WORKLOADS
from lovasz.core.options import DEFAULT_BINS as BINS
from lovasz.kernels import triton as gpu
from lovasz.kernels.triton import blocks
from tools.ptx_emulator.launching import use_emulator
from tools.ptx_emulator.meter import Meter

IMAGES = [name for name, shape in {**WORKLOADS, **MULTILABEL}.items() if len(shape) > 2]
DEFAULT = ("cityscapes", "ade", "masks")
MULTIPROCESSORS = 132
PASSES = (
    "histogram_shared",
    "histogram_multilabel",
    "backward_softmax",
    "backward_unrolled",
    "backward_multilabel",
)


def traffic(workload: str, stage: str, most: int) -> tuple[dict[str, Meter], torch.Tensor]:
    """Meters of the two passes by kernel, and the scores, about so many of the workload's."""
    whole, target = inputs(workload, stage, torch.float32, "cpu")
    whole, target = whole.detach().flatten(2), target.flatten(2 if workload in MULTILABEL else 1)
    images, classes, pixels = whole.shape
    length = max(most // classes // 4096, 1) * 4096
    scores, labels = whole[:1, :, :length].contiguous(), target[:1, ..., :length].contiguous()
    mean = torch.full((1, classes), 1 / classes)
    # As many pixels to a program as in the whole workload.
    multiprocessors = max(round(MULTIPROCESSORS * length / (images * pixels)), 1)
    with pytest.MonkeyPatch.context() as patch:
        meters = use_emulator(patch)
        patch.setattr(blocks, "processors", lambda device: multiprocessors)
        link = "sigmoid" if workload in MULTILABEL else "softmax"
        counts, lse, *_ = gpu.histogram(scores, labels, BINS, None, False, link)
        slopes = gpu.extend(counts, 1.0, 1.0, False)[1]
        gpu.backward(scores, labels, lse, slopes, mean, None, link)
    by_name = {name.removesuffix("_kernel"): meter for name, meter in meters.items()}
    return {name: meter for name, meter in by_name.items() if name in PASSES}, scores


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
    parser.add_argument("--workloads", nargs="+", choices=IMAGES, default=DEFAULT)
    parser.add_argument("--scores", type=int, default=2**20, help="of an excerpt; default 2^20")
    options = parser.parse_args(arguments)
    print(
        "| workload, kernel | scores | instructions | read, B | written, B | added to, B"
        " | cycles of banks for 32 | additions for a pixel | at one address |\n"
        "|---|---|---|---|---|---|---|---|---|"
    )
    for name in options.workloads:
        for stage in STAGES:
            found, scores = traffic(name, stage, options.scores)
            for kernel, meter in found.items():
                line = line_of(meter, scores.numel(), scores.shape[2])
                print(f"| {name}, `{kernel}` | {stage} | {line} |")
