"""What the losses of mmsegmentation and mmdet3d share: the second is a copy of the first."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from lovasz.compat._files import read_class_weight
from lovasz.compat._shared import (
    binary_loss,
    check_method,
    class_indices,
    image_losses,
    mean_of,
    weight_of_pixels,
)
from lovasz.core.options import (
    REDUCTIONS,
    Classes,
    Method,
    Reduction,
    check_choice,
    check_classes,
    check_flags,
    check_ignore_index,
    is_number,
)
from lovasz.losses._classes import class_weight as checked_weight
from lovasz.losses._module import PythonModule, python_only
from lovasz.losses.softmax import lovasz_softmax


class OpenMMLabLoss(PythonModule):
    """Options and computation of ``LovaszLoss`` of both libraries.

    Args:
        name: whose error messages they are.
        argument: the name of ``per_image``, likewise.
        loss_type: and the others: as for both.
    """

    def __init__(
        self,
        name: str,
        argument: str,
        *,
        loss_type: str,
        classes: Classes,
        per_image: bool,
        reduction: Reduction,
        class_weight: Any,
        loss_weight: float,
        method: Method | None,
    ) -> None:
        super().__init__()
        check_choice(name, "loss_type", loss_type, ("multi_class", "binary"))
        check_classes(name, classes)
        check_flags(name, **{argument: per_image})
        check_choice(name, "reduction", reduction, REDUCTIONS)
        check_method(name, method)
        if loss_type == "binary" and (class_weight is not None or classes != "present"):
            raise ValueError(
                f"{name}: expected classes and class_weight with loss_type='multi_class' only,"
                f" got classes={classes!r}, class_weight={class_weight!r}"
            )
        class_weight = read_class_weight(name, class_weight)
        checked_weight(name, class_weight, argument="class_weight")
        self._name, self._argument, self._per_image = name, argument, per_image
        self.loss_type = loss_type
        self.classes: Classes = classes
        self.reduction: Reduction = reduction
        self.class_weight = class_weight
        self.loss_weight = loss_weight
        self.method: Method | None = method

    @python_only
    def _loss(
        self,
        cls_score: Tensor,
        label: Tensor,
        weight: Tensor | None,
        avg_factor: Any,
        reduction_override: Reduction | None,
        ignore_index: int | None,
    ) -> Tensor:
        reduction: Reduction
        reduction = self.reduction if reduction_override is None else reduction_override
        check_choice(self._name, "reduction_override", reduction, REDUCTIONS)
        check_ignore_index(self._name, ignore_index)
        divisor = None
        if avg_factor is not None:
            if not (self._per_image and reduction == "mean"):
                raise ValueError(
                    f"{self._name}: expected avg_factor with {self._argument}=True and"
                    f" reduction='mean' only, got {self._argument}={self._per_image},"
                    f" reduction={reduction!r}"
                )
            divisor, reduction = _divisor(self._name, avg_factor), "sum"
        if self.loss_type == "binary":
            value = self._binary(cls_score, label, weight, reduction, ignore_index)
        else:
            losses, active = self._multi_class(cls_score, label, weight, ignore_index)
            if reduction == "none":
                value = losses if self._per_image else losses.sum()
            else:
                value = losses.sum() if reduction == "sum" else mean_of(losses, active)
        value = self.loss_weight * value
        return value if divisor is None else value / divisor

    @python_only
    def _binary(
        self,
        scores: Tensor,
        label: Tensor,
        weight: Tensor | None,
        reduction: Reduction,
        ignore_index: int | None,
    ) -> Tensor:
        value = binary_loss(
            self._name,
            scores,
            label,
            ignore_index=ignore_index,
            per_image=self._per_image,
            reduction=reduction,
            method=self.method,
            pixel_weight=weight,
        )
        return value if self._per_image else value.sum()

    @python_only
    def _multi_class(
        self, scores: Tensor, label: Any, weight: Any, ignore_index: int | None
    ) -> tuple[Tensor, Tensor]:
        """Losses of the images, or of the batch, and which of them count."""
        label = class_indices(self._name, scores, label)
        options: dict[str, Any] = {
            "classes": self.classes,
            "ignore_index": ignore_index,
            "weight": self.class_weight,
            "normalize_weight": False,
            "method": self.method or "histogram",
        }
        if weight is not None and isinstance(label, Tensor):
            options["pixel_weight"] = weight = weight_of_pixels(self._name, weight, label)
        if not self._per_image:
            losses = lovasz_softmax(scores, label, **options).reshape(1)
            return losses, torch.ones_like(losses, dtype=torch.bool)
        losses = image_losses(self._name, scores, label, argument=self._argument, **options)
        valid = torch.ones_like(label, dtype=torch.bool)
        if ignore_index is not None:
            valid = label != ignore_index
        if weight is not None:
            valid = valid & (weight > 0)
        return losses, valid.flatten(1).any(1)


def _divisor(name: str, avg_factor: Any) -> Any:
    """A number or a tensor of one, which may be 0 where nothing counts."""
    eps = torch.finfo(torch.float32).eps
    if isinstance(avg_factor, Tensor):
        if avg_factor.numel() != 1:
            raise ValueError(
                f"{name}: expected avg_factor to be one number, got a tensor of shape"
                f" {tuple(avg_factor.shape)}"
            )
        return avg_factor.reshape(()) + eps
    if not is_number(avg_factor):
        raise TypeError(f"{name}: expected avg_factor to be a number, got {avg_factor!r}")
    if not 0 <= float(avg_factor) < math.inf:
        raise ValueError(
            f"{name}: expected avg_factor to be finite and not negative, got {avg_factor!r}"
        )
    return avg_factor + eps
