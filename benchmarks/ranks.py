"""The loss of the global batch: what the sum over processes costs, on one machine with gloo.

The processes share the processor and exchange counts through its memory, so this shows what the
sum itself costs and nothing about networks between machines.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

import torch
from torch import distributed
from torch import multiprocessing as mp

from benchmarks.speed import about
from benchmarks.workloads import draw
from lovasz import lovasz_softmax
from lovasz.core.options import DEFAULT_BINS

SHAPES = {
    "land cover": (8, 17, 48, 48),
    "Cityscapes crop": (1, 19, 512, 1024),
    "150 classes": (1, 150, 512, 512),
}


def measure(rank: int, size: int, folder: str, rounds: int, quick: bool) -> None:
    """Forward and backward of every shape, without the others and with them, in turn."""
    torch.set_num_threads(1)
    store = distributed.FileStore(f"{folder}/store", size)
    distributed.init_process_group("gloo", store=store, rank=rank, world_size=size)
    rows = []
    for name, shape in SHAPES.items():
        logits, target = draw((*shape[:2], 8, 8) if quick else shape)
        times: dict[str | None, list[float]] = {None: [], "world": []}
        for _ in range(rounds + 1):
            for group, taken in times.items():
                distributed.barrier()
                began = time.perf_counter()
                loss = lovasz_softmax(logits, target, process_group=group)
                torch.autograd.grad(loss, logits)
                taken.append(1e3 * (time.perf_counter() - began))
        own, shared = (statistics.median(taken[1:]) for taken in times.values())
        sent = shape[1] * 2 * DEFAULT_BINS * 8 + 16
        rows.append({"name": name, "shape": shape, "ms": own, "shared_ms": shared, "bytes": sent})
    if rank == 0:
        Path(folder, "rows.json").write_text(json.dumps(rows))
    distributed.barrier()  # gloo may abort where one leaves early
    distributed.destroy_process_group()


def main(arguments: list[str]) -> None:
    """Measure, print the table, and write the JSON if there is a file for it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks ranks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="tiny shapes, one round")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--output", type=Path, default=None)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        rounds = 1 if options.quick else options.rounds
        given = (options.processes, folder, rounds, options.quick)
        mp.spawn(measure, given, nprocs=options.processes)
        rows = json.loads(Path(folder, "rows.json").read_text())
    print(table(rows))
    if options.output:
        found = {"about": about(), "processes": options.processes, "rows": rows}
        options.output.write_text(json.dumps(found, indent=1) + "\n")


def table(rows: list[dict]) -> str:
    """One row for each shape."""
    lines = [
        "| logits of a process | bytes summed | own batch, ms | global batch, ms | more, ms |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        name = f"{row['name']}, {' × '.join(map(str, row['shape']))}"
        own, shared = row["ms"], row["shared_ms"]
        lines.append(
            f"| {name} | {row['bytes']:,} | {own:.1f} | {shared:.1f} | {shared - own:+.1f} |"
        )
    return "\n".join(lines)
