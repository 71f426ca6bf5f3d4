"""The Lovász hinge: margins in the place of probabilities."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from lovasz.core.set_functions import SetFunction, jaccard
from lovasz.kernels import DEFAULT_BINS
from lovasz.losses import _inputs
from lovasz.losses._channels import channel_loss
from lovasz.losses._layouts import Extras
from lovasz.losses.distributed import Group
from lovasz.losses.window import Window

__all__ = ["lovasz_hinge"]


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
) -> Tensor:
    r"""Lovász hinge loss of logits, for binary and multilabel segmentation.

    With $s_{ic} = +1$ if ``target`` is 1 and $-1$ if it is 0, pixel i has in channel c the error

    $$
    m_{ic} = \max(0, 1 - s_{ic} x_{ic}), \qquad
    L_c = \int_0^\infty \Delta(fn_c(t), fp_c(t); G_c)\, dt
    $$

    which is piecewise linear in the logits and not bounded. It is convex in the logits, but not
    consistent: its minimum need not be the best segmentation unless Δ is modular.

    Args:
        logits: as for ``lovasz_sigmoid``.
        target: as for ``lovasz_sigmoid``.
        activation: "relu", the hinge above, or "elu": $m = \mathrm{elu}(1 - s x) + 1$, which
            has a gradient beyond the margin as well.
        multilabel: as for ``lovasz_sigmoid``.
        symmetric: True takes $\tfrac12 (L(x, y) + L(-x, 1 - y))$, in which foreground and
            background have the same part. It costs nothing.
        classes: as for ``lovasz_sigmoid``.
        ignore_index: as for ``lovasz_sigmoid``.
        weight: as for ``lovasz_sigmoid``.
        normalize_weight: as for ``lovasz_softmax``.
        per_image: as for ``lovasz_softmax``.
        reduction: as for ``lovasz_softmax``.
        set_function: as for ``lovasz_softmax``.
        method: "histogram" counts the errors in bins of their logarithm: the loss of a channel is
            off by at most ``relative_bound(bins)`` times 1 + L, and NaN for errors of 65,535 and
            more. "sort" is exact for any.
        bins: number of bins of the histogram method, from 2 to 2**20.
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
        ValueError: as for ``lovasz_sigmoid``.

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
    name = "lovasz_hinge"
    _inputs.check_choice(name, "activation", activation, ("relu", "elu"))
    return channel_loss(
        name,
        "logits",
        "hinge" if activation == "relu" else "elu",
        logits,
        target,
        multilabel=multilabel,
        symmetric=symmetric,
        ignore_index=ignore_index,
        per_image=per_image,
        extras=Extras(pixel_weight, ignore_mask, offsets, batch_index, batch_size),
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
