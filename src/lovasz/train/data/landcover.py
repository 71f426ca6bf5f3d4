"""The embedded data set: NASA's Blue Marble with MODIS land cover (see files/NOTICE.md)."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import as_file, files

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lovasz.train.data.base import DataSet
from lovasz.train.errors import UserError

TILE = 96
BLOCK = 2  # tiles on a side of a block; all tiles of a block go to the same part

# Name and colour, after the legend that the IGBP classes are commonly drawn with.
IGBP17 = [
    ("water", (70, 107, 159)),
    ("evergreen needleleaf forest", (5, 69, 10)),
    ("evergreen broadleaf forest", (8, 106, 16)),
    ("deciduous needleleaf forest", (84, 167, 8)),
    ("deciduous broadleaf forest", (120, 210, 3)),
    ("mixed forest", (0, 153, 0)),
    ("closed shrubland", (198, 176, 68)),
    ("open shrubland", (220, 209, 89)),
    ("woody savanna", (218, 222, 72)),
    ("savanna", (251, 255, 19)),
    ("grassland", (182, 255, 5)),
    ("permanent wetland", (39, 255, 135)),
    ("cropland", (194, 79, 68)),
    ("urban", (165, 165, 165)),
    ("cropland/natural mosaic", (255, 109, 76)),
    ("snow and ice", (230, 240, 255)),
    ("barren", (205, 190, 165)),
]
WATER, ICE = 0, 15

# The families that the names of the IGBP classes form. Not chosen by any result.
FAMILIES = {
    "water": [0],
    "forest": [1, 2, 3, 4, 5],
    "shrubland": [6, 7],
    "savanna": [8, 9],
    "grassland": [10],
    "permanent wetland": [11],
    "cropland": [12, 14],
    "urban": [13],
    "snow and ice": [15],
    "barren": [16],
}

CAVEATS = [
    "The labels are NASA's own machine classification of other spectral bands, not drawn by hand.",
    "The image is of 2004, the labels are of 2019.",
    "The grid over-samples the poles.",
    "The parts are separate blocks of 12.8° x 12.8°, but neighbouring blocks touch.",
]


@dataclass(frozen=True)
class Tiles:
    """Tiles of one part, all in memory: images (N, 3, 96, 96), labels (N, 96, 96)."""

    images: Tensor
    labels: Tensor
    rows: list[int]
    columns: list[int]

    def __len__(self) -> int:
        """The number of tiles."""
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Image and labels of one tile."""
        return self.images[index], self.labels[index]


def part_of(row: int, column: int) -> str:
    """The part of the tile at a place of the 28 x 56 grid: about 60, 20 and 20 % of the tiles.

    Blocks of 2 x 2 tiles are dealt in knight's moves, so that every part sees every continent and
    no two blocks of the test part touch at a side. The first of the five ways to deal is taken
    in which every class has at least 0.1 % of the pixels of every part.

    >>> [part_of(0, column) for column in (0, 1, 2, 4, 6, 8, 10)]
    ['test', 'test', 'train', 'val', 'train', 'train', 'test']
    """
    deal = (2 * (row // BLOCK) + column // BLOCK) % 5
    return {0: "test", 2: "val"}.get(deal, "train")


def load_landcover(grouping: str = "igbp17") -> DataSet:
    """Tiles of 96 x 96 pixels, without those of more than 80 % water or more than 80 % ice."""
    image, labels = _read("blue_marble.jpg"), _read("igbp17.png")
    chosen: dict[str, list[tuple[int, int]]] = {"train": [], "val": [], "test": []}
    for row in range(labels.shape[0] // TILE):
        for column in range(labels.shape[1] // TILE):
            tile = _cut(labels, row, column)
            if (tile == WATER).mean() <= 0.8 and (tile == ICE).mean() <= 0.8:
                chosen[part_of(row, column)].append((row, column))
    classes, colours, table = _grouped(grouping)
    parts = {
        name: Tiles(
            images=torch.from_numpy(np.stack([_cut(image, *at) for at in places])).movedim(-1, 1),
            labels=torch.from_numpy(table[np.stack([_cut(labels, *at) for at in places])]),
            rows=[row for row, _ in places],
            columns=[column for _, column in places],
        )
        for name, places in chosen.items()
    }
    title = f"Land cover: NASA Blue Marble with MODIS IGBP labels, {len(classes)} classes"
    return DataSet(title, classes, dict(parts), colours, CAVEATS)


def _read(name: str) -> np.ndarray:
    if not (files("lovasz.train.data") / "files" / name).is_file():
        raise UserError(
            "data: expected the images of landcover, which come apart from this package: install"
            " them (pip install lovasz-landcover), or name a folder of your own images"
        )
    with as_file(files("lovasz.train.data") / "files" / name) as path, Image.open(path) as file:
        return np.asarray(file)


def _cut(grid: np.ndarray, row: int, column: int) -> np.ndarray:
    return grid[row * TILE : (row + 1) * TILE, column * TILE : (column + 1) * TILE]


def _grouped(grouping: str) -> tuple[list[str], list[tuple[int, int, int]], np.ndarray]:
    """Class names, colours and the table from the labels of the file to those of the grouping."""
    table = np.arange(len(IGBP17), dtype=np.uint8)
    if grouping == "igbp17":
        return [name for name, _ in IGBP17], [colour for _, colour in IGBP17], table
    for label, members in enumerate(FAMILIES.values()):
        table[members] = label
    return list(FAMILIES), [IGBP17[members[-1]][1] for members in FAMILIES.values()], table
