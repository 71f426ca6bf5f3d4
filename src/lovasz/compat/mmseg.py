"""The Lovász loss of mmsegmentation: ``mmseg.models.losses.LovaszLoss``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

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
        class_weight: (C,), numbers, the name of a .npy, .json or .yaml file that holds them, or
            None. A file of pickle is not read, because it can run any code.
        loss_weight: factor of the loss.
        loss_name: name under which a trainer logs it.
        method: "histogram" or "sort", as for `lovasz.lovasz_softmax`; None: "histogram" for
            "multi_class" and "sort" for "binary".

    Shape:
        - cls_score: (N, C, *); (N, 1, *) or (N, *) for "binary".
        - label: (N, *) or (N, 1, *).
        - weight: of the shape of label, weights of pixels in [0, 65536]: a pixel of weight 0, which
          a sampler of hard pixels leaves out, is treated as if it were not there.
        - avg_factor: a number that the sum over the images is divided by, plus 1.2e-7 as in
          mmsegmentation, so that nothing divided by 0 is 0.
        - output: scalar; (N,) for ``per_image`` and "none", 0 for images that are all ignored.

    Raises:
        TypeError: for arguments of a wrong type or dtype.
        ValueError: for shapes and values that do not fit.
        ImportError: for a file of YAML without PyYAML.

    Examples:
        >>> import torch
        >>> criterion = LovaszLoss(class_weight=[1.0, 3.0], loss_weight=0.5)
        >>> round(criterion(torch.zeros(1, 2, 3), torch.tensor([[0, 1, 255]])).item(), 2)
        0.5

    References:
        Berman, Triki, Blaschko, CVPR 2018, arXiv 1705.08790;
        https://github.com/open-mmlab/mmsegmentation.
    """

    __jit_unused_properties__: ClassVar[list[str]] = ["__jit_ignored_attributes__", "loss_name"]

    def __init__(
        self,
        loss_type: str = "multi_class",
        classes: Classes = "present",
        per_image: bool = False,
        reduction: Reduction = "mean",
        class_weight: Sequence[float] | str | None = None,
        loss_weight: float = 1.0,
        loss_name: str = "loss_lovasz",
        *,
        method: Method | None = None,
    ) -> None:
        super().__init__(
            "compat.mmseg.LovaszLoss",
            "per_image",
            loss_type=loss_type,
            classes=classes,
            per_image=per_image,
            reduction=reduction,
            class_weight=class_weight,
            loss_weight=loss_weight,
            method=method,
        )
        self.per_image = per_image
        self._loss_name = loss_name

    @python_only
    def forward(
        self,
        cls_score: Tensor,
        label: Tensor,
        weight: Tensor | None = None,
        avg_factor: float | None = None,
        reduction_override: Reduction | None = None,
        ignore_index: int | None = 255,
        **kwargs: Any,
    ) -> Tensor:
        """Loss of scores and labels; ``avg_factor`` takes the place of the number of images."""
        if kwargs:
            raise TypeError(f"{self._name}: expected no further arguments, got {sorted(kwargs)}")
        return self._loss(cls_score, label, weight, avg_factor, reduction_override, ignore_index)

    @property
    def loss_name(self) -> str:
        """Name under which a trainer logs the loss."""
        return self._loss_name
