"""The losses as modules: they keep the options of a function and call it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from lovasz.core.options import DEFAULT_BINS, CrossEntropy, Options, check_choice
from lovasz.core.set_functions import SetFunction, jaccard
from lovasz.losses._classes import class_weight
from lovasz.losses._loss import check
from lovasz.losses.distributed import Group
from lovasz.losses.hinge import LINKS, lovasz_hinge
from lovasz.losses.sigmoid import binary_cross_entropy_lovasz_sigmoid, lovasz_sigmoid
from lovasz.losses.softmax import cross_entropy_lovasz_softmax, lovasz_softmax
from lovasz.losses.window import Window, make_window

__all__ = [
    "BinaryCrossEntropyLovaszSigmoidLoss",
    "CrossEntropyLovaszSoftmaxLoss",
    "LovaszHingeLoss",
    "LovaszSigmoidLoss",
    "LovaszSoftmaxLoss",
]

_WEIGHTS = ("weight", "pos_weight", "lovasz_class_weight")


class _Loss(nn.Module):
    """A function with its options.

    Options are attributes, class weights buffers, and the window a submodule.
    """

    function: ClassVar[Callable[..., Tensor]]
    link: ClassVar[str]
    window: Window | None

    def __init__(self, *, momentum: float | None, **options: Any) -> None:
        super().__init__()
        name = type(self).__name__
        plain = {key: value for key, value in options.items() if key in Options._fields}
        plain["window"] = make_window(name, momentum)
        if "cross_entropy_weight" in options:
            plain["weight"] = None  # is the cross-entropy's, and checked below
            plain["cross_entropy"] = CrossEntropy(
                options["cross_entropy_weight"],
                options["lovasz_weight"],
                smoothing=options.get("label_smoothing", 0.0),
            )
        check(name, self.link, Options(**plain))
        self._options = tuple(options)
        for key, value in options.items():
            if key in _WEIGHTS:
                self.register_buffer(key, class_weight(name, value, argument=key))
            else:
                setattr(self, key, value)
        self.window = plain["window"]

    def forward(
        self,
        logits: Tensor,
        target: Tensor,
        *,
        pixel_weight: Tensor | None = None,
        ignore_mask: Tensor | None = None,
        offsets: Tensor | None = None,
        batch_index: Tensor | None = None,
        batch_size: int | None = None,
    ) -> Tensor:
        """Loss of logits and labels; further tensors as for the function."""
        options = {name: getattr(self, name) for name in self._options}
        return type(self).function(
            logits,
            target,
            window=self.window if self.training else None,
            pixel_weight=pixel_weight,
            ignore_mask=ignore_mask,
            offsets=offsets,
            batch_index=batch_index,
            batch_size=batch_size,
            **options,
        )

    def reset_window(self) -> None:
        """Forget the batches before, if there is a window."""
        if self.window is not None:
            self.window.reset()

    def extra_repr(self) -> str:
        """All options but the class weights, which are buffers."""
        shown = [name for name in self._options if name not in _WEIGHTS]
        return ", ".join(f"{name}={_shown(getattr(self, name))}" for name in shown)


def _shown(value: Any) -> str:
    if callable(value):
        return getattr(value, "__name__", None) or repr(value)
    return f"{value:g}" if isinstance(value, float) else repr(value)


class LovaszSoftmaxLoss(_Loss):
    r"""Lovász-Softmax loss of logits, as a module.

    Definition, result, errors and all other arguments are those of `lovasz_softmax`.
    Options are checked when the module is made; class weights are buffers that move with it.

    Args:
        momentum: β in [0, 1) of a `Window` that remembers the counts of earlier batches, as a
            submodule that is saved and moved with this one; ``reset_window`` forgets them. In
            evaluation mode the loss is that of the batch. None: no window.
        process_group: as for the function, in training and in evaluation mode; "world", unlike a
            group, can be copied and pickled.

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
    link = "softmax"

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
        upsample: str | None = None,
        align_corners: bool = False,
    ) -> None:
        super().__init__(
            classes=classes,
            ignore_index=ignore_index,
            weight=weight,
            normalize_weight=normalize_weight,
            per_image=per_image,
            reduction=reduction,
            set_function=set_function,
            method=method,
            bins=bins,
            momentum=momentum,
            process_group=process_group,
            upsample=upsample,
            align_corners=align_corners,
        )


class CrossEntropyLovaszSoftmaxLoss(_Loss):
    r"""Cross-entropy and Lovász-Softmax together, as a module.

    Definition, result, errors and all other arguments are those of
    `cross_entropy_lovasz_softmax`.
    Options are checked when the module is made; class weights are buffers that move with it.

    Args:
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

    function = staticmethod(cross_entropy_lovasz_softmax)
    link = "softmax"

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
        upsample: str | None = None,
        align_corners: bool = False,
    ) -> None:
        super().__init__(
            cross_entropy_weight=cross_entropy_weight,
            lovasz_weight=lovasz_weight,
            weight=weight,
            label_smoothing=label_smoothing,
            classes=classes,
            ignore_index=ignore_index,
            lovasz_class_weight=lovasz_class_weight,
            normalize_weight=normalize_weight,
            per_image=per_image,
            set_function=set_function,
            bins=bins,
            momentum=momentum,
            process_group=process_group,
            upsample=upsample,
            align_corners=align_corners,
        )


class LovaszSigmoidLoss(_Loss):
    r"""Lovász loss of the sigmoid of logits, as a module.

    Definition, result, errors and all other arguments are those of `lovasz_sigmoid`.
    Options are checked when the module is made; class weights are buffers that move with it.

    Args:
        momentum: as for `LovaszSoftmaxLoss`.

    Shape:
        - logits: see `lovasz_sigmoid`.
        - target: see `lovasz_sigmoid`.
        - output: scalar; (C,) or (N, C) for ``reduction="none"``.

    Raises:
        TypeError: for options of a wrong type.
        ValueError: for options of a wrong value.

    Examples:
        >>> import torch
        >>> criterion = LovaszSigmoidLoss()
        >>> logits = torch.zeros(2, 1, 4, 4, requires_grad=True)
        >>> criterion(logits, torch.ones(2, 1, 4, 4)).backward()

    References:
        Berman, Triki, Blaschko, CVPR 2018, arXiv 1705.08790.
    """

    function = staticmethod(lovasz_sigmoid)
    link = "sigmoid"

    def __init__(
        self,
        *,
        multilabel: bool | None = None,
        symmetric: bool = False,
        classes: str | Sequence[int] = "all",
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
        upsample: str | None = None,
        align_corners: bool = False,
    ) -> None:
        super().__init__(
            multilabel=multilabel,
            symmetric=symmetric,
            classes=classes,
            ignore_index=ignore_index,
            weight=weight,
            normalize_weight=normalize_weight,
            per_image=per_image,
            reduction=reduction,
            set_function=set_function,
            method=method,
            bins=bins,
            momentum=momentum,
            process_group=process_group,
            upsample=upsample,
            align_corners=align_corners,
        )


class LovaszHingeLoss(_Loss):
    r"""Lovász hinge loss, as a module.

    Definition, result, errors and all other arguments are those of `lovasz_hinge`.
    Options are checked when the module is made; class weights are buffers that move with it.

    Args:
        momentum: as for `LovaszSoftmaxLoss`.

    Shape:
        - logits: see `lovasz_sigmoid`.
        - target: see `lovasz_sigmoid`.
        - output: scalar; (C,) or (N, C) for ``reduction="none"``.

    Raises:
        TypeError: for options of a wrong type.
        ValueError: for options of a wrong value.

    Examples:
        >>> import torch
        >>> criterion = LovaszHingeLoss(per_image=True, ignore_index=255)
        >>> logits = torch.zeros(2, 1, 4, 4, requires_grad=True)
        >>> criterion(logits, torch.ones(2, 1, 4, 4)).backward()

    References:
        Yu, Blaschko, ICML 2015; Berman, Triki, Blaschko, CVPR 2018, arXiv 1705.08790.
    """

    function = staticmethod(lovasz_hinge)
    link = "hinge"

    def __init__(
        self,
        *,
        activation: str = "relu",
        multilabel: bool | None = None,
        symmetric: bool = False,
        classes: str | Sequence[int] = "all",
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
        upsample: str | None = None,
        align_corners: bool = False,
    ) -> None:
        check_choice(type(self).__name__, "activation", activation, tuple(LINKS))
        super().__init__(
            activation=activation,
            multilabel=multilabel,
            symmetric=symmetric,
            classes=classes,
            ignore_index=ignore_index,
            weight=weight,
            normalize_weight=normalize_weight,
            per_image=per_image,
            reduction=reduction,
            set_function=set_function,
            method=method,
            bins=bins,
            momentum=momentum,
            process_group=process_group,
            upsample=upsample,
            align_corners=align_corners,
        )


class BinaryCrossEntropyLovaszSigmoidLoss(_Loss):
    r"""Binary cross-entropy and the Lovász loss of the sigmoid, as a module.

    Definition, result, errors and all other arguments are those of
    `binary_cross_entropy_lovasz_sigmoid`.
    Options are checked when the module is made; class weights are buffers that move with it.

    Args:
        momentum: as for `LovaszSoftmaxLoss`.

    Shape:
        - logits: see `lovasz_sigmoid`.
        - target: see `lovasz_sigmoid`.
        - output: scalar.

    Raises:
        TypeError: for options of a wrong type.
        ValueError: for options of a wrong value.

    Examples:
        >>> import torch
        >>> criterion = BinaryCrossEntropyLovaszSigmoidLoss(multilabel=True)
        >>> logits = torch.zeros(2, 3, 4, 4, requires_grad=True)
        >>> criterion(logits, torch.ones(2, 3, 4, 4)).backward()

    References:
        Berman, Triki, Blaschko, CVPR 2018, arXiv 1705.08790.
    """

    function = staticmethod(binary_cross_entropy_lovasz_sigmoid)
    link = "sigmoid"

    def __init__(
        self,
        *,
        cross_entropy_weight: float = 1.0,
        lovasz_weight: float = 1.0,
        pos_weight: Tensor | Sequence[float] | None = None,
        multilabel: bool | None = None,
        symmetric: bool = False,
        classes: str | Sequence[int] = "all",
        ignore_index: int | None = None,
        lovasz_class_weight: Tensor | Sequence[float] | None = None,
        normalize_weight: bool = True,
        per_image: bool = False,
        set_function: SetFunction = jaccard,
        bins: int = DEFAULT_BINS,
        momentum: float | None = None,
        process_group: Group = None,
        upsample: str | None = None,
        align_corners: bool = False,
    ) -> None:
        super().__init__(
            cross_entropy_weight=cross_entropy_weight,
            lovasz_weight=lovasz_weight,
            pos_weight=pos_weight,
            multilabel=multilabel,
            symmetric=symmetric,
            classes=classes,
            ignore_index=ignore_index,
            lovasz_class_weight=lovasz_class_weight,
            normalize_weight=normalize_weight,
            per_image=per_image,
            set_function=set_function,
            bins=bins,
            momentum=momentum,
            process_group=process_group,
            upsample=upsample,
            align_corners=align_corners,
        )
