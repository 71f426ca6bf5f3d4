"""The Lovász hinge: margins in the place of probabilities."""

from __future__ import annotations

import tensorflow as tf

from lovasz.core.options import (
    DEFAULT_BINS,
    Classes,
    Method,
    Options,
    Reduction,
)
from lovasz.core.set_functions import SetFunction, jaccard
from lovasz.tensorflow._loss import TensorLike, loss


def lovasz_hinge(
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
    r"""Lovász hinge loss of logits, for binary and multilabel segmentation.

    With $s_{ic} = +1$ if the label is 1 and $-1$ if it is 0, pixel i has in channel c the error
    $m_{ic} = \max(0, 1 - s_{ic} x_{ic})$, and the loss is the mean of the Lovász extensions of the
    channels. It is convex in the logits.

    All other arguments, the result and the errors are those of `lovasz_sigmoid`.

    Args:
        logits: any shape; float64, float32, bfloat16 or float16.
        labels: as for `lovasz_sigmoid`.
        method: "histogram" counts the errors in bins of their own: the loss of a channel is off by
            at most ``lovasz.relative_bound(bins)`` times 1/64 + L, and NaN for errors of 65,535 and
            more. "sort" is exact for any.

    Returns:
        A scalar, or for "none" (C,) or (N, C).

    Raises:
        TypeError: for arguments of a wrong type or dtype.
        ValueError: for shapes and values that do not fit.

    Examples:
        >>> from lovasz.tensorflow import lovasz_hinge
        >>> float(lovasz_hinge([3.0, -1.0, 0.5, -2.0], [1, 1, 0, 0], method="sort"))
        1.25

    References:
        Yu, Blaschko, *Learning submodular losses with the Lovász hinge*, ICML 2015; Berman, Triki,
        Blaschko, CVPR 2018, arXiv 1705.08790, section 3.1.
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
    return loss("lovasz_hinge", "hinge", logits, labels, axis, options)
