"""The losses for Keras on TensorFlow, see ``lovasz.keras.functions``."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from lovasz.tensorflow import (
    binary_cross_entropy_lovasz_sigmoid,
    cross_entropy_lovasz_softmax,
    lovasz_hinge,
    lovasz_sigmoid,
    lovasz_sigmoid_from_probabilities,
    lovasz_softmax,
    lovasz_softmax_from_probabilities,
)
from lovasz.tensorflow.inputs import NO_LABEL, readable

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


def of_replica(loss: Any) -> Any:
    """The share of the mean over the replicas of `tf.distribute`."""
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    return loss if replicas == 1 else loss / replicas
