"""Device time of losses of upsampled logits by the size of a chunk, on a CUDA or ROCm device.

Lovász-Softmax, forward and backward, of a recorded graph: with ``upsample=`` for several values of
``CHUNK_BYTES`` and ``SHARED_STRIPS`` in ``lovasz/kernels/triton/blocks.py``, against
``F.interpolate`` followed by the same loss.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path

import torch

from benchmarks import cuda, upsampling
from lovasz import lovasz_softmax
from lovasz.kernels.triton import blocks

OUTPUT = Path(__file__).parent / "results" / "gpu-chunks.json"
WORKLOADS = ("cityscapes", "ade")
SIZES, STRIPS = (2**25, 2**26, 2**27, 2**28), (2, 1)


def milliseconds(work: cuda.Work, rounds: int) -> float:
    """Median of the times of a recorded graph."""
    graph = cuda.recorded(work)
    assert graph is not None  # all of these can be recorded
    times = [cuda.clock(graph) for _ in range(rounds + 2)]
    return statistics.median(times[2:])


def measure(name: str, rounds: int) -> dict:
    """Of one workload: milliseconds of interpolation and loss, and of each size and strips."""
    workload = upsampling.WORKLOADS[name]
    logits, target = upsampling.draw(workload)
    logits, target = logits.detach().cuda().requires_grad_(), target.cuda()
    enlarge = upsampling.enlarge(workload)
    before = blocks.CHUNK_BYTES, blocks.SHARED_STRIPS
    found: dict = {
        "interpolate": milliseconds(
            lambda: torch.autograd.grad(lovasz_softmax(enlarge(logits), target), logits), rounds
        )
    }
    for blocks.CHUNK_BYTES in SIZES:
        for blocks.SHARED_STRIPS in STRIPS:
            key = f"{blocks.CHUNK_BYTES} {blocks.SHARED_STRIPS}"
            found[key] = milliseconds(
                lambda: torch.autograd.grad(
                    lovasz_softmax(logits, target, upsample=workload.mode), logits
                ),
                rounds,
            )
    blocks.CHUNK_BYTES, blocks.SHARED_STRIPS = before
    return found


def table(found: dict) -> str:
    """One row for each size of a chunk, ratios to interpolation and loss."""
    about, workloads = found["about"], found["workloads"]
    lines = [
        f"{about['device']}, torch {about['torch']}, Triton {about['triton']}, {about['date']}.",
        "",
        "| chunk, fewest strips of a program | " + " | ".join(workloads) + " |",
        "|---" * (1 + len(workloads)) + "|",
        "| `F.interpolate` and the loss | "
        + " | ".join(f"{times['interpolate']:.2f} ms" for times in workloads.values())
        + " |",
    ]
    for size in SIZES:
        for strips in STRIPS:
            ratios = [t[f"{size} {strips}"] / t["interpolate"] for t in workloads.values()]
            cells = " | ".join(f"{ratio:.2f}" for ratio in ratios)
            lines.append(f"| {size >> 20} MiB, {strips} | {cells} |")
    return "\n".join(lines)


def main(arguments: list[str]) -> None:
    """Measure, print the table, and write the JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks gpu-chunks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--output", type=Path, default=OUTPUT)
    options = parser.parse_args(arguments)
    if not torch.cuda.is_available():
        sys.exit(
            "benchmarks gpu-chunks: there is no CUDA or ROCm device here: nothing was measured"
        )
    found = {
        "about": cuda.about(cuda.copy_bandwidth()),
        "workloads": {name: measure(name, options.rounds) for name in WORKLOADS},
    }
    print(table(found))
    options.output.write_text(json.dumps(found, indent=1) + "\n")
