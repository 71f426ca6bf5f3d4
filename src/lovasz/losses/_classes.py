"""Which classes count, and their weights, as tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor

from lovasz.core.options import is_integer
from lovasz.losses._subclasses import plain

#: (C,), or a number for every class by its index.
ClassWeights: TypeAlias = Tensor | Sequence[float] | Mapping[int, float]


def class_mask(
    name: str, classes: str | Sequence[int], count: int, device: torch.device
) -> Tensor | None:
    """Listed classes as a mask (C,), which count without a pixel too; None for "all" and "present".

    ``check_classes`` has seen them; whether there are so many classes is checked here.
    """
    if classes == "foreground":
        classes = range(1, count)
    if isinstance(classes, str):
        return None
    chosen = list(classes)
    if not all(index < count for index in chosen):
        raise ValueError(
            f"{name}: expected classes to hold indices from 0 to {count - 1}, got {chosen}"
        )
    mask = torch.zeros(count, dtype=torch.bool, device=device)
    # Filled on the device, run by run: a copy from the host would wait for the device.
    for start, stop in _runs(sorted(chosen)):
        mask[start:stop] = True
    return mask


def class_weight(
    name: str,
    weight: Any,
    count: int | None = None,
    device: torch.device | None = None,
    argument: str = "weight",
) -> Tensor | None:
    """Class weights as a tensor (C,), or None; without ``count`` and ``device`` any will do."""
    if weight is None:
        return None
    if isinstance(weight, Mapping):
        weight = in_order(name, weight, argument, count)
    weight = plain(weight)
    values: Tensor
    values = weight if isinstance(weight, Tensor) else _weight_tensor(name, weight, argument)
    if values.dim() != 1 or (count is not None and len(values) != count):
        raise ValueError(
            f"{name}: expected {argument} of shape ({'C' if count is None else count},), one number"
            f" for each class, got {tuple(values.shape)}"
        )
    if device is not None and isinstance(weight, Tensor) and values.device != device:
        raise ValueError(f"{name}: expected {argument} on {device}, got {values.device}")
    # Values on other devices are not read: that would wait for the device.
    readable = values.device.type == "cpu" and not torch.compiler.is_compiling()
    if readable and not bool((values.isfinite() & (values >= 0)).all()):
        raise ValueError(
            f"{name}: expected {argument} to be finite and not negative, got {values.tolist()}"
        )
    if isinstance(weight, Tensor):
        return values
    # A blocking copy would wait for the device.
    return values.to(device or torch.get_default_device(), non_blocking=True)


def in_order(
    name: str, numbers: Mapping[Any, Any], argument: str, count: int | None = None
) -> list[Any]:
    """The numbers of a mapping from class indices, one for every class."""
    names = [key for key in numbers if not is_integer(key)]
    if names:
        raise TypeError(
            f"{name}: expected {argument} to have class indices as keys, got {names[0]!r} (pass a"
            " list in the order of the classes)"
        )
    classes = max(numbers, default=-1) + 1 if count is None else count
    missing = [k for k in range(classes) if k not in numbers]
    beyond = [key for key in numbers if not 0 <= key < classes]
    if missing or beyond or not classes:
        last = "C - 1" if not classes else classes - 1
        got = f"none for {missing}" if missing else f"one for {beyond[0]}" if beyond else "none"
        raise ValueError(
            f"{name}: expected {argument} to have a number for every class from 0 to {last}, got"
            f" {got}"
        )
    return [numbers[k] for k in range(classes)]


def _weight_tensor(name: str, weight: Any, argument: str) -> Tensor:
    try:
        return torch.tensor(weight, dtype=torch.get_default_dtype(), device="cpu")
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(
            f"{name}: expected {argument} to be a tensor or a sequence of numbers, got {weight!r}"
        ) from error


def _runs(indices: list[int]) -> list[tuple[int, int]]:
    """Runs of consecutive numbers, as (start, stop)."""
    runs: list[tuple[int, int]] = []
    for index in indices:
        if runs and runs[-1][1] == index:
            runs[-1] = (runs[-1][0], index + 1)
        else:
            runs.append((index, index + 1))
    return runs
