"""Nuclei under a microscope: the rare class is where two of them touch."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from benchmarks.study.images import image_task
from benchmarks.study.packages import Package, fetch
from benchmarks.study.task import Task
from lovasz.train.data import DataSet, Part, Statistics

PACKAGE = Package("wheel", "stardist", "0.9.2")
MEMBERS = "stardist/data/images/img2d.tif", "stardist/data/images/mask2d.tif"
CLASSES = ["background", "nucleus", "outline", "contact"]
# Rows of each part. The gaps are as wide as most nuclei are long, so that few are in two parts.
ROWS = {"train": (0, 240), "val": (264, 376), "test": (400, 512)}
COLUMNS = 128  # of an image of evaluation
OUTLINE = 2  # pixels from the edge of a nucleus inwards
CONTACT = 2  # pixels from the edge of a nucleus outwards; two nuclei are so far from a contact
EPOCH = 64  # crops


@dataclass(frozen=True)
class Pieces:
    """Images (N, 1, H, W), float32, and labels (N, H, W), bytes, that come `times` times."""

    images: Tensor
    labels: Tensor
    times: int = 1

    def __len__(self) -> int:
        return self.times * len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.images[index % len(self.images)], self.labels[index % len(self.images)]


def microscopy() -> Task:
    """The nuclei as a task."""
    from tifffile import imread  # noqa: PLC0415

    image, nuclei = (imread(io.BytesIO(content)) for content in fetch(PACKAGE, *MEMBERS))
    return image_task(
        pieces(image, regions(nuclei)),
        title="nuclei under a microscope",
        about="one fluorescence image of 512 × 512 pixels with 125 nuclei (stardist, BSD-3), with"
        " their outlines and where two touch as classes, derived from the masks of the nuclei,"
        " divided by rows with gaps",
        crop=64,
        steps=1000,
    )


def regions(nuclei: np.ndarray) -> np.ndarray:
    """Labels (H, W) from the numbers (H, W) of nuclei, 0 for none.

    The outline of a nucleus is its pixels at its edge; a contact, whatever else is there, is the
    pixels that are in or close to more than one nucleus.
    """
    from scipy import ndimage  # noqa: PLC0415

    # What is cut by the edge of the image goes on beyond it, and has no outline there.
    margin = max(OUTLINE, CONTACT) + 1
    numbers = np.pad(nuclei, margin, mode="edge")
    labels = np.zeros(numbers.shape, np.uint8)
    near = np.zeros(numbers.shape, int)
    for number, box in enumerate(ndimage.find_objects(numbers), start=1):
        if box is None:
            continue
        window = tuple(slice(max(0, s.start - margin), s.stop + margin) for s in box)
        mask = numbers[window] == number
        inner = ndimage.distance_transform_edt(mask) > OUTLINE
        labels[window][mask] = np.where(inner[mask], 1, 2)
        near[window] += ndimage.distance_transform_edt(~mask) <= CONTACT
    labels[near > 1] = 3
    return labels[margin:-margin, margin:-margin].copy()


def pieces(image: np.ndarray, labels: np.ndarray) -> DataSet:
    """The parts of an image (H, W) with these labels; training takes crops of all its rows."""
    pixels = torch.from_numpy(image.astype(np.float32))[None]
    target = torch.from_numpy(labels)
    parts: dict[str, Part] = {}
    for part, (first, last) in ROWS.items():
        rows, wanted = pixels[:, first:last], target[first:last]
        if part == "train":
            parts[part] = Pieces(rows[None], wanted[None], EPOCH)
            statistics = Statistics((rows.mean().item(),), (rows.std().item(),))
        else:
            cut = torch.stack(rows.split(COLUMNS, -1)), torch.stack(wanted.split(COLUMNS, -1))
            parts[part] = Pieces(*cut)
    return DataSet("Nuclei", CLASSES, parts, statistics=statistics)
