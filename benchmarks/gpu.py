"""Time and memory on a CUDA or ROCm device, against torch's losses and the paper's algorithm.

Written to be run when there is a device; without one it says so. Two times of forward and backward
are measured, by events of the device, as medians over rounds in which every method runs once, after
a warm-up that compiles: ``device``, of a recorded graph, which is the work of the device alone, and
``eager``, in which the host launches every kernel while the device waits; in a training run, where
the host is ahead, the first counts. The bandwidth of a copy is measured beside them, and the passes
are held against it by the written I/O model: a score is read, read again and written.
"""

from __future__ import annotations

import argparse
import functools
import json
import sys
from pathlib import Path
from statistics import median
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks import cuda, multilabel, upsampling
from benchmarks.methods import METHODS, SLOW
from benchmarks.workloads import WORKLOADS, draw
from lovasz import cross_entropy_dice, cross_entropy_lovasz_softmax

RESULTS = Path(__file__).parent / "results"
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
# Scores whose errors all fall in one bin, in few, everywhere, and nearly all in the first.
STAGES = {"equal": 0.0, "untrained": 0.1, "random": 1.0, "trained": None}


# Shapes of multilabel logits, besides those of classes.
MULTILABEL = {**multilabel.SHAPES, "many labels": (4, 19, 512, 512)}
# Soft labels of several kinds, and losses by sums.
SOFT = {f"soft {name}": WORKLOADS[name] for name in ("cityscapes", "volume")}
# Logits of low resolution, the methods of which are compared with F.interpolate and cross-entropy.
UPSAMPLED = {f"upsampled {name}": upsampling.WORKLOADS[name] for name in ("cityscapes", "ade")}


def methods(workload: str, names: list[str] | None):
    """What is measured; the first is always there, for the ratios."""
    if workload in UPSAMPLED:
        found = upsampling.ways(UPSAMPLED[workload])
    elif workload in SOFT:
        found = soft_methods()
    else:
        found = multilabel.METHODS if workload in MULTILABEL else class_methods()
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


class Labels(NamedTuple):
    """Labels of one image twice: as indices, as indices of others, and as a dense mixture."""

    hard: Tensor
    other: Tensor
    dense: Tensor

    def to(self, device: str) -> Labels:
        """The same on a device."""
        return Labels(*(tensor.to(device) for tensor in self))


def soft_methods():
    """Losses of soft labels and by sums, beside that of hard labels and torch's."""
    both, ce_dice = cross_entropy_lovasz_softmax, cross_entropy_dice
    weights = {"target_weight": (0.7, 0.3)}
    return {
        "cross_entropy": lambda x, y: F.cross_entropy(x, y.hard),
        "cross_entropy of soft labels": lambda x, y: F.cross_entropy(x, y.dense),
        "both, hard": lambda x, y: both(x, y.hard),
        "both, dense": lambda x, y: both(x, y.dense),
        "both, two maps": lambda x, y: both(x, [y.hard, y.other], **weights),
        "both, smoothed": lambda x, y: both(x, y.hard, lovasz_label_smoothing=0.1),
        "cross_entropy+dice": lambda x, y: ce_dice(x, y.hard),
        "cross_entropy+dice, dense": lambda x, y: ce_dice(x, y.dense),
    }


@functools.lru_cache(maxsize=1)
def drawn(workload, kind):
    """Logits and labels on the host; drawing takes longer than measuring."""
    if workload in UPSAMPLED:
        return upsampling.draw(UPSAMPLED[workload])
    if workload in SOFT:
        logits, target = draw(SOFT[workload], kind)
        other = target.flip(0).roll(1, -1)
        hot = [F.one_hot(y, logits.shape[1]).movedim(-1, 1) for y in (target, other)]
        return logits, Labels(target, other, (0.7 * hot[0] + 0.3 * hot[1]).contiguous())
    if workload in MULTILABEL:
        return multilabel.draw(MULTILABEL[workload], kind)
    return draw(WORKLOADS[workload], kind)


def inputs(workload, stage, dtype, device="cuda"):
    """Logits and labels on the device."""
    logits, target = drawn(workload, "trained" if stage == "trained" else "random")
    logits = logits.detach().to(device, dtype) * (1.0 if STAGES[stage] is None else STAGES[stage])
    return logits.requires_grad_(), target.to(device)


def measure(logits, target, chosen, rounds, bandwidth, device=cuda):
    """Medians, spreads and ratios of every method on one input."""
    works = {
        n: lambda m=m: torch.autograd.grad(m(logits, target), logits) for n, m in chosen.items()
    }
    forwards = {n: lambda m=m: m(logits, target) for n, m in chosen.items()}
    graphs = {n: None if n in SLOW else device.recorded(work) for n, work in works.items()}
    times = {n: {"forward": [], "eager": [], "device": []} for n in chosen}
    for turn in range(rounds + 2):  # two of them to warm up
        for name, found in times.items():
            if name in SLOW and turn > 2:
                continue
            found["forward"].append(device.clock(forwards[name]))
            found["eager"].append(device.clock(works[name]))
            if graphs[name] is not None:
                found["device"].append(device.clock(graphs[name]))
    return {
        name: {
            **{f"{kind}_ms": median(kept[2:]) for kind, kept in found.items() if kept},
            "spread_ms": [min(found["eager"][2:]), max(found["eager"][2:])],
            **_ratios(found, times, logits, bandwidth),
            "launches": device.launches(works[name]),
            "peak_bytes_beyond_gradient": device.peak(works[name]) - _size(logits),
        }
        for name, found in times.items()
    }


def _ratios(found, times, logits, bandwidth):
    """To the first method, and to the bandwidth of a copy."""
    first = next(iter(times.values()))
    ratios = {
        f"{kind}_ratio": median(found[kind][2:]) / median(first[kind][2:])
        for kind in ("eager", "device")
        if found[kind] and first[kind]
    }
    best = found["device"] or found["eager"]
    seconds = median(best[2:]) / 1e3
    return {**ratios, "of_copy_bandwidth": 3 * _size(logits) / seconds / bandwidth}


def _line(name, kept):
    """One method in a few words: milliseconds, and the ratio to the first."""
    kinds = [kind for kind in ("device", "eager") if f"{kind}_ratio" in kept]
    times = [f"{kind} {kept[kind + '_ms']:.3f} = {kept[kind + '_ratio']:.2f}" for kind in kinds]
    return f"{name} {', '.join(times)}"


def _size(logits):
    return logits.numel() * logits.element_size()


def main(arguments: list[str]) -> None:
    """Measure, print a line for each input, and write the JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks gpu", description=__doc__)
    parser.add_argument(
        "--workloads", default=",".join((*WORKLOADS, *MULTILABEL, *SOFT, *UPSAMPLED))
    )
    parser.add_argument("--methods", help="names, separated by commas; default all")
    parser.add_argument("--dtypes", default="float32,bfloat16")
    parser.add_argument("--stages", default=",".join(STAGES))
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--output", type=Path, default=RESULTS / "gpu.json")
    options = parser.parse_args(arguments)
    if not torch.cuda.is_available():
        sys.exit("benchmarks gpu: there is no CUDA or ROCm device here, so nothing was measured")
    bandwidth = cuda.copy_bandwidth()
    found = {"about": cuda.about(bandwidth), "workloads": {}}
    options.output.parent.mkdir(parents=True, exist_ok=True)
    for workload in options.workloads.split(","):
        chosen = methods(workload, options.methods.split(",") if options.methods else None)
        for stage in options.stages.split(","):
            for dtype in options.dtypes.split(","):
                logits, target = inputs(workload, stage, DTYPES[dtype])
                result = measure(logits, target, chosen, options.rounds, bandwidth)
                found["workloads"][f"{workload} {dtype} {stage}"] = result
                words = [_line(name, kept) for name, kept in result.items()]
                print(f"{workload} {dtype} {stage}: " + " | ".join(words), flush=True)
                # Now, as time on a device may run out.
                options.output.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
