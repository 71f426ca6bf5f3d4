"""The losses of binary and multilabel segmentation: sigmoids, alone or with cross-entropy."""

from __future__ import annotations

from torch import Tensor

from lovasz.core.options import (
    DEFAULT_BINS,
    Averaging,
    Classes,
    CrossEntropy,
    Method,
    Names,
    Options,
    Reduction,
    Upsample,
)
from lovasz.core.regions import Region
from lovasz.core.set_functions import SetFunction, jaccard
from lovasz.losses._classes import ClassWeights
from lovasz.losses._loss import loss
from lovasz.losses.distributed import Group
from lovasz.losses.window import Window

__all__ = [
    "binary_cross_entropy_lovasz_sigmoid",
    "lovasz_sigmoid",
    "lovasz_sigmoid_from_probabilities",
]


def lovasz_sigmoid(
    logits: Tensor,
    target: Tensor,
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
    r"""Lovász loss of the sigmoid of logits, for binary and multilabel segmentation.

    Every channel c has labels of its own, 0 and 1. With $p = \sigma(\mathrm{logits})$ pixel i has
    the error $m_{ic} = 1 - p_{ic}$ if ``target`` is 1 and $p_{ic}$ if it is 0, and

    $$
    L_c = \int_0^1 \Delta(fn_c(t), fp_c(t); G_c)\, dt, \qquad
    L = \frac{\sum_c \alpha_c L_c}{\sum_c \alpha_c}
    $$

    as in ``lovasz_softmax``.

    ==================== ========================== ============ ===============================
    logits               target                     multilabel   channels
    ==================== ========================== ============ ===============================
    (P,)                 (P,)                       None, False  one
    (N, 1, \*), (P, 1)   the same, or without the 1 None         one
    (N, \*)              (N, 1, \*)                 None, False  one; no axis holds channels
    (N, \*)              (N, \*)                    False        the same
    (N, C, \*), (P, C)   the same                   True         C
    ==================== ========================== ============ ===============================

    All other arguments are those of `lovasz_softmax`, with channels in the place of classes.

    Args:
        logits: of a shape of the table; float64, float32, bfloat16 or float16, any strides.
        target: of a shape of the table, 0, 1 or ``ignore_index`` of any integer dtype or bool; or
            floating: soft labels in [0, 1], as for `lovasz_softmax`, or ``ignore_index``.
        multilabel: whether axis 1 holds channels. It has to be said where it cannot be seen, that
            is unless logits are (P,) or have one channel.
        symmetric: True takes the mean of the losses of every channel's set and of its complement,
            so that for one channel the mean IoU of foreground and background is followed. It costs
            nothing.
        pixel_weight: of the shape of ``target``, as for `lovasz_softmax`.
        ignore_mask: of the shape of ``target``, bool: True for further labels to leave out.
        classes: which channels count: "all", the default, also those without a pixel, whose
            largest false positive is the loss; "present", those with a pixel; or a list.

    Returns:
        A scalar; for "none" (C,), or (N, C) with ``per_image``, as `lovasz_softmax`.

    Raises:
        TypeError: for arguments of a wrong type or dtype.
        ValueError: for shapes and values that do not fit; on the CPU also for labels that are
            neither 0 nor 1 nor ``ignore_index``, which turn the loss into NaN elsewhere.

    Examples:
        >>> import torch
        >>> logits = torch.tensor([3.0, -1.0, 0.5, -2.0], requires_grad=True)
        >>> loss = lovasz_sigmoid(logits, torch.tensor([1, 1, 0, 0]), method="sort")
        >>> round(loss.item(), 4)
        0.4911
        >>> loss.backward()

    References:
        Berman, Triki, Blaschko, CVPR 2018, arXiv 1705.08790, definition 2 and section 3.2 (there
        for two classes).
    """
    options = Options(
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
        window=window,
        process_group=process_group,
        pixel_weight=pixel_weight,
        ignore_mask=ignore_mask,
        offsets=offsets,
        batch_index=batch_index,
        batch_size=batch_size,
        upsample=upsample,
        align_corners=align_corners,
        multilabel=multilabel,
        symmetric=symmetric,
    )
    return loss("lovasz_sigmoid", "sigmoid", logits, target, options)


def lovasz_sigmoid_from_probabilities(
    probabilities: Tensor,
    target: Tensor,
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
    window: Window | None = None,
    process_group: Group = None,
    pixel_weight: Tensor | None = None,
    ignore_mask: Tensor | None = None,
    offsets: Tensor | None = None,
    batch_index: Tensor | None = None,
    batch_size: int | None = None,
) -> Tensor:
    r"""Lovász loss of probabilities, for networks that end in a sigmoid.

    As `lovasz_sigmoid` with $p$ given. Prefer logits where you have them.

    All other arguments, the result and the errors are those of `lovasz_sigmoid`.

    Args:
        probabilities: as the logits of `lovasz_sigmoid`, in [0, 1].
        target: as for `lovasz_sigmoid`.

    Returns:
        A scalar, or for "none" (C,) or (N, C).

    Raises:
        TypeError: for arguments of a wrong type or dtype.
        ValueError: for shapes and values that do not fit; on the CPU also for values outside
            [0, 1].

    Examples:
        >>> import torch
        >>> probabilities, target = torch.tensor([1.0, 0.0, 0.0]), torch.tensor([1, 1, 0])
        >>> lovasz_sigmoid_from_probabilities(probabilities, target, method="sort").item()
        0.5

    References:
        Berman, Triki, Blaschko, CVPR 2018, arXiv 1705.08790, definition 2.
    """
    options = Options(
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
        window=window,
        process_group=process_group,
        pixel_weight=pixel_weight,
        ignore_mask=ignore_mask,
        offsets=offsets,
        batch_index=batch_index,
        batch_size=batch_size,
        multilabel=multilabel,
        symmetric=symmetric,
    )
    name = "lovasz_sigmoid_from_probabilities"
    link = "channel_probabilities"
    return loss(name, link, probabilities, target, options, "probabilities")


def binary_cross_entropy_lovasz_sigmoid(
    logits: Tensor,
    target: Tensor,
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
    r"""Binary cross-entropy and the Lovász loss of the sigmoid together.

    $$L = \lambda_{BCE}\, \mathrm{BCE} + \lambda_{Lovász}\, L_{Lovász} + \lambda_{R}\, L_{R}$$

    with the cross-entropy of `torch.nn.functional.binary_cross_entropy_with_logits` (its mean over
    all pixels and channels that are not ignored, its ``pos_weight``, its soft labels),
    `lovasz_sigmoid`, and if asked for a loss by sums as ``region``.

    All other arguments are those of `lovasz_sigmoid`. They are for the Lovász loss, but for
    ``ignore_index``, ``ignore_mask``, ``pixel_weight`` and ``process_group``, which hold for the
    cross-entropy too: it is the mean over all labels that are left, of the global batch, weighted
    by ``pixel_weight``. With ``per_image`` or a ``window`` it stays that of the batch.

    Args:
        logits: as for `lovasz_sigmoid`.
        target: as for `lovasz_sigmoid`.
        cross_entropy_weight: factor of the binary cross-entropy, finite and not negative.
        lovasz_weight: factor of the Lovász loss, finite and not negative.
        pos_weight: (C,), weights of the ones in the binary cross-entropy. None: all 1.
        lovasz_class_weight: (C,), weights of the channels in the Lovász loss, and in the region:
            its ``weight``.
        region: a loss by sums to be added, from the same passes, such as ``lovasz.SoftDice()``: its
            mean over the channels that count. None: none.
        region_weight: factor of the region, finite and not negative.

    Returns:
        A scalar, float64 for float64 logits, otherwise float32; 0 where everything is ignored.

    Raises:
        TypeError: for arguments of a wrong type or dtype.
        ValueError: for shapes and values that do not fit; on the CPU also for wrong labels.

    Examples:
        >>> import torch
        >>> from lovasz import lovasz_sigmoid
        >>> logits, target = torch.tensor([3.0, -1.0, 0.5, -2.0]), torch.tensor([1, 1, 0, 0])
        >>> both = binary_cross_entropy_lovasz_sigmoid(logits, target)
        >>> bce = torch.nn.functional.binary_cross_entropy_with_logits(logits, target.float())
        >>> torch.testing.assert_close(both, bce + lovasz_sigmoid(logits, target))

    References:
        Berman, Triki, Blaschko, CVPR 2018, arXiv 1705.08790.
    """
    options = Options(
        classes=classes,
        ignore_index=ignore_index,
        weight=lovasz_class_weight,
        normalize_weight=normalize_weight,
        per_image=per_image,
        averaging=averaging,
        set_function=set_function,
        bins=bins,
        window=window,
        process_group=process_group,
        pixel_weight=pixel_weight,
        ignore_mask=ignore_mask,
        offsets=offsets,
        batch_index=batch_index,
        batch_size=batch_size,
        upsample=upsample,
        align_corners=align_corners,
        multilabel=multilabel,
        symmetric=symmetric,
        cross_entropy=CrossEntropy(cross_entropy_weight, pos_weight),
        lovasz_factor=lovasz_weight,
        region=region,
        region_factor=region_weight,
        names=Names(weight="lovasz_class_weight"),
    )
    return loss("binary_cross_entropy_lovasz_sigmoid", "sigmoid", logits, target, options)
