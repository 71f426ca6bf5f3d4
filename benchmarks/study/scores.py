"""What a trained network is worth under each decision, and how well it is calibrated."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import MetricCollection

from benchmarks.study.task import IGNORE, Task
from lovasz import Decision, DecisionFit, image_decision
from lovasz.metrics import DatasetIoU, DatasetScore, ImageIoU

#: How labels are made of logits, and what the tables call it.
DECISIONS = {
    "argmax": "argmax",
    "fitted": "offsets fitted on the validation part",
    "unlabelled": "offsets fitted on the test images without labels",
    "image": "per image, for its IoU",
}
# Pixels that offsets are fitted to. With four times as many it takes four times as long, and mIoU
# of the test part differs by 0.1 points (land cover).
_FITTED = 2**15
_BINS = 15
_DIGITS = 5


@torch.no_grad()
def scores_of(network: nn.Module, task: Task) -> dict:
    """Scores of the validation part, by which rates are chosen, and of the test part.

    Those of the fitted decision on the validation part are held out: each half of its images is
    decided by offsets that were fitted to the other half.
    """
    decision = fitted(network, task, "val")
    unlabelled = fitted(network, task, "test", labelled=False)
    before = decision.score_of_argmax
    return {
        "val": {"argmax": _rounded(before), "fitted": _rounded(before + decision.gain)},
        "offsets": [_rounded(value) for value in decision.offsets.tolist()],
        **test_scores(network, task, {"fitted": decision, "unlabelled": unlabelled}),
    }


def fitted(network: nn.Module, task: Task, part: str, *, labelled: bool = True) -> Decision:
    """Offsets for the mean IoU of a part, by its labels or by what the network expects of them."""
    fit = DecisionFit(
        len(task.classes), ignore_index=IGNORE, upsample=task.upsample, max_pixels=_FITTED
    )
    for inputs, labels in task.part(part):
        fit.update(network(inputs), labels if labelled else None)
    return fit.compute()


@torch.no_grad()
def test_scores(network: nn.Module, task: Task, decisions: dict[str, Decision]) -> dict:
    """Of argmax, of these decisions and of that per image, and the calibration error."""
    ways: dict[str, Callable[[Tensor], Tensor]] = {
        "argmax": lambda logits: logits.argmax(1),
        **decisions,
        "image": partial(image_decision, score="iou"),
    }
    metrics = {name: _metrics(len(task.classes)) for name in ways}
    calibration = Calibration()
    for inputs, labels in task.part("test"):
        logits = enlarged(network(inputs), labels, task)
        calibration.update(logits.softmax(1), labels)
        for name, way in ways.items():
            found = way(logits)
            metrics[name].update(found, labels)
    return {
        "test": {name: _computed(of_way) for name, of_way in metrics.items()},
        "calibration_error": _rounded(calibration.error()),
    }


def enlarged(logits: Tensor, labels: Tensor, task: Task) -> Tensor:
    """Logits at the resolution of the labels."""
    size = labels.shape[1:]
    if task.upsample is None or logits.shape[2:] == size:
        return logits
    return F.interpolate(logits, size, mode=task.upsample)


class Calibration:
    """Expected calibration error of the likeliest class, over all pixels.

    The mean over the pixels of |accuracy − confidence|, by 15 bins of equal width of the confidence
    (Guo et al., ICML 2017, equation 3).
    """

    def __init__(self) -> None:
        # Number, hits, and the sum of the confidences of the pixels of each bin.
        self.pixels, self.hits, self.confidence = torch.zeros(3, _BINS, dtype=torch.float64)

    def update(self, probabilities: Tensor, labels: Tensor) -> None:
        """Add images (N, C, *) with their labels (N, *)."""
        kept = labels != IGNORE
        confidence, predicted = probabilities.max(1)
        confidence, hits = confidence[kept], (predicted == labels)[kept]
        bins = (confidence * _BINS).long().clamp(max=_BINS - 1)
        self.pixels = self.pixels + torch.bincount(bins, minlength=_BINS)
        self.hits = self.hits + torch.bincount(bins, hits.double(), _BINS)
        self.confidence = self.confidence + torch.bincount(bins, confidence.double(), _BINS)

    def error(self) -> float:
        """So far."""
        return float((self.hits - self.confidence).abs().sum() / self.pixels.sum())


def _metrics(classes: int) -> MetricCollection:
    return MetricCollection(
        {
            "miou": DatasetIoU(classes, ignore_index=IGNORE),
            "image_miou": ImageIoU(classes, ignore_index=IGNORE),
            "accuracy": DatasetScore(classes, "accuracy", average="micro", ignore_index=IGNORE),
            "iou": DatasetIoU(classes, ignore_index=IGNORE, reduction="none"),
        }
    )


def _computed(metrics: MetricCollection) -> dict:
    values = metrics.compute()
    by_class = values.pop("iou").tolist()
    numbers = {name: _rounded(value.item()) for name, value in values.items()}
    # A class that the truth lacks has no IoU; JSON knows no NaN.
    return {**numbers, "iou": [None if math.isnan(iou) else _rounded(iou) for iou in by_class]}


def _rounded(value: float) -> float:
    return round(value, _DIGITS)
