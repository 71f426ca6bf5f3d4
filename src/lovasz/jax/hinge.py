"""The Lovász hinge, for binary and multilabel segmentation."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import jax

from lovasz.core.links import MARGINS
from lovasz.core.options import (
    DEFAULT_BINS,
    Classes,
    Margin,
    Method,
    Options,
    Reduction,
    check_choice,
)
from lovasz.core.set_functions import SetFunction, jaccard
from lovasz.jax._loss import Loss, Places, loss
from lovasz.jax.window import Window

__all__ = ["lovasz_hinge"]


def lovasz_hinge(
    logits: jax.Array,
    labels: jax.Array,
    *,
    axis: int | None = None,
    where: jax.Array | None = None,
    activation: Margin = "relu",
    symmetric: bool = False,
    classes: Classes = "all",
    ignore_index: int | None = None,
    weight: jax.Array | Sequence[float] | None = None,
    normalize_weight: bool = True,
    per_image: bool = False,
    reduction: Reduction = "mean",
    set_function: SetFunction = jaccard,
    method: Method = "histogram",
    bins: int = DEFAULT_BINS,
    window: Window | None = None,
    axis_name: Hashable | None = None,
    pixel_weight: jax.Array | None = None,
) -> Loss:
    r"""Lovász hinge loss of logits, for binary and multilabel segmentation.

    With $s_{ic} = +1$ if the label is 1 and $-1$ if it is 0, pixel i has in channel c the error

    $$
    m_{ic} = \max(0, 1 - s_{ic} x_{ic}), \qquad
    L_c = \int_0^\infty \Delta(fn_c(t), fp_c(t); G_c)\, dt
    $$

    which is piecewise linear in the logits and not bounded. It is convex in the logits, but not
    consistent: its minimum need not be the best segmentation unless Δ is modular. All other
    arguments are those of `lovasz_sigmoid`.

    Args:
        logits: as for `lovasz_sigmoid`.
        labels: as for `lovasz_sigmoid`.
        activation: "relu", the hinge above, or "elu": $m = \mathrm{elu}(1 - s x) + 1$, which
            has a gradient beyond the margin as well.
        symmetric: True takes $\tfrac12 (L(x, y) + L(-x, 1 - y))$, in which foreground and
            background have the same part.
        method: "histogram" counts the errors in bins of their own: the loss of a channel is
            off by at most ``lovasz.relative_bound(bins)`` times 1/64 + L, and NaN for errors of
            65,535 and more. "sort" is exact for any.

    Returns:
        A scalar, or for "none" (C,) or (N, C); with a window (loss, window).

    Raises:
        TypeError: for arguments of a wrong type or dtype.
        ValueError: for shapes and values that do not fit; on the CPU outside of compiled functions
            also for wrong labels.

    Examples:
        >>> import jax.numpy as jnp
        >>> logits, labels = jnp.array([3.0, -1.0, 0.5, -2.0]), jnp.array([1, 1, 0, 0])
        >>> float(lovasz_hinge(logits, labels, method="sort"))
        1.25

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
        reduction=reduction,
        set_function=set_function,
        method=method,
        bins=bins,
        window=window,
        pixel_weight=pixel_weight,
        symmetric=symmetric,
    )
    places = Places(axis, where, axis_name)
    return loss("lovasz_hinge", MARGINS[activation], logits, labels, options, places)
