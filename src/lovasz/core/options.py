"""Every option of the losses once: its default, its range, and the sentence if it is wrong.

Tensors among them are checked where they are read, in ``lovasz.losses``.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

from lovasz.core.regions import Region
from lovasz.core.set_functions import Array, SetFunction, jaccard
from lovasz.core.upsampling import AXES

DEFAULT_BINS = 2048

# Choices by a word, as type checkers and command lines made from signatures know them.
Classes: TypeAlias = Literal["present", "all", "foreground"] | Sequence[int]
Averaging: TypeAlias = Literal["dataset", "image", "class"] | Mapping[str, float]
Reduction: TypeAlias = Literal["mean", "sum", "none"]
Method: TypeAlias = Literal["histogram", "sort"]
Upsample: TypeAlias = Literal["linear", "bilinear", "trilinear", "nearest"]
Activation: TypeAlias = Literal["softmax", "sigmoid", "none"]
Margin: TypeAlias = Literal["relu", "elu"]
REDUCTIONS: tuple[str, ...] = get_args(Reduction)
METHODS: tuple[str, ...] = get_args(Method)


class CrossEntropy(NamedTuple):
    """A cross-entropy to be added, defined as torch defines it."""

    factor: float | Array = 1.0
    weight: Array | Sequence[float] | None = None  # (C,) of classes, or positives of multilabel
    smoothing: float = 0.0  # label smoothing; 0 for multilabel


class Names(NamedTuple):
    """What a function calls options that others call otherwise, for sentences about them."""

    weight: str = "weight"
    region_factor: str = "region_weight"
    label_smoothing: str = "label_smoothing"


class Options(NamedTuple):
    """What a loss is asked for; ``lovasz.lovasz_softmax`` documents each."""

    classes: Classes = "present"
    ignore_index: int | None = None
    weight: Array | Sequence[float] | None = None
    normalize_weight: bool = True
    per_image: bool = False
    averaging: Averaging | None = None
    reduction: Reduction = "mean"
    set_function: SetFunction = jaccard
    method: Method = "histogram"
    bins: int = DEFAULT_BINS
    window: Any = None
    process_group: Any = None
    pixel_weight: Array | None = None
    ignore_mask: Array | None = None
    offsets: Array | None = None
    batch_index: Array | None = None
    batch_size: int | None = None
    upsample: Upsample | None = None
    align_corners: bool = False
    multilabel: bool | None = None  # with `symmetric`, of the losses of multilabel alone
    symmetric: bool = False
    target_weight: Array | Sequence[float] | None = None
    label_smoothing: float = 0.0
    cross_entropy: CrossEntropy | None = None
    lovasz_factor: float | Array | None = (
        1.0  # None: a loss without a Lovász loss, of which nothing counts
    )
    region: Region | None = None
    region_factor: float = 1.0
    names: Names = Names()

    def check(self, name: str, *, multilabel: bool) -> None:
        """Check everything that does not depend on the tensors.

        Args:
            name: of the function or module, for the sentence.
            multilabel: whether each channel has labels of its own, which are 0 and 1.

        Raises:
            TypeError: for an option of a wrong type.
            ValueError: for an option of a wrong value.
        """
        if self.ignore_index is not None:
            check_ignore_index(name, self.ignore_index)
        check_flags(name, per_image=self.per_image, normalize_weight=self.normalize_weight)
        check_choice(name, "reduction", self.reduction, REDUCTIONS)
        check_choice(name, "method", self.method, METHODS)
        check_bins(name, self.bins)
        if self.upsample is not None or self.align_corners is not False:
            check_upsample(name, self.upsample, self.align_corners)
        if self.cross_entropy is not None or self.region is not None or self.label_smoothing != 0:
            _check_terms(name, self)
        if multilabel:
            _check_multilabel(name, self)
        check_classes(name, self.classes)


def check_ignore_index(name: str, ignore_index: Any) -> None:
    """An integer, or None for no ignored label."""
    if ignore_index is not None and not is_integer(ignore_index):
        raise TypeError(
            f"{name}: expected ignore_index to be an integer or None, got {ignore_index!r}"
        )


def check_flags(name: str, **flags: Any) -> None:
    """Bools, and not something that happens to be true."""
    for argument, value in flags.items():
        if not isinstance(value, bool):
            raise TypeError(f"{name}: expected {argument} to be True or False, got {value!r}")


def check_choice(name: str, argument: str, value: Any, choices: tuple[str, ...]) -> None:
    """One of a few words."""
    if value not in choices:
        words = ", ".join(repr(choice) for choice in choices)
        raise ValueError(f"{name}: expected {argument} to be one of {words}, got {value!r}")


def check_at_least(name: str, argument: str, value: Any, least: int) -> None:
    """An integer that is large enough."""
    if not is_integer(value):
        raise TypeError(f"{name}: expected {argument} to be an integer, got {value!r}")
    if value < least:
        raise ValueError(f"{name}: expected {argument} to be {least} or more, got {value!r}")


def check_bins(name: str, bins: Any) -> None:
    """An integer that gives useful bins."""
    whole = type(bins) is int or is_integer(bins)
    if not whole or not 2 <= bins <= 2**20:
        raise ValueError(f"{name}: expected bins to be an integer from 2 to {2**20}, got {bins!r}")


def check_classes(name: str, classes: Any) -> None:
    """A word, or a list of distinct indices; whether there are so many classes shows later."""
    if isinstance(classes, str):
        check_choice(name, "classes", classes, ("present", "all", "foreground"))
        return
    wanted = (
        f'{name}: expected classes to be "present", "all", "foreground" or a list of distinct class'
        " indices"
    )
    if not isinstance(classes, Sequence) or not all(is_integer(index) for index in classes):
        raise TypeError(f"{wanted}, got {classes!r}")
    if not classes or len(set(classes)) < len(classes) or min(classes) < 0:
        raise ValueError(f"{wanted}, got {classes!r}")


def check_momentum(name: str, momentum: Any) -> None:
    """A number that decays."""
    if not is_number(momentum):
        raise TypeError(f"{name}: expected momentum to be a number, got {momentum!r}")
    if not 0 <= float(momentum) < 1:
        raise ValueError(f"{name}: expected momentum to be in [0, 1), got {momentum!r}")


def check_upsample(name: str, upsample: object, align_corners: object) -> None:
    """A mode of interpolation or None, and corners that are aligned by a mode that can."""
    if upsample is not None and (not isinstance(upsample, str) or upsample not in AXES):
        modes = ", ".join(f'"{mode}"' for mode in AXES)
        raise ValueError(f"{name}: expected upsample to be {modes} or None, got {upsample!r}")
    check_flags(name, align_corners=align_corners)
    if align_corners and upsample in (None, "nearest"):
        raise ValueError(
            f"{name}: expected align_corners=True with upsample of linear, bilinear or trilinear"
            f" alone, got upsample={upsample!r}"
        )


def _check_terms(name: str, options: Options) -> None:
    """Factors and label smoothing: numbers, since no tensor could be looked at."""
    names, cross_entropy, region = options.names, options.cross_entropy, options.region
    values = [("lovasz_weight", options.lovasz_factor, math.inf)]
    values += [(names.region_factor, options.region_factor, math.inf)]
    values += [(names.label_smoothing, options.label_smoothing, 1.0)]
    if cross_entropy is not None:
        values += [("cross_entropy_weight", cross_entropy.factor, math.inf)]
        values += [("label_smoothing", cross_entropy.smoothing, 1.0)]
    for argument, value, top in values:
        if value is None:
            continue
        if not is_number(value):
            raise TypeError(f"{name}: expected {argument} to be a number, got {value!r}")
        # A comparison, which compilers can follow for numbers that they do not know.
        if not (0 <= float(value) <= top and float(value) < math.inf):
            limit = "finite and not negative" if top == math.inf else "in [0, 1]"
            raise ValueError(f"{name}: expected {argument} to be {limit}, got {value!r}")
    if region is not None and not (callable(region) and hasattr(region, "pooled")):
        raise TypeError(
            f"{name}: expected region to be a loss by sums such as lovasz.SoftDice() or None,"
            f" got {region!r}"
        )
    if region is not None and region.pooled and options.weight is not None:
        raise ValueError(
            f"{name}: expected {names.weight}=None with a region that pools all classes, of which"
            f" there is one loss, got {options.weight!r}"
        )


def _check_multilabel(name: str, options: Options) -> None:
    """Options that only losses of multilabel segmentation have."""
    check_flags(name, symmetric=options.symmetric)
    if options.multilabel is not None and not isinstance(options.multilabel, bool):
        raise TypeError(
            f"{name}: expected multilabel to be True, False or None, got {options.multilabel!r}"
        )
    if options.ignore_index in (0, 1):
        raise ValueError(
            f"{name}: expected ignore_index to be neither 0 nor 1, which are labels here,"
            f" got {options.ignore_index}"
        )


def is_number(value: Any) -> bool:
    """Whether it is a real number of any kind, and not a bool."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def is_integer(value: Any) -> bool:
    """Whether it is an integer of any kind, and not a bool."""
    # The second question takes as long as all other checks.
    return type(value) is int or (
        isinstance(value, numbers.Integral) and not isinstance(value, bool)
    )
