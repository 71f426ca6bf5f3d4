"""Time and memory of every method on every workload, as ratios to F.cross_entropy.

Every workload runs in processes of its own, twice: with fresh memory, where the allocator gives
large blocks back to the system, so that each new tensor costs page faults, as in a process that
has just begun; and with reused memory, where it keeps them, as in a process that has allocated and
freed a lot. The two are set by glibc's MALLOC_ variables. The paper's algorithm and peers run once.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import torch

from benchmarks.methods import SLOW, peers
from benchmarks.workloads import QUICK, WORKLOADS
from lovasz.kernels import cpu

ROOT = Path(__file__).parents[1]
FAST = ["cross_entropy", "lovasz", "cross_entropy+lovasz", "exact", "softmax"]
MEMORY = {
    "fresh": {"MALLOC_MMAP_THRESHOLD_": str(2**20)},
    "reused": {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**40)},
}
#: the paper's algorithm takes minutes and many gigabytes there
WITHOUT_SLOW = {"occupancy"}


def child(module: str, arguments: dict, environment: dict[str, str] | None = None):
    """What a module of the benchmarks prints, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{module}", json.dumps(arguments)],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
    )
    if done.returncode:
        sys.exit(f"benchmarks.{module} {arguments} failed:\n{done.stderr}")
    return json.loads(done.stdout)


def about() -> dict[str, str]:
    """What the numbers depend on."""
    model = ""
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.split(":")[1].strip() for line in lines if "model name" in line), "")
    return {
        "machine": f"{platform.machine()}, {os.cpu_count()} processors, {model}",
        "level": cpu.level(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "date": time.strftime("%Y-%m-%d"),
    }


def measure(workload: str, shape: tuple[int, ...], options: argparse.Namespace) -> dict:
    """Everything about one workload."""
    entry: dict = {"shape": shape, "runs": []}
    common = {"shape": shape, "stage": options.stage}
    more = max(1, min(12, 4_000_000 // math.prod(shape)))  # small inputs are noisier
    rounds = 1 if options.quick else options.rounds * more
    for threads in map(int, options.threads.split(",")):
        for memory, environment in MEMORY.items():
            arguments = {**common, "threads": threads, "rounds": rounds, "names": FAST}
            result = child("timing", arguments, environment)
            entry["runs"].append({"threads": threads, "memory": memory, **result})
            show(workload, threads, memory, result)
    slow = [name for name in SLOW if name == "paper" or name in peers()]
    if workload not in WITHOUT_SLOW:
        names = ["cross_entropy", *slow]
        arguments = {**common, "threads": 1, "rounds": 1, "names": names}
        entry["slow"] = child("timing", arguments, MEMORY["fresh"])
        show(workload, 1, "once", entry["slow"])
    if options.memory:
        entry["peak_bytes"] = {
            name: child("memory", {"shape": shape, "name": name})
            for name in FAST
            if name != "softmax"
        }
        print(f"  peak beyond logits and gradient: {entry['peak_bytes']}", flush=True)
    return entry


def show(workload: str, threads: int, memory: str, result: dict) -> None:
    words = [f"{workload:10} {threads} threads, {memory}"]
    for name, numbers in result.items():
        if isinstance(numbers, dict):
            words.append(f"{name} {numbers['both_ms']:.1f} ms = {numbers['ratio']:.2f}")
    print(" | ".join([*words, f"floor {result['floor_ms']:.1f} ms"]), flush=True)


def main(arguments: list[str]) -> None:
    """Measure, print a line for each run, and write the JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks speed", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="tiny inputs, a check that it runs")
    parser.add_argument("--workloads", default=",".join(WORKLOADS))
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--stage", choices=("random", "trained"), default="random")
    parser.add_argument("--memory", action="store_true", help="peak memory as well (Linux)")
    parser.add_argument("--output", type=Path, default=None)
    options = parser.parse_args(arguments)
    shapes = QUICK if options.quick else {n: WORKLOADS[n] for n in options.workloads.split(",")}
    found = {"about": about(), "stage": options.stage, "workloads": {}}
    for workload, shape in shapes.items():
        found["workloads"][workload] = measure(workload, shape, options)
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(json.dumps(found, indent=1) + "\n")
