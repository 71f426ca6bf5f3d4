"""Scores of a lower resolution than the labels: interpolated while they are read."""

from __future__ import annotations

import torch
from torch import Tensor

from lovasz.core.options import Options
from lovasz.core.shapes import Layout
from lovasz.core.upsampling import MOST_AXES, kernel_mode
from lovasz.kernels.passes import Inputs


def with_upsampling(
    inputs: Inputs, scores: Tensor, target: Tensor, layout: Layout, options: Options
) -> Inputs:
    """The inputs with scores of their own resolution, to be interpolated to that of the target.

    Args:
        inputs: of which all but the scores is flat.
        scores: (N, C, *), or (N, *) without an axis of channels.
        target: with the spatial sizes that are wanted.
        layout: of the scores.
        options: with a mode of interpolation.
    """
    assert options.upsample is not None  # or the scores would have the sizes of the target
    scores = scores if layout.channels else scores.unsqueeze(1)
    return inputs._replace(
        scores=with_three_axes(scores),
        upsample=kernel_mode(options.upsample, options.align_corners),
        size=three_sizes(tuple(target.shape[2 - scores.dim() :])),
    )


def with_three_axes(scores: Tensor) -> Tensor:
    """Scores (N, C, *) as (N, C, d, h, w)."""
    for _ in range(2 + MOST_AXES - scores.dim()):
        scores = scores.unsqueeze(2)
    return scores


def three_sizes(size: tuple[int, ...]) -> tuple[int, int, int]:
    """The same for the sizes to interpolate to."""
    # While tracing, sizes are tensors, and operators take lists of numbers alone.
    if torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]
        size = tuple(int(number) for number in size)
    depth, height, width = (1,) * (MOST_AXES - len(size)) + size
    return depth, height, width
