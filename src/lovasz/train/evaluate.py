"""Confusion matrix, IoU and a few pictures of one part of the data."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from monai.inferers import sliding_window_inference
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassConfusionMatrix

from lovasz import upsampled_argmax
from lovasz.metrics import ClassIoU, ImageIoU
from lovasz.train.data import IGNORE, DataSet, Part, Statistics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy as np
    from lightning_fabric import Fabric

    from lovasz.train.config import Config

PICTURES = 6
WORST = 5  # percent of the images, for the means over the worst
_PICTURE_SIDE = 256  # pixels, at most


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


def predict(model: nn.Module, images: Tensor, window: int, statistics: Statistics) -> Tensor:
    """Labels (N, H, W) of images of any size: at once if they fit the window, else it slides.

    The logits may have a lower resolution than the window; the labels are those of their bilinear
    interpolation, which the loss is of too.
    """
    height, width = images.shape[2:]
    normal = statistics.normalise(images)
    if max(height, width) > window:
        labels = upsampled_argmax(_slide(model, normal, window), (height, width))
    else:
        # Smaller images stand amid zeros, as in the sliding window of MONAI.
        top, left = (window - height) // 2, (window - width) // 2
        zeros = (left, window - width - left, top, window - height - top)
        whole = upsampled_argmax(model(F.pad(normal, zeros)), (window, window))
        labels = whole[:, top : top + height, left : left + width]
    # A network that has diverged, with NaN for every class, is of the first, as for torch.argmax.
    return labels.clamp(min=0)


def _slide(model: nn.Module, images: Tensor, window: int) -> Tensor:
    """Logits of the resolution of the images, blended from those of overlapping windows.

    Each window is interpolated as in training, and then blended: windows begin at any pixel, so
    that logits of a lower resolution would lie between each other's.
    """

    def full_resolution(tiles: Tensor) -> Tensor:
        logits: Tensor = model(tiles)
        if logits.shape[2:] == tiles.shape[2:]:
            return logits
        return F.interpolate(logits, tiles.shape[2:], mode="bilinear")

    logits = sliding_window_inference(
        images,
        (window, window),
        sw_batch_size=4,
        predictor=full_resolution,
        overlap=0.25,
        mode="gaussian",
    )
    assert isinstance(logits, Tensor)
    return logits


@torch.no_grad()
def evaluate(
    fabric: Fabric,
    model: nn.Module,
    data: DataSet,
    *,
    part: str,
    config: Config,
    stop: Callable[[], bool],
) -> Scores:
    """The scores over a whole part; the model is left in evaluation mode.

    Raises:
        Interrupted: If the user asks to stop in between.
    """
    model.eval()
    confusion = MulticlassConfusionMatrix(
        len(data.classes), ignore_index=IGNORE, validate_args=False
    )
    confusion.to(fabric.device)
    fine = _fine(len(data.classes)).to(fabric.device)
    # Of several processes each takes its share, and they do not stop in between, because some have
    # more batches than others. The metrics sum over all.
    alone = fabric.world_size == 1
    mine = range(fabric.global_rank, len(data.parts[part]), fabric.world_size)
    for images, labels in _batches(data.parts[part], mine, config.batch_size):
        if alone and stop():
            raise Interrupted
        predicted = predict(model, images.to(fabric.device), config.crop, data.statistics)
        truth = labels.to(fabric.device).long()
        confusion.update(predicted, truth)
        fine.update(predicted, truth)
    means = {name: value.item() for name, value in fine.compute().items()}
    # JSON knows no NaN, the mean over no image.
    known = {name: None if math.isnan(value) else value for name, value in means.items()}
    return Scores(confusion.compute().cpu(), known)


def _fine(num_classes: int) -> MetricCollection:
    """Means over images, over the images of each class, and over the worst of both."""
    return MetricCollection(
        {
            name: kind(num_classes, ignore_index=IGNORE, worst=worst)
            for name, kind, worst in (
                ("miou_i", ImageIoU, 100),
                ("miou_c", ClassIoU, 100),
                ("miou_i_worst", ImageIoU, WORST),
                ("miou_c_worst", ClassIoU, WORST),
            )
        }
    )


@torch.no_grad()
def pictures(
    fabric: Fabric, model: nn.Module, part: Part, window: int, statistics: Statistics
) -> dict[str, np.ndarray[Any, np.dtype[np.uint8]]]:
    """Image, truth and prediction of a few images spread evenly over the part, as byte arrays."""
    model.eval()
    kept = {}
    count = min(PICTURES, len(part))
    for k in range(count):
        image, labels = part[(2 * k + 1) * len(part) // (2 * count)]
        predicted = predict(model, image[None].to(fabric.device), window, statistics)[0].cpu()
        step = -(-max(labels.shape) // _PICTURE_SIDE)  # every step-th pixel: labels have no mean
        shown = statistics.displayed(image[:, ::step, ::step])
        kept[f"image{k}"] = shown.movedim(0, -1).numpy()
        kept[f"truth{k}"] = labels[::step, ::step].numpy()
        kept[f"prediction{k}"] = predicted[::step, ::step].to(torch.uint8).numpy()
    return kept


def _batches(part: Part, indices: range, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """These images in order; neighbours of equal size go together."""
    images: list[Tensor] = []
    labels: list[Tensor] = []
    for index in indices:
        image, label = part[index]
        if images and (len(images) == batch_size or image.shape != images[0].shape):
            yield torch.stack(images), torch.stack(labels)
            images, labels = [], []
        images.append(image)
        labels.append(label)
    if images:
        yield torch.stack(images), torch.stack(labels)
