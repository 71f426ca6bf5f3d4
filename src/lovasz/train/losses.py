"""The losses that can be trained with, by name."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from lovasz import (
    CrossEntropyLovaszSoftmaxLoss,
    DeepSupervision,
    LovaszSoftmaxLoss,
    class_weights,
)
from lovasz.train.config import as_schedule
from lovasz.train.data import IGNORE
from lovasz.train.errors import UserError
from lovasz.train.outputs import outputs
from lovasz.train.processes import processes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lovasz.train.config import Config, LossName, TrainConfig
    from lovasz.train.data import DataSet

# What the two losses of a sum need, because their parts are computed together.
_TOGETHER = {"method": "histogram", "reduction": "mean"}
# For logits of a lower resolution than the labels, as in `inference.predict_labels`.
_UPSAMPLING: dict[str, Any] = {"upsample": "bilinear", "align_corners": False}


def set_epoch(criterion: nn.Module, config: TrainConfig, epoch: float) -> None:
    """Give a sum of two losses its factors after so many epochs, the last one as a fraction."""
    schedule = as_schedule(config.loss_schedule)
    # In a comparison the schedule is not for the losses that are trained with alone.
    if schedule is None or "both" not in config.loss:
        return
    for part in criterion.losses if isinstance(criterion, DeepSupervision) else [criterion]:
        for name, factor in schedule(epoch)._asdict().items():
            setattr(part, name, factor)


def loss_of(criterion: nn.Module, result: Any, labels: Tensor) -> Tensor:
    """The loss of all that a network has returned in training mode.

    Args:
        criterion: From `build_loss`, for as many outputs.
        result: As `outputs` reads it.
        labels: (N, H, W), long.

    Raises:
        UserError: If `outputs` cannot read the result, or these are several where there was one.
    """
    scales = [logits.float() for logits in outputs(result)]
    if isinstance(criterion, DeepSupervision):
        loss: Tensor = criterion(scales, labels)
    elif len(scales) == 1:
        loss = criterion(scales[0], labels)
    else:
        raise UserError(
            f"model: expected one output, as in the trial before the run, got {len(scales)}"
        )
    return loss


def check_options(config: Config, losses: Sequence[LossName]) -> None:
    """Refuse options that none of the losses would heed.

    Raises:
        UserError: If class weights or arguments are for a loss that is not trained with, or a
            schedule is for one loss alone.
    """
    sums = [loss for loss in losses if "both" in loss]
    parts = {"cross-entropy"} if sums or "cross-entropy" in losses else set()
    parts |= {"lovasz-softmax" for loss in losses if loss != "cross-entropy"}
    if config.class_weights is not None and config.weighted not in (*parts, "both"):
        raise UserError(
            f"weighted: expected a loss that is trained with, {', '.join(sorted(parts))},"
            f" got {config.weighted}"
        )
    if config.lovasz_args and "lovasz-softmax" not in parts:
        raise UserError(
            f"lovasz_args: expected a loss with Lovász-Softmax, got {', '.join(losses)}"
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
    config: TrainConfig,
    num_classes: int,
    class_weight: Tensor | None = None,
    count: int = 1,
    *,
    alone: bool = False,
) -> nn.Module:
    """The loss that the configuration names, tried once; of several outputs their weighted sum.

    Args:
        config: Which loss, which of its parts the class weights are for, and weights of outputs.
        num_classes: C.
        class_weight: (C,), what `balance` returns.
        count: How many outputs the network has in training mode.
        alone: Without the other processes, as a trial on the processor has to be.

    Raises:
        UserError: If `lovasz_args` do not suit the loss or the number of classes, or there are not
            as many `output_weights` as outputs.
    """
    weights = config.output_weights
    if weights is not None and len(weights) != count:
        raise UserError(
            f"output_weights: expected {count} of them, one for each output of {config.model} in"
            f" training mode, got {weights}"
        )
    group = None if alone else processes().group
    loss = _loss_of_one(config, num_classes, class_weight, group)
    if count == 1 and weights is None:
        return loss
    # With a window each output has one of its own: the loss is copied for it.
    return DeepSupervision(loss, weights, scales=count)


def _loss_of_one(
    config: TrainConfig,
    num_classes: int,
    class_weight: Tensor | None,
    group: Literal["world"] | None,
) -> nn.Module:
    """The loss of one output, tried once.

    Cross-entropy alone is the sum of both without the other part: unlike torch's it is 0, not NaN,
    for a batch without a label, and of the global batch where there are several processes.
    """
    by_pixel = None if config.weighted == "lovasz-softmax" else class_weight
    by_class = None if config.weighted == "cross-entropy" else class_weight
    if config.loss == "cross-entropy":
        return CrossEntropyLovaszSoftmaxLoss(
            lovasz_weight=0.0,
            weight=by_pixel,
            ignore_index=IGNORE,
            process_group=group,
            **_UPSAMPLING,
        )
    options: dict[str, Any] = {"process_group": group, **config.lovasz_args}
    if by_class is not None:
        if "weight" in options:
            raise UserError("weighted: expected no weight in lovasz_args beside class_weights")
        options["weight"] = by_class
    momentum = config.momentum if "windowed" in config.loss else None

    def lovasz(**others: Any) -> LovaszSoftmaxLoss:
        given = {**options, **others}
        return LovaszSoftmaxLoss(ignore_index=IGNORE, momentum=momentum, **_UPSAMPLING, **given)

    apart = {} if "process_group" in config.lovasz_args else {"process_group": None}
    _try_once(partial(lovasz, **apart), config, num_classes)
    if "both" not in config.loss:
        return lovasz()
    for name, only in _TOGETHER.items():
        if (value := options.pop(name, only)) != only:
            raise UserError(
                f"lovasz_args: expected {name} {only} for the loss {config.loss}, whose parts are"
                f" computed together, got {value} (the loss lovasz-softmax has this option)"
            )
    return CrossEntropyLovaszSoftmaxLoss(
        weight=by_pixel,
        lovasz_class_weight=options.pop("weight", None),
        lovasz_label_smoothing=options.pop("label_smoothing", 0.0),
        ignore_index=IGNORE,
        momentum=momentum,
        **_UPSAMPLING,
        **options,
    )


def _try_once(build: Callable[[], nn.Module], config: TrainConfig, num_classes: int) -> None:
    """Give one pixel to a loss that is not used again, so that none remembers the trial."""
    try:
        trial = build()(torch.zeros(1, num_classes, 1, 1), torch.zeros(1, 1, 1, dtype=torch.long))
    except (TypeError, ValueError) as error:
        raise UserError(f"lovasz_args: {error}") from error
    if trial.ndim:
        raise UserError(
            f"lovasz_args: expected options that give one number, got {config.lovasz_args}"
        )
