"""Tasks from data sets of the trainer: images in memory, with the trainer's small U-Net."""

from __future__ import annotations

from functools import partial
from itertools import count

from torch import Tensor, nn

from benchmarks.study.task import Pairs, Task
from lovasz.train.config import TrainConfig
from lovasz.train.data import DataSet
from lovasz.train.data.batches import training_batches
from lovasz.train.data.landcover import load_landcover
from lovasz.train.data.scenes import load_scenes
from lovasz.train.model import unet

CHANNELS = (16, 32, 64)


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
    config = TrainConfig(crop=crop, batch_size=batch_size, seed=seed)
    for epoch in count():
        for images, labels in training_batches(
            data.parts["train"], config, epoch, 0, upright=data.upright
        ):
            yield data.statistics.normalise(images), labels.long()


def _part(data: DataSet, part: str) -> Pairs:
    images: tuple[Tensor, Tensor]
    for index in range(len(data.parts[part])):
        images = data.parts[part][index]
        yield data.statistics.normalise(images[0][None]), images[1][None].long()


def landcover() -> Task:
    """The embedded satellite images with their 17 classes."""
    return image_task(
        load_landcover(),
        title="land cover, 17 classes",
        about="satellite images of 96 × 96 pixels (NASA Blue Marble) with MODIS land cover, divided"
        " by blocks of the map",
        crop=48,
        steps=1200,
    )


def families() -> Task:
    """The same images with the 10 families that the names of the classes form."""
    return image_task(
        load_landcover("families"),
        title="land cover, 10 families",
        about="the same images, with the classes merged by their names",
        crop=48,
        steps=1200,
    )


def digits() -> Task:
    """The composed scenes of the trainer."""
    return image_task(
        load_scenes(),
        title="scenes of digits",
        about="handwritten digits (scikit-learn) pasted on clutter, each class three quarters as"
        " frequent as the one before it",
        crop=64,
        steps=1200,
    )
