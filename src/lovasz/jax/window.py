r"""The window: counts of earlier batches, remembered and decayed, as a value in and a value out.

The loss of the data set instead of the batch, as ``lovasz.Window`` has it for PyTorch;
``docs/window.md`` derives it, and says what it costs and when it pays.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import NamedTuple

import jax
import jax.numpy as jnp

from lovasz.core.options import DEFAULT_BINS, check_at_least, check_bins, check_momentum
from lovasz.jax.precision import SCALE, Array, int64_of, to_words, wide


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Window:
    r"""Decayed counts of the batches seen so far: arrays to be carried from step to step.

    After batch t with the counts $c_t$ (of negatives and positives of every class, by bin of error)

    $$H_t = \beta H_{t-1} + c_t, \qquad n_t = \beta n_{t-1} + 1,$$

    and the loss and its slopes are those of the average batch $H_t / n_t$. The gradient flows to
    the pixels of the present batch alone. Pass a window to a loss, and the next batch the one that
    comes back with it; to evaluate, drop what comes back.

    Args:
        counts: (C, 2, B) float32, H in pixels.
        batches: () float32, n.
        momentum: β in [0, 1), fixed when a function is compiled.

    Examples:
        >>> import jax.numpy as jnp
        >>> from lovasz.jax import Window, lovasz_softmax
        >>> window = Window.init(num_classes=2, momentum=0.9)
        >>> logits, labels = jnp.array([[2.0, 0.0], [0.0, 1.0]]), jnp.array([0, 1])
        >>> loss, window = lovasz_softmax(logits, labels, window=window)
        >>> bool(loss == lovasz_softmax(logits, labels)), float(window.batches)
        (True, 1.0)
    """

    counts: Array
    batches: Array
    momentum: float = field(metadata={"static": True})

    @staticmethod
    def init(num_classes: int, momentum: float, *, bins: int = DEFAULT_BINS) -> Window:
        """A window that has seen nothing.

        Args:
            num_classes: C, or the number of channels.
            momentum: β in [0, 1): the window is about 1 / (1 − β) batches long.
            bins: those of the loss.

        Raises:
            TypeError: for arguments of a wrong type.
            ValueError: for arguments of a wrong value.
        """
        check_at_least("Window", "num_classes", num_classes, 1)
        check_momentum("Window", momentum)
        check_bins("Window", bins)
        counts = jnp.zeros((num_classes, 2, bins), jnp.float32)
        return Window(counts, jnp.zeros((), jnp.float32), float(momentum))


class Remembered(NamedTuple):
    """A window with a batch, and what the loss of it is computed from."""

    window: Window
    average: Array  # (1, C, 2, B, 2), words of the counts of the average batch in 1 / SCALE pixels
    active: Array  # (1, C) bool, classes that count


@functools.partial(jax.jit, static_argnames=("unit", "absent"))
def add(window: Window, counts: Array, unit: int, valid: Array, absent: bool) -> Remembered:
    """The window that ends with a batch.

    A class counts while it has a pixel in the batch, or a whole one is left in the window.

    Args:
        window: before the batch.
        counts: (1, C, 2, B, 2), words.
        unit: what one pixel counts.
        valid: () bool; a batch that is not valid (NaN logits, say) is not added.
        absent: whether classes without a pixel count too, where there is one at all.
    """
    with wide():
        batch = int64_of(counts)[0] * (SCALE // unit)
        # Rounded down, so that what is left of a class that does not come again ends at 0.
        decayed = jnp.floor(window.counts.astype(jnp.float64) * (window.momentum * SCALE))
        added = decayed.astype(jnp.int64) + batch
        batches = window.batches.astype(jnp.float64) * window.momentum + 1
        average = jnp.round(added.astype(jnp.float64) / batches).astype(jnp.int64)
        left = _that_count(added, absent).sum(-1)
        active = _that_count(batch, absent).any(-1) | (left >= SCALE)
        later = (added.astype(jnp.float64) / SCALE).astype(jnp.float32)
        kept = Window(
            jnp.where(valid, later, window.counts),
            jnp.where(valid, batches.astype(jnp.float32), window.batches),
            window.momentum,
        )
        return Remembered(kept, to_words(average)[None], active[None])


def _that_count(counts: Array, absent: bool) -> Array:
    """Counts of the pixels that make a class count, (C, ...): its own, or all of them."""
    return counts.reshape(len(counts), -1) if absent else counts[:, 1]
