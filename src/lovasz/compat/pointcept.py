"""The Lovász loss of Pointcept: ``pointcept.models.losses.LovaszLoss``."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor

from lovasz.compat._shared import (
    binary_loss,
    check_method,
    check_mode,
    class_indices,
    image_losses,
    mean_of,
)
from lovasz.core.options import (
    Method,
    check_flags,
    check_ignore_index,
)
from lovasz.losses._inputs import check_pair
from lovasz.losses._module import PythonModule, python_only
from lovasz.losses.softmax import lovasz_softmax

__all__ = ["LovaszLoss"]


class LovaszLoss(PythonModule):
    r"""``pointcept.models.losses.LovaszLoss``.

    "multiclass": `lovasz.lovasz_softmax`. "binary" and "multilabel": the Lovász hinge, the
    extension of the Jaccard loss at $\max(0, 1 - s x)$; with "multilabel" each channel is a set of
    its own and the loss is their mean.

    Args:
        mode: "binary", "multiclass" or "multilabel".
        class_seen: indices of the classes that count where they are present, for "multiclass";
            None: all. (Pointcept annotates an int and uses a collection.)
        per_image: True averages the losses of the images, without those in which nothing counts.
            Points (P, C) are one image.
        ignore_index: label of points to leave out, or None.
        loss_weight: factor of the loss.
        method: "histogram" or "sort", as for `lovasz.lovasz_softmax`; None: "histogram" for
            "multiclass" and "sort" for the others.

    Shape:
        - y_pred: (P, C) or (N, C, *); (P,) or (N, *) for "binary".
        - y_true: (P,) or (N, *); of the shape of y_pred for "multilabel".
        - output: scalar.

    Raises:
        TypeError: for arguments of a wrong type or dtype.
        ValueError: for shapes and values that do not fit.

    Examples:
        >>> import torch
        >>> criterion = LovaszLoss(mode="multiclass", ignore_index=-1)
        >>> round(criterion(torch.zeros(4, 2), torch.tensor([0, 0, 1, -1])).item(), 2)
        0.5

    References:
        Berman, Triki, Blaschko, CVPR 2018, arXiv 1705.08790;
        https://github.com/Pointcept/Pointcept.
    """

    def __init__(
        self,
        mode: str,
        class_seen: Collection[int] | None = None,
        per_image: bool = False,
        ignore_index: int | None = None,
        loss_weight: float = 1.0,
        *,
        method: Method | None = None,
    ) -> None:
        super().__init__()
        self._name = "compat.pointcept.LovaszLoss"
        check_mode(self._name, mode)
        if class_seen is not None and mode != "multiclass":
            raise ValueError(
                f"{self._name}: expected class_seen with mode='multiclass' only, got mode={mode!r}"
            )
        check_flags(self._name, per_image=per_image)
        check_ignore_index(self._name, ignore_index)
        check_method(self._name, method)
        self.mode = mode
        self.class_seen = None if class_seen is None else self._collection(class_seen)
        self.per_image = per_image
        self.ignore_index = ignore_index
        self.loss_weight = loss_weight
        self.method: Method | None = method

    @python_only
    def forward(self, y_pred: Tensor, y_true: Tensor) -> Tensor:
        """Loss of predictions and labels."""
        if self.mode == "multiclass":
            target = class_indices(self._name, y_pred, y_true)
            return self.loss_weight * self._multiclass(y_pred, target)
        value = binary_loss(
            self._name,
            y_pred,
            y_true,
            ignore_index=self.ignore_index,
            per_image=self.per_image,
            channels=self.mode == "multilabel",
            method=self.method,
        )
        return self.loss_weight * value

    @python_only
    def _multiclass(self, logits: Tensor, target: Tensor) -> Tensor:
        options: dict[str, Any] = {
            "ignore_index": self.ignore_index,
            "method": self.method or "histogram",
        }
        if self.class_seen is None:
            return lovasz_softmax(logits, target, per_image=self.per_image, **options)
        # Classes that are present and seen: those with weight 1 among the present ones.
        check_pair(self._name, "y_pred", logits, target)
        count = logits.shape[1]
        if max(self.class_seen) >= count:
            raise ValueError(
                f"{self._name}: expected class_seen to hold indices from 0 to {count - 1},"
                f" got {self.class_seen}"
            )
        seen = torch.zeros(count, device=logits.device)
        for label in self.class_seen:
            seen[label] = 1.0
        if not self.per_image or logits.dim() == 2:
            return lovasz_softmax(logits, target, weight=seen, **options)
        losses = image_losses(self._name, logits, target, weight=seen, **options)
        there = torch.zeros_like(target, dtype=torch.bool)
        for label in self.class_seen:
            there |= (target == label) & (label != self.ignore_index)
        return mean_of(losses, there.flatten(1).any(1))

    def _collection(self, class_seen: Collection[int]) -> list[int]:
        wanted = f"{self._name}: expected class_seen to be None or a collection of class indices"
        if not isinstance(class_seen, Collection) or isinstance(class_seen, str):
            raise TypeError(f"{wanted}, got {class_seen!r}")
        labels = [int(label) for label in class_seen]
        if not labels or min(labels) < 0:
            raise ValueError(f"{wanted}, got {class_seen!r}")
        return labels
