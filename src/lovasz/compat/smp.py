"""The Lovász loss of segmentation-models-pytorch: ``smp.losses.LovaszLoss``."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from lovasz.compat._shared import binary_loss, check_method, check_mode, class_indices
from lovasz.core.options import (
    Method,
    check_flags,
    check_ignore_index,
)
from lovasz.losses._module import PythonModule, python_only
from lovasz.losses.softmax import lovasz_softmax, lovasz_softmax_from_probabilities

__all__ = ["LovaszLoss"]


class LovaszLoss(PythonModule):
    r"""``segmentation_models_pytorch.losses.LovaszLoss``.

    "multiclass": `lovasz.lovasz_softmax`. "binary" and "multilabel": the Lovász hinge, the
    extension of the Jaccard loss at $\max(0, 1 - s x)$; with "multilabel" each channel is a set of
    its own and the loss is their mean.

    Args:
        mode: "binary", "multiclass" or "multilabel".
        per_image: True averages the losses of the images, without those that are all ignored.
        ignore_index: label of pixels to leave out, or None.
        from_logits: False takes probabilities. The binary modes then take $|y - p|$ for the error,
            because a probability has no margin.
        method: "histogram" or "sort", as for `lovasz.lovasz_softmax`; None: "histogram" for
            "multiclass" and "sort" for the others.

    Shape:
        - y_pred: (N, C, *), or (N, 1, *) and (N, *) for "binary".
        - y_true: (N, *) or (N, 1, *); (N, C, *) for "multilabel". Labels may be whole floats.
        - output: scalar.

    Raises:
        TypeError: for arguments of a wrong type or dtype.
        ValueError: for shapes and values that do not fit.

    Examples:
        >>> import torch
        >>> criterion = LovaszLoss("binary")
        >>> logits = torch.tensor([[[2.0, -2.0]], [[-0.5, 0.5]]])
        >>> round(criterion(logits, torch.tensor([[[1, 0]], [[0, 1]]])).item(), 4)
        0.3333

    References:
        Berman, Triki, Blaschko, CVPR 2018, arXiv 1705.08790;
        https://github.com/qubvel-org/segmentation_models.pytorch.
    """

    def __init__(
        self,
        mode: str,
        per_image: bool = False,
        ignore_index: int | None = None,
        from_logits: bool = True,
        *,
        method: Method | None = None,
    ) -> None:
        super().__init__()
        self._name = "compat.smp.LovaszLoss"
        check_mode(self._name, mode)
        check_flags(self._name, per_image=per_image)
        check_flags(self._name, from_logits=from_logits)
        check_ignore_index(self._name, ignore_index)
        check_method(self._name, method)
        self.mode = mode
        self.per_image = per_image
        self.ignore_index = ignore_index
        self.from_logits = from_logits
        self.method: Method | None = method

    @python_only
    def forward(self, y_pred: Tensor, y_true: Tensor) -> Tensor:
        """Loss of predictions and labels."""
        if self.mode == "multiclass":
            function = lovasz_softmax if self.from_logits else lovasz_softmax_from_probabilities
            options: dict[str, Any] = {
                "per_image": self.per_image,
                "ignore_index": self.ignore_index,
                "method": self.method or "histogram",
            }
            return function(y_pred, class_indices(self._name, y_pred, y_true), **options)
        return binary_loss(
            self._name,
            y_pred,
            y_true,
            ignore_index=self.ignore_index,
            per_image=self.per_image,
            channels=self.mode == "multilabel",
            probabilities=not self.from_logits,
            method=self.method,
        )
