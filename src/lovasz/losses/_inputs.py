"""Every check of options; ``_layouts`` checks the tensors."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lovasz.core.bins import check_bins
from lovasz.core.set_functions import as_tversky


def check_ignore_index(name: str, ignore_index: Any) -> None:
    """An integer, or None for no ignored label."""
    if ignore_index is not None and not _is_integer(ignore_index):
        raise TypeError(
            f"{name}: expected ignore_index to be an integer or None, got {ignore_index!r}"
        )


def check_choice(name: str, argument: str, value: Any, choices: tuple[str, ...]) -> None:
    """One of a few words."""
    if value not in choices:
        words = ", ".join(repr(choice) for choice in choices)
        raise ValueError(f"{name}: expected {argument} to be one of {words}, got {value!r}")


def check_at_least(name: str, argument: str, value: Any, least: int) -> None:
    """An integer that is large enough."""
    if not _is_integer(value):
        raise TypeError(f"{name}: expected {argument} to be an integer, got {value!r}")
    if value < least:
        raise ValueError(f"{name}: expected {argument} to be {least} or more, got {value!r}")


def check_set_function(name: str, set_function: Any) -> None:
    """Try a set function on three sets: elementwise, and no cost where there is no mistake."""
    if not callable(set_function):
        raise TypeError(
            f"{name}: expected set_function to be a callable Δ(fn, fp, positives),"
            f" got {set_function!r}"
        )
    if as_tversky(set_function) is not None:
        return  # ours
    if torch.compiler.is_compiling():
        return  # data-dependent; whoever compiles has called it once without
    fn, fp = (torch.tensor(values, dtype=torch.float64) for values in ((0, 1, 2), (0, 0, 3)))
    cost = set_function(fn, fp, torch.full((3,), 2.0, dtype=torch.float64))
    if not isinstance(cost, Tensor) or cost.shape != (3,) or cost.dtype != torch.float64:
        raise ValueError(
            f"{name}: expected set_function to return a float64 tensor of the shape of its"
            f" arguments, (3,), got {_describe(cost)}"
        )
    if float(cost[0]) != 0 or not bool(cost.isfinite().all()):
        raise ValueError(
            f"{name}: expected set_function to be finite, and 0 where fn = fp = 0,"
            f" got {cost.tolist()} at (fn, fp) = (0, 0), (1, 0), (2, 3) with 2 positives"
        )


class Chosen(NamedTuple):
    """Which classes count."""

    absent: bool  # those without a pixel of their own too, where there is a pixel at all
    mask: Tensor | None = None  # (C,) bool, those of a list

    def among(self, seen: Tensor) -> Tensor:
        """The chosen ones of the classes (…, C) for which enough pixels were seen."""
        return seen if self.mask is None else seen & self.mask


def chosen_classes(name: str, classes: Any, count: int, device: torch.device) -> Chosen:
    """The classes that count, from their word or list."""
    if isinstance(classes, str):
        check_choice(name, "classes", classes, ("present", "all"))
        return Chosen(absent=classes == "all")
    chosen = _class_list(name, classes)
    if not all(index < count for index in chosen):
        raise ValueError(
            f"{name}: expected classes to hold indices from 0 to {count - 1}, got {chosen}"
        )
    mask = torch.zeros(count, dtype=torch.bool, device=device)
    # Filled on the device, run by run: a copy from the host would wait for the device.
    for start, stop in _runs(sorted(chosen)):
        mask[start:stop] = True
    return Chosen(absent=True, mask=mask)


def check_classes(name: str, classes: Any) -> None:
    """As ``chosen_classes``, before the number of classes is known."""
    if isinstance(classes, str):
        check_choice(name, "classes", classes, ("present", "all"))
    else:
        _class_list(name, classes)


def _class_list(name: str, classes: Any) -> list[int]:
    wanted = f'{name}: expected classes to be "present", "all" or a list of distinct class indices'
    if not isinstance(classes, Sequence) or not all(_is_integer(index) for index in classes):
        raise TypeError(f"{wanted}, got {classes!r}")
    chosen = list(classes)
    if not chosen or len(set(chosen)) < len(chosen) or min(chosen) < 0:
        raise ValueError(f"{wanted}, got {classes!r}")
    return chosen


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
    values = weight if isinstance(weight, Tensor) else _weight_tensor(name, weight, argument)
    if values.dim() != 1 or (count is not None and len(values) != count):
        raise ValueError(
            f"{name}: expected {argument} of shape ({'C' if count is None else count},), one number"
            f" for each class, got {tuple(values.shape)}"
        )
    if device is not None and isinstance(weight, Tensor) and values.device != device:
        raise ValueError(f"{name}: expected {argument} on {device}, got {values.device}")
    # Values on other devices are not looked at: that would wait for the device.
    look = values.device.type == "cpu" and not torch.compiler.is_compiling()
    if look and not bool((values.isfinite() & (values >= 0)).all()):
        raise ValueError(
            f"{name}: expected {argument} to be finite and not negative, got {values.tolist()}"
        )
    if isinstance(weight, Tensor):
        return values
    # A blocking copy would wait for the device.
    return values.to(device or torch.get_default_device(), non_blocking=True)


def _weight_tensor(name: str, weight: Any, argument: str) -> Tensor:
    try:
        return torch.tensor(weight, dtype=torch.get_default_dtype(), device="cpu")
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(
            f"{name}: expected {argument} to be a tensor or a sequence of numbers, got {weight!r}"
        ) from error


def check_mixture(name: str, cross_entropy: Any, lovasz: Any, smoothing: Any = 0.0) -> None:
    """Two factors and the label smoothing: numbers, since no tensor could be looked at."""
    for argument, value, top in (
        ("cross_entropy_weight", cross_entropy, math.inf),
        ("lovasz_weight", lovasz, math.inf),
        ("label_smoothing", smoothing, 1.0),
    ):
        if not isinstance(value, numbers.Real) or isinstance(value, bool):
            raise TypeError(f"{name}: expected {argument} to be a number, got {value!r}")
        # A comparison, which compilers can follow for numbers that they do not know.
        if not (0 <= float(value) <= top and float(value) < math.inf):
            limit = "finite and not negative" if top == math.inf else "in [0, 1]"
            raise ValueError(f"{name}: expected {argument} to be {limit}, got {value!r}")


def check_momentum(name: str, momentum: Any) -> None:
    """A number that decays."""
    if not isinstance(momentum, numbers.Real) or isinstance(momentum, bool):
        raise TypeError(f"{name}: expected momentum to be a number, got {momentum!r}")
    if not 0 <= float(momentum) < 1:
        raise ValueError(f"{name}: expected momentum to be in [0, 1), got {momentum!r}")


def check_flag(name: str, argument: str, value: Any) -> None:
    """A bool, and not something that happens to be true."""
    if not isinstance(value, bool):
        raise TypeError(f"{name}: expected {argument} to be True or False, got {value!r}")


def check_options(
    name: str,
    *,
    ignore_index: Any,
    per_image: Any,
    normalize_weight: Any,
    set_function: Any,
    bins: Any,
    reduction: Any = "mean",
    method: Any = "histogram",
) -> None:
    """Check everything that does not depend on the tensors."""
    check_ignore_index(name, ignore_index)
    check_flag(name, "per_image", per_image)
    check_flag(name, "normalize_weight", normalize_weight)
    check_choice(name, "reduction", reduction, ("mean", "sum", "none"))
    check_choice(name, "method", method, ("histogram", "sort"))
    check_bins(name, bins)
    check_set_function(name, set_function)


def _is_integer(value: Any) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def _describe(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{value.dtype} of shape {tuple(value.shape)}"
    return type(value).__name__


def _runs(indices: list[int]) -> list[tuple[int, int]]:
    """Runs of consecutive numbers, as (start, stop)."""
    runs: list[tuple[int, int]] = []
    for index in indices:
        if runs and runs[-1][1] == index:
            runs[-1] = (runs[-1][0], index + 1)
        else:
            runs.append((index, index + 1))
    return runs
