"""Time and memory of every method on every workload, as ratios to F.cross_entropy.

Runs are interleaved: each round runs every method once, so that a busy machine disturbs all of them
alike, and the ratios are medians over rounds of the ratio within a round. A fresh gradient each
time. One thread is measured in processor time, so that other processes weigh less; more threads
are measured in wall time and want a machine of their own. The paper's algorithm and peers run in
one round alone.
"""

from __future__ import annotations

import argparse
import gc
import json
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch

from benchmarks.methods import METHODS, SLOW, floor, peers
from benchmarks.workloads import QUICK, WORKLOADS, draw
from lovasz.ops import cpu

RESULTS = Path(__file__).parent / "results"
# Written I/O model of the two passes, bytes for each score: read, read, write.
BYTES = 12


def timer():
    return time.process_time if torch.get_num_threads() == 1 else time.perf_counter


def clock(method, logits, target):
    """Seconds of the forward and the backward pass."""
    now = timer()
    start = now()
    loss = method(logits, target)
    middle = now()
    torch.autograd.grad(loss, logits)
    return middle - start, now() - middle


def clock_floor(logits):
    now = timer()
    start = now()
    with torch.no_grad():
        floor(logits)
    return now() - start


def measure(shape, stage, threads, rounds, names):
    """Medians and spreads of one workload."""
    torch.set_num_threads(threads)
    logits, target = draw(shape, stage)
    methods = {**METHODS, **peers()}
    methods = {name: methods[name] for name in methods if names is None or name in names}
    methods["cross_entropy"] = METHODS["cross_entropy"]
    times = {name: [] for name in methods}
    floors = []
    for method in methods:  # warm-up
        if method not in SLOW:
            clock(methods[method], logits, target)
    gc.collect()
    for turn in range(rounds):
        for name, method in methods.items():
            if turn == 0 or name not in SLOW:
                times[name].append(clock(method, logits, target))
        floors.append(clock_floor(logits))
    base = [sum(pair) for pair in times["cross_entropy"]]
    result = {"floor_ms": 1e3 * statistics.median(floors)}
    for name, pairs in times.items():
        both = [sum(pair) for pair in pairs]
        result[name] = {
            "forward_ms": 1e3 * statistics.median(pair[0] for pair in pairs),
            "backward_ms": 1e3 * statistics.median(pair[1] for pair in pairs),
            "both_ms": 1e3 * statistics.median(both),
            "spread_ms": [1e3 * min(both), 1e3 * max(both)],
            "ratio": statistics.median(a / b for a, b in zip(both, base, strict=False)),
            "over_floor": statistics.median(a / b for a, b in zip(both, floors, strict=False)),
            "gb_per_s": BYTES * logits.numel() / statistics.median(both) / 1e9,
        }
    return result


PEAK = """
import json, resource, sys, threading, time
sys.path.insert(0, {root!r})
import torch
from benchmarks.methods import METHODS, peers
from benchmarks.workloads import draw
torch.set_num_threads({threads})
method = {{**METHODS, **peers()}}[{name!r}]
warm = draw((2, 3, 8, 8)); torch.autograd.grad(method(*warm), warm[0])
logits, target = draw({shape!r})
page, peak, run = resource.getpagesize(), 0, True
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * page
def watch():
    global peak
    while run:
        peak = max(peak, resident())
        time.sleep(0.0005)
before = resident()
watcher = threading.Thread(target=watch); watcher.start()
gradient = torch.autograd.grad(method(logits, target), logits)
run = False; watcher.join()
print(peak - before - logits.numel() * logits.element_size())
"""


def peak_bytes(shape, name, threads):
    """Largest resident memory beyond logits and gradient, in a process of its own."""
    if sys.platform != "linux":
        return None
    root = str(Path(__file__).parents[1])
    code = PEAK.format(root=root, shape=shape, name=name, threads=threads)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return int(done.stdout)


def about():
    """What the numbers depend on."""
    model = ""
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.split(":")[1].strip() for line in lines if "model name" in line), "")
    return {
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads by default, {model}",
        "level": cpu.level(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "date": time.strftime("%Y-%m-%d"),
    }


def main(arguments: list[str]) -> None:
    """Measure, print a line for each workload, and write the JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks speed", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="tiny inputs, a check that it runs")
    parser.add_argument("--workloads", default=",".join(WORKLOADS))
    parser.add_argument("--methods", help="names, separated by commas; default all")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--stage", choices=("random", "trained"), default="random")
    parser.add_argument("--memory", action="store_true", help="peak memory as well")
    parser.add_argument("--output", type=Path, default=None)
    options = parser.parse_args(arguments)
    names = options.methods.split(",") if options.methods else None
    shapes = QUICK if options.quick else {n: WORKLOADS[n] for n in options.workloads.split(",")}
    found = {"about": about(), "stage": options.stage, "workloads": {}}
    for workload, shape in shapes.items():
        entry = {"shape": shape, "threads": {}}
        for threads in map(int, options.threads.split(",")):
            rounds = 1 if options.quick else options.rounds
            entry["threads"][threads] = measure(shape, options.stage, threads, rounds, names)
            show(workload, threads, entry["threads"][threads])
        if options.memory:
            entry["peak_bytes"] = {
                name: peak_bytes(shape, name, 1)
                for name in (names or ["cross_entropy", "lovasz", "cross_entropy+lovasz", "exact"])
            }
            print(f"  peak beyond logits and gradient: {entry['peak_bytes']}", flush=True)
        found["workloads"][workload] = entry
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(json.dumps(found, indent=1) + "\n")


def show(workload, threads, result):
    words = [f"{workload:11} {threads} threads"]
    for name, numbers in result.items():
        if isinstance(numbers, dict):
            words.append(f"{name} {numbers['both_ms']:.1f} ms = {numbers['ratio']:.2f}")
    print(" | ".join([*words, f"floor {result['floor_ms']:.1f} ms"]), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
