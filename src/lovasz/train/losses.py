"""The losses that can be trained with, by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lovasz import LossSchedule, LovaszSoftmaxLoss, class_weights
from lovasz.losses.distributed import ranks_of
from lovasz.train.config import as_schedule
from lovasz.train.data import IGNORE
from lovasz.train.errors import UserError
from lovasz.train.processes import processes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lovasz.train.config import Config, LossName, TrainConfig
    from lovasz.train.data import DataSet


class CrossEntropy(nn.Module):
    """Cross-entropy as the mean over labelled pixels, 0 for a batch that has none.

    torch's own mean is not a number there, which would end a training run. With class weights the
    mean is the weighted one, as torch's; of several processes it is that of the global batch.
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
        weights = (target != IGNORE).to(total.dtype)
        if self.weight is not None:
            # No mask picks the labelled pixels, which would wait for the device to count them.
            weights = weights * self.weight[target.where(target != IGNORE, 0)]
        ranks = ranks_of(processes().group)
        weight = weights.sum()
        if ranks is not None:
            total, weight = ranks.connected_total(total), ranks.total(weight)
        return total / weight.clamp(min=torch.finfo(total.dtype).tiny)


class Sum(nn.Module):
    """The sum of two losses of the same logits, each with a factor that may change with time."""

    def __init__(
        self, first: nn.Module, second: nn.Module, schedule: LossSchedule | None = None
    ) -> None:
        super().__init__()
        self.first, self.second = first, second
        self.schedule = schedule or LossSchedule([(0, 1, 1)])
        self.factors = self.schedule(0)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Logits (N, C, H, W) and labels (N, H, W) to a scalar."""
        first, second = self.factors
        total: Tensor = first * self.first(logits, target) + second * self.second(logits, target)
        return total


def set_epoch(criterion: nn.Module, epoch: float) -> None:
    """Tell a loss of `build_loss` how many epochs are over, the last one as a fraction."""
    if isinstance(criterion, Sum):
        criterion.factors = criterion.schedule(epoch)


def check_options(config: Config, losses: Sequence[LossName]) -> None:
    """Refuse options that none of the losses would heed.

    Raises:
        UserError: If class weights are for a loss that is not trained with, or a schedule for one
            loss alone.
    """
    sums = [loss for loss in losses if "both" in loss]
    parts = {"cross-entropy"} if sums or "cross-entropy" in losses else set()
    parts |= {"lovasz-softmax" for loss in losses if loss != "cross-entropy"}
    if config.class_weights is not None and config.weighted not in (*parts, "both"):
        raise UserError(
            f"weighted: expected a loss that is trained with, {', '.join(sorted(parts))},"
            f" got {config.weighted}"
        )
    if config.loss_schedule is not None and not sums:
        raise UserError(f"loss_schedule: expected the loss both, got {', '.join(losses)}")


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
    schedule = as_schedule(config.loss_schedule)
    options = {"process_group": processes().group, **config.lovasz_args}
    if class_weight is not None and config.weighted != "cross-entropy":
        if "weight" in options:
            raise UserError("weighted: expected no weight in lovasz_args beside class_weights")
        options["weight"] = class_weight
    momentum = config.momentum if "windowed" in config.loss else None

    def build() -> LovaszSoftmaxLoss:
        return LovaszSoftmaxLoss(ignore_index=IGNORE, momentum=momentum, **options)

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
    return Sum(cross_entropy, lovasz, schedule) if "both" in config.loss else lovasz
