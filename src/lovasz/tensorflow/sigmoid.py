"""The losses of binary and multilabel segmentation: sigmoid, alone or with cross-entropy."""

from __future__ import annotations

import tensorflow as tf

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
from lovasz.tensorflow._loss import TensorLike, loss


def lovasz_sigmoid(
    logits: TensorLike,
    labels: TensorLike,
    *,
    axis: int | None = None,
    symmetric: bool = False,
    classes: Classes = "all",
    ignore_index: int | None = None,
    weight: TensorLike | None = None,
    normalize_weight: bool = True,
    pixel_weight: TensorLike | None = None,
    per_image: bool = False,
    reduction: Reduction = "mean",
    set_function: SetFunction = jaccard,
    method: Method = "histogram",
    bins: int = DEFAULT_BINS,
) -> tf.Tensor:
    r"""Lovász loss of the sigmoid of logits, for binary and multilabel segmentation.

    Every channel c has labels of its own, 0 and 1. With $p = \sigma(\mathrm{logits})$ pixel i has
    the error $m_{ic} = 1 - p_{ic}$ if its label is 1 and $p_{ic}$ if it is 0, and the loss is the
    mean of the Lovász extensions of the channels, as in `lovasz_softmax`.

    All other arguments, the result and the errors are those of `lovasz_softmax`, with channels in
    the place of classes.

    Args:
        logits: any shape; float64, float32, bfloat16 or float16.
        labels: the shape of the logits; 0, 1 or ``ignore_index``.
        axis: of the channels, each with labels of its own; None for one channel without an axis.
        symmetric: True takes the mean of the losses of every channel's set and of its complement.
        classes: which channels count: "all", the default, also those without a pixel, whose largest
            false positive is the loss; "present", those with a pixel; or a list.
        ignore_index: of labels to leave out, neither 0 nor 1.
        pixel_weight: the shape of ``labels``, as for `lovasz_softmax`.

    Returns:
        A scalar; for "none" (C,), or (N, C) with ``per_image``.

    Raises:
        TypeError: for arguments of a wrong type or dtype.
        ValueError: for shapes and values that do not fit.

    Examples:
        >>> from lovasz.tensorflow import lovasz_sigmoid
        >>> loss = lovasz_sigmoid([3.0, -1.0, 0.5, -2.0], [1, 1, 0, 0], method="sort")
        >>> round(float(loss), 4)
        0.4911

    References:
        Berman, Triki, Blaschko, CVPR 2018, arXiv 1705.08790, definition 2 and section 3.2.
    """
    options = Options(
        classes=classes,
        ignore_index=ignore_index,
        weight=weight,
        normalize_weight=normalize_weight,
        pixel_weight=pixel_weight,
        per_image=per_image,
        reduction=reduction,
        set_function=set_function,
        method=method,
        bins=bins,
        symmetric=symmetric,
    )
    return loss("lovasz_sigmoid", "sigmoid", logits, labels, axis, options)


def lovasz_sigmoid_from_probabilities(
    probabilities: TensorLike,
    labels: TensorLike,
    *,
    axis: int | None = None,
    symmetric: bool = False,
    classes: Classes = "all",
    ignore_index: int | None = None,
    weight: TensorLike | None = None,
    normalize_weight: bool = True,
    pixel_weight: TensorLike | None = None,
    per_image: bool = False,
    reduction: Reduction = "mean",
    set_function: SetFunction = jaccard,
    method: Method = "histogram",
    bins: int = DEFAULT_BINS,
) -> tf.Tensor:
    r"""Lovász loss of probabilities, for networks that end in a sigmoid.

    As `lovasz_sigmoid` with $p$ given. Prefer logits where you have them.

    All other arguments, the result and the errors are those of `lovasz_sigmoid`.

    Args:
        probabilities: any shape, in [0, 1].
        labels: as for `lovasz_sigmoid`.

    Returns:
        A scalar, or for "none" (C,) or (N, C).

    Raises:
        TypeError: for arguments of a wrong type or dtype.
        ValueError: for shapes and values that do not fit; eagerly on the CPU also for values
            outside [0, 1].

    Examples:
        >>> from lovasz.tensorflow import lovasz_sigmoid_from_probabilities
        >>> float(lovasz_sigmoid_from_probabilities([1.0, 0.0, 0.0], [1, 1, 0]))
        0.5

    References:
        Berman, Triki, Blaschko, CVPR 2018, arXiv 1705.08790, definition 2.
    """
    options = Options(
        classes=classes,
        ignore_index=ignore_index,
        weight=weight,
        normalize_weight=normalize_weight,
        pixel_weight=pixel_weight,
        per_image=per_image,
        reduction=reduction,
        set_function=set_function,
        method=method,
        bins=bins,
        symmetric=symmetric,
    )
    name, link = "lovasz_sigmoid_from_probabilities", "channel_probabilities"
    return loss(name, link, probabilities, labels, axis, options, "probabilities")


def binary_cross_entropy_lovasz_sigmoid(
    logits: TensorLike,
    labels: TensorLike,
    *,
    axis: int | None = None,
    cross_entropy_weight: float = 1.0,
    lovasz_weight: float = 1.0,
    pos_weight: TensorLike | None = None,
    symmetric: bool = False,
    classes: Classes = "all",
    ignore_index: int | None = None,
    lovasz_class_weight: TensorLike | None = None,
    normalize_weight: bool = True,
    pixel_weight: TensorLike | None = None,
    per_image: bool = False,
    set_function: SetFunction = jaccard,
    bins: int = DEFAULT_BINS,
) -> tf.Tensor:
    r"""Binary cross-entropy and the Lovász loss of the sigmoid together.

    $$L = \lambda_{BCE}\, \mathrm{BCE} + \lambda_{Lovász}\, L_{Lovász}$$

    with `lovasz_sigmoid` and the mean of the binary cross-entropy over all labels that are not
    ignored, weighted by ``pixel_weight``.

    All other arguments are those of `lovasz_sigmoid`. They are for the Lovász loss, but for
    ``ignore_index`` and ``pixel_weight``, which hold for the cross-entropy too.

    Args:
        logits: as for `lovasz_sigmoid`.
        labels: as for `lovasz_sigmoid`.
        cross_entropy_weight: factor of the binary cross-entropy, finite and not negative.
        lovasz_weight: factor of the Lovász loss, finite and not negative.
        pos_weight: (C,), weights of the ones in the binary cross-entropy. None: all 1.
        lovasz_class_weight: (C,), weights of the channels in the Lovász loss: its ``weight``.

    Returns:
        A scalar, float64 for float64 logits, otherwise float32; 0 where everything is ignored.

    Raises:
        TypeError: for arguments of a wrong type or dtype.
        ValueError: for shapes and values that do not fit.

    Examples:
        >>> import tensorflow as tf
        >>> from lovasz.tensorflow import binary_cross_entropy_lovasz_sigmoid, lovasz_sigmoid
        >>> logits, labels = [3.0, -1.0, 0.5, -2.0], [1.0, 1.0, 0.0, 0.0]
        >>> both = binary_cross_entropy_lovasz_sigmoid(logits, labels)
        >>> apart = tf.nn.sigmoid_cross_entropy_with_logits(labels, logits)
        >>> tf.debugging.assert_near(both, tf.reduce_mean(apart) + lovasz_sigmoid(logits, labels))

    References:
        Berman, Triki, Blaschko, CVPR 2018, arXiv 1705.08790.
    """
    options = Options(
        classes=classes,
        ignore_index=ignore_index,
        weight=lovasz_class_weight,
        normalize_weight=normalize_weight,
        pixel_weight=pixel_weight,
        per_image=per_image,
        set_function=set_function,
        bins=bins,
        symmetric=symmetric,
        cross_entropy=CrossEntropy(cross_entropy_weight, pos_weight),
        lovasz_factor=lovasz_weight,
        names=Names(weight="lovasz_class_weight"),
    )
    return loss("binary_cross_entropy_lovasz_sigmoid", "sigmoid", logits, labels, axis, options)
