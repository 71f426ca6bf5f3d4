"""What the first calls of a function are looked at for: mistakes by which nothing fails."""

from __future__ import annotations

from collections import Counter

from torch import Tensor

from lovasz.core.links import MULTICLASS, PROBABILITIES
from lovasz.core.shapes import Layout
from lovasz.losses._ignored_masks import warn_of_ignored_masks
from lovasz.losses._logits import warn_of_probabilities
from lovasz.losses._tracing import is_traced

#: Functions whose first calls have been looked at.
LOOKED_AT: set[str] = set()
#: How many calls are.
FIRST = 16

_looks: Counter[str] = Counter()


def look(
    name: str, link: str, scores: Tensor, target: Tensor, layout: Layout, ignore_index: int | None
) -> None:
    """Warn once of each mistake, on the CPU.

    Args:
        name: of the function.
        link: of the loss, see ``core.links``.
        scores: as the user gave them.
        target: likewise.
        layout: of both.
        ignore_index: of the loss.
    """
    _looks[name] += 1
    if _looks[name] >= FIRST:
        LOOKED_AT.add(name)
    if scores.device.type != "cpu" or is_traced():
        return
    if link not in PROBABILITIES:
        warn_of_probabilities(name, link, scores, layout)
    if link not in MULTICLASS or scores.shape[1] == 2:
        warn_of_ignored_masks(name, target, ignore_index, stacklevel=6)
