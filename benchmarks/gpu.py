"""Time and memory on a CUDA or ROCm device, against torch's losses and the paper's algorithm.

Written to be run when there is a device; without one it says so. Times are medians over rounds in
which every method runs once, by events of the device, after a warm-up that compiles. The bandwidth
of a copy is measured beside them, and the passes are held against it by the written I/O model: a
score is read, read again and written.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F

from benchmarks import channels
from benchmarks.methods import METHODS, SLOW
from benchmarks.workloads import WORKLOADS, draw

RESULTS = Path(__file__).parent / "results"
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
# Scores whose errors all fall in one bin, in few, everywhere, and nearly all in the first.
STAGES = {"equal": 0.0, "untrained": 0.1, "random": 1.0, "trained": None}


# Shapes of channels, besides those of classes.
CHANNELS = {**channels.SHAPES, "many labels": (4, 19, 512, 512)}


def methods(workload: str, names: list[str] | None):
    """What is measured; the first is always there, for the ratios."""
    found = channels.METHODS if workload in CHANNELS else class_methods()
    return {n: m for i, (n, m) in enumerate(found.items()) if not (i and names and n not in names)}


def class_methods():
    """Losses of classes that exclude each other."""
    return {
        "cross_entropy": METHODS["cross_entropy"],
        "cross_entropy compiled": torch.compile(F.cross_entropy),
        "lovasz": METHODS["lovasz"],
        "cross_entropy+lovasz": METHODS["cross_entropy+lovasz"],
        "exact": METHODS["exact"],
        "paper": METHODS["paper"],
    }


def inputs(workload, stage, dtype):
    """Logits and labels on the device."""
    kind = "trained" if stage == "trained" else "random"
    if workload in CHANNELS:
        logits, target = channels.draw(CHANNELS[workload], kind)
    else:
        logits, target = draw(WORKLOADS[workload], kind)
    logits = logits.detach() * (1.0 if STAGES[stage] is None else STAGES[stage])
    return logits.to("cuda", dtype).requires_grad_(), target.cuda()


def clock(work) -> float:
    """Milliseconds of one run, by the clock of the device."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    work()
    end.record()
    end.synchronize()
    return start.elapsed_time(end)


def copy_bandwidth(bytes_moved: int = 2**31) -> float:
    """Bytes per second of a copy on the device, read and written."""
    source = torch.empty(bytes_moved // 8, dtype=torch.float32, device="cuda")
    target = torch.empty_like(source)
    times = [clock(lambda: target.copy_(source)) for _ in range(20)]
    return bytes_moved / (statistics.median(times[5:]) / 1e3)


def measure(logits, target, chosen, rounds, bandwidth):
    """Medians, spreads and ratios of every method on one input."""
    forward: dict[str, list[float]] = {name: [] for name in chosen}
    both: dict[str, list[float]] = {name: [] for name in chosen}
    peaks = {}
    for turn in range(rounds + 2):  # two of them to warm up
        for name, method in chosen.items():
            if name in SLOW and turn > 2:
                continue
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
            forward[name].append(clock(lambda m=method: m(logits, target)))
            both[name].append(
                clock(lambda m=method: torch.autograd.grad(m(logits, target), logits))
            )
            peaks[name] = torch.cuda.max_memory_allocated() - before
    size = logits.numel() * logits.element_size()
    base = statistics.median(next(iter(both.values()))[2:])
    result = {}
    for name, times in both.items():
        kept = times[2:]
        median = statistics.median(kept)
        result[name] = {
            "forward_ms": statistics.median(forward[name][2:]),
            "both_ms": median,
            "spread_ms": [min(kept), max(kept)],
            "ratio": median / base,
            "of_copy_bandwidth": 3 * size / (median / 1e3) / bandwidth,
            "peak_bytes_beyond_gradient": peaks[name] - size,
        }
    return result


def about(bandwidth: float) -> dict[str, object]:
    """What the numbers depend on."""
    import triton  # noqa: PLC0415

    properties = torch.cuda.get_device_properties(0)
    return {
        "device": properties.name,
        "processors": properties.multi_processor_count,
        "copy_gb_per_s": bandwidth / 1e9,
        "torch": torch.__version__,
        "triton": triton.__version__,
        "date": time.strftime("%Y-%m-%d"),
    }


def main(arguments: list[str]) -> None:
    """Measure, print a line for each input, and write the JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks gpu", description=__doc__)
    parser.add_argument("--workloads", default=",".join((*WORKLOADS, *CHANNELS)))
    parser.add_argument("--methods", help="names, separated by commas; default all")
    parser.add_argument("--dtypes", default="float32,bfloat16")
    parser.add_argument("--stages", default=",".join(STAGES))
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--output", type=Path, default=RESULTS / "gpu.json")
    options = parser.parse_args(arguments)
    if not torch.cuda.is_available():
        sys.exit("benchmarks gpu: there is no CUDA or ROCm device here, so nothing was measured")
    bandwidth = copy_bandwidth()
    found = {"about": about(bandwidth), "workloads": {}}
    for workload in options.workloads.split(","):
        chosen = methods(workload, options.methods.split(",") if options.methods else None)
        for dtype in options.dtypes.split(","):
            for stage in options.stages.split(","):
                logits, target = inputs(workload, stage, DTYPES[dtype])
                result = measure(logits, target, chosen, options.rounds, bandwidth)
                found["workloads"][f"{workload} {dtype} {stage}"] = result
                words = [f"{n} {r['both_ms']:.3f} ms = {r['ratio']:.2f}" for n, r in result.items()]
                print(f"{workload} {dtype} {stage}: " + " | ".join(words), flush=True)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
