"""The Lovász hinge: margins in the place of probabilities."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from lovasz.core.links import MARGINS
from lovasz.core.options import (
    DEFAULT_BINS,
    Averaging,
    Classes,
    CrossEntropy,
    Margin,
    Method,
    Names,
    Options,
    Reduction,
    Upsample,
    check_choice,
)
from lovasz.core.set_functions import SetFunction, jaccard
from lovasz.core.shapes import multiclass
from lovasz.kernels.precision import to_compute
from lovasz.losses._by_sums import renamed
from lovasz.losses._classes import ClassWeights
from lovasz.losses._inputs import check_tensors
from lovasz.losses._labels import class_indices
from lovasz.losses._loss import loss
from lovasz.losses.distributed import Group
from lovasz.losses.window import Window

__all__ = [
    "binary_cross_entropy_lovasz_hinge",
    "cross_entropy_lovasz_hinge",
    "lovasz_hinge",
]


def lovasz_hinge(
    logits: Tensor,
    target: Tensor,
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
    r"""Lovász hinge loss of logits, for binary and multilabel segmentation.

    With $s_{ic} = +1$ if ``target`` is 1 and $-1$ if it is 0, pixel i has in channel c the error

    $$
    m_{ic} = \max(0, 1 - s_{ic} x_{ic}), \qquad
    L_c = \int_0^\infty \Delta(fn_c(t), fp_c(t); G_c)\, dt
    $$

    which is piecewise linear in the logits and not bounded. It is convex in the logits, but not
    consistent: its minimum need not be the best segmentation unless Δ is modular.

    All other arguments are those of `lovasz_sigmoid`.

    Args:
        logits: as for `lovasz_sigmoid`.
        target: as for `lovasz_sigmoid`.
        target: as for `lovasz_sigmoid`, but for soft labels: zeros and ones, or ``ignore_index``.
        activation: "relu", the hinge above, or "elu": $m = \mathrm{elu}(1 - s x) + 1$, which
            has a gradient beyond the margin as well.
        symmetric: True takes $\tfrac12 (L(x, y) + L(-x, 1 - y))$, in which foreground and
            background have the same part. It costs nothing.
        method: "histogram" counts the errors in bins of their own: the loss of a channel is
            off by at most ``relative_bound(bins)`` times 1/64 + L, and NaN for errors of 65,535 and
            more. "sort" is exact for any.

    Returns:
        A scalar, or for "none" (C,) or (N, C), as `lovasz_sigmoid`.

    Raises:
        TypeError: for arguments of a wrong type or dtype.
        ValueError: for shapes and values that do not fit; on the CPU also for wrong labels.

    Examples:
        >>> import torch
        >>> logits = torch.tensor([3.0, -1.0, 0.5, -2.0], requires_grad=True)
        >>> loss = lovasz_hinge(logits, torch.tensor([1, 1, 0, 0]), method="sort")
        >>> loss.item()
        1.25
        >>> loss.backward()

    References:
        Yu, Blaschko, *Learning submodular losses with the Lovász hinge*, ICML 2015; Berman, Triki,
        Blaschko, CVPR 2018, arXiv 1705.08790, section 3.1. On consistency: Finocchiaro, Frongillo,
        Nueve, *The structured abstain problem and the Lovász hinge*, arXiv 2203.08645.
    """
    check_choice("lovasz_hinge", "activation", activation, tuple(MARGINS))
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
    return loss("lovasz_hinge", MARGINS[activation], logits, target, options)


def binary_cross_entropy_lovasz_hinge(
    logits: Tensor,
    target: Tensor,
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
    r"""Binary cross-entropy and the Lovász hinge together.

    $$L = \lambda_{BCE}\, \mathrm{BCE} + \lambda_{Lovász}\, L_{hinge}$$

    with the cross-entropy of `binary_cross_entropy_lovasz_sigmoid` and `lovasz_hinge`. The errors
    of the hinge have no bound; a small ``lovasz_weight`` such as 0.02 keeps it from outweighing the
    cross-entropy early in training.

    All other arguments are those of `lovasz_hinge`. They are for the Lovász loss, but for
    ``ignore_index``, ``ignore_mask``, ``pixel_weight`` and ``process_group``, which hold for the
    cross-entropy too.

    Args:
        logits: as for `lovasz_sigmoid`.
        cross_entropy_weight: factor of the binary cross-entropy, finite and not negative.
        lovasz_weight: factor of the hinge, finite and not negative.
        pos_weight: (C,), weights of the ones in the binary cross-entropy. None: all 1.
        lovasz_class_weight: (C,), weights of the channels in the hinge: its ``weight``.

    Returns:
        A scalar, float64 for float64 logits, otherwise float32; 0 where everything is ignored.

    Raises:
        TypeError: for arguments of a wrong type or dtype.
        ValueError: for shapes and values that do not fit; on the CPU also for wrong labels.

    Examples:
        >>> import torch
        >>> logits, target = torch.tensor([3.0, -1.0, 0.5, -2.0]), torch.tensor([1, 1, 0, 0])
        >>> both = binary_cross_entropy_lovasz_hinge(logits, target, lovasz_weight=0.02)
        >>> bce = torch.nn.functional.binary_cross_entropy_with_logits(logits, target.float())
        >>> torch.testing.assert_close(both, bce + 0.02 * lovasz_hinge(logits, target))

    References:
        Yu, Blaschko, *Learning submodular losses with the Lovász hinge*, ICML 2015; Berman, Triki,
        Blaschko, CVPR 2018, arXiv 1705.08790.
    """
    name = "binary_cross_entropy_lovasz_hinge"
    check_choice(name, "activation", activation, tuple(MARGINS))
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
        names=Names(weight="lovasz_class_weight"),
    )
    return loss(name, MARGINS[activation], logits, target, options)


def cross_entropy_lovasz_hinge(
    logits: Tensor, target: Tensor, *, lovasz_weight: float = 0.02, **options: Any
) -> Tensor:
    r"""Cross-entropy of two classes and the Lovász hinge of their difference together.

    $$L = \lambda_{CE}\, \mathrm{CE}(x, y) + \lambda_{Lovász}\, L_{hinge}(x_1 - x_0, y)$$

    for networks that end in two channels where one would do. The cross-entropy of two logits is
    the binary cross-entropy of their difference, so this is `binary_cross_entropy_lovasz_hinge` of
    $x_1 - x_0$, and ``pos_weight`` is the weight of class 1.

    All other arguments are those of `binary_cross_entropy_lovasz_hinge`.

    Args:
        logits: (N, 2, *) or (P, 2), of background and foreground.
        target: (N, *) or (P,), 0, 1 or ``ignore_index``, in any form of class indices that
            `lovasz_softmax` takes.
        lovasz_weight: factor of the hinge, finite and not negative.
        options: further ones of `binary_cross_entropy_lovasz_hinge`, but for ``multilabel``,
            ``classes`` and ``lovasz_class_weight``: there is one channel.

    Returns:
        A scalar, float64 for float64 logits, otherwise float32; 0 where everything is ignored.

    Raises:
        TypeError: for arguments of a wrong type or dtype.
        ValueError: for shapes and values that do not fit; on the CPU also for wrong labels.

    Examples:
        >>> import torch
        >>> logits = torch.tensor([[0.0, 3.0], [1.0, 0.0], [0.0, 0.5], [2.0, 0.0]])
        >>> target = torch.tensor([1, 1, 0, 0])
        >>> both = cross_entropy_lovasz_hinge(logits, target)
        >>> ce = torch.nn.functional.cross_entropy(logits, target)
        >>> hinge = lovasz_hinge(logits[:, 1] - logits[:, 0], target)
        >>> torch.testing.assert_close(both, ce + 0.02 * hinge)

    References:
        Yu, Blaschko, ICML 2015; the mixture with 1 and 0.02 is PaddleSeg's for two classes,
        https://github.com/PaddlePaddle/PaddleSeg.
    """
    name = "cross_entropy_lovasz_hinge"
    check_tensors(name, "logits", logits, target)
    if logits.dim() < 2 or logits.shape[1] != 2:
        raise ValueError(
            f"{name}: expected logits of shape (N, 2, *) or (P, 2), got {tuple(logits.shape)}; for"
            " one channel use binary_cross_entropy_lovasz_hinge"
        )
    if wrong := options.keys() & {"multilabel", "classes", "lovasz_class_weight"}:
        raise TypeError(f"{name}: expected options of one channel, got {', '.join(sorted(wrong))}")
    upsample = options.get("upsample")
    layout = multiclass(name, "logits", logits, target, upsample=upsample, has_upsample=True)
    if layout.soft:
        raise TypeError(
            f"{name}: expected class indices, because margins have no soft labels, got"
            f" {target.dtype} of shape {tuple(target.shape)}"
        )
    left_out: dict[str, Any] = {
        key: options.get(key) for key in ("ignore_index", "ignore_mask", "pixel_weight")
    }
    target = class_indices(name, target, layout, Options(**left_out))
    logits = to_compute(logits)  # of 16 bits a difference would be rounded
    difference = logits[:, 1] - logits[:, 0]
    if logits.dim() > 2:
        options["multilabel"] = False
    options["lovasz_weight"] = lovasz_weight
    try:
        return binary_cross_entropy_lovasz_hinge(difference, target, **options)
    except (TypeError, ValueError) as error:
        other = binary_cross_entropy_lovasz_hinge.__name__
        raise type(error)(renamed(error, other, name)) from None
