"""The losses as modules: they keep the options of a function and call it."""

from __future__ import annotations

from lovasz.core.links import MARGINS
from lovasz.core.options import (
    DEFAULT_BINS,
    Averaging,
    Classes,
    Margin,
    Method,
    Reduction,
    Upsample,
    check_choice,
)
from lovasz.core.regions import Region
from lovasz.core.set_functions import SetFunction, jaccard
from lovasz.losses._classes import ClassWeights
from lovasz.losses._module import Loss
from lovasz.losses.distributed import Group
from lovasz.losses.hinge import binary_cross_entropy_lovasz_hinge, lovasz_hinge
from lovasz.losses.sigmoid import binary_cross_entropy_lovasz_sigmoid, lovasz_sigmoid
from lovasz.losses.softmax import cross_entropy_lovasz_softmax, lovasz_softmax

__all__ = [
    "BinaryCrossEntropyLovaszHingeLoss",
    "BinaryCrossEntropyLovaszSigmoidLoss",
    "CrossEntropyLovaszSoftmaxLoss",
    "LovaszHingeLoss",
    "LovaszSigmoidLoss",
    "LovaszSoftmaxLoss",
]


class LovaszSoftmaxLoss(Loss):
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
        - target: (N, *), (N, 1, *) or (P,), or of the shape of the logits: one-hot or soft.
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
        weight: ClassWeights | None = None,
        *,
        classes: Classes = "present",
        ignore_index: int | None = None,
        normalize_weight: bool = True,
        per_image: bool = False,
        averaging: Averaging | None = None,
        reduction: Reduction = "mean",
        set_function: SetFunction = jaccard,
        label_smoothing: float = 0.0,
        method: Method = "histogram",
        bins: int = DEFAULT_BINS,
        momentum: float | None = None,
        process_group: Group = None,
        upsample: Upsample | None = None,
        align_corners: bool = False,
    ) -> None:
        super().__init__(
            classes=classes,
            ignore_index=ignore_index,
            weight=weight,
            normalize_weight=normalize_weight,
            per_image=per_image,
            averaging=averaging,
            reduction=reduction,
            set_function=set_function,
            label_smoothing=label_smoothing,
            method=method,
            bins=bins,
            momentum=momentum,
            process_group=process_group,
            upsample=upsample,
            align_corners=align_corners,
        )


class CrossEntropyLovaszSoftmaxLoss(Loss):
    r"""Cross-entropy and Lovász-Softmax together, as a module.

    Definition, result, errors and all other arguments are those of
    `cross_entropy_lovasz_softmax`.
    Options are checked when the module is made; class weights are buffers that move with it.

    Args:
        momentum: as for `LovaszSoftmaxLoss`.

    Shape:
        - logits: (N, C, *) or (P, C).
        - target: (N, *), (N, 1, *) or (P,), or of the shape of the logits: one-hot or soft.
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
        weight: ClassWeights | None = None,
        *,
        cross_entropy_weight: float = 1.0,
        lovasz_weight: float = 1.0,
        label_smoothing: float = 0.0,
        lovasz_label_smoothing: float = 0.0,
        region: Region | None = None,
        region_weight: float = 1.0,
        classes: Classes = "present",
        ignore_index: int | None = None,
        lovasz_class_weight: ClassWeights | None = None,
        normalize_weight: bool = True,
        per_image: bool = False,
        averaging: Averaging | None = None,
        set_function: SetFunction = jaccard,
        bins: int = DEFAULT_BINS,
        momentum: float | None = None,
        process_group: Group = None,
        upsample: Upsample | None = None,
        align_corners: bool = False,
    ) -> None:
        super().__init__(
            cross_entropy_weight=cross_entropy_weight,
            lovasz_weight=lovasz_weight,
            weight=weight,
            label_smoothing=label_smoothing,
            lovasz_label_smoothing=lovasz_label_smoothing,
            region=region,
            region_weight=region_weight,
            classes=classes,
            ignore_index=ignore_index,
            lovasz_class_weight=lovasz_class_weight,
            normalize_weight=normalize_weight,
            per_image=per_image,
            averaging=averaging,
            set_function=set_function,
            bins=bins,
            momentum=momentum,
            process_group=process_group,
            upsample=upsample,
            align_corners=align_corners,
        )


class LovaszSigmoidLoss(Loss):
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
        classes: Classes = "all",
        ignore_index: int | None = None,
        weight: ClassWeights | None = None,
        normalize_weight: bool = True,
        per_image: bool = False,
        averaging: Averaging | None = None,
        reduction: Reduction = "mean",
        set_function: SetFunction = jaccard,
        method: Method = "histogram",
        bins: int = DEFAULT_BINS,
        momentum: float | None = None,
        process_group: Group = None,
        upsample: Upsample | None = None,
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
            averaging=averaging,
            reduction=reduction,
            set_function=set_function,
            method=method,
            bins=bins,
            momentum=momentum,
            process_group=process_group,
            upsample=upsample,
            align_corners=align_corners,
        )


class LovaszHingeLoss(Loss):
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
        activation: Margin = "relu",
        multilabel: bool | None = None,
        symmetric: bool = False,
        classes: Classes = "all",
        ignore_index: int | None = None,
        weight: ClassWeights | None = None,
        normalize_weight: bool = True,
        per_image: bool = False,
        averaging: Averaging | None = None,
        reduction: Reduction = "mean",
        set_function: SetFunction = jaccard,
        method: Method = "histogram",
        bins: int = DEFAULT_BINS,
        momentum: float | None = None,
        process_group: Group = None,
        upsample: Upsample | None = None,
        align_corners: bool = False,
    ) -> None:
        check_choice(type(self).__name__, "activation", activation, tuple(MARGINS))
        super().__init__(
            activation=activation,
            multilabel=multilabel,
            symmetric=symmetric,
            classes=classes,
            ignore_index=ignore_index,
            weight=weight,
            normalize_weight=normalize_weight,
            per_image=per_image,
            averaging=averaging,
            reduction=reduction,
            set_function=set_function,
            method=method,
            bins=bins,
            momentum=momentum,
            process_group=process_group,
            upsample=upsample,
            align_corners=align_corners,
        )


class BinaryCrossEntropyLovaszSigmoidLoss(Loss):
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
        pos_weight: ClassWeights | None = None,
        region: Region | None = None,
        region_weight: float = 1.0,
        multilabel: bool | None = None,
        symmetric: bool = False,
        classes: Classes = "all",
        ignore_index: int | None = None,
        lovasz_class_weight: ClassWeights | None = None,
        normalize_weight: bool = True,
        per_image: bool = False,
        averaging: Averaging | None = None,
        set_function: SetFunction = jaccard,
        bins: int = DEFAULT_BINS,
        momentum: float | None = None,
        process_group: Group = None,
        upsample: Upsample | None = None,
        align_corners: bool = False,
    ) -> None:
        super().__init__(
            cross_entropy_weight=cross_entropy_weight,
            lovasz_weight=lovasz_weight,
            pos_weight=pos_weight,
            region=region,
            region_weight=region_weight,
            multilabel=multilabel,
            symmetric=symmetric,
            classes=classes,
            ignore_index=ignore_index,
            lovasz_class_weight=lovasz_class_weight,
            normalize_weight=normalize_weight,
            per_image=per_image,
            averaging=averaging,
            set_function=set_function,
            bins=bins,
            momentum=momentum,
            process_group=process_group,
            upsample=upsample,
            align_corners=align_corners,
        )


class BinaryCrossEntropyLovaszHingeLoss(Loss):
    r"""Binary cross-entropy and the Lovász hinge, as a module.

    Definition, result, errors and all other arguments are those of
    `binary_cross_entropy_lovasz_hinge`.
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
        >>> criterion = BinaryCrossEntropyLovaszHingeLoss(multilabel=True)
        >>> logits = torch.zeros(2, 3, 4, 4, requires_grad=True)
        >>> criterion(logits, torch.ones(2, 3, 4, 4)).backward()

    References:
        Yu, Blaschko, ICML 2015; Berman, Triki, Blaschko, CVPR 2018, arXiv 1705.08790.
    """

    function = staticmethod(binary_cross_entropy_lovasz_hinge)
    link = "hinge"

    def __init__(
        self,
        *,
        cross_entropy_weight: float = 1.0,
        lovasz_weight: float = 1.0,
        pos_weight: ClassWeights | None = None,
        activation: Margin = "relu",
        multilabel: bool | None = None,
        symmetric: bool = False,
        classes: Classes = "all",
        ignore_index: int | None = None,
        lovasz_class_weight: ClassWeights | None = None,
        normalize_weight: bool = True,
        per_image: bool = False,
        averaging: Averaging | None = None,
        set_function: SetFunction = jaccard,
        bins: int = DEFAULT_BINS,
        momentum: float | None = None,
        process_group: Group = None,
        upsample: Upsample | None = None,
        align_corners: bool = False,
    ) -> None:
        check_choice(type(self).__name__, "activation", activation, tuple(MARGINS))
        super().__init__(
            cross_entropy_weight=cross_entropy_weight,
            lovasz_weight=lovasz_weight,
            pos_weight=pos_weight,
            activation=activation,
            multilabel=multilabel,
            symmetric=symmetric,
            classes=classes,
            ignore_index=ignore_index,
            lovasz_class_weight=lovasz_class_weight,
            normalize_weight=normalize_weight,
            per_image=per_image,
            averaging=averaging,
            set_function=set_function,
            bins=bins,
            momentum=momentum,
            process_group=process_group,
            upsample=upsample,
            align_corners=align_corners,
        )
