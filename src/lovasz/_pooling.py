"""Between count and weigh: which counts the loss is computed from.

Those of the batch, of the batches of all ranks, or of an average batch of the window. Counts are
integers, so sums of them do not depend on their order.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from lovasz._ranks import Ranks
from lovasz.ops import Counted
from lovasz.window import PIXEL, Window


class Pooled(NamedTuple):
    """Counts to weigh."""

    counts: Tensor  # (G, C, 2, B) int64
    unit: int  # what one pixel counts
    present: Tensor  # (G, C) bool, classes that have a pixel
    occupied: Tensor  # (G, C) bool, classes for which a pixel is there at all
    invalid: Tensor  # (G,) int64, as ``count`` returns it


def pool(counted: Counted, unit: int, ranks: Ranks | None, window: Window | None) -> Pooled:
    """Counts of the batch, in ``unit`` a pixel, or of the window that ends with it."""
    counts, invalid = counted.counts, counted.invalid
    if ranks is not None:
        counts, invalid = _over_ranks(counts, invalid, unit, ranks)
    present, occupied = _look(counts, at_least=1)
    batch = Pooled(counts, unit, present, occupied, invalid)
    return batch if window is None else _over_time(batch, window)


def _over_ranks(counts: Tensor, invalid: Tensor, unit: int, ranks: Ranks) -> tuple[Tensor, Tensor]:
    """The global batch, in one message; invalid on all ranks if it is on one."""
    units = invalid.new_full((1,), unit)
    summed = ranks.total(torch.cat((counts.flatten(), invalid, units)))
    # A rank that has weights of pixels while another has none counts in another unit.
    at_odds = summed[-1:] != ranks.size * unit
    return summed[: counts.numel()].reshape(counts.shape), summed[-2:-1] + at_odds


def _over_time(batch: Pooled, window: Window) -> Pooled:
    """The average batch of the window.

    A class counts while it has a pixel in the batch, or a whole one is left in the window.
    """
    valid = (batch.invalid == 0).all()
    remembered = window.add(batch.counts[0] * (PIXEL // batch.unit), valid)
    present, occupied = _look(remembered.unsqueeze(0), at_least=PIXEL)
    counts = window.average().unsqueeze(0)
    return Pooled(counts, PIXEL, present | batch.present, occupied | batch.occupied, batch.invalid)


def _look(counts: Tensor, at_least: int) -> tuple[Tensor, Tensor]:
    """Which classes are present and for which there are pixels, both (G, C)."""
    negatives, positives = counts.sum(-1).unbind(-1)
    return positives >= at_least, negatives + positives >= at_least
