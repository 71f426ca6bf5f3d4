"""Times of one workload in a process of its own: ``python -m benchmarks.timing JSON``.

Runs are interleaved: each round runs every method once, so that a busy machine disturbs all of them
alike, and ratios are medians over rounds of the ratio within a round. One thread is measured in
processor time, so that other processes weigh less; more threads are measured in wall time and want
a machine of their own.
"""

from __future__ import annotations

import gc
import json
import statistics
import sys
import time

import torch

from benchmarks.methods import METHODS, floor, peers
from benchmarks.workloads import draw

# Written I/O model of the two passes, bytes for each score: read, read, write.
BYTES = 12


def timer():
    return time.process_time if torch.get_num_threads() == 1 else time.perf_counter


def clock(method, logits, target):
    """Seconds of the forward and the backward pass, of the second call of two.

    The first one has its memory from wherever it is. Virtual machines give memory that is free for
    some seconds back to their host, and take milliseconds for each megabyte to get it again.
    """
    torch.autograd.grad(method(logits, target), logits)
    now = timer()
    start = now()
    loss = method(logits, target)
    middle = now()
    torch.autograd.grad(loss, logits)
    return middle - start, now() - middle


def ratios_of(times):
    """Median milliseconds of "ours", and medians of its ratios to all others, round by round."""
    ours = times["ours"]
    found = {"ours": 1e3 * statistics.median(ours)}
    for name, seconds in times.items():
        if name != "ours":
            found[name] = statistics.median(a / b for a, b in zip(ours, seconds, strict=True))
    return found


def clock_floor(logits):
    """Seconds of the floor, likewise."""
    with torch.no_grad():
        floor(logits)
    now = timer()
    start = now()
    with torch.no_grad():
        floor(logits)
    return now() - start


def measure(shape, stage, threads, rounds, names):
    """Medians and spreads; the first round is a warm-up unless it is the only one."""
    torch.set_num_threads(threads)
    logits, target = draw(tuple(shape), stage)
    known = {**METHODS, **peers()}
    methods = {name: known[name] for name in names}
    times = {name: [] for name in methods}
    floors = []
    for turn in range(rounds + (rounds > 1)):
        gc.collect()
        for name, method in methods.items():
            spent = clock(method, logits, target)
            if turn or rounds == 1:
                times[name].append(spent)
        floors.append(clock_floor(logits))
    floors = floors[-rounds:]
    base = [sum(pair) for pair in times["cross_entropy"]]
    result = {"floor_ms": 1e3 * statistics.median(floors)}
    for name, pairs in times.items():
        both = [sum(pair) for pair in pairs]
        result[name] = {
            "forward_ms": 1e3 * statistics.median(pair[0] for pair in pairs),
            "backward_ms": 1e3 * statistics.median(pair[1] for pair in pairs),
            "both_ms": 1e3 * statistics.median(both),
            "spread_ms": [1e3 * min(both), 1e3 * max(both)],
            "ratio": statistics.median(a / b for a, b in zip(both, base, strict=True)),
            "over_floor": statistics.median(a / b for a, b in zip(both, floors, strict=True)),
            "gb_per_s": BYTES * logits.numel() / statistics.median(both) / 1e9,
        }
    return result


if __name__ == "__main__":
    print(json.dumps(measure(**json.loads(sys.argv[1]))))
