"""The losses of the backend that Keras runs on, all called alike."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any

import keras

BACKENDS = ("torch", "jax", "tensorflow")


@cache
def functions() -> Any:
    """The module for the backend: ``on_torch``, ``on_jax`` or ``on_tensorflow``.

    Each has the losses of ``lovasz.jax`` by name, of scores, of labels of an integer dtype, and of
    options by keyword, the axis of classes or channels (the last) among them; `readable`, whether
    the contents of a tensor can be looked at; and `of_replica`, which prepares the loss of a
    replica for the sum over all replicas that Keras takes.

    Raises:
        ValueError: for a backend that there are no losses for.
    """
    backend = keras.backend.backend()
    if backend not in BACKENDS:
        raise ValueError(
            "lovasz.keras: expected Keras on torch, jax or tensorflow (set KERAS_BACKEND before"
            f" keras is imported), got {backend!r}"
        )
    return import_module(f"lovasz.keras.on_{backend}")
