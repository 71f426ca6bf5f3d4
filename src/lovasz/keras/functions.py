"""The losses of the backend that Keras runs on, all called alike."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import keras

BACKENDS = ("torch", "jax", "tensorflow")


def functions_of(backend: str) -> Any:
    """The module for a backend: ``on_torch``, ``on_jax`` or ``on_tensorflow``.

    Each has the losses of ``lovasz.jax`` by name, of scores, of labels of an integer dtype, and of
    options by keyword, the axis of classes or channels (the last) among them; `readable`, whether
    the contents of a tensor can be looked at; `of_replica`, which prepares the loss of a replica
    for the sum over all replicas that Keras takes; ``LABELS``, the widest dtype of labels; and
    ``NO_LABEL``, the label of pixels that have none of an integer.

    Raises:
        ImportError: for a backend that there are no losses for.
    """
    if backend not in BACKENDS:
        raise ImportError(
            "lovasz.keras: expected Keras on torch, jax or tensorflow (set KERAS_BACKEND before"
            f" keras is imported), got {backend!r}"
        )
    return import_module(f"lovasz.keras.on_{backend}")


#: Keras has one backend from its import on.
functions: Any = functions_of(keras.backend.backend())
