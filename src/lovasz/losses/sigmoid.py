"""Losses of channels that are sets of their own: binary and multilabel segmentation."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from lovasz.core.set_functions import SetFunction, jaccard
from lovasz.kernels import DEFAULT_BINS
from lovasz.losses._channels import channel_loss
from lovasz.losses._layouts import Extras
from lovasz.losses.distributed import Group
from lovasz.losses.window import Window

__all__ = ["lovasz_sigmoid", "lovasz_sigmoid_from_probabilities"]


def lovasz_sigmoid(
    logits: Tensor,
    target: Tensor,
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
    window: Window | None = None,
    process_group: Group = None,
    pixel_weight: Tensor | None = None,
    ignore_mask: Tensor | None = None,
    offsets: Tensor | None = None,
    batch_index: Tensor | None = None,
    batch_size: int | None = None,
) -> Tensor:
    r"""Lovász loss of the sigmoid of logits, for binary and multilabel segmentation.

    Every channel c is a set of its own. With $p = \sigma(\mathrm{logits})$ pixel i has the error
    $m_{ic} = 1 - p_{ic}$ if ``target`` is 1 and $p_{ic}$ if it is 0, and

    $$
    L_c = \int_0^1 \Delta(fn_c(t), fp_c(t); G_c)\, dt, \qquad
    L = \frac{\sum_c \alpha_c L_c}{\sum_c \alpha_c}
    $$

    as in ``lovasz_softmax``.

    ==================== ========================== ============ ===============================
    logits               target                     multilabel   sets
    ==================== ========================== ============ ===============================
    (P,)                 (P,)                       None, False  one
    (N, 1, \*), (P, 1)   the same, or without the 1 None         one
    (N, \*)              (N, \*)                    False        one; no axis holds channels
    (N, C, \*), (P, C)   the same                   True         C, one for each channel
    ==================== ========================== ============ ===============================

    Args:
        logits: of a shape of the table; float64, float32, bfloat16 or float16, any strides.
        target: of a shape of the table, 0, 1 or ``ignore_index``; any integer dtype, bool, or
            floating with whole numbers. No soft labels.
        multilabel: whether axis 1 holds channels. It has to be said where it cannot be seen, that
            is unless logits are (P,) or have one channel.
        symmetric: True takes the mean of the losses of every set and of its complement, so that
            for one set the mean IoU of foreground and background is followed. It costs nothing.
        classes: which channels count: "all", the default, also those without a pixel, whose
            largest false positive is the loss; "present", those with a pixel; or a list.
        ignore_index: label of pixels that are treated as if they were not there.
        weight: (C,), weights α of the channels.
        normalize_weight: as for ``lovasz_softmax``.
        per_image: as for ``lovasz_softmax``.
        reduction: as for ``lovasz_softmax``.
        set_function: as for ``lovasz_softmax``.
        method: as for ``lovasz_softmax``.
        bins: as for ``lovasz_softmax``.
        window: as for ``lovasz_softmax``.
        process_group: as for ``lovasz_softmax``.
        pixel_weight: of the shape of ``target``; as for ``lovasz_softmax``.
        ignore_mask: of the shape of ``target``; as for ``lovasz_softmax``.
        offsets: as for ``lovasz_softmax``, with logits (P,) or (P, C).
        batch_index: as for ``lovasz_softmax``.
        batch_size: as for ``lovasz_softmax``.

    Returns:
        As for ``lovasz_softmax``, with channels in the place of classes.

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
    extras = Extras(pixel_weight, ignore_mask, offsets, batch_index, batch_size)
    return channel_loss(
        "lovasz_sigmoid",
        "logits",
        "sigmoid",
        logits,
        target,
        multilabel=multilabel,
        symmetric=symmetric,
        ignore_index=ignore_index,
        per_image=per_image,
        extras=extras,
        classes=classes,
        weight=weight,
        normalize_weight=normalize_weight,
        reduction=reduction,
        set_function=set_function,
        method=method,
        bins=bins,
        window=window,
        process_group=process_group,
    )


def lovasz_sigmoid_from_probabilities(
    probabilities: Tensor,
    target: Tensor,
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
    window: Window | None = None,
    process_group: Group = None,
    pixel_weight: Tensor | None = None,
    ignore_mask: Tensor | None = None,
    offsets: Tensor | None = None,
    batch_index: Tensor | None = None,
    batch_size: int | None = None,
) -> Tensor:
    r"""Lovász loss of probabilities of channels, for networks that end in a sigmoid.

    As ``lovasz_sigmoid`` with $p$ given. Prefer logits where you have them.

    Args:
        probabilities: as the logits of ``lovasz_sigmoid``, in [0, 1].
        target: as for ``lovasz_sigmoid``.
        multilabel: as for ``lovasz_sigmoid``.
        symmetric: as for ``lovasz_sigmoid``.
        classes: as for ``lovasz_sigmoid``.
        ignore_index: as for ``lovasz_sigmoid``.
        weight: as for ``lovasz_sigmoid``.
        normalize_weight: as for ``lovasz_softmax``.
        per_image: as for ``lovasz_softmax``.
        reduction: as for ``lovasz_softmax``.
        set_function: as for ``lovasz_softmax``.
        method: as for ``lovasz_softmax``.
        bins: as for ``lovasz_softmax``.
        window: as for ``lovasz_softmax``.
        process_group: as for ``lovasz_softmax``.
        pixel_weight: as for ``lovasz_sigmoid``.
        ignore_mask: as for ``lovasz_sigmoid``.
        offsets: as for ``lovasz_sigmoid``.
        batch_index: as for ``lovasz_softmax``.
        batch_size: as for ``lovasz_softmax``.

    Returns:
        As for ``lovasz_sigmoid``.

    Raises:
        TypeError: as for ``lovasz_sigmoid``.
        ValueError: as for ``lovasz_sigmoid``, and on the CPU for values outside [0, 1].

    Examples:
        >>> import torch
        >>> probabilities, target = torch.tensor([1.0, 0.0, 0.0]), torch.tensor([1, 1, 0])
        >>> lovasz_sigmoid_from_probabilities(probabilities, target, method="sort").item()
        0.5

    References:
        Berman, Triki, Blaschko, CVPR 2018, arXiv 1705.08790, definition 2.
    """
    extras = Extras(pixel_weight, ignore_mask, offsets, batch_index, batch_size)
    return channel_loss(
        "lovasz_sigmoid_from_probabilities",
        "probabilities",
        "channel_probabilities",
        probabilities,
        target,
        multilabel=multilabel,
        symmetric=symmetric,
        ignore_index=ignore_index,
        per_image=per_image,
        extras=extras,
        classes=classes,
        weight=weight,
        normalize_weight=normalize_weight,
        reduction=reduction,
        set_function=set_function,
        method=method,
        bins=bins,
        window=window,
        process_group=process_group,
    )
