"""The Lovász losses of pytorch-toolbelt: ``pytorch_toolbelt.losses``."""

from __future__ import annotations

from torch import Tensor

from lovasz.compat._shared import binary_loss, check_method, probabilities_loss
from lovasz.core.options import (
    Method,
    check_flags,
    check_ignore_index,
)
from lovasz.losses._module import PythonModule, python_only

__all__ = ["BinaryLovaszLoss", "LovaszLoss"]


class BinaryLovaszLoss(PythonModule):
    r"""``pytorch_toolbelt.losses.BinaryLovaszLoss``.

    The Lovász hinge, the extension of the Jaccard loss at $\max(0, 1 - s x)$.

    Args:
        per_image: True averages the losses of the images, without those that are all ignored.
        ignore_index: label of pixels to leave out, a whole number, or None.
        method: "sort", which is exact, or "histogram", as for `lovasz.lovasz_hinge`.

    Shape:
        - logits: (N, *), (N, 1, *) or (P,).
        - target: the same, or without the 1; 0, 1 or ignore_index, floats too.
        - output: scalar.

    Raises:
        TypeError: for arguments of a wrong type or dtype.
        ValueError: for shapes and values that do not fit.

    Examples:
        >>> import torch
        >>> criterion = BinaryLovaszLoss()
        >>> criterion(torch.tensor([3.0, -1.0, 0.5, -2.0]), torch.tensor([1, 1, 0, 0])).item()
        1.25

    References:
        Yu, Blaschko, ICML 2015; https://github.com/BloodAxe/pytorch-toolbelt.
    """

    def __init__(
        self,
        per_image: bool = False,
        ignore_index: float | None = None,
        *,
        method: Method = "sort",
    ) -> None:
        super().__init__()
        self._name = "compat.toolbelt.BinaryLovaszLoss"
        if isinstance(ignore_index, float) and ignore_index.is_integer():
            ignore_index = int(ignore_index)
        check_flags(self._name, per_image=per_image)
        check_ignore_index(self._name, ignore_index)
        check_method(self._name, method)
        self.per_image = per_image
        self.ignore_index = None if ignore_index is None else int(ignore_index)
        self.method: Method = method

    @python_only
    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Loss of logits and masks."""
        return binary_loss(
            self._name,
            logits,
            target,
            ignore_index=self.ignore_index,
            per_image=self.per_image,
            method=self.method,
        )


class LovaszLoss(PythonModule):
    """``pytorch_toolbelt.losses.LovaszLoss``: `lovasz.lovasz_softmax_from_probabilities`.

    Args:
        per_image: True averages the losses of the images, without those that are all ignored.
        ignore: label of pixels to leave out, or None.
        method: "histogram" or "sort", as for `lovasz.lovasz_softmax`.

    Shape:
        - logits: (N, C, *), *probabilities*, as pytorch-toolbelt takes them under this name.
        - target: (N, *) or (N, 1, *), class indices or ignore.
        - output: scalar.

    Raises:
        TypeError: for arguments of a wrong type or dtype.
        ValueError: for shapes and values that do not fit; on the CPU also for logits.

    Examples:
        >>> import torch
        >>> criterion = LovaszLoss(ignore=255)
        >>> logits = torch.zeros(1, 2, 4)
        >>> round(criterion(logits.softmax(1), torch.tensor([[0, 0, 1, 255]])).item(), 2)
        0.5

    References:
        Berman, Triki, Blaschko, CVPR 2018, arXiv 1705.08790;
        https://github.com/BloodAxe/pytorch-toolbelt.
    """

    def __init__(
        self, per_image: bool = False, ignore: int | None = None, *, method: Method = "histogram"
    ) -> None:
        super().__init__()
        self._name = "compat.toolbelt.LovaszLoss"
        check_flags(self._name, per_image=per_image)
        check_ignore_index(self._name, ignore)
        check_method(self._name, method)
        self.per_image = per_image
        self.ignore = ignore
        self.method: Method = method

    @python_only
    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Loss of probabilities and class indices."""
        return probabilities_loss(
            self._name,
            logits,
            target,
            "BinaryLovaszLoss",
            per_image=self.per_image,
            ignore_index=self.ignore,
            method=self.method,
        )
