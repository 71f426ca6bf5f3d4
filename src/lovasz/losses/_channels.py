"""The way of the losses of channels, from arguments to the loss: check, then compute."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from typing_extensions import Unpack

from lovasz.losses import _inputs, _layouts
from lovasz.losses._compute import Mixture, Options, compute
from lovasz.losses._layouts import Extras
from lovasz.losses.distributed import check_group
from lovasz.losses.window import check_window


def channel_loss(
    name: str,
    scores_name: str,
    link: str,
    scores: Tensor,
    target: Tensor,
    *,
    multilabel: bool | None,
    symmetric: bool,
    ignore_index: int | None,
    per_image: bool,
    extras: Extras,
    mixture: Mixture | None = None,
    weight_name: str = "weight",
    **options: Unpack[Options],
) -> Tensor:
    """The loss of channels that are sets of their own."""
    _inputs.check_options(
        name,
        ignore_index=ignore_index,
        per_image=per_image,
        normalize_weight=options["normalize_weight"],
        reduction=options["reduction"],
        set_function=options["set_function"],
        method=options["method"],
        bins=options["bins"],
    )
    check_channel_options(
        name, multilabel=multilabel, symmetric=symmetric, ignore_index=ignore_index
    )
    check_window(name, options["window"], per_image=per_image, method=options["method"])
    check_group(
        name,
        options["process_group"],
        per_image=per_image,
        reduction=options["reduction"],
        method=options["method"],
    )
    given = _layouts.channels(
        name,
        scores_name,
        scores,
        target,
        link=link,
        multilabel=multilabel,
        ignore_index=ignore_index,
        per_image=per_image,
        extras=extras,
    )
    return compute(
        name, given, options, symmetric=symmetric, mixture=mixture, weight_name=weight_name
    )


def check_channel_options(name: str, *, multilabel: Any, symmetric: Any, ignore_index: Any) -> None:
    """Options that only losses of channels have."""
    _inputs.check_flag(name, "symmetric", symmetric)
    if multilabel is not None and not isinstance(multilabel, bool):
        raise TypeError(
            f"{name}: expected multilabel to be True, False or None, got {multilabel!r}"
        )
    if ignore_index in (0, 1):
        raise ValueError(
            f"{name}: expected ignore_index to be neither 0 nor 1, which are labels here,"
            f" got {ignore_index}"
        )
