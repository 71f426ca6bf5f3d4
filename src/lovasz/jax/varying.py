"""What varies over the axes of `jax.shard_map`, which JAX wants to know of every result."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from jax import lax

from lovasz.jax.precision import Array


def vary_alike(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function whose arguments and results all vary over what any of its arguments does.

    JAX leaves it to callers of foreign functions, and of two functions of which one is called, to
    see to that.
    """

    def call(*arrays: Any) -> Any:
        axes = frozenset[Any]().union(*map(_varying, jax.tree.leaves(arrays)))

        def vary(array: Array) -> Array:
            missing = tuple(axes - _varying(array))
            return lax.pcast(array, missing, to="varying") if missing else array

        return jax.tree.map(vary, function(*jax.tree.map(vary, arrays)))

    return call


def _varying(array: Array) -> frozenset[Any]:
    axes: frozenset[Any] = jax.typeof(array).manual_axis_type.varying
    return axes
