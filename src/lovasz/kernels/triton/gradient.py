"""The launch of the backward pass: which kernel it takes, and what comes before and after it."""

from __future__ import annotations

import torch
from torch import Tensor

from lovasz.kernels.segments import by_image
from lovasz.kernels.triton import blocks
from lovasz.kernels.triton.backward_multilabel import backward_multilabel
from lovasz.kernels.triton.backward_softmax import backward_softmax
from lovasz.kernels.triton.backward_unrolled import backward_unrolled
from lovasz.kernels.triton.inputs import Clouds, CrossEntropy, Labels


def backward(
    scores: Tensor,
    labels: Labels,
    lse: Tensor,
    slopes: Tensor | None,
    factors: Tensor | None,
    link: str,
    scale: Tensor | None = None,
    cross_entropy: CrossEntropy | None = None,
    pixel_weight: Tensor | None = None,
    clouds: Clouds | None = None,
    *,
    in_place: bool = False,
) -> Tensor:
    """Gradient of the scores from slopes by bin (G, C, 2, B), or by pixel (N, C, L).

    Without slopes it is that of the cross-entropy alone. Of float32 scores it may take their place:
    a program reads those of its pixels before it writes.
    """
    if slopes is None:
        factors = clouds = None
    else:
        slopes = slopes.to(torch.float32)
        slopes = slopes.contiguous() if slopes.dim() > 3 else slopes
    if factors is not None:
        factors = factors.to(torch.float32).contiguous()
    scale = None if scale is None else scale.to(torch.float32)
    # In float32 where it is multiplied before it is rounded.
    dtype = scores.dtype if pixel_weight is None else torch.float32
    gradient = scores if in_place else torch.empty_like(scores, dtype=dtype)
    per_image = slopes is not None and clouds is None and by_image(slopes, factors)
    tail = (slopes, factors, per_image, scale, cross_entropy)
    block_t = blocks.unrolled_block(scores) if clouds is None else 0
    if link != "softmax":
        backward_multilabel(scores, gradient, labels, link, *tail, clouds)
    elif block_t > 0:
        backward_unrolled(scores, gradient, labels, lse, *tail, block_t)
    else:
        backward_softmax(scores, gradient, labels, lse, *tail, clouds)
    if pixel_weight is None:
        return gradient
    # Those of ignored pixels, whose gradient is 0, may be anything.
    weight = pixel_weight.to(torch.float32).nan_to_num()
    weight = weight if weight.dim() == gradient.dim() else weight.unsqueeze(1)
    return gradient.mul_(weight).to(scores.dtype)
