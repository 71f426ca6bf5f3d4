"""The losses that can be trained with, by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lovasz import LovaszSoftmaxLoss
from lovasz.train.data import IGNORE
from lovasz.train.errors import UserError

if TYPE_CHECKING:
    from lovasz.train.config import TrainConfig


class CrossEntropy(nn.Module):
    """Cross-entropy as the mean over labelled pixels, 0 for a batch that has none.

    torch's own mean is not a number there, which would end a training run.
    """

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Logits (N, C, H, W) and labels (N, H, W) to a scalar."""
        total = F.cross_entropy(logits, target, ignore_index=IGNORE, reduction="sum")
        return total / (target != IGNORE).sum().clamp(min=1)


class Sum(nn.Module):
    """The sum of two losses of the same logits."""

    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.first, self.second = first, second

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Logits (N, C, H, W) and labels (N, H, W) to a scalar."""
        total: Tensor = self.first(logits, target) + self.second(logits, target)
        return total


def build_loss(config: TrainConfig, num_classes: int) -> nn.Module:
    """The loss that the configuration names, tried once.

    Raises:
        UserError: If `lovasz_args` do not suit the loss or the number of classes.
    """
    if config.loss == "cross-entropy":
        return CrossEntropy()
    momentum = config.momentum if "windowed" in config.loss else None

    def build() -> LovaszSoftmaxLoss:
        return LovaszSoftmaxLoss(ignore_index=IGNORE, momentum=momentum, **config.lovasz_args)

    try:
        # Another one than is returned, which must not remember the trial.
        trial = build()(torch.zeros(1, num_classes, 1, 1), torch.zeros(1, 1, 1, dtype=torch.long))
    except (TypeError, ValueError) as error:
        raise UserError(f"lovasz_args: {error}") from error
    if trial.ndim:
        raise UserError(
            f"lovasz_args: expected options that give one number, got {config.lovasz_args}"
        )
    lovasz = build()
    return Sum(CrossEntropy(), lovasz) if "both" in config.loss else lovasz
