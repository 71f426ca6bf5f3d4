"""The operators: compiled kernels on the CPU, plain jax.numpy on other devices and without them.

Which one runs is decided where a program is compiled, by the device that it is compiled for.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from lovasz.core.links import UNBOUNDED
from lovasz.core.set_functions import SetFunction, as_tversky
from lovasz.jax import compiled, counting, sorting
from lovasz.jax.counting import Counts, Extended
from lovasz.jax.precision import Array
from lovasz.jax.reading import Reading
from lovasz.jax.sorting import Sorted
from lovasz.jax.varying import vary_alike


def _choose(
    kernels: bool, plain: Callable[..., Any], on_cpu: Callable[..., Any], *arrays: Any
) -> Any:
    """One of two functions with the same results, the second where there are kernels."""
    if not kernels:
        return plain(*arrays)
    ways = {"cpu": vary_alike(on_cpu), "default": vary_alike(plain)}
    return lax.platform_dependent(*arrays, **ways)


@functools.partial(jax.jit, static_argnames=("r",))
def histogram(
    scores: Array,
    labels: Array,
    pixel_weight: Array | None,
    class_weight: Array | None,
    r: Reading,
) -> Counts:
    """Count the errors of every class in bins, and add up the cross-entropy if asked for."""
    plain, on_cpu = (functools.partial(way.histogram, r=r) for way in (counting, compiled))
    arrays = (scores, labels, pixel_weight, class_weight)
    found: Counts = _choose(_readable(scores, r), plain, on_cpu, *arrays)
    return found


def _readable(scores: Array, r: Reading) -> bool:
    return not r.plain and compiled.can_read(scores)


@functools.partial(jax.jit, static_argnames=("set_function", "unit", "link", "dtype"))
def _extend(
    counts: Array, set_function: SetFunction, unit: int, link: str, dtype: jnp.dtype
) -> Extended:
    options: dict[str, Any] = {
        "set_function": set_function,
        "unit": unit,
        "unbounded": link in UNBOUNDED,
        "dtype": dtype,
    }
    plain, on_cpu = (functools.partial(way.extend, **options) for way in (counting, compiled))
    kernels = as_tversky(set_function) is not None and compiled.can_extend(counts, dtype)
    found: Extended = _choose(kernels, plain, on_cpu, counts)
    return found


def extend(
    counts: Array,
    set_function: SetFunction,
    symmetric: bool,
    unit: int,
    link: str,
    dtype: jnp.dtype,
) -> Extended:
    """The Lovász extension of a set function at histograms (G, C, 2, B, 2), in words.

    Args:
        counts: negatives and positives by bin.
        set_function: Δ(fn, fp, positives).
        symmetric: mean of the extensions for the set of a channel and for its complement.
        unit: what one pixel counts.
        link: whose errors were counted.
        dtype: of losses and slopes.
    """
    if counts.shape[3] == 0:
        nothing = jnp.zeros(counts.shape[:2], dtype)
        present = jnp.zeros((2, *counts.shape[:2]), jnp.bool_)
        return Extended(nothing, jnp.zeros(counts.shape[:4], dtype), present)
    extended: Extended = _extend(counts, set_function, unit, link, dtype)
    if not symmetric:
        return extended
    # The complement has the same errors: its positives are the negatives.
    other: Extended = _extend(jnp.flip(counts, 2), set_function, unit, link, dtype)
    return extended._replace(
        losses=(extended.losses + other.losses) / 2,
        slopes=(extended.slopes + jnp.flip(other.slopes, 2)) / 2,
    )


def can_sort(scores: Array, set_function: SetFunction) -> bool:
    """Whether there are kernels that sort; if not `sort_and_extend` and `backward` are plain."""
    return as_tversky(set_function) is not None and compiled.can_sort(scores)


@functools.partial(jax.jit, static_argnames=("set_function", "symmetric", "r"))
def sort_and_extend(
    scores: Array,
    labels: Array,
    pixel_weight: Array | None,
    set_function: SetFunction,
    symmetric: bool,
    r: Reading,
) -> Sorted:
    """Losses of the classes and slopes by pixel (N, C, L), without bins."""
    options: dict[str, Any] = {"set_function": set_function, "symmetric": symmetric, "r": r}
    ways = (sorting, compiled)
    plain, on_cpu = (functools.partial(way.sort_and_extend, **options) for way in ways)
    found: Sorted = _choose(_readable(scores, r), plain, on_cpu, scores, labels, pixel_weight)
    return found


@functools.partial(jax.jit, static_argnames=("r",))
def backward(
    scores: Array,
    labels: Array,
    lse: Array,
    slopes: Array,
    factors: Array,
    cross_entropy_scale: Array,
    pixel_weight: Array | None,
    class_weight: Array | None,
    r: Reading,
) -> Array:
    """Derivative by the scores; arguments as for ``counting.backward``."""
    plain, on_cpu = (functools.partial(way.backward, r=r) for way in (counting, compiled))
    arrays = (scores, labels, lse, slopes, factors, cross_entropy_scale)
    weights = (pixel_weight, class_weight)
    found: Array = _choose(_readable(scores, r), plain, on_cpu, *arrays, *weights)
    return found


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def connect(
    r: Reading,
    scores: Array,
    losses: Array,
    cross_entropy: Array,
    slopes: Array,
    lse: Array,
    labels: Array,
    pixel_weight: Array | None,
    class_weight: Array | None,
) -> tuple[Array, Array]:
    """Losses (G, C) and the sum of the cross-entropies (), connected to the scores.

    The gradient flows to the scores alone: they are read once more for it, in `backward`.
    """
    return losses, cross_entropy


def _connect(r: Reading, *arrays: Any) -> tuple[tuple[Array, Array], Any]:
    scores, losses, cross_entropy, *rest = arrays
    return (losses, cross_entropy), (scores, *rest)


def _pull_back(r: Reading, kept: Any, cotangents: tuple[Array, Array]) -> tuple[Any, ...]:
    scores, slopes, lse, labels, pixel_weight, class_weight = kept
    by_loss, by_cross_entropy = cotangents
    gradient = backward(
        scores, labels, lse, slopes, by_loss, by_cross_entropy, pixel_weight, class_weight, r
    )
    return gradient, *(None,) * 7


connect.defvjp(_connect, _pull_back)
