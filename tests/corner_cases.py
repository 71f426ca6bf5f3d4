"""Corner cases of mathematics.md, section 5 of the docs, for every implementation of the loss.

Numbers of plain Python, so that each library makes its own arrays of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

INF, NAN = math.inf, math.nan
_RANDOM = [[0.3, -1.2, 0.8], [1.1, 0.4, -0.6], [-0.2, 0.9, 0.1], [0.7, -0.5, 1.9]]


class Case(NamedTuple):
    """One call of lovasz_softmax, and what has to come of it."""

    name: str
    logits: list[list[list[float]]]  # [image][pixel][class]
    labels: list[list[int]]
    loss: float  # NaN where it has to be NaN
    options: Mapping[str, Any] = MappingProxyType({})
    flat: bool = False  # the gradient is 0 everywhere


def _softmax(row: list[float]) -> list[float]:
    top = max(row)
    powers = [math.exp(value - top) for value in row]
    return [power / sum(powers) for power in powers]


def _with(pixel: int, row: list[float]) -> list[list[float]]:
    return [*_RANDOM[:pixel], row, *_RANDOM[pixel + 1 :]]


CASES = (
    Case(
        "an absent class costs its largest probability",
        [_RANDOM],
        [[0, 0, 0, 0]],
        max(_softmax(row)[2] for row in _RANDOM),
        {"classes": [2]},
    ),
    Case("all is ignored", [_RANDOM], [[9] * 4], 0.0, {"ignore_index": 9}, True),
    Case(
        "all is ignored, and all classes count",
        [_RANDOM, _RANDOM],
        [[9] * 4, [9] * 4],
        0.0,
        {"ignore_index": 9, "classes": "all", "per_image": True},
        True,
    ),
    Case("one pixel", [[_RANDOM[0]]], [[2]], 1 - _softmax(_RANDOM[0])[2]),
    Case("one class fills everything", [[[0, 30, 0]] * 4], [[1] * 4], 0.0, {}, True),
    Case("huge logits that are right", [[[1e4, -1e4], [-1e4, 1e4]]], [[0, 1]], 0.0, {}, True),
    Case("huge logits that are wrong", [[[1e4, -1e4], [-1e4, 1e4]]], [[1, 0]], 1.0, {}, True),
    Case("equal logits", [[[0.0, 0.0]] * 6], [[0, 0, 1, 1, 1, 1]], 0.5),
    Case("the label of a masked class", [[[0.3, -INF], [2.0, -INF]]], [[1, 1]], 1.0, {}, True),
    Case(
        "a masked class",
        [[[0.0, 0.0, -INF], [0.0, 0.0, -INF]]],
        [[0, 1]],
        0.5,
        {"classes": [0, 1]},
    ),
    Case("a logit that is NaN", [_with(1, [0.0, NAN, 1.0])], [[0, 1, 2, 1]], NAN),
    Case("a logit that is infinite", [_with(1, [0.0, INF, 1.0])], [[0, 1, 2, 1]], NAN),
    Case("no logit that is finite", [_with(3, [-INF] * 3)], [[0, 1, 2, 1]], NAN),
    Case(
        "an image with a logit that is NaN",
        [_with(0, [NAN, 0.0, 1.0]), _RANDOM],
        [[0, 1, 2, 1], [0, 1, 2, 1]],
        NAN,
        {"per_image": True},
    ),
    Case(
        "an ignored pixel may hold anything",
        [[[NAN, INF, -INF], [5.0, 5.0, -INF]]],
        [[-1, 0]],
        0.5,
        {"ignore_index": -1, "classes": [0, 1]},
    ),
    Case(
        "weights of zero",
        [_RANDOM],
        [[0, 0, 0, 0]],
        0.0,
        {"weight": [0.0, 1.0, 1.0]},
        True,
    ),
    Case(
        "no weight is normalised",
        [[[0.0, 0.0]] * 6],
        [[0, 0, 1, 1, 1, 1]],
        0.5 * (3.0 + 1.0) / 2,
        {"weight": [3.0, 1.0], "normalize_weight": False},
    ),
    Case(
        "an image without a label that counts is left out",
        [[[0.0, 0.0]] * 2, [[7.0, -7.0]] * 2],
        [[0, 1], [255, 255]],
        0.5,
        {"ignore_index": 255, "per_image": True},
    ),
)
#: Labels that are neither a class of three nor ignored.
WRONG_LABELS = (-1, 3, 255, -100)
