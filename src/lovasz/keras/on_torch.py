"""The losses for Keras on torch, see ``lovasz.keras.functions``.

Keras has classes and channels on the last axis, torch on axis 1. Moving them is a view, and the
kernels read any strides.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from lovasz.kernels.contents import NO_LABEL
from lovasz.losses import hinge, sigmoid, softmax
from lovasz.losses._tracing import is_traced

__all__ = [
    "LABELS",
    "NO_LABEL",
    "binary_cross_entropy_lovasz_sigmoid",
    "cross_entropy_lovasz_softmax",
    "lovasz_hinge",
    "lovasz_sigmoid",
    "lovasz_sigmoid_from_probabilities",
    "lovasz_softmax",
    "lovasz_softmax_from_probabilities",
    "of_replica",
    "readable",
]

LABELS = "int64"


def readable(tensor: Tensor) -> bool:
    """Whether its contents can be looked at, and without waiting for a device."""
    return tensor.device.type == "cpu" and not is_traced()


def of_replica(loss: Tensor) -> Tensor:
    """Keras trains in one process on torch."""
    return loss


def lovasz_softmax(scores: Tensor, labels: Tensor, *, axis: int, **options: Any) -> Tensor:
    """`lovasz.lovasz_softmax`."""
    return softmax.lovasz_softmax(scores.movedim(axis, 1), labels, **options)


def lovasz_softmax_from_probabilities(
    scores: Tensor, labels: Tensor, *, axis: int, **options: Any
) -> Tensor:
    """`lovasz.lovasz_softmax_from_probabilities`."""
    return softmax.lovasz_softmax_from_probabilities(scores.movedim(axis, 1), labels, **options)


def cross_entropy_lovasz_softmax(
    scores: Tensor, labels: Tensor, *, axis: int, **options: Any
) -> Tensor:
    """`lovasz.cross_entropy_lovasz_softmax`."""
    return softmax.cross_entropy_lovasz_softmax(scores.movedim(axis, 1), labels, **options)


def lovasz_sigmoid(scores: Tensor, labels: Tensor, **options: Any) -> Tensor:
    """`lovasz.lovasz_sigmoid`."""
    return _of_masks(sigmoid.lovasz_sigmoid, scores, labels, **options)


def lovasz_sigmoid_from_probabilities(scores: Tensor, labels: Tensor, **options: Any) -> Tensor:
    """`lovasz.lovasz_sigmoid_from_probabilities`."""
    return _of_masks(sigmoid.lovasz_sigmoid_from_probabilities, scores, labels, **options)


def lovasz_hinge(scores: Tensor, labels: Tensor, **options: Any) -> Tensor:
    """`lovasz.lovasz_hinge`."""
    return _of_masks(hinge.lovasz_hinge, scores, labels, **options)


def binary_cross_entropy_lovasz_sigmoid(scores: Tensor, labels: Tensor, **options: Any) -> Tensor:
    """`lovasz.binary_cross_entropy_lovasz_sigmoid`."""
    return _of_masks(sigmoid.binary_cross_entropy_lovasz_sigmoid, scores, labels, **options)


def _of_masks(
    loss: Any,
    scores: Tensor,
    labels: Tensor,
    *,
    axis: int | None,
    pixel_weight: Tensor | None = None,
    **options: Any,
) -> Tensor:
    """A loss of channels on the last axis, or of one channel without an axis."""
    if axis is not None:
        scores, labels = scores.movedim(-1, 1), labels.movedim(-1, 1)
        pixel_weight = None if pixel_weight is None else pixel_weight.movedim(-1, 1)
    result: Tensor = loss(
        scores, labels, multilabel=axis is not None, pixel_weight=pixel_weight, **options
    )
    return result
