"""Masks of 0 and 255 where 255 is ignored: nothing fails, and only the background is learned."""

from __future__ import annotations

import warnings
from collections import Counter

import torch
from torch import Tensor

#: Functions and metrics whose labels are as expected, or that have been warned of.
SETTLED: set[str] = set()
#: How many calls have to have such labels, and in how many one is looked for that has not.
LEAST, FIRST = 4, 16

_looks: Counter[str] = Counter()
_found: Counter[str] = Counter()


def warn_of_ignored_masks(
    name: str, target: Tensor, ignore_index: int | None, stacklevel: int
) -> None:
    """Warn once of each function whose labels are all 0 or ignored in its first calls.

    One call alone says little, because some images have no object. Without a pixel of each of the
    two, a call says nothing.

    Args:
        name: of the function or metric.
        target: of zeros and ones, of any dtype, on the CPU.
        ignore_index: its label of pixels that are left out.
        stacklevel: of the call of the user, from here.
    """
    if name in SETTLED or ignore_index is None or ignore_index < 2:
        return
    _looks[name] += 1
    zero = _equal(target, 0)
    ignored = _equal(target, ignore_index)
    if not bool((zero | ignored).all()):
        SETTLED.add(name)
        return
    _found[name] += bool(zero.any()) and bool(ignored.any())
    if _looks[name] >= FIRST:
        SETTLED.add(name)
    if _found[name] < LEAST:
        return
    SETTLED.add(name)
    warnings.warn(
        f"{name}: expected some labels of 1, got nothing but 0 and the ignored {ignore_index} in"
        f" the first {_looks[name]} calls, from which the background alone is learned: if"
        f" {ignore_index} is the object, pass target // {ignore_index} (or target > 0), and if it"
        " is not, ignore this (told once)",
        UserWarning,
        stacklevel=stacklevel,
    )


def _equal(target: Tensor, label: int) -> Tensor:
    """Where a label is; not every torch compares the wider unsigned integers."""
    if not target.is_floating_point() and target.dtype not in (torch.bool, torch.uint8):
        target = target.to(torch.int64)
    return target == label
