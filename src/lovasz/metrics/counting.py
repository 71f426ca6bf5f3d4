"""From decisions and labels to confusion counts, and from those to scores."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from lovasz.core.options import Options
from lovasz.core.shapes import Layout
from lovasz.kernels.passes import Inputs
from lovasz.losses._segments import with_segments
from lovasz.metrics.reading import Pixels, Reading, readable


class Clouds(NamedTuple):
    """Which point is in which of several clouds."""

    ids: Tensor  # (P,) int64
    number: int


def clouds(
    name: str,
    pixels: Pixels,
    offsets: Tensor | None,
    batch_index: Tensor | None,
    batch_size: int | None,
) -> Clouds | None:
    """The clouds of points, or None where images are what they are."""
    if offsets is None and batch_index is None and batch_size is None:
        return None
    argument = "batch_size" if offsets is None and batch_index is None else "batch_index"
    argument = argument if offsets is None else "offsets"
    if not pixels.points:
        raise ValueError(
            f"{name}: expected {argument} with points alone, labels (P,) or scores (P, C), got"
            f" {len(pixels.truth)} images, each of which is one already"
        )
    # As the losses read them, with the points on the last of three axes.
    points = Inputs(pixels.truth.reshape(1, -1, pixels.truth.shape[-1]), pixels.truth, "softmax")
    options = Options(
        per_image=True, offsets=offsets, batch_index=batch_index, batch_size=batch_size
    )
    inputs = with_segments(name, points, Layout(points=True), options)
    assert inputs.segment_ids is not None  # which it has made
    return Clouds(inputs.segment_ids[0], inputs.segments)


def confusion(reading: Reading, pixels: Pixels, groups: Clouds | None) -> tuple[Tensor, Tensor]:
    """True and false positives, false and true negatives of each image and class.

    Returns:
        (N, C, 4) int64, with clouds one row for each, and how many pixels could not be counted.
    """
    decided, truth, kept = pixels.decided, pixels.truth, pixels.kept
    last = 1 if reading.multilabel else reading.num_classes - 1
    labelled = (truth >= 0) & (truth <= last)
    known = (decided >= 0) & (decided <= last)
    bad = kept & ~(labelled & known)
    if readable(bad) and bool(bad.any()):
        _complain(reading, pixels, kept & ~labelled, kept & ~known)
    used = kept & labelled & known
    if reading.multilabel:
        found, true = used & (decided == 1), used & (truth == 1)
        tables = [_add_up(chosen, groups) for chosen in (found & true, found, true, used)]
        hits, positive, positives, number = tables
    else:
        hits, positive, positives = (
            _histogram(torch.where(chosen, labels, reading.num_classes), reading, groups)
            for chosen, labels in (
                (used & (decided == truth), truth),
                (used, decided),
                (used, truth),
            )
        )
        number = positives.sum(-1, keepdim=True)
    false, missed = positive - hits, positives - hits
    return torch.stack((hits, false, missed, number - hits - false - missed), dim=-1), bad.sum()


def _histogram(labels: Tensor, reading: Reading, groups: Clouds | None) -> Tensor:
    """How often each class is in each row of (N, L); ``num_classes`` stands for none."""
    width = reading.num_classes + 1
    if groups is None:
        table = labels.new_zeros(len(labels), width)
        table.scatter_add_(1, labels, torch.ones_like(labels))
    else:
        table = labels.new_zeros(groups.number, width)
        place = groups.ids * width + labels[0]
        table.view(-1).scatter_add_(0, place, torch.ones_like(place))
    return table[:, : reading.num_classes]


def _add_up(chosen: Tensor, groups: Clouds | None) -> Tensor:
    """How many of (N, C, L) are chosen in each row and channel."""
    if groups is None:
        return chosen.sum(-1)
    rows = chosen[0].t().long()
    return rows.new_zeros(groups.number, rows.shape[1]).index_add_(0, groups.ids, rows)


def _complain(r: Reading, pixels: Pixels, unlabelled: Tensor, unknown: Tensor) -> None:
    """Raise for the first pixel that does not fit."""
    last = 1 if r.multilabel else r.num_classes - 1
    if bool(unlabelled.any()):
        values = pixels.truth[unlabelled]
        first, more = int(values[0]), f"(and {values.numel() - 1} more outside)"
        if pixels.one_hot:
            raise ValueError(
                f"{r.name}: expected a one-hot target where it has an axis of classes, got"
                f" {values.numel()} pixels that have no class or several; pass target.argmax(1) of"
                " soft labels, or ignore_mask=target.sum(1) == 0"
            )
        if first == torch.iinfo(torch.int64).min:
            hint = "; of soft labels pass target > 0.5" if r.multilabel else ""
            raise ValueError(
                f"{r.name}: expected target of whole numbers, got {values.numel()} fractions or"
                f" NaN{hint}"
            )
        hint = "; of a mask pass target > 0" if last == 1 < first else ""
        ignored = list(r.ignored) if len(r.ignored) > 1 else (*r.ignored, None)[0]
        raise ValueError(
            f"{r.name}: expected every label to be in [0, {last}] or equal to"
            f" ignore_index={ignored}, got {first} {more}{hint}"
        )
    values = pixels.decided[unknown]
    if pixels.scored:
        raise ValueError(
            f"{r.name}: expected prediction without NaN, got NaN at {values.numel()} of"
            f" {pixels.kept.sum().item()} pixels; torch.isnan(prediction) shows where"
        )
    hint = "; of a mask pass prediction > 0" if last == 1 < int(values[0]) else ""
    raise ValueError(
        f"{r.name}: expected every predicted label to be in [0, {last}], got {int(values[0])}"
        f" (and {values.numel() - 1} more outside){hint}"
    )


def score_of(score: str, counts: Tensor, *, multilabel: bool) -> Tensor:
    """A score of (…, 4) counts, in float64; 1 where there is nothing to find and nothing found."""
    hits, false, missed, right = counts.unbind(-1)
    union = hits + false + missed
    over, under = {
        "iou": (hits, union),
        "dice": (2 * hits, union + hits),
        "precision": (hits, hits + false),
        "recall": (hits, hits + missed),
        # What is right of all pixels of a mask; of a class, of those that are of it.
        "accuracy": (hits + right, union + right) if multilabel else (hits, hits + missed),
    }[score]
    nothing = (union == 0).double()
    return torch.where(under > 0, over.double() / under.clamp(min=1).double(), nothing)
