"""Between histogram and extend: which counts the loss is computed from.

Those of the batch, of the batches of all ranks, or of an average batch of the window. Counts are
integers, so sums of them do not depend on their order.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lovasz.core.options import Options
from lovasz.core.regions import PIXELS, RAW
from lovasz.kernels.passes import Counts
from lovasz.losses.distributed import Ranks
from lovasz.losses.window import PIXEL, Window, check_alike


def pool(batch: Counts, o: Options, ranks: Ranks | None, absent: bool, *, trained: bool) -> Counts:
    """Counts of the batch, of those of all ranks, or of the window that ends with it.

    Args:
        batch: of this process.
        o: options, of which the window and ``per_image`` are read.
        ranks: whose batches are one.
        absent: whether classes without a pixel count too, where there is one at all.
        trained: whether it is a batch that is trained on, which a window remembers.
    """
    if ranks is not None:
        # The losses of images are each rank's own; their mean is taken over all ranks afterwards.
        batch = batch if o.per_image else _over_ranks(batch, ranks, o.window)
        batch = batch._replace(sums=None if batch.sums is None else ranks.total(batch.sums))
    if o.window is not None:
        batch = _over_time(batch, absent, o.window, trained)
    return batch


def _over_ranks(batch: Counts, ranks: Ranks, window: Window | None) -> Counts:
    """The global batch, in one message; invalid on all ranks if it is on one."""
    counts, invalid = batch.counts, batch.invalid
    # A rank that has weights of pixels while another has none counts in another scale.
    same = [invalid.new_full((1,), batch.scale)]
    if window is not None:  # of which ranks may have loaded different ones
        same.append(window.checksum(counts.device))
    alike = torch.cat(same)
    summed = ranks.total(torch.cat((counts.flatten(), invalid, alike)))
    at_odds = summed[-len(alike) :] != ranks.size * alike
    if window is not None and counts.device.type == "cpu" and not torch.compiler.is_compiling():
        check_alike(bool(at_odds[1]))
    return batch._replace(
        counts=summed[: counts.numel()].reshape(counts.shape),
        invalid=summed[counts.numel() : -len(alike)] + at_odds.any(),
        regions=None if batch.regions is None else ranks.total(batch.regions),
    )


def _over_time(batch: Counts, absent: bool, window: Window, trained: bool) -> Counts:
    """The average batch of the window that ends with this one; it remembers what is trained on.

    A class counts while it has a pixel in the batch, or a whole one is left in the window; where
    ``absent`` classes count too, a pixel of another class is enough.
    """
    valid = (batch.invalid == 0).all()
    sums = None if batch.regions is None else batch.regions[0]
    counts = batch.counts[0] * (PIXEL // batch.scale)
    remembered = window.add(counts, valid, sums, remember=trained)
    if batch.regions is None:
        active = _that_count(batch.counts, absent).any(-1)
        left = _that_count(remembered.counts.unsqueeze(0), absent).sum(-1)
        regions = None
    else:
        assert remembered.sums is not None  # added above
        column = PIXELS if absent else RAW
        active = batch.regions[..., column] > 0
        left = remembered.sums[:, column].unsqueeze(0)
        regions = remembered.average_sums().unsqueeze(0)
    active = active | (left >= PIXEL)
    counts = remembered.average().unsqueeze(0)
    return batch._replace(counts=counts, scale=PIXEL, active=active, regions=regions)


def _that_count(counts: Tensor, absent: bool) -> Tensor:
    """Counts of the pixels that make a class count, (G, C, ...): its own, or all of them."""
    return counts.flatten(2) if absent else counts[:, :, 1]
