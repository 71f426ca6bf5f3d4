"""What every loss does once its tensors are checked: choose classes, compute, reduce."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import torch
from torch import Tensor

from lovasz.core.set_functions import SetFunction
from lovasz.kernels import Entropy, Scores, float64_device
from lovasz.losses import _inputs
from lovasz.losses._class_losses import Recipe, by_counting, by_sorting
from lovasz.losses._reduction import reduce_classes
from lovasz.losses.distributed import Group, ranks_of
from lovasz.losses.window import Window


class Options(TypedDict):
    """Options of every loss that say which classes count, and how."""

    classes: str | Sequence[int]
    weight: Tensor | Sequence[float] | None
    normalize_weight: bool
    reduction: str
    set_function: SetFunction
    method: str
    bins: int
    window: Window | None
    process_group: Group


class Mixture(TypedDict):
    """Cross-entropy that rides along."""

    entropy: Entropy
    cross_entropy_weight: float
    lovasz_weight: float


def compute(
    name: str,
    given: Scores,
    options: Options,
    *,
    symmetric: bool = False,
    mixture: Mixture | None = None,
    weight_name: str = "weight",
) -> Tensor:
    """The loss, mixed with cross-entropy where that is asked for.

    On the device of the scores, or for them on the processor if the device has no float64.
    """
    count, home = given.scores.shape[1], given.scores.device
    alpha = _inputs.class_weight(name, options["weight"], count, home, weight_name)
    device = float64_device(home)
    if device != home:
        given, alpha = given.to(device), None if alpha is None else alpha.to(device)
    chosen = _inputs.chosen_classes(name, options["classes"], count, device)
    ranks = ranks_of(options["process_group"])
    recipe = Recipe(options["set_function"], options["bins"], symmetric, options["window"], ranks)
    entropy = None if mixture is None else mixture["entropy"].to(device)
    if options["method"] == "sort":
        found = by_sorting(given, chosen, recipe)
    else:
        found = by_counting(given, chosen, recipe, entropy)
    lovasz, cross_entropy = reduce_classes(
        found,
        given,
        alpha,
        normalize_weight=options["normalize_weight"],
        reduction=options["reduction"],
        ranks=ranks,
        entropy=entropy,
    )
    loss = lovasz
    if mixture is not None:
        assert cross_entropy is not None  # asked for above
        first = _times(mixture["cross_entropy_weight"], cross_entropy)
        loss = first + _times(mixture["lovasz_weight"], lovasz)
    return loss if device == home else loss.to(home)


def _times(factor: float, value: Tensor) -> Tensor:
    """The product; without an operator for the usual factor of 1."""
    # Compilers fuse the product, and would compile anew for a factor that is 1 and then is not.
    return value if not torch.compiler.is_compiling() and factor == 1 else factor * value
