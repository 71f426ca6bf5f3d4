"""The Lovász losses of Catalyst: ``catalyst.contrib.losses``."""

from __future__ import annotations

from torch import Tensor

from lovasz.compat._shared import binary_loss, check_method, probabilities_loss
from lovasz.core.options import (
    Method,
    check_flags,
    check_ignore_index,
)
from lovasz.losses._module import PythonModule, python_only

__all__ = ["LovaszLossBinary", "LovaszLossMultiClass", "LovaszLossMultiLabel"]


class _CatalystLoss(PythonModule):
    """The options that all three have."""

    def __init__(self, per_image: bool, ignore: int | None, method: Method) -> None:
        super().__init__()
        self._name = f"compat.catalyst.{type(self).__name__}"
        check_flags(self._name, per_image=per_image)
        check_ignore_index(self._name, ignore)
        check_method(self._name, method)
        self.per_image = per_image
        self.ignore = ignore
        self.method: Method = method


class LovaszLossBinary(_CatalystLoss):
    r"""``catalyst.contrib.losses.LovaszLossBinary``.

    The Lovász hinge, the extension of the Jaccard loss at $\max(0, 1 - s x)$.

    Args:
        per_image: True averages the losses of the images, without those that are all ignored.
        ignore: label of pixels to leave out, or None.
        method: "sort", which is exact, or "histogram", as for `lovasz.lovasz_hinge`.

    Shape:
        - logits: (N, *), (N, 1, *) or (P,).
        - targets: the same, or without the 1; 0, 1 or ignore, floats too.
        - output: scalar.

    Raises:
        TypeError: for arguments of a wrong type or dtype.
        ValueError: for shapes and values that do not fit.

    Examples:
        >>> import torch
        >>> criterion = LovaszLossBinary()
        >>> criterion(torch.tensor([3.0, -1.0, 0.5, -2.0]), torch.tensor([1, 1, 0, 0])).item()
        1.25

    References:
        Yu, Blaschko, ICML 2015; https://github.com/catalyst-team/catalyst.
    """

    def __init__(
        self, per_image: bool = False, ignore: int | None = None, *, method: Method = "sort"
    ) -> None:
        super().__init__(per_image, ignore, method)

    @python_only
    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Loss of logits and masks."""
        return binary_loss(
            self._name,
            logits,
            targets,
            ignore_index=self.ignore,
            per_image=self.per_image,
            method=self.method,
        )


class LovaszLossMultiClass(_CatalystLoss):
    """``catalyst.contrib.losses.LovaszLossMultiClass``: `lovasz_softmax_from_probabilities`.

    Args:
        per_image: True averages the losses of the images, without those that are all ignored.
        ignore: label of pixels to leave out, or None.
        method: "histogram" or "sort", as for `lovasz.lovasz_softmax`.

    Shape:
        - logits: (N, C, *), *probabilities*, as Catalyst takes them under this name.
        - targets: (N, *) or (N, 1, *), class indices or ignore.
        - output: scalar.

    Raises:
        TypeError: for arguments of a wrong type or dtype.
        ValueError: for shapes and values that do not fit; on the CPU also for logits.

    Examples:
        >>> import torch
        >>> criterion = LovaszLossMultiClass(ignore=255)
        >>> logits = torch.zeros(1, 2, 4)
        >>> round(criterion(logits.softmax(1), torch.tensor([[0, 0, 1, 255]])).item(), 2)
        0.5

    References:
        Berman, Triki, Blaschko, CVPR 2018, arXiv 1705.08790;
        https://github.com/catalyst-team/catalyst.
    """

    def __init__(
        self, per_image: bool = False, ignore: int | None = None, *, method: Method = "histogram"
    ) -> None:
        super().__init__(per_image, ignore, method)

    @python_only
    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Loss of probabilities and class indices."""
        return probabilities_loss(
            self._name,
            logits,
            targets,
            "LovaszLossBinary",
            per_image=self.per_image,
            ignore_index=self.ignore,
            method=self.method,
        )


class LovaszLossMultiLabel(_CatalystLoss):
    r"""``catalyst.contrib.losses.LovaszLossMultiLabel``.

    The mean over the channels of the Lovász hinge of each, without masks that are all ignored.

    Args:
        per_image: True averages the losses of the images, without those that are all ignored.
        ignore: label of pixels to leave out, or None.
        method: "sort", which is exact, or "histogram", as for `lovasz.lovasz_hinge`.

    Shape:
        - logits: (N, C, *) or (P, C).
        - targets: the same; 0, 1 or ignore, floats too.
        - output: scalar.

    Raises:
        TypeError: for arguments of a wrong type or dtype.
        ValueError: for shapes and values that do not fit.

    Examples:
        >>> import torch
        >>> logits = torch.tensor([[3.0, 1.0], [-1.0, 1.0], [0.5, 1.0], [-2.0, 1.0]])
        >>> targets = torch.tensor([[1, 1], [1, 1], [0, 1], [0, 1]])
        >>> LovaszLossMultiLabel()(logits, targets).item()
        0.625

    References:
        Yu, Blaschko, ICML 2015; https://github.com/catalyst-team/catalyst.
    """

    def __init__(
        self, per_image: bool = False, ignore: int | None = None, *, method: Method = "sort"
    ) -> None:
        super().__init__(per_image, ignore, method)

    @python_only
    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Loss of logits and masks, one of each channel."""
        return binary_loss(
            self._name,
            logits,
            targets,
            ignore_index=self.ignore,
            per_image=self.per_image,
            channels=True,
            method=self.method,
        )
