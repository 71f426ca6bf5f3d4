"""The Lovász loss of mmdetection3d: ``mmdet3d.models.losses.LovaszLoss``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from lovasz.compat._openmmlab import OpenMMLabLoss
from lovasz.core.options import (
    Classes,
    Method,
    Reduction,
)
from lovasz.losses._module import python_only

__all__ = ["LovaszLoss"]


class LovaszLoss(OpenMMLabLoss):
    r"""``mmdet3d.models.losses.LovaszLoss``.

    That of mmsegmentation, `lovasz.compat.mmseg.LovaszLoss`, without weights of pixels and with
    points. mmdetection3d lets "mean", the default, be with ``per_sample`` only.

    Args:
        loss_type: "multi_class" or "binary".
        classes: "present", "all" or a list of class indices; "present" alone for "binary".
        per_sample: True gives each sample (N, C, *) a loss, which ``reduction`` reduces.
        reduction: "mean", "sum" or "none" over the samples. Without ``per_sample`` the batch has
            one loss, which is its own mean and sum.
        class_weight: (C,), numbers, or None.
        loss_weight: factor of the loss.
        method: "histogram" or "sort", as for `lovasz.lovasz_softmax`; None: "histogram" for
            "multi_class" and "sort" for "binary".

    Shape:
        - cls_score: (P, C) or (N, C, *); (P,) or (N, *) for "binary".
        - label: (P,) or (N, *).
        - avg_factor: a number that the sum over the samples is divided by, plus 1.2e-7.
        - output: scalar; (N,) for ``per_sample`` and "none", 0 for samples that are all ignored.

    Raises:
        TypeError: for arguments of a wrong type or dtype.
        ValueError: for shapes and values that do not fit.

    Examples:
        >>> import torch
        >>> criterion = LovaszLoss(reduction="none", loss_weight=2.0)
        >>> loss = criterion(torch.zeros(4, 2), torch.tensor([0, 0, 1, 9]), ignore_index=9)
        >>> round(loss.item(), 2)
        1.0

    References:
        Berman, Triki, Blaschko, CVPR 2018, arXiv 1705.08790;
        https://github.com/open-mmlab/mmdetection3d.
    """

    def __init__(
        self,
        loss_type: str = "multi_class",
        classes: Classes = "present",
        per_sample: bool = False,
        reduction: Reduction = "mean",
        class_weight: Sequence[float] | None = None,
        loss_weight: float = 1.0,
        *,
        method: Method | None = None,
    ) -> None:
        super().__init__(
            "compat.mmdet3d.LovaszLoss",
            "per_sample",
            loss_type=loss_type,
            classes=classes,
            per_image=per_sample,
            reduction=reduction,
            class_weight=class_weight,
            loss_weight=loss_weight,
            method=method,
        )
        self.per_sample = per_sample

    @python_only
    def forward(
        self,
        cls_score: Tensor,
        label: Tensor,
        avg_factor: float | None = None,
        reduction_override: Reduction | None = None,
        ignore_index: int | None = 255,
        **kwargs: Any,
    ) -> Tensor:
        """Loss of scores and labels; ``avg_factor`` takes the place of the number of samples."""
        if kwargs:
            raise TypeError(f"{self._name}: expected no further arguments, got {sorted(kwargs)}")
        return self._loss(cls_score, label, None, avg_factor, reduction_override, ignore_index)
