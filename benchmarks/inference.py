"""Memory and time of labels of large images: ``python -m benchmarks inference``.

A sliding window with the blend of MONAI stores the logits of the whole image; the trainer keeps a
strip of them. The network is one convolution of half the resolution, so that what is measured is
the sliding and the blending.
"""

from __future__ import annotations

import argparse
import json
import time

import torch
from torch import nn

from benchmarks.memory import peak_of
from lovasz.train.data import IMAGENET
from lovasz.train.inference import predict_labels


def measure(height: int, width: int, classes: int, window: int) -> dict:
    """Bytes beyond the image, those of its labels among them, and seconds, in one thread."""
    torch.set_num_threads(1)
    network = nn.Conv2d(3, classes, 4, stride=2, padding=1).eval()
    predict_labels(network, torch.zeros(1, 3, 8, 2 * window, dtype=torch.uint8), window, IMAGENET)
    image = torch.randint(0, 256, (1, 3, height, width), dtype=torch.uint8)
    started = time.process_time()
    taken = peak_of(lambda: predict_labels(network, image, window, IMAGENET))
    return {
        "pixels": height * width,
        "classes": classes,
        "window": window,
        "peak_bytes": taken,
        "labels_bytes": height * width,
        "logits_bytes": 4 * height * width * classes,
        "seconds": time.process_time() - started,
    }


def main(argv: list[str]) -> None:
    """Measure, and print JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks inference", description=__doc__)
    parser.add_argument("--size", type=int, nargs=2, default=(12_000, 16_000))
    parser.add_argument("--classes", type=int, default=19)
    parser.add_argument("--window", type=int, default=512)
    options = parser.parse_args(argv)
    print(json.dumps(measure(*options.size, options.classes, options.window), indent=1))
