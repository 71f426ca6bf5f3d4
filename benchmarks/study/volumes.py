"""A brain in three dimensions: its tissues in a noisy image, the rare one between the others."""

from __future__ import annotations

import gzip
import sys
from collections.abc import Iterator
from functools import partial
from itertools import product

import numpy as np
import torch
from monai.networks.nets import UNet
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.study.packages import Package, fetch
from benchmarks.study.task import Pairs, Task

PACKAGE = Package("wheel", "nilearn", "0.14.1")
MEMBER = "nilearn/datasets/data/mni_icbm152_{}_tal_nlin_sym_09a_converted.nii.gz"
CLASSES = ["outside", "cerebrospinal fluid", "grey matter", "white matter"]
# Voxels of a millimetre from left to right and from bottom to top; the whole brain is in there.
BOX = slice(18, 178), slice(0, 160)
# From back to front; left and right are mirror images. Between parts is a gap of 8 voxels.
SLABS = {"train": [(20, 68), (108, 140), (180, 212)], "val": [(76, 100)], "test": [(148, 172)]}
PATCH = 32  # voxels
BATCH = 4
NOISE = 20.0  # standard deviation, in units of the image's bytes
BIAS = 0.15  # standard deviation of the logarithm of a smooth field that the image is multiplied by
CELLS = (4, 5, 4)  # of this field
CHANNELS = (8, 16, 32)

Slab = tuple[Tensor, Tensor]  # image (X, Y, Z), float32, and labels (X, Y, Z), bytes


def volumes() -> Task:
    """The brain as a task."""
    files = fetch(PACKAGE, *(MEMBER.format(name) for name in ("t1", "gm", "wm")))
    t1, grey, white = (read(content) for content in files)
    return volume_task(t1, tissues(t1, grey, white))


def volume_task(t1: np.ndarray, labels: np.ndarray) -> Task:
    """Patches of slabs of an image (X, Y, Z) with bytes, and of its labels."""
    image, target = (
        torch.from_numpy(volume[BOX[0], :, BOX[1]]) for volume in (disturbed(t1), labels)
    )
    joint = torch.cat([image[:, a:b].flatten() for a, b in SLABS["train"]])
    image = (image - joint.mean()) / joint.std()
    parts = {
        part: [(image[:, a:b], target[:, a:b]) for a, b in slabs] for part, slabs in SLABS.items()
    }
    return Task(
        title="tissues of a brain",
        about="the average brain of 152 people (MNI152, T1, in nilearn, BSD-3), with the most"
        " probable tissues as classes and synthetic noise and unevenness in the image, divided into"
        " slabs from back to front with gaps; one brain alone, so an easy task",
        classes=CLASSES,
        steps=1000,
        batch_size=BATCH,
        network=_network,
        batches=partial(_batches, parts["train"]),
        part=partial(_part, parts),
    )


def read(content: bytes) -> np.ndarray:
    """The bytes (X, Y, Z) of a compressed NIfTI file."""
    try:
        import nibabel  # noqa: PLC0415
    except ImportError:
        sys.exit("the volumes need nibabel: python -m pip install nibabel")
    image = nibabel.Nifti1Image.from_bytes(gzip.decompress(content))
    values: np.ndarray = np.asarray(image.dataobj).astype(np.uint8)
    return values


def tissues(t1: np.ndarray, grey: np.ndarray, white: np.ndarray) -> np.ndarray:
    """The most probable tissue, of probabilities in units of 1 / 255.

    What is neither grey nor white matter is fluid, or outside where the image is black.

    >>> t1, grey, white = np.array([[0, 90, 150, 200], [0, 0, 200, 50], [0, 50, 50, 180]], np.uint8)
    >>> tissues(t1, grey, white).tolist()
    [0, 1, 2, 3]
    """
    rest = 255 - np.minimum(255, grey.astype(np.int64) + white)
    most = np.stack([rest, grey, white]).argmax(0)
    labels: np.ndarray = np.where(most == 0, t1 > 0, most + 1).astype(np.uint8)
    return labels


def disturbed(image: np.ndarray) -> np.ndarray:
    """The image times a smooth field, plus noise; always the same."""
    random = np.random.default_rng(0)
    coarse = torch.from_numpy(random.normal(0, BIAS, (1, 1, *CELLS)))
    field = F.interpolate(coarse, image.shape, mode="trilinear", align_corners=True)[0, 0]
    noise = NOISE * random.standard_normal(image.shape, dtype=np.float32)
    result: np.ndarray = (image * field.exp().numpy()).astype(np.float32) + noise
    return result


def _network() -> nn.Module:
    return UNet(3, 1, len(CLASSES), CHANNELS, (2, 2), norm=("group", {"num_groups": 4}))


def _batches(slabs: list[Slab], seed: int) -> Pairs:
    """Random patches, every second one mirrored from left to right."""
    random = np.random.default_rng(seed)
    sizes = np.array([labels.shape[1] for _, labels in slabs])
    while True:
        patches = []
        for number in random.choice(len(slabs), BATCH, p=sizes / sizes.sum()):
            corner = [int(random.integers(n - PATCH + 1)) for n in slabs[number][1].shape]
            image, target = _cut(slabs[number], corner)
            mirrored = random.random() < 0.5
            patches.append((image.flip(0), target.flip(0)) if mirrored else (image, target))
        images, labels = zip(*patches, strict=True)
        yield torch.stack(images)[:, None], torch.stack(labels).long()


def _part(parts: dict[str, list[Slab]], part: str) -> Pairs:
    """Patches that cover a slab, as deep as it is."""
    for slab in parts[part]:
        for corner in _corners(slab[1].shape):
            image, labels = _cut(slab, corner)
            yield image[None, None], labels[None].long()


def _corners(shape: tuple[int, ...]) -> Iterator[tuple[int, int, int]]:
    for x, z in product(range(0, shape[0], PATCH), range(0, shape[2], PATCH)):
        yield x, 0, z


def _cut(slab: Slab, corner: tuple[int, ...] | list[int]) -> Slab:
    """The patch that begins there."""
    window = tuple(slice(start, start + PATCH) for start in corner)
    return slab[0][window], slab[1][window]
