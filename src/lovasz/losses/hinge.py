"""The Lovász hinge: margins in the place of probabilities."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from lovasz.core.options import DEFAULT_BINS, Options, check_choice
from lovasz.core.set_functions import SetFunction, jaccard
from lovasz.losses._loss import loss
from lovasz.losses.distributed import Group
from lovasz.losses.window import Window

__all__ = ["lovasz_hinge"]

LINKS = {"relu": "hinge", "elu": "elu"}


def lovasz_hinge(
    logits: Tensor,
    target: Tensor,
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
    window: Window | None = None,
    process_group: Group = None,
    pixel_weight: Tensor | None = None,
    ignore_mask: Tensor | None = None,
    offsets: Tensor | None = None,
    batch_index: Tensor | None = None,
    batch_size: int | None = None,
    upsample: str | None = None,
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
    check_choice("lovasz_hinge", "activation", activation, tuple(LINKS))
    options = Options(
        classes=classes,
        ignore_index=ignore_index,
        weight=weight,
        normalize_weight=normalize_weight,
        per_image=per_image,
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
    return loss("lovasz_hinge", LINKS[activation], logits, target, options)
