"""Looking at labels, where a loss on a device cannot."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lovasz.core.options import check_at_least, check_ignore_index
from lovasz.core.shapes import INTEGRAL, dtype_name

__all__ = ["check_labels"]


def check_labels(target: Tensor, num_classes: int, *, ignore_index: int | None = None) -> None:
    """Raise if a label is neither a class nor to be ignored, and say which and where.

    The losses do so themselves on the CPU. On other devices an exception would have to wait for the
    device in every step, so a label out of range makes the loss NaN instead; this finds it. It
    waits for the device: call it on the first batches, or when a loss is NaN.

    Args:
        target: class indices of any shape, any integer dtype or bool, on any device.
        num_classes: C, 1 or more; labels are to be in [0, C). 2 for losses of channels.
        ignore_index: label that is allowed besides, any integer. None, the default: no such label.

    Raises:
        TypeError: for arguments of a wrong type, or a target that is not of integers.
        ValueError: for labels out of range, and for a wrong ``num_classes``.

    Examples:
        >>> import torch
        >>> target = torch.tensor([[0, 18], [255, 19]])
        >>> check_labels(target, 20, ignore_index=255)
        >>> check_labels(target, 19, ignore_index=255)
        Traceback (most recent call last):
        ...
        ValueError: check_labels: expected every label to be in [0, 18] or equal to \
ignore_index=255, got 19 at (1, 1) (and 0 more outside)
    """
    name = "check_labels"
    check_at_least(name, "num_classes", num_classes, 1)
    check_ignore_index(name, ignore_index)
    _check_integers(name, target)
    # Labels past the range of int64 wrap to negative numbers and so are outside too.
    labels = target.detach().to(torch.int64)
    outside = (labels < 0) | (labels >= num_classes)
    if ignore_index is not None:
        outside &= labels != ignore_index
    found = outside.nonzero()
    if len(found):
        first = tuple(found[0].tolist())
        raise ValueError(
            f"{name}: expected every label to be in [0, {num_classes - 1}] or equal to"
            f" ignore_index={ignore_index}, got {target[first].item()} at {first}"
            f" (and {len(found) - 1} more outside)"
        )


def _check_integers(name: str, target: Any) -> None:
    if not isinstance(target, Tensor):
        raise TypeError(f"{name}: expected target to be a tensor, got {type(target).__name__}")
    if dtype_name(target) not in INTEGRAL:
        raise TypeError(
            f"{name}: expected target of an integer dtype or bool (class indices),"
            f" got {target.dtype}"
        )
