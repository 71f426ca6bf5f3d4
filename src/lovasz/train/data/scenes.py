"""Composed scenes: handwritten digits pasted on clutter, with a long tail of classes.

The pixels of the digits are real, the layout is synthetic: so the imbalance is a knob, and the
data set needs no file and no download.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor

from lovasz.train.data.base import DataSet

SIDE = 64
SCENES = {"train": 2000, "val": 500, "test": 1000}
ITEMS = (2, 4)  # digits in a scene, both ends included
ITEM_SIDE = (16, 32)  # pixels, both ends included
FRAGMENTS = 3  # pieces of digits in a scene that belong to the background
INK = 0.4  # from this darkness on, 0 to 1, a pixel of a digit has its label
NOISE = 6.0  # standard deviation of the noise on every pixel

CLASSES = ["background", *(f"digit {k}" for k in range(10))]

CAVEATS = [
    "The digits are real (scikit-learn's load_digits, 8 x 8 pixels, enlarged), the layout, the "
    "colours and the background are synthetic.",
    "The frequencies of the classes are chosen, not found.",
    "The parts share no digit sample, but some of their writers may be the same.",
]


@dataclass(frozen=True)
class Scenes:
    """Scenes of one part, all in memory: images (N, 3, 64, 64), labels (N, 64, 64).

    Attributes:
        images: Bytes.
        labels: Bytes, 0 for the background.
        samples: Indices of the items that may be in these scenes, into load_digits for digits.
    """

    images: Tensor
    labels: Tensor
    samples: list[int]

    def __len__(self) -> int:
        """The number of scenes."""
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Image and labels of one scene."""
        return self.images[index], self.labels[index]


@cache
def load_scenes(tail: float = 0.75, seed: int = 0) -> DataSet:
    """The same scenes for the same `tail` and `seed`; made once in a process.

    Args:
        tail: Frequency of each digit as a fraction of that of the digit before it.
        seed: Another seed gives other scenes of the same digits.
    """
    # Not at the top: it takes a second that other data sets need not wait for.
    from sklearn.datasets import load_digits  # noqa: PLC0415

    digits, classes = load_digits(return_X_y=True)
    shapes = digits.reshape(-1, 8, 8) / 16
    parts = {}
    for number, (part, samples) in enumerate(_dealt(classes).items()):
        random = np.random.default_rng([seed, number])
        by_class = [[shapes[k] for k in samples if classes[k] == digit] for digit in range(10)]
        images, labels = compose(random, by_class, SCENES[part], tail)
        parts[part] = Scenes(images, labels, samples)
    title = f"Composed scenes: digits with a tail of {tail:g}, {len(CLASSES)} classes"
    return DataSet(title, CLASSES, dict(parts), caveats=CAVEATS, upright=True)


def _dealt(classes: np.ndarray) -> dict[str, list[int]]:
    """Samples of each part: the first 60 % of every class, the next 15 %, the rest.

    Neighbours in the file have the same writer, so contiguous parts share few of them.
    """
    dealt: dict[str, list[int]] = {"train": [], "val": [], "test": []}
    for digit in range(10):
        samples = np.flatnonzero(classes == digit).tolist()
        first, second = round(0.6 * len(samples)), round(0.75 * len(samples))
        for part, chosen in zip(
            dealt, (samples[:first], samples[first:second], samples[second:]), strict=True
        ):
            dealt[part] += chosen
    return dealt


def compose(
    random: np.random.Generator,
    by_class: list[list[np.ndarray]],
    count: int,
    tail: float,
    ink: float = INK,
) -> tuple[Tensor, Tensor]:
    """Images (count, 3, 64, 64) and labels (count, 64, 64) of scenes of items, as bytes.

    Args:
        random: What is drawn comes from here.
        by_class: The shapes of each class: squares of one size, of ink from 0 to 1.
        count: The number of scenes.
        tail: Frequency of each class as a fraction of that of the class before it.
        ink: From so much of it on a pixel has the label of its item, 1 for the first class.
    """
    sizes = random.integers(ITEMS[0], ITEMS[1] + 1, count)
    quota = _quota(int(sizes.sum()), tail, len(by_class))
    items = iter(random.permutation(quota).tolist())
    images = np.empty((count, SIDE, SIDE, 3), dtype=np.uint8)
    labels = np.zeros((count, SIDE, SIDE), dtype=np.uint8)
    everything = [shape for shapes in by_class for shape in shapes]
    half = len(everything[0]) // 2
    for image, label, size in zip(images, labels, sizes, strict=True):
        canvas = _background(random)
        for _ in range(FRAGMENTS):
            row, column = random.integers(0, half + 1, 2)
            piece = everything[random.integers(len(everything))]
            piece = piece[row : row + half, column : column + half]
            _paste(random, canvas, piece, int(random.integers(6, 15)))
        for _ in range(size):
            item = next(items)
            shape = by_class[item][random.integers(len(by_class[item]))]
            side = int(random.integers(ITEM_SIDE[0], ITEM_SIDE[1] + 1))
            window, drawn = _paste(random, canvas, shape, side)
            label[window][drawn > ink] = item + 1
        canvas += NOISE * random.standard_normal(canvas.shape, dtype=np.float32)
        image[:] = canvas.clip(0, 255).round()
    return torch.from_numpy(images).movedim(-1, 1).contiguous(), torch.from_numpy(labels)


def _quota(total: int, tail: float, classes: int) -> np.ndarray:
    """So many items, each class `tail` times as often as the one before it, none left out.

    >>> np.bincount(_quota(1000, 0.6, 10)).tolist()
    [402, 242, 145, 87, 52, 31, 19, 11, 7, 4]
    """
    ends = np.cumsum(tail ** np.arange(float(classes)))
    counts = np.diff(np.round(ends / ends[-1] * total), prepend=0)
    return np.repeat(np.arange(classes), np.maximum(1, counts).astype(int))[-total:]


def _background(random: np.random.Generator) -> np.ndarray:
    """Clouds of colour, coarse and fine."""
    canvas = np.full((SIDE, SIDE, 3), random.uniform(40, 140, 3), dtype=np.float32)
    for cells, spread in ((4, 25), (16, 12)):
        grid = random.normal(0, spread, (3, cells, cells)).astype(np.float32)
        enlarge = _enlarging(cells, SIDE)
        canvas += np.moveaxis(enlarge @ grid @ enlarge.T, 0, -1)
    return canvas


def _paste(
    random: np.random.Generator, canvas: np.ndarray, shape: np.ndarray, side: int
) -> tuple[tuple[slice, slice], np.ndarray]:
    """Draw a shape somewhere, lighter than what is there; where, and its ink."""
    top, left = random.integers(0, SIDE - side + 1, 2)
    window = slice(top, top + side), slice(left, left + side)
    enlarge = _enlarging(len(shape), side)
    ink = enlarge @ shape @ enlarge.T
    behind = canvas[window]
    contrast = random.uniform(60, 120) + random.uniform(-30, 30, 3)
    colour = behind.mean((0, 1)) + contrast
    behind += ink[..., None] * (colour - behind)
    return window, ink


@cache
def _enlarging(cells: int, side: int) -> np.ndarray:
    """The matrix (side, cells) of linear interpolation between the centres of cells."""
    at = ((np.arange(side) + 0.5) * cells / side - 0.5).clip(0, cells - 1)
    weights: np.ndarray = np.maximum(0, 1 - np.abs(at[:, None] - np.arange(cells)))
    return weights.astype(np.float32)
