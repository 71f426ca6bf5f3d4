"""The losses by sums as modules: they keep the options of a function and call it."""

from __future__ import annotations

from lovasz.core.options import (
    Activation,
    Averaging,
    Classes,
    Reduction,
    Upsample,
)
from lovasz.core.regions import (
    GeneralizedDice,
    JaccardMetric,
    Smooth,
    SoftDice,
    SoftJaccard,
    SoftTversky,
)
from lovasz.losses._by_sums import link_of, made
from lovasz.losses._classes import ClassWeights
from lovasz.losses._module import Loss
from lovasz.losses.distributed import Group
from lovasz.losses.regions import (
    dice_loss,
    generalized_dice_loss,
    jaccard_loss,
    jaccard_metric_loss,
    tversky_loss,
)

__all__ = [
    "DiceLoss",
    "GeneralizedDiceLoss",
    "JaccardLoss",
    "JaccardMetricLoss",
    "TverskyLoss",
]


class DiceLoss(Loss):
    r"""Soft Dice loss, as a module.

    Definition, result, errors and all other arguments are those of `dice_loss`.
    Options are checked when the module is made; class weights are buffers that move with it.

    Args:
        momentum: as for `LovaszSoftmaxLoss`.

    Shape:
        - logits: see `dice_loss`.
        - target: see `dice_loss`.
        - output: scalar; as `dice_loss` for ``reduction="none"``.

    Raises:
        TypeError: for options of a wrong type.
        ValueError: for options of a wrong value.

    Examples:
        >>> import torch
        >>> criterion = DiceLoss(ignore_index=255)
        >>> logits = torch.zeros(2, 3, 4, 4, requires_grad=True)
        >>> criterion(logits, torch.zeros(2, 4, 4, dtype=torch.uint8)).backward()

    References:
        Milletari, Navab, Ahmadi, 3DV 2016, arXiv 1606.04797.
    """

    function = staticmethod(dice_loss)

    def __init__(
        self,
        *,
        smooth: Smooth = 1e-5,
        squared: bool = False,
        pooled: bool = False,
        activation: Activation = "softmax",
        multilabel: bool | None = None,
        classes: Classes = "all",
        ignore_index: int | None = None,
        weight: ClassWeights | None = None,
        normalize_weight: bool = True,
        per_image: bool = False,
        averaging: Averaging | None = None,
        reduction: Reduction = "mean",
        label_smoothing: float = 0.0,
        momentum: float | None = None,
        process_group: Group = None,
        upsample: Upsample | None = None,
        align_corners: bool = False,
    ) -> None:
        self.link = link_of(type(self).__name__, activation, multilabel)
        super().__init__(
            made(type(self).__name__, SoftDice, smooth, squared, pooled),
            smooth=smooth,
            squared=squared,
            pooled=pooled,
            activation=activation,
            multilabel=multilabel,
            classes=classes,
            ignore_index=ignore_index,
            weight=weight,
            normalize_weight=normalize_weight,
            per_image=per_image,
            averaging=averaging,
            reduction=reduction,
            label_smoothing=label_smoothing,
            momentum=momentum,
            process_group=process_group,
            upsample=upsample,
            align_corners=align_corners,
        )


class JaccardLoss(Loss):
    r"""Soft Jaccard loss, as a module.

    Definition, result, errors and all other arguments are those of `jaccard_loss`.
    Options are checked when the module is made; class weights are buffers that move with it.

    Args:
        momentum: as for `LovaszSoftmaxLoss`.

    Shape:
        - logits: see `dice_loss`.
        - target: see `dice_loss`.
        - output: scalar; as `dice_loss` for ``reduction="none"``.

    Raises:
        TypeError: for options of a wrong type.
        ValueError: for options of a wrong value.

    Examples:
        >>> import torch
        >>> criterion = JaccardLoss(per_image=True)
        >>> logits = torch.zeros(2, 3, 4, 4, requires_grad=True)
        >>> criterion(logits, torch.zeros(2, 4, 4, dtype=torch.uint8)).backward()

    References:
        Rahman, Wang, ISVC 2016.
    """

    function = staticmethod(jaccard_loss)

    def __init__(
        self,
        *,
        smooth: Smooth = 1e-5,
        squared: bool = False,
        pooled: bool = False,
        activation: Activation = "softmax",
        multilabel: bool | None = None,
        classes: Classes = "all",
        ignore_index: int | None = None,
        weight: ClassWeights | None = None,
        normalize_weight: bool = True,
        per_image: bool = False,
        averaging: Averaging | None = None,
        reduction: Reduction = "mean",
        label_smoothing: float = 0.0,
        momentum: float | None = None,
        process_group: Group = None,
        upsample: Upsample | None = None,
        align_corners: bool = False,
    ) -> None:
        self.link = link_of(type(self).__name__, activation, multilabel)
        super().__init__(
            made(type(self).__name__, SoftJaccard, smooth, squared, pooled),
            smooth=smooth,
            squared=squared,
            pooled=pooled,
            activation=activation,
            multilabel=multilabel,
            classes=classes,
            ignore_index=ignore_index,
            weight=weight,
            normalize_weight=normalize_weight,
            per_image=per_image,
            averaging=averaging,
            reduction=reduction,
            label_smoothing=label_smoothing,
            momentum=momentum,
            process_group=process_group,
            upsample=upsample,
            align_corners=align_corners,
        )


class JaccardMetricLoss(Loss):
    r"""Jaccard metric loss, as a module.

    Definition, result, errors and all other arguments are those of `jaccard_metric_loss`.
    Options are checked when the module is made; class weights are buffers that move with it.

    Args:
        momentum: as for `LovaszSoftmaxLoss`.

    Shape:
        - logits: see `dice_loss`.
        - target: see `dice_loss`.
        - output: scalar; as `dice_loss` for ``reduction="none"``.

    Raises:
        TypeError: for options of a wrong type.
        ValueError: for options of a wrong value.

    Examples:
        >>> import torch
        >>> criterion = JaccardMetricLoss(label_smoothing=0.1)
        >>> logits = torch.zeros(2, 3, 4, 4, requires_grad=True)
        >>> criterion(logits, torch.zeros(2, 4, 4, dtype=torch.uint8)).backward()

    References:
        Wang, Ning, Blaschko, NeurIPS 2023, arXiv 2302.05666.
    """

    function = staticmethod(jaccard_metric_loss)

    def __init__(
        self,
        *,
        smooth: Smooth = 1e-5,
        pooled: bool = False,
        activation: Activation = "softmax",
        multilabel: bool | None = None,
        classes: Classes = "all",
        ignore_index: int | None = None,
        weight: ClassWeights | None = None,
        normalize_weight: bool = True,
        per_image: bool = False,
        averaging: Averaging | None = None,
        reduction: Reduction = "mean",
        label_smoothing: float = 0.0,
        momentum: float | None = None,
        process_group: Group = None,
        upsample: Upsample | None = None,
        align_corners: bool = False,
    ) -> None:
        self.link = link_of(type(self).__name__, activation, multilabel)
        super().__init__(
            made(type(self).__name__, JaccardMetric, smooth, pooled),
            smooth=smooth,
            pooled=pooled,
            activation=activation,
            multilabel=multilabel,
            classes=classes,
            ignore_index=ignore_index,
            weight=weight,
            normalize_weight=normalize_weight,
            per_image=per_image,
            averaging=averaging,
            reduction=reduction,
            label_smoothing=label_smoothing,
            momentum=momentum,
            process_group=process_group,
            upsample=upsample,
            align_corners=align_corners,
        )


class TverskyLoss(Loss):
    r"""Soft Tversky loss, as a module.

    Definition, result, errors and all other arguments are those of `tversky_loss`.
    Options are checked when the module is made; class weights are buffers that move with it.

    Args:
        momentum: as for `LovaszSoftmaxLoss`.

    Shape:
        - logits: see `dice_loss`.
        - target: see `dice_loss`.
        - output: scalar; as `dice_loss` for ``reduction="none"``.

    Raises:
        TypeError: for options of a wrong type.
        ValueError: for options of a wrong value.

    Examples:
        >>> import torch
        >>> criterion = TverskyLoss(alpha=0.3, beta=0.7)
        >>> logits = torch.zeros(2, 3, 4, 4, requires_grad=True)
        >>> criterion(logits, torch.zeros(2, 4, 4, dtype=torch.uint8)).backward()

    References:
        Salehi, Erdogmus, Gholipour, MLMI 2017, arXiv 1706.05721.
    """

    function = staticmethod(tversky_loss)

    def __init__(
        self,
        *,
        alpha: float = 0.5,
        beta: float = 0.5,
        smooth: Smooth = 1e-5,
        gamma: float = 1.0,
        pooled: bool = False,
        activation: Activation = "softmax",
        multilabel: bool | None = None,
        classes: Classes = "all",
        ignore_index: int | None = None,
        weight: ClassWeights | None = None,
        normalize_weight: bool = True,
        per_image: bool = False,
        averaging: Averaging | None = None,
        reduction: Reduction = "mean",
        label_smoothing: float = 0.0,
        momentum: float | None = None,
        process_group: Group = None,
        upsample: Upsample | None = None,
        align_corners: bool = False,
    ) -> None:
        self.link = link_of(type(self).__name__, activation, multilabel)
        super().__init__(
            made(type(self).__name__, SoftTversky, alpha, beta, smooth, gamma, pooled),
            alpha=alpha,
            beta=beta,
            smooth=smooth,
            gamma=gamma,
            pooled=pooled,
            activation=activation,
            multilabel=multilabel,
            classes=classes,
            ignore_index=ignore_index,
            weight=weight,
            normalize_weight=normalize_weight,
            per_image=per_image,
            averaging=averaging,
            reduction=reduction,
            label_smoothing=label_smoothing,
            momentum=momentum,
            process_group=process_group,
            upsample=upsample,
            align_corners=align_corners,
        )


class GeneralizedDiceLoss(Loss):
    r"""Generalised Dice loss, as a module.

    Definition, result, errors and all other arguments are those of `generalized_dice_loss`.
    Options are checked when the module is made; class weights are buffers that move with it.

    Args:
        momentum: as for `LovaszSoftmaxLoss`.

    Shape:
        - logits: see `dice_loss`.
        - target: see `dice_loss`.
        - output: scalar; as `dice_loss` for ``reduction="none"``.

    Raises:
        TypeError: for options of a wrong type.
        ValueError: for options of a wrong value.

    Examples:
        >>> import torch
        >>> criterion = GeneralizedDiceLoss(weighting="simple")
        >>> logits = torch.zeros(2, 3, 4, 4, requires_grad=True)
        >>> criterion(logits, torch.zeros(2, 4, 4, dtype=torch.uint8)).backward()

    References:
        Sudre et al., DLMIA 2017, arXiv 1707.03237.
    """

    function = staticmethod(generalized_dice_loss)

    def __init__(
        self,
        *,
        weighting: str = "square",
        smooth: Smooth = 1e-5,
        activation: Activation = "softmax",
        multilabel: bool | None = None,
        classes: Classes = "all",
        ignore_index: int | None = None,
        per_image: bool = False,
        averaging: Averaging | None = None,
        reduction: Reduction = "mean",
        label_smoothing: float = 0.0,
        momentum: float | None = None,
        process_group: Group = None,
        upsample: Upsample | None = None,
        align_corners: bool = False,
    ) -> None:
        self.link = link_of(type(self).__name__, activation, multilabel)
        super().__init__(
            made(type(self).__name__, GeneralizedDice, weighting, smooth),
            weighting=weighting,
            smooth=smooth,
            activation=activation,
            multilabel=multilabel,
            classes=classes,
            ignore_index=ignore_index,
            per_image=per_image,
            averaging=averaging,
            reduction=reduction,
            label_smoothing=label_smoothing,
            momentum=momentum,
            process_group=process_group,
            upsample=upsample,
            align_corners=align_corners,
        )
