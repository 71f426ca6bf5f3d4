"""A cloud of points from the air, whose rare class has half a per cent of them."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.study.packages import Package, fetch
from benchmarks.study.task import IGNORE, Pairs, Task

PACKAGE = Package("sdist", "laspy", "2.7.0")
MEMBER = "laspy-2.7.0/tests/data/file_with_both_wkt_and_geotiff_vlrs.las"
# Codes of the LAS format. Noise (7) is the only other one in the file, and is ignored.
CODES = {
    2: "ground",
    3: "low vegetation",
    4: "medium vegetation",
    5: "high vegetation",
    6: "building",
}
STRIP = 6  # feet from west to east
# Strips of each part that lie side by side. They are divided so that each class is in each part,
# and neighbours of one part go together, so that there are few borders.
PIECES: dict[str, list[tuple[int, ...]]] = {
    "train": [(0, 1, 2), (5, 6), (9,)],
    "val": [(3,), (7,)],
    "test": [(4,), (8,)],
}
CHUNK = 1024  # points
NEIGHBOURS = (16, 64, 256)
BATCH = 8
WIDTH = 64
THINNED = 4  # times that the pieces of the training part come again with some of their points
SHARES = (0.6, 1.0)  # of the points that are left, drawn for each piece


@dataclass(frozen=True)
class Cloud:
    """Points of a piece of ground: xyz (P, 3) in feet, intensity (P,) and labels (P,)."""

    xyz: np.ndarray
    intensity: np.ndarray
    labels: np.ndarray

    def __getitem__(self, chosen: np.ndarray) -> Cloud:
        """The points at these indices, or where the mask is true."""
        return Cloud(self.xyz[chosen], self.intensity[chosen], self.labels[chosen])


@dataclass(frozen=True)
class Piece:
    """Places (P, 2), features (F, P) and labels (P,) of the points of a piece of ground."""

    places: np.ndarray
    features: Tensor
    labels: Tensor

    def chunk(self, chosen: np.ndarray) -> tuple[Tensor, Tensor]:
        """Features and labels of the points at these indices."""
        index = torch.from_numpy(chosen)
        return self.features[:, index], self.labels[index]


def points() -> Task:
    """The points as a task."""
    return point_task(read(fetch(PACKAGE, MEMBER)[0]))


def point_task(cloud: Cloud) -> Task:
    """Chunks of neighbouring points, with the statistics of their neighbours as features.

    The features do not change when the points are turned around the vertical. They are computed
    within each piece, so that none knows of points in another part.
    """
    pieces = divided(cloud)
    pieces["train"] += thinned(pieces["train"])
    features = {part: [neighbourhoods(piece) for piece in pieces[part]] for part in pieces}
    joint = np.concatenate(features["train"])
    mean, spread = joint.mean(0), joint.std(0) + 1e-6
    ready = {
        part: [
            Piece(
                piece.xyz[:, :2],
                torch.from_numpy(((found - mean) / spread).astype(np.float32).T.copy()),
                torch.from_numpy(piece.labels.astype(np.int64)),
            )
            for piece, found in zip(pieces[part], features[part], strict=True)
        ]
        for part in pieces
    }
    return Task(
        title="points from the air",
        about="a LiDAR scan of 60 × 40 feet of a garden, 25,408 points with their classes, from the"
        " tests of laspy (BSD-2), divided by strips six feet wide; features are statistics of"
        " neighbours within the part, and training sees thinned copies too",
        classes=list(CODES.values()),
        steps=1000,
        batch_size=BATCH,
        network=partial(PointNetwork, joint.shape[1], len(CODES)),
        batches=partial(_batches, ready["train"]),
        part=partial(_part, ready),
    )


def read(content: bytes) -> Cloud:
    """The points of a file in the LAS format."""
    try:
        import laspy  # noqa: PLC0415
    except ImportError:
        sys.exit("the points need laspy: python -m pip install 'laspy[lazrs]'")
    file = laspy.read(io.BytesIO(content))
    labels = np.full(256, IGNORE, np.uint8)
    labels[list(CODES)] = np.arange(len(CODES))
    xyz = np.asarray(file.xyz)
    return Cloud(
        xyz - xyz.min(0),
        np.asarray(file.intensity, dtype=np.float64),
        labels[np.asarray(file.classification)],
    )


def divided(cloud: Cloud) -> dict[str, list[Cloud]]:
    """The pieces of each part."""
    last = max(max(strips) for pieces in PIECES.values() for strips in pieces)
    strip = (cloud.xyz[:, 0] // STRIP).astype(int).clip(max=last)
    return {
        part: [cloud[np.isin(strip, strips)] for strips in pieces]
        for part, pieces in PIECES.items()
    }


def thinned(pieces: list[Cloud]) -> list[Cloud]:
    """The pieces again, several times, as a scan with fewer points would have seen them."""
    random = np.random.default_rng(0)
    return [
        piece[random.random(len(piece.labels)) < random.uniform(*SHARES)]
        for _ in range(THINNED)
        for piece in pieces
    ]


def neighbourhoods(cloud: Cloud) -> np.ndarray:
    """Features (P, F): statistics of the 16, 64 and 256 nearest neighbours of each point.

    Of each number the shape of the neighbours, how far they reach, where the point lies between
    the lowest and the highest, and their intensity; besides, its own intensity and its height above
    the lowest point of the piece and of the neighbours on the map.
    """
    from scipy.spatial import cKDTree  # noqa: PLC0415

    height = cloud.xyz[:, 2]
    brightness = np.log1p(cloud.intensity)
    most = min(NEIGHBOURS[-1], len(height))
    distance, near = cKDTree(cloud.xyz).query(cloud.xyz, most)
    below = cKDTree(cloud.xyz[:, :2]).query(cloud.xyz[:, :2], most)[1]
    features = [brightness, height - height.min()]
    for count in NEIGHBOURS:
        chosen = near[:, :count]
        features += [*_shape(cloud.xyz[chosen]), np.log(distance[:, :count][:, -1] + 0.01)]
        heights = height[chosen]
        features += [height - heights.min(1), heights.max(1) - height, heights.std(1)]
        features += [brightness[chosen].mean(1), brightness[chosen].std(1)]
        features += [height - height[below[:, :count]].min(1)]
    return np.stack(features, 1)


def _shape(sets: np.ndarray) -> Iterable[np.ndarray]:
    """Of sets of points (P, k, 3): how linear, flat and scattered they are, how steep their plane.

    By the eigenvalues of their covariance, and the smallest one's eigenvector.
    """
    centred = sets - sets.mean(1, keepdims=True)
    values, vectors = np.linalg.eigh(centred.swapaxes(1, 2) @ centred / sets.shape[1])
    small, middle, large = np.sqrt(values.clip(0)).T
    large = large + 1e-9
    return (large - middle) / large, (middle - small) / large, small / large, abs(vectors[:, 2, 0])


class PointNetwork(nn.Module):
    """Layers for each point alone: what it knows of its neighbours is in its features."""

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs in (features, WIDTH, WIDTH):
            layers += [nn.Linear(inputs, WIDTH), nn.LayerNorm(WIDTH), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Linear(WIDTH, classes))

    def forward(self, points: Tensor) -> Tensor:
        """Points (N, features, P) to logits (N, classes, P)."""
        logits: Tensor = self.layers(points.transpose(1, 2))
        return logits.transpose(1, 2)


def _batches(pieces: list[Piece], seed: int) -> Pairs:
    """Of random points their nearest neighbours on the map, each piece as often as it is large."""
    from scipy.spatial import cKDTree  # noqa: PLC0415

    random = np.random.default_rng(seed)
    trees = [cKDTree(piece.places) for piece in pieces]
    sizes = np.array([len(piece.places) for piece in pieces])
    count = min(CHUNK, sizes.min())
    while True:
        chunks = []
        for number in random.choice(len(pieces), BATCH, p=sizes / sizes.sum()):
            centre = pieces[number].places[random.integers(sizes[number])]
            chunks.append(pieces[number].chunk(trees[number].query(centre, count)[1]))
        inputs, labels = zip(*chunks, strict=True)
        yield torch.stack(inputs), torch.stack(labels)


def _part(pieces: dict[str, list[Piece]], part: str) -> Pairs:
    """Chunks of about the size of those of training, from south to north, each point once."""
    for piece in pieces[part]:
        order = piece.places[:, 1].argsort(kind="stable")
        for chosen in np.array_split(order, max(1, round(len(order) / CHUNK))):
            inputs, labels = piece.chunk(chosen)
            yield inputs[None], labels[None]
