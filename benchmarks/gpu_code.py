"""Instructions of the GPU kernels, from their machine code: no device is needed.

For each kernel, compiled for one architecture of NVIDIA as the host would launch it: registers,
shared memory, and the instructions that a lane executes for a score, with the kinds of which there
are most. A multiprocessor issues 128 lanes a cycle; population counts, conversions and the
exponential go at 16 a cycle. Counts, not times: how long loads and atomic additions wait cannot be
seen here.
"""

from __future__ import annotations

import argparse

import pytest
import torch

from tools.launches import Workload, compile_for, instructions_of, launches_of, usage_of

WORKLOADS = {
    "cityscapes": Workload((2, 19, 512 * 1024)),
    "cityscapes, with cross-entropy": Workload(
        (2, 19, 512 * 1024), cross_entropy=True, weighted=False
    ),
    "ade, bfloat16": Workload((2, 150, 512 * 512), dtype=torch.bfloat16),
    "scannet, float16": Workload(
        (1, 20, 307_200),
        adjacent_classes=True,
        dtype=torch.float16,
        cross_entropy=True,
        weighted=False,
    ),
    "binary": Workload((8, 1, 512 * 512), link="sigmoid"),
}
#: kernels of the passes over the scores, of which the backward pass is the last
HISTOGRAM = (
    "histogram_shared",
    "lse_and_positives",
    "histogram_registers",
    "histogram_multilabel",
)
BACKWARD = ("backward_softmax", "backward_unrolled", "backward_multilabel")


def lines_of(work: Workload, target: object, tables: bool) -> list[str]:
    """A line for each kernel of the two passes."""
    lines = []
    for launch in launches_of(work, pytest.MonkeyPatch(), shared=tables)[:3]:
        name = launch.kernel.__name__.removesuffix("_kernel")
        if name not in HISTOGRAM + BACKWARD:
            break
        compiled = compile_for(launch, target)
        usage, kinds = usage_of(compiled), instructions_of(launch, compiled)
        most = ", ".join(f"{kind} {number:.1f}" for kind, number in kinds.most_common(5))
        shared = usage.shared + compiled.metadata.shared
        lines.append(
            f"  {name:20} {sum(kinds.values()):6.1f} a score, {usage.registers:3} registers,"
            f" {shared:5} bytes shared | {most}"
        )
        if name in BACKWARD:
            break
    return lines


def main(arguments: list[str]) -> None:
    """Compile and print."""
    from triton.backends.compiler import GPUTarget  # noqa: PLC0415

    parser = argparse.ArgumentParser(prog="python -m benchmarks gpu-code", description=__doc__)
    parser.add_argument("--architecture", type=int, default=90, help="80, 90, 100; default 90")
    options = parser.parse_args(arguments)
    for name, work in WORKLOADS.items():
        for tables in (True, False):
            print(f"{name}, counting in {'shared memory' if tables else 'registers'}")
            target = GPUTarget("cuda", options.architecture, 32)
            print("\n".join(lines_of(work, target, tables)))
