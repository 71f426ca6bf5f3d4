"""The Lovász losses of PaddleSeg, for PyTorch: ``paddleseg.models.losses``."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor, nn

from lovasz.compat._shared import binary_loss, check_method, class_indices
from lovasz.core.options import (
    Classes,
    Method,
    check_classes,
    check_ignore_index,
    is_number,
)
from lovasz.kernels.precision import to_compute
from lovasz.losses._module import PythonModule, python_only
from lovasz.losses.softmax import lovasz_softmax

__all__ = ["LovaszHingeLoss", "LovaszSoftmaxLoss", "MixedLoss"]


class LovaszSoftmaxLoss(PythonModule):
    """``paddleseg.models.losses.LovaszSoftmaxLoss``: `lovasz.lovasz_softmax`.

    Args:
        ignore_index: label of pixels to leave out, or None.
        classes: "present", "all" or a list of class indices.
        method: "histogram" or "sort", as for `lovasz.lovasz_softmax`.

    Shape:
        - logits: (N, C, *).
        - labels: (N, *) or (N, 1, *), class indices or ignore_index.
        - output: scalar.

    Raises:
        TypeError: for arguments of a wrong type or dtype.
        ValueError: for shapes and values that do not fit.

    Examples:
        >>> import torch
        >>> criterion = LovaszSoftmaxLoss()
        >>> round(criterion(torch.zeros(1, 2, 4), torch.tensor([[[0, 0, 1, 255]]])).item(), 2)
        0.5

    References:
        Berman, Triki, Blaschko, CVPR 2018, arXiv 1705.08790;
        https://github.com/PaddlePaddle/PaddleSeg.
    """

    def __init__(
        self,
        ignore_index: int | None = 255,
        classes: Classes = "present",
        *,
        method: Method = "histogram",
    ) -> None:
        super().__init__()
        self._name = "compat.paddleseg.LovaszSoftmaxLoss"
        check_ignore_index(self._name, ignore_index)
        check_classes(self._name, classes)
        check_method(self._name, method)
        self.ignore_index = ignore_index
        self.classes: Classes = classes
        self.method: Method = method

    @python_only
    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Loss of logits and class indices."""
        return lovasz_softmax(
            logits,
            class_indices(self._name, logits, labels),
            classes=self.classes,
            ignore_index=self.ignore_index,
            method=self.method,
        )


class LovaszHingeLoss(PythonModule):
    r"""``paddleseg.models.losses.LovaszHingeLoss``.

    The Lovász hinge, the extension of the Jaccard loss at $\max(0, 1 - s x)$. Of two channels
    $x = x_1 - x_0$, the logit of the second one's softmax. (PaddleSeg means to take it and takes
    the logarithm of the probability instead, which is never positive.)

    Args:
        ignore_index: label of pixels to leave out, or None.
        method: "sort", which is exact, or "histogram", as for `lovasz.lovasz_hinge`.

    Shape:
        - logits: (N, 1, *) or (N, 2, *).
        - labels: (N, *) or (N, 1, *), 0, 1 or ignore_index.
        - output: scalar.

    Raises:
        TypeError: for arguments of a wrong type or dtype.
        ValueError: for shapes and values that do not fit.

    Examples:
        >>> import torch
        >>> logits = torch.tensor([[[0.0, 0.0, 0.0, 0.0], [3.0, -1.0, 0.5, -2.0]]])
        >>> LovaszHingeLoss()(logits, torch.tensor([[1, 1, 0, 0]])).item()
        1.25

    References:
        Yu, Blaschko, ICML 2015; https://github.com/PaddlePaddle/PaddleSeg.
    """

    def __init__(self, ignore_index: int | None = 255, *, method: Method = "sort") -> None:
        super().__init__()
        self._name = "compat.paddleseg.LovaszHingeLoss"
        check_ignore_index(self._name, ignore_index)
        check_method(self._name, method)
        self.ignore_index = ignore_index
        self.method: Method = method

    @python_only
    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Loss of logits of one channel or two, and masks."""
        if not isinstance(logits, Tensor):
            raise TypeError(
                f"{self._name}: expected logits to be a tensor, got {type(logits).__name__}"
            )
        if logits.dim() < 2 or logits.shape[1] not in (1, 2):
            raise ValueError(
                f"{self._name}: expected logits of shape (N, 1, *) or (N, 2, *), got"
                f" {tuple(logits.shape)}"
            )
        if logits.shape[1] == 2:
            logits = to_compute(logits)  # of 16 bits a difference would be rounded
            logits = logits[:, 1:] - logits[:, :1]
        return binary_loss(
            self._name,
            logits,
            labels,
            ignore_index=self.ignore_index,
            per_image=False,
            method=self.method,
        )


class MixedLoss(PythonModule):
    """``paddleseg.models.losses.MixedLoss``: several losses of the same logits and labels.

    `lovasz.CrossEntropyLovaszSoftmaxLoss` with ``cross_entropy_weight`` and ``lovasz_weight`` is
    the sum of cross-entropy and Lovász-Softmax in one pass.

    Args:
        losses: modules that take logits and labels.
        coef: a factor for each.

    Shape:
        - logits, labels: what the losses take.
        - output: a list, as in PaddleSeg: each loss times its factor. Their sum is the loss.

    Raises:
        TypeError: for arguments of a wrong type.
        ValueError: for another number of factors than of losses, and factors that are not finite.

    Examples:
        >>> import torch
        >>> losses = [torch.nn.CrossEntropyLoss(ignore_index=255), LovaszSoftmaxLoss()]
        >>> criterion = MixedLoss(losses, [0.8, 0.2])
        >>> logits = torch.zeros(1, 2, 4, requires_grad=True)
        >>> loss = sum(criterion(logits, torch.tensor([[0, 0, 1, 255]])))
        >>> loss.backward()

    References:
        https://github.com/PaddlePaddle/PaddleSeg.
    """

    def __init__(self, losses: list[nn.Module], coef: list[float]) -> None:
        super().__init__()
        name = "compat.paddleseg.MixedLoss"
        for argument, value in (("losses", losses), ("coef", coef)):
            if not isinstance(value, (list, tuple)):
                raise TypeError(
                    f"{name}: expected {argument} to be a list, got {type(value).__name__}"
                )
        for loss in losses:
            if not isinstance(loss, nn.Module):
                raise TypeError(f"{name}: expected losses that are modules, got {loss!r}")
        if not all(is_number(factor) and math.isfinite(float(factor)) for factor in coef):
            raise ValueError(f"{name}: expected coef to hold finite numbers, got {coef}")
        if len(losses) != len(coef):
            raise ValueError(
                f"{name}: expected as many numbers in coef as there are losses, {len(losses)}, got"
                f" {len(coef)}"
            )
        self.losses = nn.ModuleList(losses)
        self.coef = list(coef)

    @python_only
    def forward(self, logits: Any, labels: Any) -> list[Tensor]:
        """Each loss times its factor."""
        pairs = zip(self.losses, self.coef, strict=True)
        return [loss(logits, labels) * factor for loss, factor in pairs]
