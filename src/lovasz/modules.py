"""The losses as modules: they keep the options and call the functions."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from lovasz import _inputs
from lovasz.combined import cross_entropy_lovasz_softmax
from lovasz.functional import lovasz_softmax
from lovasz.ops import DEFAULT_BINS
from lovasz.set_functions import SetFunction, jaccard
from lovasz.window import Window, make_window

__all__ = ["CrossEntropyLovaszSoftmaxLoss", "LovaszSoftmaxLoss"]


class LovaszSoftmaxLoss(nn.Module):
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

    weight: Tensor | None
    window: Window | None

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
    ) -> None:
        super().__init__()
        name = type(self).__name__
        _inputs.check_options(
            name,
            ignore_index=ignore_index,
            per_image=per_image,
            normalize_weight=normalize_weight,
            reduction=reduction,
            set_function=set_function,
            method=method,
            bins=bins,
        )
        _inputs.check_classes(name, classes)
        self.classes = classes
        self.ignore_index = ignore_index
        self.register_buffer("weight", _inputs.class_weight(name, weight))
        self.normalize_weight = normalize_weight
        self.per_image = per_image
        self.reduction = reduction
        self.set_function = set_function
        self.method = method
        self.bins = bins
        self.window = make_window(name, momentum, per_image=per_image, method=method)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Loss of logits (N, C, *) or (P, C) and labels (N, *) or (P,)."""
        return lovasz_softmax(
            logits,
            target,
            classes=self.classes,
            ignore_index=self.ignore_index,
            weight=self.weight,
            normalize_weight=self.normalize_weight,
            per_image=self.per_image,
            reduction=self.reduction,
            set_function=self.set_function,
            method=self.method,
            bins=self.bins,
            window=self.window if self.training else None,
        )

    def reset_window(self) -> None:
        """Forget the batches before, if there is a window."""
        if self.window is not None:
            self.window.reset()

    def extra_repr(self) -> str:
        """Options that differ from their defaults are what a reader looks for: print them all."""
        return (
            f"classes={self.classes!r}, ignore_index={self.ignore_index},"
            f" normalize_weight={self.normalize_weight}, per_image={self.per_image},"
            f" reduction={self.reduction!r}, set_function={_name(self.set_function)},"
            f" method={self.method!r}, bins={self.bins}"
        )


class CrossEntropyLovaszSoftmaxLoss(nn.Module):
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

    weight: Tensor | None
    lovasz_class_weight: Tensor | None
    window: Window | None

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
    ) -> None:
        super().__init__()
        name = type(self).__name__
        _inputs.check_options(
            name,
            ignore_index=ignore_index,
            per_image=per_image,
            normalize_weight=normalize_weight,
            reduction="mean",
            set_function=set_function,
            method="histogram",
            bins=bins,
        )
        _inputs.check_mixture(name, cross_entropy_weight, lovasz_weight, label_smoothing)
        _inputs.check_classes(name, classes)
        self.cross_entropy_weight = cross_entropy_weight
        self.lovasz_weight = lovasz_weight
        self.register_buffer("weight", _inputs.class_weight(name, weight))
        self.label_smoothing = label_smoothing
        self.classes = classes
        self.ignore_index = ignore_index
        alpha = _inputs.class_weight(name, lovasz_class_weight, argument="lovasz_class_weight")
        self.register_buffer("lovasz_class_weight", alpha)
        self.normalize_weight = normalize_weight
        self.per_image = per_image
        self.set_function = set_function
        self.bins = bins
        self.window = make_window(name, momentum, per_image=per_image)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Loss of logits (N, C, *) or (P, C) and labels (N, *) or (P,)."""
        return cross_entropy_lovasz_softmax(
            logits,
            target,
            cross_entropy_weight=self.cross_entropy_weight,
            lovasz_weight=self.lovasz_weight,
            weight=self.weight,
            label_smoothing=self.label_smoothing,
            classes=self.classes,
            ignore_index=self.ignore_index,
            lovasz_class_weight=self.lovasz_class_weight,
            normalize_weight=self.normalize_weight,
            per_image=self.per_image,
            set_function=self.set_function,
            bins=self.bins,
            window=self.window if self.training else None,
        )

    def reset_window(self) -> None:
        """Forget the batches before, if there is a window."""
        if self.window is not None:
            self.window.reset()

    def extra_repr(self) -> str:
        """The options."""
        return (
            f"cross_entropy_weight={self.cross_entropy_weight:g},"
            f" lovasz_weight={self.lovasz_weight:g}, label_smoothing={self.label_smoothing:g},"
            f" classes={self.classes!r}, ignore_index={self.ignore_index},"
            f" normalize_weight={self.normalize_weight}, per_image={self.per_image},"
            f" set_function={_name(self.set_function)}, bins={self.bins}"
        )


def _name(set_function: SetFunction) -> str:
    return getattr(set_function, "__name__", None) or repr(set_function)
