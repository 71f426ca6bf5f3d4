"""Digits: the dtype to compute in, and 64-bit numbers where JAX is set to 32 bits, its default.

Tables of counts and slopes are computed in int64 and float64, which they need: they are small, and
`wide` allows it for their sake alone. Nothing of 64 bits leaves: what has to, such as counts, goes
as pairs of 32-bit words, which no transformation of JAX rounds.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TypeAlias

import jax
import jax.numpy as jnp

Array: TypeAlias = jax.Array

# What a pixel of weight 1 counts where pixels have weights or counts are averaged.
SCALE = 2**20


def wide() -> AbstractContextManager[None]:
    """In it, arrays of 64 bits are what they are asked to be."""
    context: AbstractContextManager[None] = jax.enable_x64(True)
    return context


def compute_dtype(scores: Array) -> jnp.dtype:
    """Dtype of errors and losses for scores of a given dtype."""
    return jnp.dtype("float64" if scores.dtype == jnp.float64 else "float32")


def to_words(counts: Array) -> Array:
    """Counts (...) int64 as words (..., 2) uint32, the lower first; only `wide`."""
    # Not by their bits in memory: not every device has integers of 64.
    return jnp.stack((counts & 0xFFFFFFFF, counts >> 32), -1).astype(jnp.uint32)


def counts_as_words(counts: Array) -> Array:
    """Counts of 32 bits, which are not negative, as words of int64."""
    low = counts.astype(jnp.uint32)
    return jnp.stack((low, jnp.zeros_like(low)), -1)


def int64_of(words: Array) -> Array:
    """Counts from their words; only `wide`."""
    wide = words.astype(jnp.int64)
    return (wide[..., 1] << 32) | wide[..., 0]


def is_weight(pixel_weight: Array) -> Array:
    """Which can be summed: not negative, and at most 2**16."""
    return (pixel_weight >= 0) & (pixel_weight <= 2**16)  # NaN is neither


def to_fixed(pixel_weight: Array) -> Array:
    """Weights times SCALE, int64; what is no weight counts nothing and is reported; only `wide`."""
    weight = jnp.where(is_weight(pixel_weight), pixel_weight, 0.0)
    return jnp.round(weight.astype(jnp.float64) * SCALE).astype(jnp.int64)
