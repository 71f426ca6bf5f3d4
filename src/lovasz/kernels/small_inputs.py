"""Small inputs of the operators, made after those of a call, and what their results may differ by.

The same kind of scores, labels and options as in the call, with few pixels: of an odd number where
that of the call is no multiple of 16, with labels that are ignored, and with values that are known
beforehand, so that no generator of random numbers is touched. They are made on the CPU.

Scores of classes have two that are probable in every pixel, all others are next to nothing: errors
of any number of classes are spread over all bins, and no two that are sorted are nearly equal.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lovasz.core.links import MULTICLASS, PROBABILITIES
from lovasz.core.options import DEFAULT_BINS
from lovasz.core.regions import SUMS
from lovasz.kernels import reference
from lovasz.kernels.upsampling import at_target

# Enough for more than one strip of pixels; and when they are sorted, as many as have errors that
# float32 tells apart.
_LENGTHS, _SORTED_LENGTHS = (1072, 1061), (64, 65)
_MOST_CLASSES, _MOST_BINS, _MOST_SCORES = 1024, DEFAULT_BINS, 2**19
# Axes of scores that are interpolated.
_SOURCE = (2, 5, 7)
# Scores are sixteenths up to this, and those of the improbable classes far below.
_STEPS, _IMPROBABLE = 130, -30.0
_CLOUDS = 3


def small(name: str, call: dict[str, Any]) -> dict[str, Any]:
    """Arguments of an operator by name, on the CPU, made after those of a call.

    Args:
        name: the operator.
        call: its arguments by name.
    """
    if name == "extend":
        return {**call, **_counts(call)}
    if name == "reduce":
        return {**call, **_losses(call)}
    scores = _scores(name, call)
    made = {**call, "scores": scores}
    if call.get("size") is not None:
        made["size"] = [
            _resized(n, before, after)
            for n, before, after in zip(
                scores.shape[2:], call["scores"].shape[2:], call["size"], strict=True
            )
        ]
    if name == "argmax":
        if call["lines"] is not None:
            made["lines"] = _values((2, scores.shape[1])).to(torch.float32)
        return made
    length = scores.shape[2]
    if call["upsample"] is not None:
        length = made["size"][0] * made["size"][1] * made["size"][2]
    made |= _labels(call, scores, length)
    if call.get("class_weight") is not None:
        weight = (1 + torch.arange(scores.shape[1], device="cpu") % 4) / 2
        made["class_weight"] = weight.to(call["class_weight"].dtype)
    for option in ("smoothing", "label_smoothing"):
        if call.get(option, 0.0) > 0:
            made[option] = 0.125
    if name == "backward":
        return made | _slopes(call, made, length)
    if "bins" in call:
        made["bins"] = min(call["bins"], _MOST_BINS)
    return made


def _scores(name: str, call: dict[str, Any]) -> Tensor:
    """(N, C, L), or (N, C, d, h, w), with the layout of the call."""
    scores, link = call["scores"], call.get("link", "softmax")
    images, classes = min(scores.shape[0], 2), min(scores.shape[1], _MOST_CLASSES)
    spatial: tuple[int, ...]
    if scores.dim() == 5:
        pairs = zip(_SOURCE, scores.shape[2:], strict=True)
        spatial = tuple(n if size > 1 else 1 for n, size in pairs)
    else:
        lengths = _SORTED_LENGTHS if name == "sort_and_extend" else _LENGTHS
        length = lengths[scores.shape[2] % 16 > 0]
        spatial = (min(length, max(_MOST_SCORES // (images * classes), 16)),)
    length = torch.Size(spatial).numel()
    pixel = torch.arange(images * length, device="cpu").view(images, 1, length)
    step = pixel * 37 % _STEPS
    if link in MULTICLASS:
        values = _of_classes(pixel, step, classes, link)
    else:
        channel = torch.arange(classes, device="cpu").view(1, -1, 1)
        step = (step + 11 * channel) % _STEPS
        if link in PROBABILITIES:
            values = (2 * (step % 128) + 1) / 256
        else:
            values = torch.where((pixel + channel) % 2 == 0, 1.0, -1.0) * (step + 1) / 16
    values = values.to(scores.dtype).view(images, classes, *spatial)
    if scores.stride(1) == 1 and scores.shape[1] > 1:
        values = values.movedim(1, -1).contiguous().movedim(-1, 1)
    return values


def _of_classes(pixel: Tensor, step: Tensor, classes: int, link: str) -> Tensor:
    """Two classes of each pixel, by turns, and next to nothing of the others."""
    first, second = _probable(pixel, classes)
    given = link in PROBABILITIES
    one = (2 * (step % 128) + 1) / 256 if given else (step + 1) / 16
    other = 1 - one if given else torch.zeros_like(one)
    shape = (len(pixel), classes, pixel.shape[2])
    values = torch.full(shape, 0.0 if given else _IMPROBABLE, dtype=torch.float32, device="cpu")
    return values.scatter_(1, second, other.float()).scatter_(1, first, one.float())


def _probable(pixel: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    first = pixel % classes
    second = (first + 1 + pixel // classes % max(classes - 1, 1)) % classes
    return first, second


def _resized(size: int, before: int, after: int) -> int:
    """What a small axis is interpolated to."""
    if after == before:
        return size
    return 2 * size + 1 if after > before else (size + 1) // 2


def _labels(call: dict[str, Any], scores: Tensor, length: int) -> dict[str, Any]:
    """Target, mixture, weights of pixels, and clouds."""
    images, classes = scores.shape[:2]
    target, link, ignored = call["target"], call["link"], call["ignore_index"]
    pixel = torch.arange(images * length, device="cpu").view(images, 1, length)
    channel = torch.arange(classes, device="cpu").view(1, -1, 1)
    first, second = _probable(pixel, classes)
    made: dict[str, Any] = {}
    if target.is_floating_point():
        if link in MULTICLASS:  # the labels of a pixel sum to no more than 1
            labels = (channel == first) * 0.625 + (channel == second) * 0.25
        else:
            labels = (pixel * 5 + channel) % 9 / 8
    elif link not in MULTICLASS:
        labels = (pixel * 5 + pixel // 7 + channel) % 3 % 2
    else:
        maps = 1 if call.get("mixture") is None else call["mixture"].shape[1]
        number = torch.arange(maps, device="cpu").view(1, -1, 1)
        labels = torch.where((pixel + number) % 3 == 0, second, first)
        # as many classes as such labels can name
        labels %= min(classes, 2 if target.dtype == torch.bool else torch.iinfo(target.dtype).max)
        if call.get("mixture") is not None:
            made["mixture"] = (0.5 ** (1.0 + number[:, :, 0])).expand(images, -1)
            made["mixture"] = made["mixture"].to(call["mixture"].dtype)
        else:
            labels = labels[:, 0]
    if ignored is not None and _holds(target.dtype, ignored):
        dropped = (pixel % 11 == 5) if labels.dim() == 3 else (pixel[:, 0] % 11 == 5)
        if not (target.is_floating_point() and link in MULTICLASS):
            labels = labels.masked_fill(dropped, ignored)
    made["target"] = labels.to(target.dtype).contiguous()
    weight = call.get("pixel_weight")
    if weight is not None:
        by_channel = pixel + channel if weight.dim() == 3 else pixel[:, 0]
        made["pixel_weight"] = (by_channel * 3 % 5 / 4).to(weight.dtype)
    if call.get("segment_ids") is not None:
        made["segment_ids"] = pixel[:, 0] * 5 // 2 % _CLOUDS
        if "segments" in call:
            made["segments"] = _CLOUDS
    return made


def _holds(dtype: torch.dtype, number: int) -> bool:
    """Whether a label can be this number."""
    if dtype.is_floating_point:
        return True
    if dtype == torch.bool:
        return False
    return torch.iinfo(dtype).min <= number <= torch.iinfo(dtype).max


def _slopes(call: dict[str, Any], made: dict[str, Any], length: int) -> dict[str, Any]:
    """Slopes that change little from bin to bin, log-sum-exp, and what they are multiplied by."""
    images, classes = made["scores"].shape[:2]
    slopes, factors, by_regions = (call[key] for key in ("slopes", "factors", "by_regions"))
    groups = _CLOUDS if call["segment_ids"] is not None else images

    def rows(given: Tensor) -> int:
        return 1 if len(given) == 1 else groups

    if slopes.dim() == 3:
        values = _values((images, classes, length))
    else:
        bins = min(slopes.shape[3], _MOST_BINS)
        ramp = torch.arange(bins, dtype=torch.float64, device="cpu") / max(2 * bins, 1)
        values = _values((rows(slopes), classes, 2, 1)) * (0.5 + ramp)
    found: dict[str, Any] = {"slopes": values.to(slopes.dtype)}
    if factors is not None:
        found["factors"] = _values((rows(factors), classes)).to(factors.dtype)
    if by_regions is not None:
        found["by_regions"] = _values((rows(by_regions), classes, SUMS)) / 8
    if call["scale"] is not None:
        found["scale"] = torch.tensor(0.25, dtype=call["scale"].dtype, device="cpu")
    scores = at_target(made["scores"], made["upsample"], made["size"])
    found["lse"] = reference.log_sum_exp(scores, call["link"]).to(call["lse"].dtype)
    return found


def _counts(call: dict[str, Any]) -> dict[str, Any]:
    """Histograms with empty bins, one of them without positives."""
    bins, scale = min(call["counts"].shape[3], 2 * _MOST_BINS), call["scale"]
    place = torch.arange(3 * 2 * bins, device="cpu")
    counts = torch.where(place * 7 % 5 < 2, place * 37 % 11, 0).view(1, 3, 2, bins)
    counts[0, 1, 1] = 0
    made: dict[str, Any] = {"counts": counts * scale}
    if call["positives"] is not None:
        made["positives"] = counts[:, :, 1].sum(2).to(torch.float64) + 0.5
    return made


def _losses(call: dict[str, Any]) -> dict[str, Any]:
    """Losses of classes of which some do not take part."""
    groups, classes = min(len(call["active"]), 3), min(call["active"].shape[1], _MOST_CLASSES)
    place = torch.arange(groups * classes, device="cpu").view(groups, classes)
    made: dict[str, Any] = {
        "losses": _values((groups, classes)),
        "active": place % 5 != 3,
        "invalid": torch.zeros(groups, dtype=torch.int64, device="cpu"),
    }
    if call["weight"] is not None:
        made["weight"] = ((1 + place[0] % 4) / 2).to(call["weight"].dtype)
    if call["sums"] is not None:
        made["sums"] = torch.tensor([50.0, 20.0], dtype=torch.float64, device="cpu")
    return made


def _values(shape: tuple[int, ...]) -> Tensor:
    """Numbers from 1/64 to 1, float64."""
    place = torch.arange(torch.Size(shape).numel(), device="cpu").view(shape)
    return (1 + place * 37 % 64).to(torch.float64) / 64
