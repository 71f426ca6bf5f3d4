"""The operators on the CPU, by the compiled kernels: csrc/jax_ffi.cpp through XLA.

What they do not know goes to plain jax.numpy: float64 scores, and arrays without an element.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lovasz.core.bins import centres
from lovasz.core.set_functions import SetFunction, as_tversky
from lovasz.jax.counting import Counts, Extended
from lovasz.jax.library import available
from lovasz.jax.precision import Array
from lovasz.jax.reading import Reading
from lovasz.jax.sorting import Sorted
from lovasz.jax.varying import vary_alike

# As csrc/lovasz.h numbers them.
_LINKS = ("softmax", "sigmoid", "hinge", "elu", "probabilities", "channel_probabilities")
# An element of the sort holds its place in 32 bits.
_SORTED_SCORES = 2**32 - 1


def can_read(scores: Array) -> bool:
    """Whether there are kernels for such scores."""
    return scores.dtype != jnp.float64 and scores.size > 0 and available()


def can_sort(scores: Array) -> bool:
    """Whether they can sort so many."""
    return scores.size <= _SORTED_SCORES and can_read(scores)


def can_extend(counts: Array, dtype: jnp.dtype) -> bool:
    """Whether there are kernels for such counts."""
    return dtype != jnp.float64 and counts.size > 0 and available()


def _call(name: str, results: Any, *arrays: Array, **attributes: Any) -> Any:
    """A function of csrc/jax_ffi.cpp; of arrays that vmap has stacked up it takes each in turn."""
    shapes = [jax.ShapeDtypeStruct(shape, dtype) for shape, dtype in results]
    call = jax.ffi.ffi_call(f"lovasz_{name}", shapes, vmap_method="broadcast_all")
    return vary_alike(functools.partial(call, **attributes))(*arrays)


def _reading(r: Reading) -> dict[str, Any]:
    """The attribute of all that read scores."""
    return {
        "link": np.int64(_LINKS.index(r.link)),
        "class_axis": np.int64(r.class_axis),
        "bins": np.int64(r.bins),
        "ignore_index": np.int64(r.ignore_index or 0),
        "has_ignore_index": r.ignore_index is not None,
        "per_image": r.per_image,
        "cross_entropy": r.cross_entropy,
        "smoothing": np.float32(r.smoothing),
    }


def _weights(*weights: Array | None) -> tuple[Array, ...]:
    """An array without an element in the place of None."""
    return tuple(jnp.zeros(0, jnp.float32) if weight is None else weight for weight in weights)


def _shapes(scores: Array, r: Reading) -> tuple[int, int, int, tuple[int, ...]]:
    """Groups, classes and pixels of an image, and the shape of the words of the log-sum-exp."""
    images, classes = scores.shape[0], scores.shape[r.class_axis]
    length = scores.shape[3 - r.class_axis]
    lse = (images, length if r.link == "softmax" else 0, 2)
    return r.groups(images), classes, length, lse


def histogram(
    scores: Array,
    labels: Array,
    pixel_weight: Array | None,
    class_weight: Array | None,
    r: Reading,
) -> Counts:
    """As ``counting.histogram``."""
    groups, classes, _, lse = _shapes(scores, r)
    results = (
        ((groups, classes, 2, r.bins, 2), jnp.uint32),
        (lse, jnp.uint32),
        ((groups,), jnp.int32),
        ((2,), jnp.float32),
    )
    arrays = (scores, labels, *_weights(pixel_weight, class_weight))
    return Counts(*_call("histogram", results, *arrays, reading=_reading(r)))


def extend(
    counts: Array, set_function: SetFunction, unit: int, unbounded: bool, dtype: jnp.dtype
) -> Extended:
    """As ``counting.extend``, for Tversky's set functions and losses of float32."""
    tversky = as_tversky(set_function)
    assert tversky is not None  # or nobody would ask
    groups, classes, _, bins, _ = counts.shape
    places = jnp.asarray(centres(np, bins, unbounded=unbounded).view(np.uint32).reshape(bins, 2))
    results = (
        ((groups, classes), dtype),
        ((groups, classes, 2, bins), dtype),
        ((2, groups, classes), jnp.bool_),
    )
    return Extended(
        *_call(
            "extend",
            results,
            counts,
            places,
            unit=np.int64(unit),
            alpha=np.float64(tversky.alpha),
            beta=np.float64(tversky.beta),
        )
    )


def sort_and_extend(
    scores: Array,
    labels: Array,
    pixel_weight: Array | None,
    set_function: SetFunction,
    symmetric: bool,
    r: Reading,
) -> Sorted:
    """As ``sorting.sort_and_extend``, for Tversky's set functions."""
    tversky = as_tversky(set_function)
    assert tversky is not None  # or nobody would ask
    groups, classes, length, lse = _shapes(scores, r)
    results = (
        ((groups, classes), jnp.float32),
        ((len(scores), classes, length), jnp.float32),
        ((2, groups, classes), jnp.bool_),
        (lse, jnp.uint32),
        ((groups,), jnp.int32),
    )
    losses, slopes, present, words, invalid = _call(
        "sort_and_extend",
        results,
        scores,
        labels,
        *_weights(pixel_weight, None),
        reading=_reading(r),
        alpha=np.float64(tversky.alpha),
        beta=np.float64(tversky.beta),
        symmetric=symmetric,
    )
    return Sorted(Extended(losses, slopes, present), words, invalid)


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
    """As ``counting.backward``."""
    by_pixel = slopes.ndim == 3
    # Slopes by pixel are those of what it counts.
    weights = _weights(None if by_pixel else pixel_weight, class_weight)
    arrays = (scores, labels, lse, slopes, factors, cross_entropy_scale, *weights)
    results = ((scores.shape, scores.dtype),)
    attributes = {"reading": _reading(r), "by_pixel": by_pixel}
    (gradient,) = _call("backward", results, *arrays, **attributes)
    return gradient
