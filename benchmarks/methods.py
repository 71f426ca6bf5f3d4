"""What is measured: this package, torch's own, the paper's algorithm, and installed peers."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from lovasz import cross_entropy_lovasz_softmax, lovasz_softmax
from tools import published

Method = Callable[[Tensor, Tensor], Tensor]

METHODS: dict[str, Method] = {
    "cross_entropy": F.cross_entropy,
    "lovasz": lovasz_softmax,
    "cross_entropy+lovasz": cross_entropy_lovasz_softmax,
    "exact": lambda logits, target: lovasz_softmax(logits, target, method="sort"),
    "softmax": lambda logits, target: logits.softmax(1)[:1].sum(),  # forward is what is compared
    "paper": published.lovasz_softmax,
}
#: run once, because they take minutes where the others take a blink
SLOW = {"paper", "kornia", "smp"}


def peers() -> dict[str, Method]:
    """Adapters for the libraries that happen to be installed."""
    found: dict[str, Method] = {}
    with contextlib.suppress(ImportError):
        from kornia.losses import lovasz_softmax_loss  # noqa: PLC0415

        found["kornia"] = lambda logits, target: lovasz_softmax_loss(*_images(logits, target))
    with contextlib.suppress(ImportError):
        from segmentation_models_pytorch.losses import LovaszLoss  # noqa: PLC0415

        loss = LovaszLoss("multiclass")
        found["smp"] = lambda logits, target: loss(*_images(logits, target))
    return found


def _images(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Four axes, which is all that they take."""
    if logits.dim() == 2:
        return logits.t().reshape(1, logits.shape[1], 1, -1), target.reshape(1, 1, -1)
    return logits.flatten(3).flatten(2).unsqueeze(2), target.flatten(1).unsqueeze(1)


def floor(logits: Tensor) -> None:
    """The least that a loss with these passes can do: two reads, one write of fresh memory."""
    logits.sum()
    logits.sum()
    torch.empty_like(logits).zero_()
