"""Between count and weigh: which counts the loss is computed from.

Those of the batch, of the batches of all ranks, or of an average batch of the window. Counts are
integers, so sums of them do not depend on their order.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from lovasz.kernels import Counted
from lovasz.losses.distributed import Ranks
from lovasz.losses.window import PIXEL, Window


class Pooled(NamedTuple):
    """Counts to weigh."""

    counts: Tensor  # (G, C, 2, B) int64
    unit: int  # what one pixel counts
    seen: Tensor | None  # (G, C) bool, classes that count; None: those of which there are pixels
    invalid: Tensor  # (G,) int64, as ``count`` returns it


def pool(
    counted: Counted,
    unit: int,
    absent: bool,
    ranks: Ranks | None,
    window: Window | None,
    *,
    trained: bool,
) -> Pooled:
    """Counts of the batch, in ``unit`` a pixel, or of the window that ends with it.

    Where ``absent`` classes count too, a pixel of another class is enough. A window remembers what
    is ``trained`` on.
    """
    counts, invalid = counted.counts, counted.invalid
    if ranks is not None:
        counts, invalid = _over_ranks(counts, invalid, unit, ranks)
    batch = Pooled(counts, unit, None, invalid)
    return batch if window is None else _over_time(batch, absent, window, trained)


def _over_ranks(counts: Tensor, invalid: Tensor, unit: int, ranks: Ranks) -> tuple[Tensor, Tensor]:
    """The global batch, in one message; invalid on all ranks if it is on one."""
    units = invalid.new_full((1,), unit)
    summed = ranks.total(torch.cat((counts.flatten(), invalid, units)))
    # A rank that has weights of pixels while another has none counts in another unit.
    at_odds = summed[-1:] != ranks.size * unit
    return summed[: counts.numel()].reshape(counts.shape), summed[-2:-1] + at_odds


def _over_time(batch: Pooled, absent: bool, window: Window, trained: bool) -> Pooled:
    """The average batch of the window.

    A class counts while it has a pixel in the batch, or a whole one is left in the window.
    """
    valid = (batch.invalid == 0).all()
    remembered = window.add(batch.counts[0] * (PIXEL // batch.unit), valid, remember=trained)
    seen = _that_count(batch.counts, absent).any(-1)
    seen = seen | (_that_count(remembered.counts.unsqueeze(0), absent).sum(-1) >= PIXEL)
    return Pooled(remembered.average().unsqueeze(0), PIXEL, seen, batch.invalid)


def _that_count(counts: Tensor, absent: bool) -> Tensor:
    """Counts of the pixels that make a class count, (G, C, ...): its own, or all of them."""
    return counts.flatten(2) if absent else counts[:, :, 1]
