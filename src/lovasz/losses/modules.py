"""The losses of classes as modules: they keep the options and call the functions."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from lovasz.core.set_functions import SetFunction, jaccard
from lovasz.kernels import DEFAULT_BINS
from lovasz.losses import _inputs
from lovasz.losses._module import Loss
from lovasz.losses.combined import cross_entropy_lovasz_softmax
from lovasz.losses.distributed import Group, check_group
from lovasz.losses.softmax import lovasz_softmax
from lovasz.losses.window import make_window

__all__ = ["CrossEntropyLovaszSoftmaxLoss", "LovaszSoftmaxLoss"]


class LovaszSoftmaxLoss(Loss):
    r"""Lovász-Softmax loss of logits, as a module.

    Definition, arguments, result and errors are those of
    `lovasz_softmax`; options are checked when the module is made.

    Args:
        classes: "present", "all", or a list of class indices.
        ignore_index: label of the pixels to leave out, or None.
        weight: (C,), class weights, or None; a buffer that moves with the module.
        normalize_weight: divide a mean by the weights of the counting classes, not their number.
        per_image: average the losses of the images.
        reduction: "mean", "sum" or "none".
        set_function: Δ(fn, fp, positives).
        method: "histogram" or "sort".
        bins: number of bins of the histogram method.
        momentum: β in [0, 1) of a `Window` that remembers the counts of earlier batches, as a
            submodule that is saved and moved with this one; ``reset_window`` forgets them. In
            evaluation mode the loss is that of the batch. None: no window.
        process_group: ranks whose batches are one, in training and in evaluation mode; "world",
            unlike a group, can be copied and pickled. None: this process alone.

    Shape:
        - logits: (N, C, *) or (P, C).
        - target: (N, *) or (P,).
        - output: scalar; (C,) or (N, C) for ``reduction="none"``.

    Raises:
        TypeError: for options of a wrong type.
        ValueError: for options of a wrong value.

    Examples:
        >>> import torch
        >>> criterion = LovaszSoftmaxLoss(ignore_index=255)
        >>> logits = torch.zeros(2, 3, 4, 4, requires_grad=True)
        >>> target = torch.zeros(2, 4, 4, dtype=torch.uint8)
        >>> criterion(logits, target).backward()

    References:
        Berman, Triki, Blaschko, CVPR 2018, arXiv 1705.08790.
    """

    function = staticmethod(lovasz_softmax)

    def __init__(
        self,
        *,
        classes: str | Sequence[int] = "present",
        ignore_index: int | None = None,
        weight: Tensor | Sequence[float] | None = None,
        normalize_weight: bool = True,
        per_image: bool = False,
        reduction: str = "mean",
        set_function: SetFunction = jaccard,
        method: str = "histogram",
        bins: int = DEFAULT_BINS,
        momentum: float | None = None,
        process_group: Group = None,
    ) -> None:
        name = type(self).__name__
        checked = {
            "ignore_index": ignore_index,
            "per_image": per_image,
            "normalize_weight": normalize_weight,
            "reduction": reduction,
            "set_function": set_function,
            "method": method,
            "bins": bins,
        }
        _inputs.check_options(name, **checked)
        _inputs.check_classes(name, classes)
        check_group(name, process_group, per_image=per_image, reduction=reduction, method=method)
        super().__init__(
            make_window(name, momentum, per_image=per_image, method=method),
            {"classes": classes, **checked, "process_group": process_group},
            {"weight": _inputs.class_weight(name, weight)},
        )


class CrossEntropyLovaszSoftmaxLoss(Loss):
    r"""Cross-entropy and Lovász-Softmax together, as a module.

    Definition, arguments, result and errors are those of `cross_entropy_lovasz_softmax`; options
    are checked when the module is made.

    Args:
        cross_entropy_weight: factor of the cross-entropy.
        lovasz_weight: factor of the Lovász-Softmax loss.
        weight: (C,), class weights of the cross-entropy, or None; a buffer.
        label_smoothing: of the cross-entropy.
        classes: "present", "all", or a list of class indices.
        ignore_index: label of the pixels to leave out, or None.
        lovasz_class_weight: (C,), class weights of the Lovász-Softmax loss, or None; a buffer.
        normalize_weight: divide a mean by the weights of the counting classes, not their number.
        per_image: average the Lovász-Softmax losses of the images.
        set_function: Δ(fn, fp, positives).
        bins: number of bins.
        momentum: as for `LovaszSoftmaxLoss`.
        process_group: as for `LovaszSoftmaxLoss`.

    Shape:
        - logits: (N, C, *) or (P, C).
        - target: (N, *) or (P,).
        - output: scalar.

    Raises:
        TypeError: for options of a wrong type.
        ValueError: for options of a wrong value.

    Examples:
        >>> import torch
        >>> criterion = CrossEntropyLovaszSoftmaxLoss(ignore_index=255, label_smoothing=0.1)
        >>> logits = torch.zeros(2, 3, 4, 4, requires_grad=True)
        >>> target = torch.zeros(2, 4, 4, dtype=torch.uint8)
        >>> criterion(logits, target).backward()

    References:
        Berman, Triki, Blaschko, CVPR 2018, arXiv 1705.08790.
    """

    function = staticmethod(cross_entropy_lovasz_softmax)

    def __init__(
        self,
        *,
        cross_entropy_weight: float = 1.0,
        lovasz_weight: float = 1.0,
        weight: Tensor | Sequence[float] | None = None,
        label_smoothing: float = 0.0,
        classes: str | Sequence[int] = "present",
        ignore_index: int | None = None,
        lovasz_class_weight: Tensor | Sequence[float] | None = None,
        normalize_weight: bool = True,
        per_image: bool = False,
        set_function: SetFunction = jaccard,
        bins: int = DEFAULT_BINS,
        momentum: float | None = None,
        process_group: Group = None,
    ) -> None:
        name = type(self).__name__
        checked = {
            "ignore_index": ignore_index,
            "per_image": per_image,
            "normalize_weight": normalize_weight,
            "set_function": set_function,
            "bins": bins,
        }
        _inputs.check_options(name, **checked)
        _inputs.check_mixture(name, cross_entropy_weight, lovasz_weight, label_smoothing)
        _inputs.check_classes(name, classes)
        alpha = _inputs.class_weight(name, lovasz_class_weight, argument="lovasz_class_weight")
        check_group(name, process_group, per_image=per_image)
        super().__init__(
            make_window(name, momentum, per_image=per_image),
            {
                "cross_entropy_weight": cross_entropy_weight,
                "lovasz_weight": lovasz_weight,
                "label_smoothing": label_smoothing,
                "classes": classes,
                **checked,
                "process_group": process_group,
            },
            {
                "weight": _inputs.class_weight(name, weight),
                "lovasz_class_weight": alpha,
            },
        )
