"""Cross-entropy and Dice together, as functions and as modules."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from lovasz.core.options import (
    Averaging,
    Classes,
    CrossEntropy,
    Names,
    Options,
    Upsample,
)
from lovasz.core.regions import Smooth, SoftDice
from lovasz.losses._by_sums import by_sums, made
from lovasz.losses._classes import ClassWeights
from lovasz.losses._module import Loss
from lovasz.losses.distributed import Group
from lovasz.losses.window import Window

__all__ = [
    "BinaryCrossEntropyDiceLoss",
    "CrossEntropyDiceLoss",
    "binary_cross_entropy_dice",
    "cross_entropy_dice",
]


def cross_entropy_dice(
    logits: Tensor,
    target: Tensor | Sequence[Tensor],
    weight: ClassWeights | None = None,
    *,
    cross_entropy_weight: float = 1.0,
    dice_weight: float = 1.0,
    label_smoothing: float = 0.0,
    dice_label_smoothing: float = 0.0,
    smooth: Smooth = 1e-5,
    squared: bool = False,
    pooled: bool = False,
    classes: Classes = "all",
    ignore_index: int | None = None,
    dice_class_weight: ClassWeights | None = None,
    normalize_weight: bool = True,
    per_image: bool = False,
    averaging: Averaging | None = None,
    target_weight: Tensor | Sequence[float] | None = None,
    window: Window | None = None,
    process_group: Group = None,
    pixel_weight: Tensor | None = None,
    ignore_mask: Tensor | None = None,
    offsets: Tensor | None = None,
    batch_index: Tensor | None = None,
    batch_size: int | None = None,
    upsample: Upsample | None = None,
    align_corners: bool = False,
) -> Tensor:
    r"""Cross-entropy and soft Dice together, from the same passes.

    $$L = \lambda_{CE}\, \mathrm{CE} + \lambda_{Dice}\, L_{Dice}$$

    with the cross-entropy of `torch.nn.functional.cross_entropy` and `dice_loss`: what nnU-Net
    calls ``DC_and_CE_loss`` (which has −Dice in the place of 1 − Dice) and MONAI ``DiceCELoss``.
    For other losses by sums see ``region`` of `cross_entropy_lovasz_softmax`.

    All other arguments are those of `dice_loss`. They are for the Dice loss, but for
    ``target_weight``, ``ignore_index``, ``ignore_mask``, ``pixel_weight`` and ``process_group``,
    which hold for the cross-entropy too, as in `cross_entropy_lovasz_softmax`.

    Args:
        logits: (N, C, *) or (P, C), as for `lovasz_softmax`.
        target: as for `lovasz_softmax`.
        cross_entropy_weight: factor of the cross-entropy, finite and not negative.
        dice_weight: factor of the Dice loss, finite and not negative.
        weight: (C,), class weights of the cross-entropy, finite and not negative. None: all 1.
        label_smoothing: of the cross-entropy, in [0, 1].
        dice_label_smoothing: of the Dice loss, in [0, 1].
        dice_class_weight: (C,), class weights of the Dice loss: its ``weight``.

    Returns:
        A scalar, float64 for float64 logits, otherwise float32.

    Raises:
        TypeError: for arguments of a wrong type or dtype.
        ValueError: for shapes and values that do not fit; on the CPU also for wrong labels.

    Examples:
        >>> import torch
        >>> from lovasz import dice_loss
        >>> logits = torch.tensor([[2.0, 0.0], [0.0, 2.0], [1.0, 0.0]], requires_grad=True)
        >>> target = torch.tensor([0, 1, 1])
        >>> both = cross_entropy_dice(logits, target, dice_weight=0.5)
        >>> apart = torch.nn.functional.cross_entropy(logits, target)
        >>> torch.testing.assert_close(both, apart + 0.5 * dice_loss(logits, target))

    References:
        Isensee et al., *nnU-Net*, Nature Methods 2021, arXiv 1904.08128; Milletari, Navab, Ahmadi,
        3DV 2016, arXiv 1606.04797.
    """
    options = Options(
        classes=classes,
        ignore_index=ignore_index,
        weight=dice_class_weight,
        normalize_weight=normalize_weight,
        per_image=per_image,
        averaging=averaging,
        target_weight=target_weight,
        window=window,
        process_group=process_group,
        pixel_weight=pixel_weight,
        ignore_mask=ignore_mask,
        offsets=offsets,
        batch_index=batch_index,
        batch_size=batch_size,
        upsample=upsample,
        align_corners=align_corners,
        label_smoothing=dice_label_smoothing,
        cross_entropy=CrossEntropy(cross_entropy_weight, weight, label_smoothing),
        lovasz_factor=None,
        region=made("cross_entropy_dice", SoftDice, smooth, squared, pooled),
        region_factor=dice_weight,
        names=Names("dice_class_weight", "dice_weight", "dice_label_smoothing"),
    )
    return by_sums("cross_entropy_dice", "softmax", logits, target, options)


def binary_cross_entropy_dice(
    logits: Tensor,
    target: Tensor,
    *,
    cross_entropy_weight: float = 1.0,
    dice_weight: float = 1.0,
    pos_weight: ClassWeights | None = None,
    smooth: Smooth = 1e-5,
    squared: bool = False,
    pooled: bool = False,
    multilabel: bool | None = None,
    classes: Classes = "all",
    ignore_index: int | None = None,
    dice_class_weight: ClassWeights | None = None,
    normalize_weight: bool = True,
    per_image: bool = False,
    averaging: Averaging | None = None,
    window: Window | None = None,
    process_group: Group = None,
    pixel_weight: Tensor | None = None,
    ignore_mask: Tensor | None = None,
    offsets: Tensor | None = None,
    batch_index: Tensor | None = None,
    batch_size: int | None = None,
    upsample: Upsample | None = None,
    align_corners: bool = False,
) -> Tensor:
    r"""Binary cross-entropy and soft Dice of the sigmoid together, from the same passes.

    $$L = \lambda_{BCE}\, \mathrm{BCE} + \lambda_{Dice}\, L_{Dice}$$

    with the cross-entropy of `torch.nn.functional.binary_cross_entropy_with_logits` and the
    `dice_loss` of the sigmoid: for masks, and for regions that overlap (nnU-Net's
    ``DC_and_BCE_loss``).

    All other arguments are those of `dice_loss`. They are for the Dice loss, but for
    ``ignore_index``, ``ignore_mask``, ``pixel_weight`` and ``process_group``, which hold for the
    cross-entropy too, as in `binary_cross_entropy_lovasz_sigmoid`.

    Args:
        logits: as for `lovasz_sigmoid`.
        target: as for `lovasz_sigmoid`.
        cross_entropy_weight: factor of the binary cross-entropy, finite and not negative.
        dice_weight: factor of the Dice loss, finite and not negative.
        pos_weight: (C,), weights of the ones in the binary cross-entropy. None: all 1.
        dice_class_weight: (C,), weights of the channels in the Dice loss: its ``weight``.

    Returns:
        A scalar, float64 for float64 logits, otherwise float32.

    Raises:
        TypeError: for arguments of a wrong type or dtype.
        ValueError: for shapes and values that do not fit; on the CPU also for wrong labels.

    Examples:
        >>> import torch
        >>> from lovasz import dice_loss
        >>> logits, target = torch.tensor([3.0, -1.0, 0.5, -2.0]), torch.tensor([1, 1, 0, 0])
        >>> both = binary_cross_entropy_dice(logits, target)
        >>> bce = torch.nn.functional.binary_cross_entropy_with_logits(logits, target.float())
        >>> apart = bce + dice_loss(logits, target, activation="sigmoid")
        >>> torch.testing.assert_close(both, apart)

    References:
        Isensee et al., *nnU-Net*, Nature Methods 2021, arXiv 1904.08128.
    """
    options = Options(
        multilabel=multilabel,
        classes=classes,
        ignore_index=ignore_index,
        weight=dice_class_weight,
        normalize_weight=normalize_weight,
        per_image=per_image,
        averaging=averaging,
        window=window,
        process_group=process_group,
        pixel_weight=pixel_weight,
        ignore_mask=ignore_mask,
        offsets=offsets,
        batch_index=batch_index,
        batch_size=batch_size,
        upsample=upsample,
        align_corners=align_corners,
        cross_entropy=CrossEntropy(cross_entropy_weight, pos_weight),
        lovasz_factor=None,
        region=made("binary_cross_entropy_dice", SoftDice, smooth, squared, pooled),
        region_factor=dice_weight,
        names=Names("dice_class_weight", "dice_weight"),
    )
    return by_sums("binary_cross_entropy_dice", "sigmoid", logits, target, options)


class CrossEntropyDiceLoss(Loss):
    r"""Cross-entropy and soft Dice, as a module.

    Definition, result, errors and all other arguments are those of `cross_entropy_dice`.
    Options are checked when the module is made; class weights are buffers that move with it.

    Args:
        momentum: as for `LovaszSoftmaxLoss`.

    Shape:
        - logits: see `lovasz_softmax`.
        - target: see `lovasz_softmax`.
        - output: scalar.

    Raises:
        TypeError: for options of a wrong type.
        ValueError: for options of a wrong value.

    Examples:
        >>> import torch
        >>> criterion = CrossEntropyDiceLoss(ignore_index=255, classes="foreground")
        >>> logits = torch.zeros(2, 3, 4, 4, requires_grad=True)
        >>> criterion(logits, torch.zeros(2, 4, 4, dtype=torch.uint8)).backward()

    References:
        Isensee et al., Nature Methods 2021, arXiv 1904.08128.
    """

    function = staticmethod(cross_entropy_dice)
    link = "softmax"

    def __init__(
        self,
        weight: ClassWeights | None = None,
        *,
        cross_entropy_weight: float = 1.0,
        dice_weight: float = 1.0,
        label_smoothing: float = 0.0,
        dice_label_smoothing: float = 0.0,
        smooth: Smooth = 1e-5,
        squared: bool = False,
        pooled: bool = False,
        classes: Classes = "all",
        ignore_index: int | None = None,
        dice_class_weight: ClassWeights | None = None,
        normalize_weight: bool = True,
        per_image: bool = False,
        averaging: Averaging | None = None,
        momentum: float | None = None,
        process_group: Group = None,
        upsample: Upsample | None = None,
        align_corners: bool = False,
    ) -> None:
        super().__init__(
            made(type(self).__name__, SoftDice, smooth, squared, pooled),
            cross_entropy_weight=cross_entropy_weight,
            dice_weight=dice_weight,
            weight=weight,
            label_smoothing=label_smoothing,
            dice_label_smoothing=dice_label_smoothing,
            smooth=smooth,
            squared=squared,
            pooled=pooled,
            classes=classes,
            ignore_index=ignore_index,
            dice_class_weight=dice_class_weight,
            normalize_weight=normalize_weight,
            per_image=per_image,
            averaging=averaging,
            momentum=momentum,
            process_group=process_group,
            upsample=upsample,
            align_corners=align_corners,
        )


class BinaryCrossEntropyDiceLoss(Loss):
    r"""Binary cross-entropy and soft Dice, as a module.

    Definition, result, errors and all other arguments are those of `binary_cross_entropy_dice`.
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
        >>> criterion = BinaryCrossEntropyDiceLoss(multilabel=True)
        >>> logits = torch.zeros(2, 3, 4, 4, requires_grad=True)
        >>> criterion(logits, torch.ones(2, 3, 4, 4)).backward()

    References:
        Isensee et al., Nature Methods 2021, arXiv 1904.08128.
    """

    function = staticmethod(binary_cross_entropy_dice)
    link = "sigmoid"

    def __init__(
        self,
        *,
        cross_entropy_weight: float = 1.0,
        dice_weight: float = 1.0,
        pos_weight: ClassWeights | None = None,
        smooth: Smooth = 1e-5,
        squared: bool = False,
        pooled: bool = False,
        multilabel: bool | None = None,
        classes: Classes = "all",
        ignore_index: int | None = None,
        dice_class_weight: ClassWeights | None = None,
        normalize_weight: bool = True,
        per_image: bool = False,
        averaging: Averaging | None = None,
        momentum: float | None = None,
        process_group: Group = None,
        upsample: Upsample | None = None,
        align_corners: bool = False,
    ) -> None:
        super().__init__(
            made(type(self).__name__, SoftDice, smooth, squared, pooled),
            cross_entropy_weight=cross_entropy_weight,
            dice_weight=dice_weight,
            pos_weight=pos_weight,
            smooth=smooth,
            squared=squared,
            pooled=pooled,
            multilabel=multilabel,
            classes=classes,
            ignore_index=ignore_index,
            dice_class_weight=dice_class_weight,
            normalize_weight=normalize_weight,
            per_image=per_image,
            averaging=averaging,
            momentum=momentum,
            process_group=process_group,
            upsample=upsample,
            align_corners=align_corners,
        )
