"""Tasks from data sets of the trainer: images in memory, with the trainer's small U-Net."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.study.task import Pairs, Task
from lovasz.train.data import DataSet
from lovasz.train.data.landcover import load_landcover
from lovasz.train.data.scenes import load_scenes
from lovasz.train.model import unet

CHANNELS = (16, 32, 64)
_TOGETHER = 20  # images in a pass of the network in evaluation


def image_task(
    data: DataSet, *, title: str, about: str, crop: int, steps: int, batch_size: int = 8
) -> Task:
    """A task with random crops, turned and mirrored unless the data are upright.

    The network has group normalisation, so that evaluation and training are one function whatever
    the batches; its logits have half the resolution of the images.
    """
    return Task(
        title=title,
        about=about,
        classes=data.classes,
        steps=steps,
        batch_size=batch_size,
        network=partial(_network, data),
        batches=partial(_batches, data, crop, batch_size),
        part=partial(_part, data),
        upsample="bilinear",
    )


def _network(data: DataSet) -> nn.Module:
    return unet(data.statistics.channels, len(data.classes), CHANNELS, norm="group")


def _batches(data: DataSet, crop: int, batch_size: int, seed: int) -> Pairs:
    """Every image once in a pass, but for those that do not fill a batch.

    By slices of tensors: the trainer's augmentation would take a third of a training.
    """
    random = np.random.default_rng(seed)
    images = data.parts["train"]
    while True:
        order = random.permutation(len(images))
        for start in range(0, len(order) - batch_size + 1, batch_size):
            indices = order[start : start + batch_size].tolist()
            few = [_drawn(random, *images[k], crop, upright=data.upright) for k in indices]
            inputs, labels = (torch.stack(each) for each in zip(*few, strict=True))
            yield data.statistics.normalise(inputs), labels.long()


def _drawn(
    random: np.random.Generator, image: Tensor, labels: Tensor, crop: int, *, upright: bool
) -> tuple[Tensor, Tensor]:
    """A crop of an image and its labels, in one of eight positions unless it is upright."""
    top, left = (int(random.integers(0, side - crop + 1)) for side in labels.shape)
    place = (..., slice(top, top + crop), slice(left, left + crop))
    found = image[place], labels[place]
    if upright:
        return found
    turns, mirrored = divmod(int(random.integers(8)), 2)
    turned = [torch.rot90(each, turns, (-2, -1)) for each in found]
    first, second = [each.flip(-1) for each in turned] if mirrored else turned
    return first, second


def _part(data: DataSet, part: str) -> Pairs:
    images = data.parts[part]
    for start in range(0, len(images), _TOGETHER):
        few = [images[k] for k in range(start, min(start + _TOGETHER, len(images)))]
        inputs, labels = (torch.stack(each) for each in zip(*few, strict=True))
        yield data.statistics.normalise(inputs), labels.long()


def landcover() -> Task:
    """The embedded satellite images with their 17 classes."""
    return image_task(
        load_landcover(),
        title="land cover, 17 classes",
        about="satellite images of 96 × 96 pixels (NASA Blue Marble) with MODIS land cover, divided"
        " by blocks of the map",
        crop=48,
        steps=1000,
    )


def families() -> Task:
    """The same images with the 10 families that the names of the classes form."""
    return image_task(
        load_landcover("families"),
        title="land cover, 10 families",
        about="the same images, with the classes merged by their names",
        crop=48,
        steps=1000,
    )


def digits(*, steps: int = 1000, batch_size: int = 8) -> Task:
    """The composed scenes of the trainer."""
    return image_task(
        load_scenes(),
        title="scenes of digits",
        about="handwritten digits (scikit-learn) pasted on clutter, each class three quarters as"
        " frequent as the one before it",
        crop=64,
        steps=steps,
        batch_size=batch_size,
    )
