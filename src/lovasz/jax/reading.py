"""How scores and labels are to be read: what every operator knows of them when it is compiled."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jax import lax

from lovasz.core.links import MULTICLASS
from lovasz.jax.precision import Array


class Reading(NamedTuple):
    """Of scores (N, C, L) or (N, L, C), and labels (N, L), or (N, C, L) for multilabel."""

    link: str  # see ``core.links``
    class_axis: int  # of the scores, 1 or 2
    ignore_index: int | None
    per_image: bool  # one group for each image, or one for all
    bins: int  # of a histogram; 0 counts nothing
    cross_entropy: bool = False  # whether to add it up
    smoothing: float = 0.0  # label smoothing of the cross-entropy
    plain: bool = False  # whether no kernel is to read it, but plain jax.numpy alone

    def groups(self, images: int) -> int:
        """Number of groups, G."""
        return images if self.per_image else 1

    @property
    def multiclass(self) -> bool:
        """Whether a pixel has one label, and not one for each channel."""
        return self.link in MULTICLASS

    def by_pixel(self, numbers: Array) -> Array:
        """Numbers (N, L) of pixels, or (N, C, L) of channels, to go with scores."""
        if numbers.ndim == 2:
            return jnp.expand_dims(numbers, self.class_axis)
        return numbers if self.class_axis == 1 else jnp.swapaxes(numbers, 1, 2)

    def by_class(self, numbers: Array) -> Array:
        """Numbers (C,), or (G, C) of groups, to go with scores."""
        numbers = numbers if numbers.ndim == 2 else numbers[None]
        return jnp.expand_dims(numbers, 3 - self.class_axis)

    def over_classes(self, one: Array, other: Array) -> Array:
        """Sums over the classes of products of numbers that go with scores, to go with scores.

        Compiled as a product of matrices: sums that XLA fuses into what reads them are computed
        anew for every class, which took ten times as long.
        """
        axes = "ncl,ncl->nl" if self.class_axis == 1 else "nlc,nlc->nl"
        sums = jnp.einsum(axes, one, other, precision=lax.Precision.HIGHEST)
        return jnp.expand_dims(sums, self.class_axis)

    def by_group(self, numbers: Array) -> Array:
        """Sums (G,) of numbers that go with scores."""
        axes = (1, 2) if self.per_image else None
        return numbers.sum(axes, dtype=numbers.dtype).reshape(-1)
