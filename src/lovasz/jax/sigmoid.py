"""The losses of the sigmoid of logits, for binary and multilabel segmentation."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import jax

from lovasz.core.options import (
    DEFAULT_BINS,
    Classes,
    CrossEntropy,
    Method,
    Names,
    Options,
    Reduction,
)
from lovasz.core.set_functions import SetFunction, jaccard
from lovasz.jax._loss import Loss, Places, loss
from lovasz.jax.window import Window

__all__ = [
    "binary_cross_entropy_lovasz_sigmoid",
    "lovasz_sigmoid",
    "lovasz_sigmoid_from_probabilities",
]


def lovasz_sigmoid(
    logits: jax.Array,
    labels: jax.Array,
    *,
    axis: int | None = None,
    where: jax.Array | None = None,
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
    r"""Lovász loss of the sigmoid of logits, for binary and multilabel segmentation.

    Every channel c has labels of its own, 0 and 1. With $p = \sigma(\mathrm{logits})$ pixel i has
    the error $m_{ic} = 1 - p_{ic}$ if its label is 1 and $p_{ic}$ if it is 0, and

    $$
    L_c = \int_0^1 \Delta(fn_c(t), fp_c(t); G_c)\, dt, \qquad
    L = \frac{\sum_c \alpha_c L_c}{\sum_c \alpha_c}
    $$

    as in `lovasz_softmax`, whose other arguments hold here, with channels in the place of classes.

    Args:
        logits: any shape; float64, float32, bfloat16 or float16.
        labels: the shape of the logits; 0, 1 or ``ignore_index``, of any integer dtype or bool.
        axis: of the channels. None, the default: every pixel has one label, and no axis holds
            channels.
        where: of the labels' shape, bool: False for labels to leave out.
        symmetric: True takes the mean of the losses of every channel's set and of its complement,
            so that for one channel the mean IoU of foreground and background is followed.
        pixel_weight: of the labels' shape, as for `lovasz_softmax`.
        classes: which channels count: "all", the default, also those without a pixel, whose
            largest false positive is the loss; "present", those with a pixel; or a list.

    Returns:
        A scalar; for "none" (C,), or (N, C) with ``per_image``; with a window (loss, window).

    Raises:
        TypeError: for arguments of a wrong type or dtype.
        ValueError: for shapes and values that do not fit; on the CPU outside of compiled functions
            also for labels that are neither 0 nor 1 nor ``ignore_index``, which turn the loss into
            NaN elsewhere.

    Examples:
        >>> import jax.numpy as jnp
        >>> logits, labels = jnp.array([3.0, -1.0, 0.5, -2.0]), jnp.array([1, 1, 0, 0])
        >>> round(float(lovasz_sigmoid(logits, labels, method="sort")), 4)
        0.4911

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
        reduction=reduction,
        set_function=set_function,
        method=method,
        bins=bins,
        window=window,
        pixel_weight=pixel_weight,
        symmetric=symmetric,
    )
    places = Places(axis, where, axis_name)
    return loss("lovasz_sigmoid", "sigmoid", logits, labels, options, places)


def lovasz_sigmoid_from_probabilities(
    probabilities: jax.Array,
    labels: jax.Array,
    *,
    axis: int | None = None,
    where: jax.Array | None = None,
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
    r"""Lovász loss of probabilities, for networks that end in a sigmoid.

    As `lovasz_sigmoid` with $p$ given. Prefer logits where you have them. All other arguments, the
    result and the errors are those of `lovasz_sigmoid`.

    Args:
        probabilities: as the logits of `lovasz_sigmoid`, in [0, 1].
        labels: as for `lovasz_sigmoid`.

    Returns:
        A scalar, or for "none" (C,) or (N, C); with a window (loss, window).

    Raises:
        TypeError: for arguments of a wrong type or dtype.
        ValueError: for shapes and values that do not fit; on the CPU outside of compiled functions
            also for values outside [0, 1].

    Examples:
        >>> import jax.numpy as jnp
        >>> probabilities, labels = jnp.array([1.0, 0.0, 0.0]), jnp.array([1, 1, 0])
        >>> float(lovasz_sigmoid_from_probabilities(probabilities, labels, method="sort"))
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
        reduction=reduction,
        set_function=set_function,
        method=method,
        bins=bins,
        window=window,
        pixel_weight=pixel_weight,
        symmetric=symmetric,
    )
    name, places = "lovasz_sigmoid_from_probabilities", Places(axis, where, axis_name)
    link = "channel_probabilities"
    return loss(name, link, probabilities, labels, options, places, "probabilities")


def binary_cross_entropy_lovasz_sigmoid(
    logits: jax.Array,
    labels: jax.Array,
    *,
    axis: int | None = None,
    where: jax.Array | None = None,
    cross_entropy_weight: float | jax.Array = 1.0,
    lovasz_weight: float | jax.Array = 1.0,
    pos_weight: jax.Array | Sequence[float] | None = None,
    symmetric: bool = False,
    classes: Classes = "all",
    ignore_index: int | None = None,
    lovasz_class_weight: jax.Array | Sequence[float] | None = None,
    normalize_weight: bool = True,
    per_image: bool = False,
    set_function: SetFunction = jaccard,
    bins: int = DEFAULT_BINS,
    window: Window | None = None,
    axis_name: Hashable | None = None,
    pixel_weight: jax.Array | None = None,
) -> Loss:
    r"""Binary cross-entropy and the Lovász loss of the sigmoid together.

    $$L = \lambda_{BCE}\, \mathrm{BCE} + \lambda_{Lovász}\, L_{Lovász}$$

    with the mean of ``optax.sigmoid_binary_cross_entropy`` over all pixels and channels that are
    not ignored, and `lovasz_sigmoid`.

    All other arguments are those of `lovasz_sigmoid`. They are for the Lovász loss, but for
    ``where``, ``ignore_index``, ``pixel_weight`` and ``axis_name``, which hold for the
    cross-entropy too. With ``per_image`` or a ``window`` it stays that of the batch.

    Args:
        logits: as for `lovasz_sigmoid`.
        labels: as for `lovasz_sigmoid`.
        cross_entropy_weight: factor of the binary cross-entropy, finite and not negative; an array
            () too, such as one of a schedule.
        lovasz_weight: factor of the Lovász loss, likewise.
        pos_weight: (C,), weights of the ones in the binary cross-entropy, which get no gradient.
            None: all 1.
        lovasz_class_weight: (C,), weights of the channels in the Lovász loss: its ``weight``.

    Returns:
        A scalar, float64 for float64 logits, otherwise float32; 0 where everything is ignored; with
        a window (loss, window).

    Raises:
        TypeError: for arguments of a wrong type or dtype.
        ValueError: for shapes and values that do not fit; on the CPU outside of compiled functions
            also for wrong labels.

    Examples:
        >>> import jax, jax.numpy as jnp
        >>> logits, labels = jnp.array([3.0, -1.0, 0.5, -2.0]), jnp.array([1, 1, 0, 0])
        >>> both = binary_cross_entropy_lovasz_sigmoid(logits, labels)
        >>> mean = jax.nn.softplus(jnp.array([-3.0, 1.0, 0.5, -2.0])).mean()
        >>> bool(jnp.isclose(both, mean + lovasz_sigmoid(logits, labels)))
        True

    References:
        Berman, Triki, Blaschko, CVPR 2018, arXiv 1705.08790.
    """
    options = Options(
        classes=classes,
        ignore_index=ignore_index,
        weight=lovasz_class_weight,
        normalize_weight=normalize_weight,
        per_image=per_image,
        set_function=set_function,
        bins=bins,
        window=window,
        pixel_weight=pixel_weight,
        symmetric=symmetric,
        cross_entropy=CrossEntropy(cross_entropy_weight, pos_weight),
        lovasz_factor=lovasz_weight,
        names=Names(weight="lovasz_class_weight"),
    )
    name, places = "binary_cross_entropy_lovasz_sigmoid", Places(axis, where, axis_name)
    return loss(name, "sigmoid", logits, labels, options, places)
