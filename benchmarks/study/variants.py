"""Losses for single questions: what a window does to a sum, and raw logits for probabilities."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import Tensor

from benchmarks.study.losses import Loss, compared
from benchmarks.study.scores import enlarged
from benchmarks.study.task import IGNORE, Task
from lovasz import Window
from tools import published

#: Of the window in the tables of docs/window.md.
MOMENTUM = 0.9

TITLES = {
    "both-0.9": "window, β = 0.9",
    "both-0.5": "window, β = 0.5",
    "both-rising": "window, β rising from 0 to 0.9",
    "both-of-batch": "window, only classes of the batch",
    "both-all": "no window, classes that are not in the batch too",
    "raw-logits": "published function of probabilities, fed logits",
    "probabilities": "published function of probabilities, fed probabilities",
}


def variants(task: Task) -> dict[str, Loss]:
    """Each one new."""
    both = compared(task)["both"]
    return {
        "both-0.9": partial(both, window=Window(MOMENTUM)),
        "both-0.5": partial(both, window=Window(0.5)),
        "both-rising": Changing(both, 0.0, MOMENTUM, task.steps),
        "both-of-batch": OfBatch(partial(both, window=Window(MOMENTUM))),
        "both-all": partial(both, classes="all"),
        "raw-logits": partial(of_probabilities, task, raw=True),
        "probabilities": partial(of_probabilities, task, raw=False),
    }


class Changing:
    """A loss with a window whose momentum goes along a line over the steps of the training."""

    def __init__(self, loss: Any, first: float, last: float, steps: int) -> None:
        self.loss, self.first, self.last, self.steps = loss, first, last, steps
        self.window = Window(first)
        self.step = 0

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        done = min(1.0, self.step / self.steps)
        self.window.momentum = self.first + done * (self.last - self.first)
        self.step += 1
        loss: Tensor = self.loss(logits, labels, window=self.window)
        return loss


class OfBatch:
    """A loss with a window in which the classes count that have a pixel in the batch, no others."""

    def __init__(self, loss: Any) -> None:
        self.loss = loss

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        present = labels.unique().tolist()
        loss: Tensor = self.loss(logits, labels, classes=[c for c in present if c != IGNORE])
        return loss


def of_probabilities(task: Task, logits: Tensor, labels: Tensor, *, raw: bool) -> Tensor:
    """The algorithm as published, over all classes, of what it is fed.

    So did the code of Ma et al., *Loss odyssey in medical image segmentation* (Medical Image
    Analysis 2021): its trainer hands the logits of nnU-Net to it.
    """
    logits = enlarged(logits, labels, task)
    fed = logits if raw else logits.softmax(1)
    classes = list(range(len(task.classes)))
    return published.lovasz_softmax_of_probabilities(
        fed, labels, ignore_index=IGNORE, classes=classes
    )
