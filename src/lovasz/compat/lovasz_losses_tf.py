"""The file of the paper's authors for TensorFlow: ``lovasz_losses_tf.py`` of their repository.

``from lovasz.compat import lovasz_losses_tf as L`` takes the place of
``import lovasz_losses_tf as L``; the repository is bermanmaxim/LovaszSoftmax. New code should call
`lovasz.tensorflow`, whose losses take logits too.
"""

from __future__ import annotations

from typing import Literal

import tensorflow as tf

from lovasz.core.options import Classes, Method
from lovasz.tensorflow import lovasz_hinge as _hinge
from lovasz.tensorflow import lovasz_softmax_from_probabilities

__all__ = [
    "flatten_binary_scores",
    "flatten_probas",
    "lovasz_grad",
    "lovasz_hinge",
    "lovasz_hinge_flat",
    "lovasz_softmax",
    "lovasz_softmax_flat",
]


def lovasz_grad(gt_sorted: tf.Tensor) -> tf.Tensor:
    r"""Slopes of the Jaccard loss for errors in descending order.

    With G pixels of the class, and F of it and B others before the pixel:

    $$\frac{1}{G + B} \text{ for a pixel of the class}, \qquad
    \frac{G - F}{(G + B)(G + B + 1)} \text{ for another}.$$

    Args:
        gt_sorted: (P,), 1 for pixels of the class and 0 for others, by descending error.

    Returns:
        (P,), float64 for float64 labels, otherwise float32.

    Examples:
        >>> [round(float(slope), 4) for slope in lovasz_grad([1.0, 0.0, 1.0, 0.0])]
        [0.5, 0.1667, 0.3333, 0.0]

    References:
        Berman, Triki, Blaschko, CVPR 2018, arXiv 1705.08790, algorithm 1, without its differences
        of rounded numbers.
    """
    gt_sorted = tf.convert_to_tensor(gt_sorted)
    positive = tf.cast(gt_sorted, tf.float64)
    found, others = (tf.cumsum(kind, exclusive=True) for kind in (positive, 1 - positive))
    total = tf.reduce_sum(positive)
    union = total + others
    # The first of all pixels of other classes would be 0 of 0 where there is none of the class.
    missing = tf.where(union > 0, (total - found) / tf.maximum(union, 1), 1.0)
    slopes = tf.where(positive > 0, 1 / tf.maximum(union, 1), missing / (union + 1))
    return slopes if gt_sorted.dtype == tf.float64 else tf.cast(slopes, tf.float32)


def lovasz_hinge(
    logits: tf.Tensor,
    labels: tf.Tensor,
    per_image: bool = True,
    ignore: int | None = None,
    *,
    method: Method = "sort",
) -> tf.Tensor:
    """Binary Lovász hinge loss: `lovasz.tensorflow.lovasz_hinge`.

    Args:
        logits: (N, *).
        labels: (N, *), 0, 1 or ``ignore``.
        per_image: mean of the losses of the images, without those that are all ignored.
        ignore: label of pixels to leave out.
        method: "histogram" or "sort", as for `lovasz.tensorflow.lovasz_hinge`.

    Returns:
        A scalar; 0 where all is ignored.

    Raises:
        TypeError: for arguments of a wrong type or dtype.
        ValueError: for shapes and labels that do not fit.
    """
    return _hinge(logits, labels, per_image=per_image, ignore_index=ignore, method=method)


def lovasz_hinge_flat(
    logits: tf.Tensor, labels: tf.Tensor, *, method: Method = "sort"
) -> tf.Tensor:
    """`lovasz_hinge` of pixels in one row: logits (P,), labels (P,)."""
    return _hinge(logits, labels, method=method)


def flatten_binary_scores(
    scores: tf.Tensor, labels: tf.Tensor, ignore: int | None = None
) -> tuple[tf.Tensor, tf.Tensor]:
    """Scores and labels of the pixels that are not ignored, each in one row."""
    scores, labels = tf.reshape(scores, (-1,)), tf.reshape(labels, (-1,))
    if ignore is None:
        return scores, labels
    valid = labels != ignore
    return tf.boolean_mask(scores, valid), tf.boolean_mask(labels, valid)


def lovasz_softmax(
    probas: tf.Tensor,
    labels: tf.Tensor,
    classes: Classes = "all",
    per_image: bool = False,
    ignore: int | None = None,
    order: Literal["BHWC", "BCHW"] = "BHWC",
    *,
    method: Method = "histogram",
) -> tf.Tensor:
    """Lovász-Softmax loss of probabilities.

    It is `lovasz.tensorflow.lovasz_softmax_from_probabilities`.

    Args:
        probas: (N, *, C) in [0, 1], or (N, C, *) with ``order="BCHW"``.
        labels: (N, *), class indices or ``ignore``.
        classes: "all", "present" or a list of class indices.
        per_image: mean of the losses of the images, without those that are all ignored.
        ignore: label of pixels to leave out.
        order: of the axes, "BHWC" or "BCHW".
        method: "histogram" or "sort", as for `lovasz.tensorflow.lovasz_softmax`.

    Returns:
        A scalar; 0 where all is ignored.

    Raises:
        TypeError: for arguments of a wrong type or dtype.
        ValueError: for shapes, values and labels that do not fit.
    """
    return lovasz_softmax_from_probabilities(
        probas,
        labels,
        axis=_axis("lovasz_softmax", order),
        classes=classes,
        per_image=per_image,
        ignore_index=ignore,
        method=method,
    )


def lovasz_softmax_flat(
    probas: tf.Tensor,
    labels: tf.Tensor,
    classes: Classes = "all",
    *,
    method: Method = "histogram",
) -> tf.Tensor:
    """`lovasz_softmax` of pixels in a row: probas (P, C), labels (P,)."""
    return lovasz_softmax_from_probabilities(probas, labels, classes=classes, method=method)


def flatten_probas(
    probas: tf.Tensor,
    labels: tf.Tensor,
    ignore: int | None = None,
    order: Literal["BHWC", "BCHW"] = "BHWC",
) -> tuple[tf.Tensor, tf.Tensor]:
    """Probabilities (P, C) and labels (P,) of the pixels that are not ignored.

    Args:
        probas: (N, *, C), or (N, C, *) with ``order="BCHW"``.
        labels: (N, *).
        ignore: label of pixels to leave out.
        order: of the axes.
    """
    probas = tf.convert_to_tensor(probas)
    if _axis("flatten_probas", order) == 1:
        probas = tf.transpose(probas, (0, *range(2, probas.shape.rank), 1))
    probas, labels = tf.reshape(probas, (-1, probas.shape[-1])), tf.reshape(labels, (-1,))
    if ignore is None:
        return probas, labels
    valid = labels != ignore
    return tf.boolean_mask(probas, valid), tf.boolean_mask(labels, valid)


def _axis(name: str, order: str) -> int:
    """The axis of the classes."""
    if order not in ("BHWC", "BCHW"):
        raise ValueError(f'{name}: expected order to be "BHWC" or "BCHW", got {order!r}')
    return -1 if order == "BHWC" else 1
