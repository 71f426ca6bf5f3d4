"""A Lovász loss with the conventions of MONAI, which has none: as ``monai.losses.DiceLoss``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lovasz.compat._shared import check_method, class_indices
from lovasz.core.options import (
    REDUCTIONS,
    Method,
    Reduction,
    check_choice,
    check_flags,
    check_ignore_index,
    is_number,
)
from lovasz.losses._classes import class_weight
from lovasz.losses._inputs import check_tensors
from lovasz.losses._module import PythonModule, python_only
from lovasz.losses.sigmoid import lovasz_sigmoid, lovasz_sigmoid_from_probabilities
from lovasz.losses.softmax import lovasz_softmax

__all__ = ["LovaszLoss"]


class LovaszLoss(PythonModule):
    r"""Lovász loss with the arguments of ``monai.losses.DiceLoss``.

    ``softmax=True``: `lovasz.lovasz_softmax` with ``classes="all"``; ``sigmoid=True``:
    `lovasz.lovasz_sigmoid` of every channel; otherwise the input, or what ``other_act`` makes of
    it, are probabilities in [0, 1]. As MONAI's losses it counts every class of every image, also
    one that is absent, whose largest probability is the loss, and does not divide by weights.

    Args:
        include_background: False leaves out channel 0.
        to_onehot_y: whether the target holds class indices, (N, 1, \*).
        sigmoid: whether to take the sigmoid of the input.
        softmax: whether to take its softmax.
        other_act: a function that makes probabilities of the input. No two of the three.
        reduction: "mean" over images and classes, "sum", or "none". Images of which everything is
            ignored are left out of the mean.
        batch: True takes the batch as one image.
        weight: a number, or one for each class, but not for a background that is left out; None:
            all 1.
        ignore_index: label of pixels to leave out; of one-hot targets the channel that marks them,
            or if there is no such channel, pixels without any label. None: none.
        method: "histogram" or "sort", as for `lovasz.lovasz_softmax`.

    Shape:
        - input: (N, C, \*) with one or more spatial axes.
        - target: (N, C, \*), one-hot or soft labels; with ``to_onehot_y`` (N, 1, \*), floats too.
        - output: scalar; for "none" (N, C, 1, …), or with ``batch`` (C, 1, …), without a background
          that is left out.

    Raises:
        TypeError: for arguments of a wrong type or dtype.
        ValueError: for shapes and values that do not fit, and options that do not go together,
            which are ``softmax``, ``to_onehot_y`` and ``include_background=False`` with one
            channel, where MONAI's losses ignore them.

    Examples:
        >>> import torch
        >>> criterion = LovaszLoss(softmax=True, to_onehot_y=True, include_background=False)
        >>> logits = torch.zeros(2, 3, 8, 8, 8, requires_grad=True)
        >>> criterion(logits, torch.zeros(2, 1, 8, 8, 8)).backward()

    References:
        Berman, Triki, Blaschko, CVPR 2018, arXiv 1705.08790; https://github.com/Project-MONAI/MONAI
        for the arguments.
    """

    if TYPE_CHECKING:  # TorchScript would read it
        class_weight: Tensor | None

    def __init__(
        self,
        include_background: bool = True,
        to_onehot_y: bool = False,
        sigmoid: bool = False,
        softmax: bool = False,
        other_act: Callable[[Tensor], Tensor] | None = None,
        reduction: Reduction = "mean",
        batch: bool = False,
        weight: Sequence[float] | float | Tensor | None = None,
        ignore_index: int | None = None,
        *,
        method: Method = "histogram",
    ) -> None:
        super().__init__()
        name = self._name = "compat.monai.LovaszLoss"
        check_flags(
            name,
            include_background=include_background,
            to_onehot_y=to_onehot_y,
            sigmoid=sigmoid,
            softmax=softmax,
            batch=batch,
        )
        if other_act is not None and not callable(other_act):
            raise TypeError(
                f"{name}: expected other_act to be None or a function, got {other_act!r}"
            )
        if sigmoid + softmax + (other_act is not None) > 1:
            raise ValueError(
                f"{name}: expected one of sigmoid, softmax and other_act, got sigmoid={sigmoid},"
                f" softmax={softmax}, other_act={other_act!r}"
            )
        reduction = getattr(reduction, "value", reduction)  # MONAI has an enumeration of them
        check_choice(name, "reduction", reduction, REDUCTIONS)
        check_ignore_index(name, ignore_index)
        check_method(name, method)
        self._number = is_number(weight) or (isinstance(weight, Tensor) and weight.dim() == 0)
        if self._number:
            weight = torch.as_tensor(weight, dtype=torch.get_default_dtype()).reshape(1)
        self.register_buffer("class_weight", class_weight(name, weight))
        self.include_background = include_background
        self.to_onehot_y = to_onehot_y
        self.sigmoid = sigmoid
        self.softmax = softmax
        self.other_act = other_act
        self.reduction: Reduction = reduction
        self.batch = batch
        self.ignore_index = ignore_index
        self.method: Method = method

    @python_only
    def forward(self, input: Tensor, target: Tensor) -> Tensor:  # noqa: A002 (MONAI's name)
        """Loss of logits or probabilities, and labels."""
        check_tensors(self._name, "input", input, target)
        self._check_shapes(input, target)
        options: dict[str, Any] = {
            "per_image": not self.batch,
            "weight": self._weight(input.shape[1]),
            "normalize_weight": False,
            "reduction": "mean" if self.reduction == "mean" else "none",
            "method": self.method,
        }
        value = self._softmax(input, target, options) if self.softmax else None
        if value is None:
            value = self._channels(input, target, options)
        elif self.reduction != "mean" and not self.include_background:
            value = value[..., 1:]
        if self.reduction == "none":
            return value.view(*value.shape, *[1] * (input.dim() - 2))
        return value.sum()  # a mean is one number already

    @python_only
    def _softmax(self, scores: Tensor, target: Tensor, options: dict[str, Any]) -> Tensor:
        options["classes"] = "all" if self.include_background else "foreground"
        if self.to_onehot_y:
            labels = class_indices(self._name, scores, target)
            return lovasz_softmax(scores, labels, ignore_index=self.ignore_index, **options)
        mask = self._ignored(target)
        labels = target if target.is_floating_point() else target.float()
        mask = None if mask is None else mask.squeeze(1)
        return lovasz_softmax(scores, labels, ignore_mask=mask, **options)

    @python_only
    def _channels(self, scores: Tensor, target: Tensor, options: dict[str, Any]) -> Tensor:
        mask = self._ignored(target)
        if self.to_onehot_y:
            target = self._one_hot(target, scores, mask)
        if not self.sigmoid and self.other_act is not None:
            scores = self.other_act(scores)
        if not self.include_background:
            scores, target = scores[:, 1:], target[:, 1:]
        if mask is not None:
            mask = mask.expand(target.shape)
            target = torch.where(mask, 0, target)  # the label that is ignored is no mask
        function = lovasz_sigmoid if self.sigmoid else lovasz_sigmoid_from_probabilities
        return function(scores, target, multilabel=True, ignore_mask=mask, **options)

    @python_only
    def _ignored(self, target: Tensor) -> Tensor | None:
        """Which pixels to leave out, (N, 1, *)."""
        label = self.ignore_index
        if label is None:
            return None
        if target.shape[1] == 1:
            return target == label
        if 0 <= label < target.shape[1]:
            return target[:, label : label + 1] >= 0.5
        return (target != 0).sum(1, keepdim=True) == 0

    @python_only
    def _one_hot(self, target: Tensor, scores: Tensor, mask: Tensor | None) -> Tensor:
        """Masks (N, C, *) of class indices (N, 1, *), and 2, no label, where they are none."""
        labels = class_indices(self._name, scores, target).unsqueeze(1)
        classes = torch.arange(scores.shape[1], device=labels.device)
        masks = labels == classes.view(1, -1, *[1] * (scores.dim() - 2))
        wrong = (labels < 0) | (labels >= scores.shape[1])
        if mask is not None:
            wrong = wrong & ~mask
        return torch.where(wrong, 2, masks.to(torch.uint8))

    @python_only
    def _weight(self, channels: int) -> Tensor | None:
        """One for each class that a loss is computed of."""
        if self.class_weight is None:
            return None
        count = channels if self.include_background else channels - 1
        weight = self.class_weight.expand(count) if self._number else self.class_weight
        if len(weight) != count:
            without = "" if self.include_background else " without the background"
            raise ValueError(
                f"{self._name}: expected weight of {count} classes{without}, got {len(weight)}"
            )
        skipped = self.softmax and not self.include_background
        return F.pad(weight, (1, 0)) if skipped else weight

    @python_only
    def _check_shapes(self, scores: Tensor, target: Tensor) -> None:
        shape, got = tuple(scores.shape), tuple(target.shape)
        if len(shape) < 3:
            raise ValueError(f"{self._name}: expected input of shape (N, C, *), got {shape}")
        if shape[1] == 1 and (self.softmax or self.to_onehot_y or not self.include_background):
            raise ValueError(
                f"{self._name}: expected softmax=False, to_onehot_y=False and"
                f" include_background=True for one channel, got softmax={self.softmax},"
                f" to_onehot_y={self.to_onehot_y}, include_background={self.include_background}"
            )
        indices = (shape[0], 1, *shape[2:])
        wanted = indices if self.to_onehot_y else shape
        if got != wanted:
            hint = ""
            if got == (shape[0], *shape[2:]):
                hint = "; pass target.unsqueeze(1)"
                hint += "" if self.to_onehot_y else " with to_onehot_y=True"
            elif got in (indices, shape):
                hint = f"; pass to_onehot_y={not self.to_onehot_y}"
            raise ValueError(
                f"{self._name}: expected target of shape {wanted} for input of shape {shape} and"
                f" to_onehot_y={self.to_onehot_y}, got {got}{hint}"
            )
