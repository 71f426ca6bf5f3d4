"""Composed scenes of garments: photos of Fashion-MNIST pasted on clutter, with a long tail."""

from __future__ import annotations

import gzip

import numpy as np

from benchmarks.study.images import image_task
from benchmarks.study.packages import Package, fetch
from benchmarks.study.task import Task
from lovasz.train.data import DataSet, Part
from lovasz.train.data.scenes import SCENES, Scenes, compose

PACKAGE = Package("deb", "dataset-fashion-mnist", "0.0~git20200523.55506a9-1")
PREFIX = "./usr/share/datasets/fashion-mnist"
CLASSES = [
    "background",
    *("T-shirt", "trousers", "pullover", "dress", "coat"),
    *("sandal", "shirt", "sneaker", "bag", "ankle boot"),
]
INK = 25 / 255  # brighter than this, a pixel of a photo is one of the garment
TAIL = 0.75


def garments() -> Task:
    """The scenes as a task."""
    return image_task(
        garment_scenes(*photos("train"), *photos("t10k")),
        title="scenes of garments",
        about="photos of garments (Fashion-MNIST, MIT) pasted on synthetic clutter, each class"
        " three quarters as frequent as the one before it; no photo is in two parts",
        crop=64,
        steps=1000,
    )


def photos(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Photos (N, 28, 28) and classes (N,) of one of the two files of the data set, as bytes."""
    files = [f"{PREFIX}/{name}-{what}-ubyte.gz" for what in ("images-idx3", "labels-idx1")]
    images, classes = fetch(PACKAGE, *files)
    return idx(gzip.decompress(images)), idx(gzip.decompress(classes))


def idx(content: bytes) -> np.ndarray:
    """The bytes of a file in MNIST's format: a header of big-endian numbers, then the values.

    >>> idx(bytes([0, 0, 8, 2, 0, 0, 0, 1, 0, 0, 0, 3, 7, 8, 9])).tolist()
    [[7, 8, 9]]
    """
    if content[:3] != b"\0\0\x08":
        raise ValueError(f"idx: expected a file of bytes that begins 0 0 8, got {content[:3]!r}")
    axes = content[3]
    shape = np.frombuffer(content, ">u4", axes, 4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(shape)


def garment_scenes(
    train: np.ndarray, train_classes: np.ndarray, test: np.ndarray, test_classes: np.ndarray
) -> DataSet:
    """Scenes of the training photos; of those for tests the first half makes "val"."""
    half = len(test) // 2
    dealt = {
        "train": (train, train_classes, 0),
        "val": (test[:half], test_classes[:half], len(train)),
        "test": (test[half:], test_classes[half:], len(train) + half),
    }
    parts: dict[str, Part] = {}
    for number, (part, (images, classes, first)) in enumerate(dealt.items()):
        shapes = images.astype(np.float32) / 255
        by_class = [list(shapes[classes == k]) for k in range(len(CLASSES) - 1)]
        random = np.random.default_rng([0, number])
        made = compose(random, by_class, SCENES[part], TAIL, INK)
        parts[part] = Scenes(*made, samples=list(range(first, first + len(images))))
    return DataSet("Composed scenes of garments", CLASSES, parts, upright=True)
