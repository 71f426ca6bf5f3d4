"""The exact method in plain torch: sort the errors, extend, bring the slopes back to the pixels."""

from __future__ import annotations

import torch
from torch import Tensor

from lovasz.core.extension import Extension, step_in_fn, step_in_fp
from lovasz.core.set_functions import SetFunction
from lovasz.kernels.fixed_point import SCALE, to_fixed
from lovasz.kernels.segments import Segments


def sort_errors(errors: Tensor, valid: Tensor, segments: Segments) -> tuple[Tensor, Tensor]:
    """Errors (N, C, L) as rows (G, C, P), descending, -1 for what is not valid, and their order."""
    rows = as_rows(torch.where(valid, errors, -1.0), segments, -1.0)
    # Stable, so that a run can be repeated; the slopes do not depend on the order of equal errors.
    errors, order = rows.sort(dim=-1, descending=True, stable=True)
    return errors, order


def as_rows(by_pixel: Tensor, segments: Segments, fill: float) -> Tensor:
    """(N, C, L) as one row for each group and class, (G, C, P).

    Clouds get rows as long as all of them together, filled up: their lengths are known to the
    device alone.
    """
    if segments.ids is not None:
        clouds = torch.arange(segments.number, device=by_pixel.device).view(-1, 1, 1)
        return torch.where(segments.ids.unsqueeze(1) == clouds, by_pixel, fill)
    if segments.per_image:
        return by_pixel
    return by_pixel.transpose(0, 1).flatten(1).unsqueeze(0)


def extend_pixels(
    errors: Tensor,
    order: Tensor,
    positive: Tensor,
    segments: Segments,
    delta: SetFunction,
    pixel_weight: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Losses (G, C), slopes (N, C, L), positives and pixels (G, C) from sorted errors.

    Args:
        errors: (G, C, P), as ``sort_errors`` returns them.
        order: (G, C, P), likewise.
        positive: (N, C, L) bool.
        segments: which pixels belong together.
        delta: Δ(fn, fp, positives).
        pixel_weight: (N, L) or (N, C, L), or None for ones.
    """
    valid = errors >= 0
    positives = as_rows(positive, segments, False).gather(-1, order) & valid
    fixed, scale = None, 1
    if pixel_weight is not None:
        weight = to_fixed(pixel_weight)
        weight = weight if weight.dim() == 3 else weight.unsqueeze(1)
        scale = SCALE
        fixed = as_rows(weight.expand_as(positive), segments, 0).gather(-1, order)
    losses, slopes = extend_sorted(errors, positives, valid, delta, fixed, scale)
    slopes = slopes.to(errors.dtype)
    by_pixel = slopes.scatter(-1, order, slopes)  # not in place, which vmap has no rule for
    if segments.ids is not None:
        by_pixel = by_pixel.sum(0, keepdim=True)  # the fill has slopes of 0
    elif not segments.per_image:
        images, classes, length = positive.shape
        by_pixel = by_pixel.view(classes, images, length).transpose(0, 1).contiguous()
    return losses, by_pixel, positives.sum(-1), valid.sum(-1)


def extend_sorted(
    errors: Tensor,
    positive: Tensor,
    valid: Tensor,
    delta: SetFunction,
    weight: Tensor | None = None,
    scale: int = 1,
) -> Extension:
    """Lovász extension from sorted errors, exact up to the rounding of the errors.

    Pixels with equal errors form one group, so the slopes do not depend on the order in which a
    sort leaves them.

    Args:
        errors: (G, C, P) floating, descending along P; pixels that are not valid must be last.
        positive: (G, C, P) bool, whether the pixel is of the class.
        valid: (G, C, P) bool, False for ignored pixels.
        delta: Δ(fn, fp, positives).
        weight: (G, C, P) int64, what each pixel counts in fixed point; None for one each.
        scale: of the fixed point.

    Returns:
        losses (G, C) and slopes (G, C, P), both float64; slopes of ignored pixels are 0, and those
        of the others are multiplied by what their pixel counts.
    """
    own = valid.long() if weight is None else torch.where(valid, weight, 0)
    own_f, own_b = torch.where(positive, own, 0), torch.where(positive, 0, own)
    first, last = _equal_errors(errors)
    F0, F1, positives = (count.double() / scale for count in _around(own_f, first, last))
    B0, B1, _ = (count.double() / scale for count in _around(own_b, first, last))
    slopes = torch.where(
        positive,
        step_in_fn(torch, delta, (F0, F1), (B0, B1), positives),
        step_in_fp(torch, delta, (B0, B1), (F0, F1), positives),
    )
    slopes = torch.where(valid, slopes, 0.0)
    if weight is not None:
        slopes = slopes * (own.double() / scale)
    losses = (slopes * torch.where(valid, errors, 0.0)).sum(-1)
    return Extension(losses, slopes)


def _around(own: Tensor, first: Tensor, last: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Counts before and after the group of each pixel, and of all."""
    after = own.cumsum(-1)
    # Before a group: after its first pixel, without that pixel.
    before = after.gather(-1, first) - own.gather(-1, first)
    return before, after.gather(-1, last), after[..., -1:]


def _equal_errors(errors: Tensor) -> tuple[Tensor, Tensor]:
    """Index of the first and the last element of each run of equal values on the last axis."""
    size = errors.shape[-1]
    index = torch.arange(size, device=errors.device).expand(errors.shape)
    if size == 0:
        return index, index
    differs = errors[..., 1:] != errors[..., :-1]
    edge = differs.new_ones((*errors.shape[:-1], 1))
    starts = torch.cat((edge, differs), -1)
    ends = torch.cat((differs, edge), -1)
    first = torch.where(starts, index, 0).cummax(-1).values
    last = torch.where(ends, index, size - 1).flip(-1).cummin(-1).values.flip(-1)
    return first, last
