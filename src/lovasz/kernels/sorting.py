"""The exact method in plain torch: sort the errors, extend, bring the slopes back to the pixels.

Clouds of points lie one after the other in the rows of one group, because their lengths are known
to the device alone; sums over a cloud are differences of sums over the row.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import torch
from torch import Tensor

from lovasz.core.extension import Extension, capped, step_in_fn, step_in_fp
from lovasz.core.regions import PIXELS, Q
from lovasz.core.set_functions import SetFunction
from lovasz.kernels.fixed_point import SCALE, to_fixed
from lovasz.kernels.segments import Segments


class Runs(NamedTuple):
    """For each element of a row where its run of equal elements begins and ends."""

    first: Tensor  # (..., P) int64
    last: Tensor  # (..., P) int64

    @staticmethod
    def of(*rows: Tensor) -> Runs:
        """Runs of elements that are equal in all of the rows, which broadcast."""
        size = rows[0].shape[-1]
        index = torch.arange(size, device=rows[0].device)
        if size == 0:
            return Runs(index, index)
        differs = functools.reduce(
            torch.logical_or, (row[..., 1:] != row[..., :-1] for row in rows)
        )
        edge = differs.new_ones((*differs.shape[:-1], 1))
        starts = torch.cat((edge, differs), -1)
        ends = torch.cat((differs, edge), -1)
        first = torch.where(starts, index, 0).cummax(-1).values
        last = torch.where(ends, index, size - 1).flip(-1).cummin(-1).values.flip(-1)
        return Runs(first, last)


class Clouds(NamedTuple):
    """The clouds in which the elements of sorted rows lie."""

    ids: Tensor  # (1, 1, P) int64, ascending
    runs: Runs  # (1, 1, P)
    number: int

    @staticmethod
    def of(segments: Segments) -> Clouds | None:
        """Of points; None for images."""
        if segments.ids is None:
            return None
        ids = segments.ids.unsqueeze(1).sort(dim=-1).values
        return Clouds(ids, Runs.of(ids), segments.number)

    def sum(self, values: Tensor) -> Tensor:
        """Sums of values (1, C, P) over each cloud, (G, C)."""
        sums = values.new_zeros((*values.shape[:2], self.number))
        return sums.scatter_add(-1, self.ids.expand(values.shape), values).squeeze(0).t()


def sort_errors(errors: Tensor, valid: Tensor, segments: Segments) -> tuple[Tensor, Tensor]:
    """Errors (N, C, L) as rows (G, C, P), descending, -1 for what is not valid, and their order.

    Rows of clouds are (1, C, L): cloud after cloud, and descending in each.
    """
    rows = as_rows(torch.where(valid, errors, -1.0), segments)
    # Stable, so that a run can be repeated; the slopes do not depend on the order of equal errors.
    errors, order = rows.sort(dim=-1, descending=True, stable=True)
    if segments.ids is not None:
        ids = segments.ids.unsqueeze(1).expand(rows.shape).gather(-1, order)
        place = ids.sort(dim=-1, stable=True).indices
        errors, order = errors.gather(-1, place), order.gather(-1, place)
    return errors, order


def as_rows(by_pixel: Tensor, segments: Segments) -> Tensor:
    """(N, C, L) as one row for each group and class, (G, C, P), or for each class of all clouds."""
    if segments.per_image or segments.ids is not None:
        return by_pixel
    return by_pixel.transpose(0, 1).flatten(1).unsqueeze(0)


def extend_pixels(
    errors: Tensor,
    order: Tensor,
    positive: Tensor,
    segments: Segments,
    delta: SetFunction,
    symmetric: bool = False,
    pixel_weight: Tensor | None = None,
    regions: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Losses (G, C), slopes (N, C, L), positives and pixels (G, C) from sorted errors.

    Args:
        errors: (G, C, P), as ``sort_errors`` returns them.
        order: (G, C, P), likewise.
        positive: (N, C, L) bool.
        segments: which pixels belong together.
        delta: Δ(fn, fp, positives).
        symmetric: mean of the extensions for the set of a channel and for its complement.
        pixel_weight: (N, L) or (N, C, L), or None for ones.
        regions: (G, C, 8), sums of soft labels; None for hard ones.
    """
    valid, clouds = errors >= 0, Clouds.of(segments)
    fixed, scale = None, 1
    if pixel_weight is not None:
        weight = to_fixed(pixel_weight)
        weight = weight if weight.dim() == 3 else weight.unsqueeze(1)
        scale = SCALE
        fixed = as_rows(weight.expand_as(positive), segments).gather(-1, order)
        valid = valid & (fixed > 0)  # what counts nothing is as if it were ignored
    positives = as_rows(positive, segments).gather(-1, order) & valid
    masses = None
    if regions is not None:
        masses, delta = _masses(regions, clouds), capped(torch, delta)
    losses, slopes = extend_sorted(
        errors,
        positives,
        valid,
        delta,
        fixed,
        scale,
        symmetric=symmetric,
        clouds=clouds,
        masses=masses,
    )
    slopes = slopes.to(errors.dtype)
    by_pixel = slopes.scatter(-1, order, slopes)  # not in place, which vmap has no rule for
    if segments.ids is None and not segments.per_image:
        images, classes, length = positive.shape
        by_pixel = by_pixel.view(classes, images, length).transpose(0, 1).contiguous()
    return losses, by_pixel, _total(positives.long(), clouds), _total(valid.long(), clouds)


def _masses(regions: Tensor, clouds: Clouds | None) -> tuple[Tensor, Tensor]:
    """What Δ takes for the positives and the negatives of each element of a row, (G, C, 1 or P)."""
    own, pixels = regions[..., Q], regions[..., PIXELS]

    def by_element(mass: Tensor) -> Tensor:
        return mass.unsqueeze(-1) if clouds is None else mass[clouds.ids[:, 0]].transpose(1, 2)

    return by_element(own), by_element(pixels - own)


def extend_sorted(
    errors: Tensor,
    positive: Tensor,
    valid: Tensor,
    delta: SetFunction,
    weight: Tensor | None = None,
    scale: int = 1,
    *,
    symmetric: bool = False,
    clouds: Clouds | None = None,
    masses: tuple[Tensor, Tensor] | None = None,
) -> Extension:
    """Lovász extension from sorted errors, exact up to the rounding of the errors.

    Pixels with equal errors form one group, so the slopes do not depend on the order in which a
    sort leaves them.

    Args:
        errors: (G, C, P) floating, descending along P, or along each cloud.
        positive: (G, C, P) bool, whether the pixel is of the class.
        valid: (G, C, P) bool, False for pixels that do not count.
        delta: Δ(fn, fp, positives).
        weight: (G, C, P) int64, what each pixel counts in fixed point; None for one each.
        scale: of the fixed point.
        symmetric: mean of the extensions for the set and for its complement.
        clouds: that lie one after the other in the rows, which then are of one group.
        masses: that Δ takes in the place of the numbers of positives and of negatives.

    Returns:
        losses (G, C) and slopes (G, C, P), both float64; slopes of ignored pixels are 0, and those
        of the others are multiplied by what their pixel counts.
    """
    own = valid.long() if weight is None else torch.where(valid, weight, 0)
    # Groups of equal errors.
    runs = Runs.of(errors) if clouds is None else Runs.of(errors, clouds.ids)
    *F, f_all = _around(torch.where(positive, own, 0), runs, clouds, scale)
    *B, b_all = _around(torch.where(positive, 0, own), runs, clouds, scale)
    if masses is not None:
        f_all, b_all = masses
    slopes = _steps(delta, positive, (F[0], F[1]), (B[0], B[1]), f_all)
    if symmetric:
        # The complement has the same errors: its positives are the negatives.
        others = _steps(delta, ~positive, (B[0], B[1]), (F[0], F[1]), b_all)
        slopes = (slopes + others) / 2
    slopes = torch.where(valid, slopes, 0.0)
    if weight is not None:
        slopes = slopes * (own.double() / scale)
    return Extension(_total(slopes * torch.where(valid, errors, 0.0), clouds), slopes)


def _steps(
    delta: SetFunction,
    positive: Tensor,
    F: tuple[Tensor, Tensor],
    B: tuple[Tensor, Tensor],
    positives: Tensor,
) -> Tensor:
    """Mean increase of Δ per pixel of its kind in its group."""
    return torch.where(
        positive,
        step_in_fn(torch, delta, F, B, positives),
        step_in_fp(torch, delta, B, F, positives),
    )


def _total(values: Tensor, clouds: Clouds | None) -> Tensor:
    """Sums over the groups, (G, C)."""
    return values.sum(-1) if clouds is None else clouds.sum(values)


def _around(
    own: Tensor, runs: Runs, clouds: Clouds | None, scale: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Counts before and after the group of each pixel, and of all, float64."""
    sums = own.cumsum(-1)

    def before(first: Tensor) -> Tensor:
        # After its first element, without that element.
        first = first.expand(own.shape)
        return sums.gather(-1, first) - own.gather(-1, first)

    def after(last: Tensor) -> Tensor:
        return sums.gather(-1, last.expand(own.shape))

    start, end, everything = before(runs.first), after(runs.last), sums[..., -1:]
    if clouds is not None:
        others = before(clouds.runs.first)
        start, end = start - others, end - others
        everything = after(clouds.runs.last) - others
    return start.double() / scale, end.double() / scale, everything.double() / scale
