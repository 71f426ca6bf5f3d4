"""The Lovász losses of kornia: ``kornia.losses``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor, nn

from lovasz.compat._shared import binary_loss, check_method, class_indices
from lovasz.core.options import (
    Method,
)
from lovasz.losses._classes import class_weight
from lovasz.losses._module import PythonModule, python_only
from lovasz.losses.softmax import lovasz_softmax

__all__ = ["LovaszHingeLoss", "LovaszSoftmaxLoss", "lovasz_hinge_loss", "lovasz_softmax_loss"]


def lovasz_softmax_loss(
    pred: Tensor,
    target: Tensor,
    weight: Tensor | Sequence[float] | None = None,
    *,
    method: Method = "histogram",
) -> Tensor:
    """Lovász-Softmax loss of logits: `lovasz.lovasz_softmax` of every image and all classes.

    It is ``lovasz_softmax(pred, target, per_image=True, classes="all", weight=weight,
    normalize_weight=False)``: the mean over images and all C classes of the losses times their
    weights. A class that is absent from an image costs its largest probability there.

    Args:
        pred: (N, C, *), logits, or (1, C, *), which is compared with every target.
        target: (N, *), class indices.
        weight: (C,), class weights, or None.
        method: "histogram" or "sort", as for `lovasz.lovasz_softmax`.

    Returns:
        A scalar, float64 for float64 logits, otherwise float32.

    Raises:
        TypeError: for arguments of a wrong type or dtype.
        ValueError: for shapes and values that do not fit.

    Examples:
        >>> import torch
        >>> target = torch.tensor([[[0, 0, 1, 1]]])
        >>> round(lovasz_softmax_loss(torch.zeros(1, 2, 1, 4), target).item(), 2)
        0.5

    References:
        Berman, Triki, Blaschko, CVPR 2018, arXiv 1705.08790; https://github.com/kornia/kornia
        (0.9; the slopes of earlier versions are not those of the Jaccard loss).
    """
    target = class_indices("compat.kornia.lovasz_softmax_loss", pred, target)
    both = isinstance(pred, Tensor) and isinstance(target, Tensor)
    if both and pred.dim() == target.dim() + 1 > 2 and len(pred) == 1:
        pred = pred.expand(len(target), *pred.shape[1:])
    return lovasz_softmax(
        pred,
        target,
        classes="all",
        per_image=True,
        weight=weight,
        normalize_weight=False,
        method=method,
    )


def lovasz_hinge_loss(pred: Tensor, target: Tensor, *, method: Method = "sort") -> Tensor:
    r"""Lovász hinge loss of every image: the extension of the Jaccard loss at $\max(0, 1 - s x)$.

    Args:
        pred: (N, 1, *), logits.
        target: (N, *), 0 or 1.
        method: "sort", which is exact, or "histogram", as for `lovasz.lovasz_hinge`.

    Returns:
        A scalar, the mean over the images.

    Raises:
        TypeError: for arguments of a wrong type or dtype.
        ValueError: for shapes and values that do not fit.

    Examples:
        >>> import torch
        >>> pred = torch.tensor([[[[3.0, -1.0, 0.5, -2.0]]]])
        >>> lovasz_hinge_loss(pred, torch.tensor([[[1, 1, 0, 0]]])).item()
        1.25

    References:
        Yu, Blaschko, ICML 2015; https://github.com/kornia/kornia.
    """
    return binary_loss(
        "compat.kornia.lovasz_hinge_loss",
        pred,
        target,
        ignore_index=None,
        per_image=True,
        method=method,
    )


class LovaszSoftmaxLoss(PythonModule):
    """`lovasz_softmax_loss` as a module.

    Args:
        weight: (C,), class weights, which are not saved with the module, or a parameter, which is.
        method: "histogram" or "sort".

    Examples:
        >>> import torch
        >>> criterion = LovaszSoftmaxLoss(torch.tensor([1.0, 3.0]))
        >>> round(criterion(torch.zeros(1, 2, 1, 4), torch.tensor([[[0, 0, 1, 1]]])).item(), 2)
        1.0
    """

    if TYPE_CHECKING:  # TorchScript would read it
        weight: Tensor | None

    def __init__(
        self, weight: Tensor | Sequence[float] | None = None, *, method: Method = "histogram"
    ) -> None:
        super().__init__()
        name = "compat.kornia.LovaszSoftmaxLoss"
        check_method(name, method)
        self.method: Method = method
        if isinstance(weight, nn.Parameter):
            self.weight = weight
        else:
            self.register_buffer("weight", class_weight(name, weight), persistent=False)

    @python_only
    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Loss of logits and class indices."""
        return lovasz_softmax_loss(pred, target, self.weight, method=self.method)


class LovaszHingeLoss(PythonModule):
    """`lovasz_hinge_loss` as a module.

    Args:
        method: "sort", which is exact, or "histogram".

    Examples:
        >>> import torch
        >>> pred = torch.tensor([[[[3.0, -1.0, 0.5, -2.0]]]])
        >>> LovaszHingeLoss()(pred, torch.tensor([[[1, 1, 0, 0]]])).item()
        1.25
    """

    def __init__(self, *, method: Method = "sort") -> None:
        super().__init__()
        check_method("compat.kornia.LovaszHingeLoss", method)
        self.method: Method = method

    @python_only
    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Loss of logits and masks."""
        return lovasz_hinge_loss(pred, target, method=self.method)
