"""The losses for Keras on JAX, see ``lovasz.keras.functions``."""

from __future__ import annotations

from typing import Any

import jax

from lovasz.jax import (
    binary_cross_entropy_lovasz_sigmoid,
    cross_entropy_lovasz_softmax,
    lovasz_hinge,
    lovasz_sigmoid,
    lovasz_sigmoid_from_probabilities,
    lovasz_softmax,
    lovasz_softmax_from_probabilities,
)

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

LABELS, NO_LABEL = "int32", -(2**31) + 1


def readable(tensor: jax.Array) -> bool:
    """Whether its contents can be looked at, and without waiting for a device."""
    if isinstance(tensor, jax.core.Tracer):
        return False
    return all(device.platform == "cpu" for device in tensor.devices())


def of_replica(loss: Any) -> Any:
    """Devices share one program here, in which the batch is the global one."""
    return loss
