"""The Lovász loss of mmsegmentation: ``mmseg.models.losses.LovaszLoss``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lovasz.compat._shared import binary_loss, image_losses, mean_of, without_channel
from lovasz.core.options import check_choice, check_classes, check_flags, check_ignore_index
from lovasz.losses._classes import class_weight as checked_weight
from lovasz.losses.softmax import lovasz_softmax

__all__ = ["LovaszLoss"]


class LovaszLoss(nn.Module):
    r"""``mmseg.models.losses.LovaszLoss``.

    "multi_class": `lovasz.lovasz_softmax`, whose class losses are multiplied by ``class_weight``
    and divided by the number of classes that count (``normalize_weight=False``). "binary": the
    Lovász hinge, the extension of the Jaccard loss at $\max(0, 1 - s x)$.

    Args:
        loss_type: "multi_class" or "binary".
        classes: "present", "all" or a list of class indices; "present" alone for "binary".
        per_image: True gives each image a loss, which ``reduction`` reduces.
        reduction: "mean", "sum" or "none" over the images. Without ``per_image`` the batch has one
            loss, which is its own mean and sum.
        class_weight: (C,), numbers, or None.
        loss_weight: factor of the loss.
        loss_name: name under which a trainer logs it.

    Shape:
        - cls_score: (N, C, *); (N, 1, *) or (N, *) for "binary".
        - label: (N, *) or (N, 1, *).
        - output: scalar; (N,) for ``per_image`` and "none", 0 for images that are all ignored.

    Raises:
        TypeError: for arguments of a wrong type or dtype.
        ValueError: for shapes and values that do not fit.

    Examples:
        >>> import torch
        >>> criterion = LovaszLoss(class_weight=[1.0, 3.0], loss_weight=0.5)
        >>> round(criterion(torch.zeros(1, 2, 3), torch.tensor([[0, 1, 255]])).item(), 2)
        0.5

    References:
        Berman, Triki, Blaschko, CVPR 2018, arXiv 1705.08790;
        https://github.com/open-mmlab/mmsegmentation.
    """

    def __init__(
        self,
        loss_type: str = "multi_class",
        classes: str | Sequence[int] = "present",
        per_image: bool = False,
        reduction: str = "mean",
        class_weight: Sequence[float] | None = None,
        loss_weight: float = 1.0,
        loss_name: str = "loss_lovasz",
    ) -> None:
        super().__init__()
        name = self._name = "compat.mmseg.LovaszLoss"
        check_choice(name, "loss_type", loss_type, ("multi_class", "binary"))
        check_classes(name, classes)
        check_flags(name, per_image=per_image)
        check_choice(name, "reduction", reduction, ("mean", "sum", "none"))
        if isinstance(class_weight, str):
            raise TypeError(
                f"{name}: expected class_weight to be a list of numbers, got {class_weight!r}"
                " (read the file and pass its numbers)"
            )
        if loss_type == "binary" and (class_weight is not None or classes != "present"):
            raise ValueError(
                f"{name}: expected classes and class_weight with loss_type='multi_class' only,"
                f" got classes={classes!r}, class_weight={class_weight!r}"
            )
        checked_weight(name, class_weight, argument="class_weight")
        self.loss_type = loss_type
        self.classes = classes
        self.per_image = per_image
        self.reduction = reduction
        self.class_weight = class_weight
        self.loss_weight = loss_weight
        self._loss_name = loss_name

    def forward(
        self,
        cls_score: Tensor,
        label: Tensor,
        weight: Tensor | None = None,
        avg_factor: float | None = None,
        reduction_override: str | None = None,
        ignore_index: int | None = 255,
        **kwargs: Any,
    ) -> Tensor:
        """Loss of scores and labels; ``avg_factor`` takes the place of the number of images."""
        reduction = self.reduction if reduction_override is None else reduction_override
        check_choice(self._name, "reduction_override", reduction, ("mean", "sum", "none"))
        check_ignore_index(self._name, ignore_index)
        if kwargs:
            raise TypeError(f"{self._name}: expected no further arguments, got {sorted(kwargs)}")
        if weight is not None:
            raise ValueError(
                f"{self._name}: expected weight=None (mmsegmentation ignores weights of pixels),"
                f" got a {type(weight).__name__}"
            )
        if avg_factor is not None and not (self.per_image and reduction == "mean"):
            raise ValueError(
                f"{self._name}: expected avg_factor with per_image=True and reduction='mean' only,"
                f" got per_image={self.per_image}, reduction={reduction!r}"
            )
        if self.loss_type == "binary":
            value = binary_loss(
                self._name,
                cls_score,
                label,
                ignore_index=ignore_index,
                per_image=self.per_image,
                reduction=reduction if avg_factor is None else "sum",
            )
            value = value if self.per_image else value.sum()
            return self.loss_weight * (value if avg_factor is None else value / avg_factor)
        losses, active = self._losses(cls_score, label, ignore_index)
        if reduction == "none":
            return self.loss_weight * (losses if self.per_image else losses.sum())
        if reduction == "sum":
            return self.loss_weight * losses.sum()
        if avg_factor is not None:
            return self.loss_weight * losses.sum() / avg_factor
        return self.loss_weight * mean_of(losses, active)

    @property
    def loss_name(self) -> str:
        """Name under which a trainer logs the loss."""
        return self._loss_name

    def _losses(
        self, scores: Tensor, label: Tensor, ignore_index: int | None
    ) -> tuple[Tensor, Tensor]:
        """Losses of the images, or of the batch, and which of them count."""
        label = without_channel(scores, label)
        options: dict[str, Any] = {
            "classes": self.classes,
            "ignore_index": ignore_index,
            "weight": self.class_weight,
            "normalize_weight": False,
        }
        if not self.per_image:
            losses = lovasz_softmax(scores, label, **options).reshape(1)
            return losses, torch.ones_like(losses, dtype=torch.bool)
        losses = image_losses(self._name, scores, label, **options)
        valid = torch.ones_like(label, dtype=torch.bool)
        if ignore_index is not None:
            valid = label != ignore_index
        return losses, valid.flatten(1).any(1)
