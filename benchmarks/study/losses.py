"""The losses of the study, by name, each for one training."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor

from benchmarks.study.task import IGNORE, Task
from lovasz import (
    JaccardMetric,
    Window,
    cross_entropy_dice,
    cross_entropy_lovasz_softmax,
    lovasz_softmax,
)

# Of logits and labels.
Loss = Callable[[Tensor, Tensor], Tensor]

TITLES = {
    "cross-entropy": "cross-entropy",
    "dice": "cross-entropy + Dice",
    "lovasz": "Lovász-Softmax",
    "both": "cross-entropy + Lovász-Softmax",
    "windowed": "windowed Lovász-Softmax",
    "both-windowed": "cross-entropy + windowed Lovász-Softmax",
    "jml": "cross-entropy + JML, smoothed labels",
    "soft": "cross-entropy + Lovász-Softmax, smoothed labels",
}
SMOOTHING = 0.1


def compared(task: Task) -> dict[str, Loss]:
    """The losses that users choose from, each one new.

    The Dice loss is that of nnU-Net: sums over the batch, all classes. Smoothed labels have 0.9 for
    the right class and 0.1 over all, in both parts of a sum.
    """
    common: dict[str, Any] = {"ignore_index": IGNORE, "upsample": task.upsample}
    both = partial(cross_entropy_lovasz_softmax, **common)
    alone = partial(lovasz_softmax, **common)
    smooth = {"label_smoothing": SMOOTHING, "lovasz_label_smoothing": SMOOTHING}
    jml = {"lovasz_weight": 0.0, "region": JaccardMetric(), "classes": "present"}
    return {
        "cross-entropy": partial(both, lovasz_weight=0.0),
        "dice": partial(cross_entropy_dice, **common),
        "lovasz": alone,
        "both": both,
        "windowed": partial(alone, window=Window(task.momentum)),
        "both-windowed": partial(both, window=Window(task.momentum)),
        "jml": partial(both, **jml, **smooth),
        "soft": partial(both, **smooth),
    }
