"""Confusion matrix, IoU and a few pictures of one part of the data."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassConfusionMatrix

from lovasz.metrics import ClassIoU, ImageIoU
from lovasz.train.data import IGNORE, DataSet, Part, Statistics
from lovasz.train.fitting import Labelled
from lovasz.train.inference import predict_each

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy as np
    from lightning_fabric import Fabric

    from lovasz import DecisionFit

PICTURES = 6
WORST = 5  # percent of the images, for the means over the worst
_PICTURE_SIDE = 256  # pixels, at most
_COUNTED = 2**22  # pixels at a time


class Batches(Protocol):
    """The options that say how much is predicted at a time."""

    @property
    def crop(self) -> int:
        """Side in pixels of the window."""
        ...

    @property
    def batch_size(self) -> int:
        """Images of the size of the window."""
        ...


class Interrupted(Exception):  # noqa: N818 (not an error)
    """The user asked the run to stop."""


@dataclass(frozen=True)
class Scores:
    """What a confusion matrix (truth in rows) says, and the means of the IoU of single images.

    >>> scores = Scores(torch.tensor([[6, 2, 0], [1, 1, 0], [0, 0, 0]]))
    >>> scores.iou
    [0.6666666666666666, 0.25, None]
    >>> round(scores.miou, 3), scores.accuracy
    (0.458, 0.7)
    """

    confusion: Tensor
    fine: dict[str, float | None] = field(default_factory=dict)

    @property
    def iou(self) -> list[float | None]:
        """Intersection over union of each class; None for classes absent from the truth."""
        matrix = self.confusion.double()
        hits, truth = matrix.diag(), matrix.sum(1)
        union = truth + matrix.sum(0) - hits
        return [
            (h / u).item() if t > 0 else None for h, u, t in zip(hits, union, truth, strict=True)
        ]

    @property
    def miou(self) -> float:
        """Mean of the IoU over the classes present in the truth."""
        present = [value for value in self.iou if value is not None]
        return sum(present) / max(1, len(present))

    @property
    def accuracy(self) -> float:
        """Share of the labelled pixels that are right."""
        return int(self.confusion.diag().sum()) / max(1, int(self.confusion.sum()))

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "miou": self.miou,
            **self.fine,
            "accuracy": self.accuracy,
            "iou": self.iou,
            "confusion": self.confusion.tolist(),
        }


def evaluate(
    fabric: Fabric,
    model: nn.Module,
    data: DataSet,
    *,
    part: str,
    config: Batches,
    stop: Callable[[], bool],
) -> Scores:
    """The scores of argmax over a whole part; the model is left in evaluation mode.

    Raises:
        Interrupted: If the user asks to stop in between.
    """
    (scores,) = evaluate_each(fabric, model, data, [None], part=part, config=config, stop=stop)
    return scores


@torch.no_grad()
def evaluate_each(
    fabric: Fabric,
    model: nn.Module,
    data: DataSet,
    offsets: Sequence[Tensor | None],
    *,
    part: str,
    config: Batches,
    stop: Callable[[], bool],
    fit: DecisionFit | None = None,
) -> list[Scores]:
    """The scores of several decisions over a whole part, from one pass of the network.

    Args:
        fabric: Where to compute.
        model: It is left in evaluation mode.
        data: With the part.
        offsets: Of each decision, (C,), added to the logits; None for argmax.
        part: Its name.
        config: How much is predicted at a time.
        stop: Whether the user asks to stop.
        fit: Gets all logits and labels, if it is passed.

    Raises:
        Interrupted: If the user asks to stop in between.
    """
    model.eval()
    tallies = [_Tally(len(data.classes), fabric.device) for _ in offsets]
    # Of several processes each takes its share, and they do not stop in between, because some have
    # more batches than others. The metrics sum over all.
    mine = range(fabric.global_rank, len(data.parts[part]), fabric.world_size)

    def watch(*_: int) -> None:
        if fabric.world_size == 1 and stop():
            raise Interrupted

    for images, labels in _batches(data.parts[part], mine, config.batch_size, config.crop):
        watch()
        # Images of more pixels than a batch come alone, and are moved window by window.
        pixels = config.batch_size * config.crop**2
        inputs = images if labels.numel() > pixels else images.to(fabric.device)
        predicted = predict_each(
            model,
            inputs,
            config.crop,
            data.statistics,
            offsets,
            fit=None if fit is None else Labelled(fit, labels),
            progress=watch,
        )
        for tally, found in zip(tallies, predicted, strict=True):
            tally.add(found, labels)
    return [tally.scores() for tally in tallies]


class _Tally:
    """What is counted of the labels of one decision."""

    def __init__(self, num_classes: int, device: torch.device) -> None:
        self.confusion = MulticlassConfusionMatrix(
            num_classes, ignore_index=IGNORE, validate_args=False
        ).to(device)
        self.fine = _fine(num_classes).to(device)
        self.device = device

    def add(self, predicted: Tensor, labels: Tensor) -> None:
        """Count the labels (N, H, W) of some images."""
        for found, truth in _strips(predicted, labels, self.device):
            self.confusion.update(found, truth)
        self.fine.update(predicted, labels)

    def scores(self) -> Scores:
        """The scores of all that was counted, by all processes."""
        means = {name: value.item() for name, value in self.fine.compute().items()}
        # JSON knows no NaN, the mean over no image.
        known = {name: None if math.isnan(value) else value for name, value in means.items()}
        return Scores(self.confusion.compute().cpu(), known)


def _strips(
    predicted: Tensor, labels: Tensor, device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    """Some million pixels at a time of maps (N, H, W), as indices (N, pixels) on the device."""
    images, height, width = labels.shape
    step = max(1, _COUNTED // (images * width))
    for top in range(0, height, step):
        first, second = (
            maps[:, top : top + step].to(device).flatten(1).long() for maps in (predicted, labels)
        )
        yield first, second


class _OfImages(ImageIoU):
    """Mean over images; counting takes many bytes for a pixel, and so goes strip by strip."""

    def count(self, prediction: Any, target: Any, *_: Any, **__: Any) -> Tensor:
        """Confusion counts of each image and class, (N, C, 4)."""
        strips = _strips(prediction, target, self.device)
        return _added([super(_OfImages, self).count(*pair, None) for pair in strips])


class _OfClasses(ClassIoU):
    """Mean over the images of each class, likewise."""

    def count(self, prediction: Any, target: Any, *_: Any, **__: Any) -> Tensor:
        """Confusion counts of each image and class, (N, C, 4)."""
        strips = _strips(prediction, target, self.device)
        return _added([super(_OfClasses, self).count(*pair, None) for pair in strips])


def _added(counts: list[Tensor]) -> Tensor:
    return torch.stack(counts).sum(0)


def _fine(num_classes: int) -> MetricCollection:
    """Means over images, over the images of each class, and over the worst of both."""
    return MetricCollection(
        {
            name: kind(num_classes, ignore_index=IGNORE, worst=worst)
            for name, kind, worst in (
                ("miou_i", _OfImages, 100),
                ("miou_c", _OfClasses, 100),
                ("miou_i_worst", _OfImages, WORST),
                ("miou_c_worst", _OfClasses, WORST),
            )
        }
    )


@torch.no_grad()
def pictures_each(
    fabric: Fabric,
    model: nn.Module,
    part: Part,
    window: int,
    statistics: Statistics,
    offsets: Sequence[Tensor | None],
) -> list[dict[str, np.ndarray[Any, np.dtype[np.uint8]]]]:
    """Image, truth and labels of a few images spread evenly over the part, as byte arrays.

    There is a dictionary for each decision; offsets are as for `evaluate_each`.
    """
    model.eval()
    kept: list[dict[str, np.ndarray[Any, np.dtype[np.uint8]]]] = [{} for _ in offsets]
    count = min(PICTURES, len(part))
    for k in range(count):
        image, labels = part[(2 * k + 1) * len(part) // (2 * count)]
        predicted = predict_each(model, image[None], window, statistics, offsets)
        step = -(-max(labels.shape) // _PICTURE_SIDE)  # every step-th pixel: labels have no mean
        shown = statistics.displayed(image[:, ::step, ::step]).movedim(0, -1).numpy()
        truth = labels[::step, ::step].numpy()
        for arrays, found in zip(kept, predicted, strict=True):
            arrays[f"image{k}"], arrays[f"truth{k}"] = shown, truth
            arrays[f"prediction{k}"] = found[0, ::step, ::step].numpy()
    return kept


def _batches(
    part: Part, indices: range, batch_size: int, window: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """These images in order: neighbours of equal size together, up to the pixels of a batch.

    An image smaller than the window counts as large as that; it stands in one.
    """
    images: list[Tensor] = []
    labels: list[Tensor] = []
    for index in indices:
        image, label = part[index]
        most = batch_size * window**2 // max(label.numel(), window**2)
        if images and (len(images) >= most or image.shape != images[0].shape):
            yield torch.stack(images), torch.stack(labels)
            images, labels = [], []
        images.append(image)
        labels.append(label)
    if images:
        yield torch.stack(images), torch.stack(labels)
