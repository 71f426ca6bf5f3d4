"""Interpolation to the resolution of the target, in plain torch, and the reverse for gradients.

Scores are (N, C, d, h, w), with axes of size 1 in front where there are fewer than three.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lovasz.core.upsampling import LINEAR_CORNERS, NEAREST
from lovasz.kernels.precision import to_compute

_LINEAR = {1: "upsample_linear1d", 2: "upsample_bilinear2d", 3: "upsample_trilinear3d"}
_NEAREST = {1: "upsample_nearest1d", 2: "upsample_nearest2d", 3: "upsample_nearest3d"}


def at_target(scores: Tensor, upsample: str | None, size: Any) -> Tensor:
    """Scores at the pixels of the target, (N, C, L)."""
    return scores if upsample is None else enlarge(scores, size, upsample)


def enlarge(scores: Tensor, size: Any, mode: str) -> Tensor:
    """Scores of every pixel of (D, H, W), (N, C, L) in the compute dtype."""
    scores = to_compute(scores)
    name, source, size, options = _how(scores.shape[2:], size, mode)
    if scores.numel() == 0:  # a batch without an image
        return scores.new_zeros((*scores.shape[:2], *size)).flatten(2)
    operator = getattr(torch.ops.aten, name)
    enlarged: Tensor = operator(scores.reshape(*scores.shape[:2], *source), size, *options)
    return enlarged.flatten(2)


def shrink(gradient: Tensor, source: Any, size: Any, mode: str) -> Tensor:
    """The gradient (N, C, L) by the enlarged scores as that by the scores, (N, C, d, h, w)."""
    before = gradient.shape[:2]
    name, short, size, options = _how(source, size, mode)
    if gradient.numel() == 0:
        return gradient.new_zeros((*before, *source))
    operator = getattr(torch.ops.aten, f"{name}_backward")
    gradient = gradient.reshape(*before, *size)
    shrunk: Tensor = operator(gradient, size, [*before, *short], *options)
    return shrunk.view(*before, *source)


def _how(source: Any, size: Any, mode: str) -> tuple[str, list[Any], list[Any], tuple[bool, ...]]:
    """Torch's operator, the sizes without axes of 1 in front, and what the operator wants more."""
    pairs = list(zip(source, size, strict=True))
    while len(pairs) > 1 and pairs[0] == (1, 1):
        pairs = pairs[1:]
    names = _NEAREST if mode == NEAREST else _LINEAR
    options = () if mode == NEAREST else (mode == LINEAR_CORNERS,)
    return names[len(pairs)], [s for s, _ in pairs], [s for _, s in pairs], options
