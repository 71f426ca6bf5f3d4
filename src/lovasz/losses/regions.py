"""Losses by sums: Dice, Jaccard and Tversky losses by themselves.

``lovasz.core.regions`` has their formulas as objects, which the losses with a Lovász loss take as
``region``.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from lovasz.core.options import (
    Activation,
    Averaging,
    Classes,
    Options,
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
from lovasz.losses._by_sums import by_sums, made
from lovasz.losses._classes import ClassWeights
from lovasz.losses.distributed import Group
from lovasz.losses.window import Window

__all__ = [
    "dice_loss",
    "generalized_dice_loss",
    "jaccard_loss",
    "jaccard_metric_loss",
    "tversky_loss",
]


def dice_loss(
    logits: Tensor,
    target: Tensor | Sequence[Tensor],
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
    r"""Soft Dice loss of logits.

    $$L_c = 1 - \frac{2 \sum_i p_{ic} q_{ic} + s}{\sum_i p_{ic} + \sum_i q_{ic} + s}, \qquad
    L = \frac{\sum_c \alpha_c L_c}{\sum_c \alpha_c}$$

    with the softmax or the sigmoid p of the logits and labels q, 1 or 0, or anything between. The
    sums go over the pixels of the batch, or of an image with ``per_image=True``; they take one pass
    over the logits, and their gradient a second.

    All other arguments are those of `lovasz_softmax`, or with the sigmoid of `lovasz_sigmoid`.

    Args:
        logits: (N, C, *) or (P, C), as for `lovasz_softmax`; with the sigmoid any shape of
            `lovasz_sigmoid`.
        target: likewise: class indices, soft labels or a list of label maps; with the sigmoid
            zeros and ones, or soft labels.
        activation: "softmax" for classes that exclude each other, "sigmoid" for channels that
            overlap, as the regions of nnU-Net do; "none" if probabilities are given, of classes or
            with ``multilabel=True`` of channels.
        multilabel: as for `lovasz_sigmoid`; None with the softmax.
        classes: which classes count: "all"; "foreground", all but class 0; "present", those with a
            pixel in ``target``; or a list.
        smooth: s, not negative, which a class without pixels and predictions has a loss of 0 by; a
            pair for numerator and denominator.
        squared: whether the denominator has the sums of squares of p and q.
        pooled: whether the sums are taken over the classes too, before one ratio of all.

    Returns:
        A scalar; for "none" (C,), or (N, C) with ``per_image``; of one number in the place of C if
        pooled. float64 for float64 logits, otherwise float32.

    Raises:
        TypeError: for arguments of a wrong type or dtype.
        ValueError: for shapes and values that do not fit; on the CPU also for wrong labels.

    Examples:
        >>> import torch
        >>> logits = torch.tensor([[2.0, 0.0], [0.0, 2.0], [1.0, 0.0]], requires_grad=True)
        >>> loss = dice_loss(logits, torch.tensor([0, 1, 1]))
        >>> round(loss.item(), 4)
        0.3258
        >>> loss.backward()

    References:
        Milletari, Navab, Ahmadi, *V-Net*, 3DV 2016, arXiv 1606.04797; Drozdzal et al., 2016,
        arXiv 1608.04117. "Losses by sums" in the documentation compares nnU-Net, MONAI and others.
    """
    options = Options(
        multilabel=multilabel,
        classes=classes,
        ignore_index=ignore_index,
        weight=weight,
        normalize_weight=normalize_weight,
        per_image=per_image,
        averaging=averaging,
        reduction=reduction,
        label_smoothing=label_smoothing,
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
        lovasz_factor=None,
        region=made("dice_loss", SoftDice, smooth, squared, pooled),
    )
    return by_sums("dice_loss", activation, logits, target, options)


def jaccard_loss(
    logits: Tensor,
    target: Tensor | Sequence[Tensor],
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
    r"""Soft Jaccard loss of logits, the plain ratio.

    $$L_c = 1 - \frac{\sum_i p_{ic} q_{ic} + s}
    {\sum_i p_{ic} + \sum_i q_{ic} - \sum_i p_{ic} q_{ic} + s}$$

    Of soft labels the minimum is not at p = q; that of `jaccard_metric_loss` is.

    All other arguments are those of `dice_loss`.

    Args:
        logits: as for `dice_loss`.
        target: likewise.

    Returns:
        A scalar; for "none" as `dice_loss`.

    Raises:
        TypeError: for arguments of a wrong type or dtype.
        ValueError: for shapes and values that do not fit; on the CPU also for wrong labels.

    Examples:
        >>> import torch
        >>> logits = torch.tensor([[2.0, 0.0], [0.0, 2.0], [1.0, 0.0]], requires_grad=True)
        >>> loss = jaccard_loss(logits, torch.tensor([0, 1, 1]))
        >>> loss.backward()

    References:
        Rahman, Wang, *Optimizing intersection-over-union in deep neural networks for image
        segmentation*, ISVC 2016.
    """
    options = Options(
        multilabel=multilabel,
        classes=classes,
        ignore_index=ignore_index,
        weight=weight,
        normalize_weight=normalize_weight,
        per_image=per_image,
        averaging=averaging,
        reduction=reduction,
        label_smoothing=label_smoothing,
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
        lovasz_factor=None,
        region=made("jaccard_loss", SoftJaccard, smooth, squared, pooled),
    )
    return by_sums("jaccard_loss", activation, logits, target, options)


def jaccard_metric_loss(
    logits: Tensor,
    target: Tensor | Sequence[Tensor],
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
    r"""Jaccard metric loss (JML) of logits, which soft labels minimise.

    $$L_c = 1 - \frac{\sum_i p_{ic} + \sum_i q_{ic} - \sum_i |p_{ic} - q_{ic}| + s}
    {\sum_i p_{ic} + \sum_i q_{ic} + \sum_i |p_{ic} - q_{ic}| + s}$$

    Equal to `jaccard_loss` on hard labels.

    All other arguments are those of `dice_loss`.

    Args:
        logits: as for `dice_loss`.
        target: likewise.

    Returns:
        A scalar; for "none" as `dice_loss`.

    Raises:
        TypeError: for arguments of a wrong type or dtype.
        ValueError: for shapes and values that do not fit; on the CPU also for wrong labels.

    Examples:
        >>> import torch
        >>> logits = torch.tensor([[2.0, 0.0], [0.0, 2.0], [1.0, 0.0]], requires_grad=True)
        >>> loss = jaccard_metric_loss(logits, torch.tensor([0, 1, 1]), label_smoothing=0.1)
        >>> loss.backward()

    References:
        Wang, Ning, Blaschko, *Jaccard metric losses: optimizing the Jaccard index with soft
        labels*, NeurIPS 2023, arXiv 2302.05666, equation 5.
    """
    options = Options(
        multilabel=multilabel,
        classes=classes,
        ignore_index=ignore_index,
        weight=weight,
        normalize_weight=normalize_weight,
        per_image=per_image,
        averaging=averaging,
        reduction=reduction,
        label_smoothing=label_smoothing,
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
        lovasz_factor=None,
        region=made("jaccard_metric_loss", JaccardMetric, smooth, pooled),
    )
    return by_sums("jaccard_metric_loss", activation, logits, target, options)


def tversky_loss(
    logits: Tensor,
    target: Tensor | Sequence[Tensor],
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
    r"""Soft Tversky loss of logits: false positives and negatives weighed differently.

    $$L_c = \left(1 - \frac{I_c + s}
    {I_c + \alpha (P_c - I_c) + \beta (Q_c - I_c) + s}\right)^\gamma$$

    with $I_c = \sum_i p_{ic} q_{ic}$, $P_c = \sum_i p_{ic}$ and $Q_c = \sum_i q_{ic}$.

    All other arguments are those of `dice_loss`.

    Args:
        logits: as for `dice_loss`.
        target: likewise.
        alpha: α, weight of false positives, not negative.
        beta: β, weight of false negatives, not negative.
        gamma: γ > 0; other than 1 for the focal Tversky loss.

    Returns:
        A scalar; for "none" as `dice_loss`.

    Raises:
        TypeError: for arguments of a wrong type or dtype.
        ValueError: for shapes and values that do not fit; on the CPU also for wrong labels.

    Examples:
        >>> import torch
        >>> logits = torch.tensor([[2.0, 0.0], [0.0, 2.0], [1.0, 0.0]], requires_grad=True)
        >>> loss = tversky_loss(logits, torch.tensor([0, 1, 1]), alpha=0.3, beta=0.7)
        >>> loss.backward()

    References:
        Salehi, Erdogmus, Gholipour, MLMI 2017, arXiv 1706.05721; γ: Abraham, Khan, ISBI 2019,
        arXiv 1810.07842 (who write 1/γ).
    """
    options = Options(
        multilabel=multilabel,
        classes=classes,
        ignore_index=ignore_index,
        weight=weight,
        normalize_weight=normalize_weight,
        per_image=per_image,
        averaging=averaging,
        reduction=reduction,
        label_smoothing=label_smoothing,
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
        lovasz_factor=None,
        region=made("tversky_loss", SoftTversky, alpha, beta, smooth, gamma, pooled),
    )
    return by_sums("tversky_loss", activation, logits, target, options)


def generalized_dice_loss(
    logits: Tensor,
    target: Tensor | Sequence[Tensor],
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
    r"""Generalised Dice loss of logits: one ratio of all classes, in which rare ones count more.

    $$L = 1 - \frac{2 \sum_c v_c I_c + s}{\sum_c v_c (P_c + Q_c) + s}$$

    with $I_c = \sum_i p_{ic} q_{ic}$, $P_c = \sum_i p_{ic}$ and $Q_c = \sum_i q_{ic}$.

    All other arguments are those of `dice_loss`.

    Args:
        logits: as for `dice_loss`.
        target: likewise.
        weighting: "square" for $v_c = 1/Q_c^2$, "simple" for $1/Q_c$, "uniform" for 1. A class
            without labels has the largest $v$ of those that have some, or 1.

    Returns:
        A scalar; for "none" as `dice_loss`.

    Raises:
        TypeError: for arguments of a wrong type or dtype.
        ValueError: for shapes and values that do not fit; on the CPU also for wrong labels.

    Examples:
        >>> import torch
        >>> logits = torch.tensor([[2.0, 0.0], [0.0, 2.0], [1.0, 0.0]], requires_grad=True)
        >>> loss = generalized_dice_loss(logits, torch.tensor([0, 1, 1]))
        >>> loss.backward()

    References:
        Sudre et al., *Generalised Dice overlap as a deep learning loss function for highly
        unbalanced segmentations*, DLMIA 2017, arXiv 1707.03237.
    """
    options = Options(
        multilabel=multilabel,
        classes=classes,
        ignore_index=ignore_index,
        per_image=per_image,
        averaging=averaging,
        reduction=reduction,
        label_smoothing=label_smoothing,
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
        lovasz_factor=None,
        region=made("generalized_dice_loss", GeneralizedDice, weighting, smooth),
    )
    return by_sums("generalized_dice_loss", activation, logits, target, options)
