"""The losses that can be trained with, by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lovasz import LovaszSoftmaxLoss, class_weights
from lovasz.train.data import IGNORE
from lovasz.train.errors import UserError

if TYPE_CHECKING:
    from lovasz.train.config import TrainConfig
    from lovasz.train.data import DataSet


class CrossEntropy(nn.Module):
    """Cross-entropy as the mean over labelled pixels, 0 for a batch that has none.

    torch's own mean is not a number there, which would end a training run. With class weights the
    mean is the weighted one, as torch's.
    """

    weight: Tensor | None

    def __init__(self, weight: Tensor | None = None) -> None:
        super().__init__()
        self.register_buffer("weight", weight)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Logits (N, C, H, W) and labels (N, H, W) to a scalar."""
        total = F.cross_entropy(
            logits, target, weight=self.weight, ignore_index=IGNORE, reduction="sum"
        )
        labelled = target != IGNORE
        if self.weight is None:
            return total / labelled.sum().clamp(min=1)
        # No mask picks the labelled pixels, which would wait for the device to count them.
        weights = self.weight[target.where(labelled, 0)] * labelled
        return total / weights.sum().clamp(min=torch.finfo(total.dtype).tiny)


class Sum(nn.Module):
    """The sum of two losses of the same logits."""

    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.first, self.second = first, second

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Logits (N, C, H, W) and labels (N, H, W) to a scalar."""
        total: Tensor = self.first(logits, target) + self.second(logits, target)
        return total


def check_options(config: TrainConfig) -> None:
    """Refuse options that the chosen loss would ignore.

    Not for the runs of a comparison, whose options are for those of its losses that have them.

    Raises:
        UserError: If class weights are for a loss that is not trained with.
    """
    parts = ["cross-entropy", "lovasz-softmax"] if config.loss == "both" else [config.loss]
    if config.class_weights is not None and config.weighted not in (*parts, "both"):
        raise UserError(
            f"weighted: expected {config.loss} for class_weights with that loss,"
            f" got {config.weighted}"
        )


def balance(config: TrainConfig, data: DataSet) -> Tensor | None:
    """The class weights that the configuration asks for, from the training part.

    Raises:
        UserError: If `class_weights_args` do not suit the scheme, or no pixel has a label.
    """
    if config.class_weights is None:
        return None
    try:
        return class_weights(data.label_counts, config.class_weights, **config.class_weights_args)
    except (TypeError, ValueError) as error:
        raise UserError(f"class_weights: {error}") from error


def build_loss(
    config: TrainConfig, num_classes: int, class_weight: Tensor | None = None
) -> nn.Module:
    """The loss that the configuration names, tried once.

    Args:
        config: Which loss, and which of its parts the class weights are for.
        num_classes: C.
        class_weight: (C,), what `balance` returns.

    Raises:
        UserError: If `lovasz_args` do not suit the loss or the number of classes.
    """
    cross_entropy = CrossEntropy(None if config.weighted == "lovasz-softmax" else class_weight)
    if config.loss == "cross-entropy":
        return cross_entropy
    options = dict(config.lovasz_args)
    if class_weight is not None and config.weighted != "cross-entropy":
        if "weight" in options:
            raise UserError("weighted: expected no weight in lovasz_args beside class_weights")
        options["weight"] = class_weight
    try:
        lovasz = LovaszSoftmaxLoss(ignore_index=IGNORE, **options)
        trial = lovasz(torch.zeros(1, num_classes, 1, 1), torch.zeros(1, 1, 1, dtype=torch.long))
    except (TypeError, ValueError) as error:
        raise UserError(f"lovasz_args: {error}") from error
    if trial.ndim:
        raise UserError(
            f"lovasz_args: expected options that give one number, got {config.lovasz_args}"
        )
    return lovasz if config.loss == "lovasz-softmax" else Sum(cross_entropy, lovasz)
