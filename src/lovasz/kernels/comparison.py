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
#: what rounding may change of an error, as a part of it, and where that is less by as much
RELATIVE, ABSOLUTE = 1e-5, 2.5e-7


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
    """Bins up to which more or less is counted than if all errors were smaller, or larger."""
    if torch.equal(value, wanted):
        return torch.zeros_like(wanted, dtype=torch.bool)
    fewest, most = (counts.cumsum(-1) for counts in _counts_around(arguments))
    counted = value.cumsum(-1)
    return (counted < fewest) | (counted > most)


def _counts_around(arguments: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """Counts of errors that are larger by what rounding may make of them, and smaller."""
    scores = at_target(arguments["scores"], arguments["upsample"], arguments["size"])
    target, ignored, link = (arguments[name] for name in ("target", "ignore_index", "link"))
    weight, number = arguments["pixel_weight"], arguments["bins"]
    mixture, smoothing = arguments["mixture"], arguments["label_smoothing"]
    lse = reference.log_sum_exp(scores, link)
    soft = arguments["regions"] or is_soft(target, mixture, smoothing)
    if soft:
        labels = read_labels(scores, target, ignored, link, mixture, smoothing, weight)
        pixels = load_soft(scores, labels, lse, link)
    else:
        pixels = load(scores, target, lse, ignored, link)
    errors, rest = pixels.errors.double(), pixels.complements.double()
    if link in UNBOUNDED:
        step = ABSOLUTE + RELATIVE * (1 + errors)
    else:
        # A prediction has all its digits, which 1 less a prediction and a distance have not.
        step = RELATIVE * torch.minimum(errors, rest)
        by_prediction = (errors < rest) != pixels.positive
        step = step + torch.where(by_prediction & (not soft), 0.0, ABSOLUTE)
    groups = Segments(arguments["per_image"], arguments["segment_ids"], arguments["segments"])
    found = []
    for moved in (errors + step, (errors - step).clamp(min=0)):
        options: dict[str, Any] = {"unbounded": True}
        if link not in UNBOUNDED:
            options = {"complements": (rest - (moved - errors)).clamp(0, 1)}
            moved = moved.clamp(0, 1)  # noqa: PLW2901
        index = bins.position(torch, moved, number, **options).to(torch.int64)
        found.append(histogram_of(index, pixels.positive, pixels.valid, number, groups, weight))
    return found[0], found[1]


def _labels_differ(arguments: dict[str, Any], value: Tensor, wanted: Tensor) -> Tensor:
    """Where another class is named whose score is lower, or another sign, by more than rounding."""
    options = (arguments[name] for name in ("size", "upsample", "lines"))
    scores = reference.decided_by(arguments["scores"], *options)
    if arguments["multilabel"]:
        return (value != wanted) & ~(scores.abs() <= 1e-4 * scores.abs().max())
    known = value.to(torch.int64) < scores.shape[1]
    chosen = scores.gather(1, torch.where(known, value.to(torch.int64), 0).unsqueeze(1))[:, 0]
    near = scores.amax(1) - chosen <= 1e-4 * scores.abs().max()
    return (value != wanted) & ~(known & near)
