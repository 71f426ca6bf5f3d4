"""Whether two results of an operator are the same, up to rounding.

Counts are equal, but for errors so near to the edge of a bin that rounding decides. Numbers differ
by no more than a part of the largest of their tensor. Slopes of sorted errors are compared where no
two errors are nearly equal; of interpolated scores their sums are, which order does not change. Of
interpolated scores nearly equal ones may be taken for the largest.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lovasz.core import bins
from lovasz.core.links import UNBOUNDED
from lovasz.kernels import reference
from lovasz.kernels.pixels import load, load_soft
from lovasz.kernels.segments import Segments, histogram_of
from lovasz.kernels.soft import is_soft, read_labels
from lovasz.kernels.upsampling import at_target

#: what the results of the operators are
RESULTS = {
    "histogram": ("counts", "lse", "invalid", "sums", "region sums"),
    "sort_and_extend": ("losses", "slopes", "positives", "pixels", "lse", "invalid"),
    "extend": ("losses", "slopes", "present"),
    "reduce": ("total", "factors", "cross-entropy", "derivative by the sum"),
    "backward": ("gradient",),
    "argmax": ("labels",),
}
#: largest difference, as a part of the largest number. Between the bins of the slopes of
#: `small_inputs` lies half of that; gradients of 16 bits are rounded besides.
BOUNDS = {
    "histogram": 1e-5,
    "sort_and_extend": 1e-4,
    "extend": 1e-6,
    "reduce": 1e-6,
    "backward": 1e-3,
}
ROUNDING = {torch.bfloat16: 2.0**-7, torch.float16: 2.0**-10}
#: part of a bin beside its edges where rounding decides
EDGE = 0.02


def difference(
    name: str, arguments: dict[str, Any], got: tuple[Tensor, ...], expected: tuple[Tensor, ...]
) -> str | None:
    """The first result that differs, in words; None if they are the same.

    Args:
        name: the operator.
        arguments: of both, by name, on the CPU.
        got: results that are in question, on the CPU.
        expected: results of the reference, likewise.
    """
    for result, value, wanted in zip(RESULTS[name], got, expected, strict=True):
        if value.shape != wanted.shape or value.dtype != wanted.dtype:
            of_both = [f"{tuple(v.shape)} of {v.dtype}" for v in (wanted, value)]
            return f"{result}: expected shape {of_both[0]}, got {of_both[1]}"
        if value.numel() == 0:
            continue
        both = value, wanted
        if name == "sort_and_extend" and result == "slopes" and arguments["upsample"] is not None:
            both = value.sum((0, 2)), wanted.sum((0, 2))
        bad = _differs(name, result, arguments, *both)
        if bool(bad.any()):
            place = bad.flatten().to(torch.uint8).argmax()
            own, right = (v.flatten()[place].item() for v in both)
            return f"{result}: expected {right}, got {own}"
    return None


def _differs(
    name: str, result: str, arguments: dict[str, Any], value: Tensor, wanted: Tensor
) -> Tensor:
    """Where, bool."""
    if result == "counts":
        return _counts_differ(arguments, value, wanted)
    if name == "argmax":
        return _labels_differ(arguments, value, wanted)
    if not wanted.is_floating_point():
        return value != wanted
    bound = (BOUNDS[name] + ROUNDING.get(wanted.dtype, 0.0)) * wanted.double().abs().max()
    return ~((value.double() - wanted.double()).abs() <= bound)  # NaN: not within


def _counts_differ(arguments: dict[str, Any], value: Tensor, wanted: Tensor) -> Tensor:
    """Bins up to which more or less is counted than rounding allows."""
    if torch.equal(value, wanted):
        return torch.zeros_like(wanted, dtype=torch.bool)
    below, above = _near_edges(arguments)
    above = torch.cat((above[..., 1:], torch.zeros_like(above[..., :1])), -1)
    below[..., -1] = 0
    moved = (value - wanted).cumsum(-1)
    allowed = (moved >= -below) & (moved <= above)
    # Of a bin that differs, so that its counts are named.
    return ~allowed & (value != wanted) | (~allowed & ~(~allowed & (value != wanted)).any())


def _near_edges(arguments: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """What is counted of errors just below the upper edge, and just above the lower, of a bin."""
    scores = at_target(arguments["scores"], arguments["upsample"], arguments["size"])
    target, ignored, link = (arguments[name] for name in ("target", "ignore_index", "link"))
    weight, number = arguments["pixel_weight"], arguments["bins"]
    mixture, smoothing = arguments["mixture"], arguments["label_smoothing"]
    lse = reference.log_sum_exp(scores, link)
    if arguments["regions"] or is_soft(target, mixture, smoothing):
        soft = read_labels(scores, target, ignored, link, mixture, smoothing, weight)
        pixels = load_soft(scores, soft, lse, link)
    else:
        pixels = load(scores, target, lse, ignored, link)
    # In twice as many bins, of which the last one ends at the middle of the last.
    errors = pixels.errors
    if link in UNBOUNDED:
        place = bins.position(torch, errors, 2 * number - 1, unbounded=True)
        place = torch.where(place > 0, (place + 1) / 2, 0.25)
    else:
        place = bins.position(torch, errors, 2 * number, complements=pixels.complements) / 2
    index = place.to(torch.int64)
    rest = place - index
    groups = Segments(arguments["per_image"], arguments["segment_ids"], arguments["segments"])
    near = (
        histogram_of(index, pixels.positive, pixels.valid & chosen, number, groups, weight)
        for chosen in (rest > 1 - EDGE, rest < EDGE)
    )
    return next(near), next(near)


def _labels_differ(arguments: dict[str, Any], value: Tensor, wanted: Tensor) -> Tensor:
    """Where another class is named whose score is lower by more than rounding."""
    scores = at_target(arguments["scores"], arguments["upsample"], arguments["size"])
    known = value.to(torch.int64) < scores.shape[1]
    chosen = scores.gather(1, torch.where(known, value.to(torch.int64), 0).unsqueeze(1))[:, 0]
    near = scores.amax(1) - chosen <= 1e-4 * scores.abs().max()
    return (value != wanted) & ~(known & near)
