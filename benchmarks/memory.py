"""Peak memory of one method in a process of its own: ``python -m benchmarks.memory JSON``."""

from __future__ import annotations

import json
import resource
import sys
import threading
import time
from pathlib import Path

import torch

from benchmarks.methods import METHODS
from benchmarks.workloads import draw


def resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def peak(shape, name) -> int:
    """Largest resident memory in bytes beyond logits and gradient, one thread."""
    torch.set_num_threads(1)
    method = METHODS[name]
    small = draw((2, 3, 8, 8))
    torch.autograd.grad(method(*small), small[0])  # what is loaded once
    logits, target = draw(tuple(shape))
    taken = peak_of(lambda: torch.autograd.grad(method(logits, target), logits))
    return taken - logits.numel() * logits.element_size()


def peak_of(call) -> int:
    """Bytes by which resident memory grows at most during a call."""
    highest, running = 0, True

    def watch() -> None:
        nonlocal highest
        while running:
            highest = max(highest, resident())
            time.sleep(0.0005)

    before = resident()
    watcher = threading.Thread(target=watch)
    watcher.start()
    kept = call()
    running = False
    watcher.join()
    del kept
    return highest - before


if __name__ == "__main__":
    print(json.dumps(peak(**json.loads(sys.argv[1]))))
