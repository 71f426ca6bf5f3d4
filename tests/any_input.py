"""Inputs of any layout, dtype and option, as hypothesis draws them, and what they stand for."""

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
from hypothesis import assume
from torch import Tensor
from torch.nn import functional as F

import lovasz
from lovasz.core import bins
from tests.layouts import Arrangement, Layout

UNSIGNED = (torch.uint8, torch.uint16, torch.uint32, torch.uint64)
LABELS = (torch.bool, *UNSIGNED, torch.int8, torch.int16, torch.int32, torch.int64)
NO_LABEL = -(2**40)
SETS = {"multilabel": True}
# Function, its options, and how its errors come from scores.
LOSSES: dict[str, tuple[Callable[..., Tensor], dict[str, Any], str]] = {
    "softmax": (lovasz.lovasz_softmax, {}, "softmax"),
    "softmax probabilities": (lovasz.lovasz_softmax_from_probabilities, {}, "probabilities"),
    "cross-entropy": (lovasz.cross_entropy_lovasz_softmax, {}, "softmax"),
    "sigmoid": (lovasz.lovasz_sigmoid, SETS, "sigmoid"),
    "sigmoid probabilities": (lovasz.lovasz_sigmoid_from_probabilities, SETS, "probabilities"),
    "hinge": (lovasz.lovasz_hinge, SETS, "hinge"),
    "elu": (lovasz.lovasz_hinge, {**SETS, "activation": "elu"}, "elu"),
    "binary cross-entropy": (lovasz.binary_cross_entropy_lovasz_sigmoid, SETS, "sigmoid"),
}
MULTICLASS = ("softmax", "softmax probabilities", "cross-entropy")
FUSED = ("cross-entropy", "binary cross-entropy")


@dataclasses.dataclass(frozen=True)
class Case:
    """One call of one loss; everything in the tensors follows from the seed."""

    loss: str
    dtype: torch.dtype
    shape: tuple[int, ...]  # of the scores: (N, C, *) or (P, C)
    layout: Layout
    labels: torch.dtype
    labels_layout: Layout
    options: dict[str, Any]  # those that are no tensors
    values: str  # "spread" or "tied" scores
    in_ignored: float | None  # what ignored pixels hold, if they hold no numbers
    pixel_weight: tuple[float, torch.dtype, Layout] | None  # the largest, and how it is given
    ignore_mask: Layout | None
    clouds: str | None  # "offsets" or "batch_index"
    mode: str
    threads: int
    seed: int

    @property
    def points(self) -> bool:
        return len(self.shape) == 2

    @property
    def multiclass(self) -> bool:
        return self.loss in MULTICLASS

    @property
    def link(self) -> str:
        return LOSSES[self.loss][2]

    @property
    def target_shape(self) -> tuple[int, ...]:
        return (self.shape[0], *self.shape[2:]) if self.multiclass else self.shape

    @property
    def bins(self) -> int | None:
        number = self.options.get("bins")
        # Clouds that are smaller are sorted; there are three.
        small = self.clouds and number and self.shape[0] < 4 * number * 3
        return None if small else number

    @property
    def unbounded(self) -> bool:
        return self.link in ("hinge", "elu")

    def bin_of(self, errors: Tensor) -> Tensor:
        return bins.position(torch, errors, self.bins, unbounded=self.unbounded).long()


@dataclasses.dataclass
class Inputs:
    """The tensors of a case."""

    scores: Tensor
    target: Tensor
    extras: dict[str, Tensor]

    def ignored(self, case: Case) -> Tensor:
        """Pixels that do not count, of the shape of the target."""
        index = case.options["ignore_index"]
        ignored = self.target.to(torch.int64) == (NO_LABEL if index is None else index)
        if "ignore_mask" in self.extras:
            ignored = ignored | self.extras["ignore_mask"]
        if "pixel_weight" in self.extras:
            ignored = ignored | (self.extras["pixel_weight"] == 0)
        return ignored

    def plain(self, case: Case) -> "Inputs":
        """The same numbers in float64 and int64, one after the other, ignored scores being 0."""
        scores = self.scores.detach().to(torch.float64, copy=True).contiguous()
        scores[~scores.isfinite()] = 0.0
        extras = {
            name: (tensor.double() if tensor.is_floating_point() else tensor).contiguous()
            for name, tensor in self.extras.items()
        }
        return Inputs(scores, self.target.to(torch.int64).contiguous(), extras)


# --- numbers --------------------------------------------------------------------------------------


def labels_of(case: Case, generator: torch.Generator) -> Tensor:
    arrangement = Arrangement(case.target_shape, case.labels_layout)
    # The last class is absent, mostly.
    most = max(1, case.shape[1] - 1) if case.multiclass else 2
    most = min(most, 2) if case.labels == torch.bool else most
    labels = torch.randint(most, arrangement.base_shape, generator=generator)
    ignore = case.options.get("ignore_index")
    if ignore is not None and case.labels != torch.bool:
        labels[torch.rand(labels.shape, generator=generator) < 0.2] = ignore
    return arrangement(labels.to(case.labels))


def extras_of(case: Case, generator: torch.Generator) -> dict[str, Tensor]:
    extras = {}
    if case.pixel_weight is not None:
        largest, dtype, layout = case.pixel_weight
        arrangement = Arrangement(case.target_shape, layout)
        # In the unit of the counts, so that what they round is nothing; in 16 bits they do not fit.
        weight = torch.rand(arrangement.base_shape, generator=generator) * largest
        weight = (weight * 2**12).ceil() / 2**12
        weight[torch.rand(weight.shape, generator=generator) < 0.2] = 0.0
        extras["pixel_weight"] = arrangement(weight.to(dtype))
    if case.ignore_mask is not None:
        arrangement = Arrangement(case.target_shape, case.ignore_mask)
        mask = torch.rand(arrangement.base_shape, generator=generator) < 0.2
        extras["ignore_mask"] = arrangement(mask)
    if case.clouds is not None:
        cloud = torch.randint(3, (case.shape[0],), generator=generator)
        ends = cloud.bincount(minlength=3).cumsum(0)
        extras[case.clouds] = ends if case.clouds == "offsets" else cloud
    return extras


def numbers_of(case: Case, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Scores: probabilities for those who want them, and where they are tied multiples of 1/16."""
    if case.link == "probabilities":
        numbers = torch.rand(shape, generator=generator)
    else:
        numbers = torch.randn(shape, generator=generator) * 2
    step = 16 if case.link == "probabilities" else 2
    numbers = (numbers * step).round() / step if case.values == "tied" else numbers
    return numbers.to(case.dtype)


def inputs_of(case: Case) -> Inputs:
    """Draw the tensors, with no error so near to another or to an edge that float32 cannot tell.

    There the losses of float32 and of float64 have different gradients, and both are right.
    """
    generator = torch.Generator().manual_seed(case.seed)
    target, extras = labels_of(case, generator), extras_of(case, generator)
    arrangement = Arrangement(case.shape, case.layout)
    base = numbers_of(case, arrangement.base_shape, generator)
    place = arrangement(torch.arange(base.numel()).view(base.shape))
    for _ in range(10):
        inputs = Inputs(arrangement(base), target, extras)
        unclear = near(case, inputs)
        if not unclear.any():
            break
        fresh = numbers_of(case, arrangement.base_shape, generator)
        again = place[unclear].unique()
        base.view(-1)[again] = fresh.view(-1)[again]
    else:
        assume(False)
    if case.in_ignored is not None and inputs.ignored(case).any():
        ignored = inputs.ignored(case)
        ignored = ignored.unsqueeze(1).expand(case.shape) if case.multiclass else ignored
        inputs.scores.masked_fill_(ignored, case.in_ignored)
    return inputs


# --- errors, in float64 ---------------------------------------------------------------------------


@dataclasses.dataclass
class Rows:
    """Errors and what is known of them, (N, C, L): images, classes, pixels."""

    errors: Tensor
    positive: Tensor
    valid: Tensor
    weight: Tensor
    segment: Tensor  # number of the image or cloud


def flat(tensor: Tensor, points: bool, classes: int) -> Tensor:
    """Tensor of (N, C, L), from (N, C, *) or (P, C); with `classes` from (N, *) or (P,)."""
    if points:
        tensor = tensor.unsqueeze(1).expand(-1, classes) if classes else tensor
        return tensor.t().unsqueeze(0)
    return tensor.flatten(1).unsqueeze(1).expand(-1, classes, -1) if classes else tensor.flatten(2)


def errors_of(scores: Tensor, positive: Tensor, link: str) -> Tensor:
    """Errors of scores (N, C, L), from their definitions."""
    away = torch.where(positive, -scores, scores)
    if link == "softmax":
        p = scores.softmax(1)
        return torch.where(positive, 1 - p, p)
    if link == "probabilities":
        return torch.where(positive, 1 - scores, scores)
    if link == "sigmoid":
        return away.sigmoid()
    if link == "hinge":
        return F.relu(1 + away)
    return torch.where(away > -1, 2 + away, (1 + away).clamp(max=0).exp())


def rows_of(case: Case, inputs: Inputs, scores: Tensor) -> Rows:
    """The errors of plain scores, by image and class."""
    classes = case.shape[1]

    def by_class(tensor: Tensor) -> Tensor:
        return flat(tensor, case.points, classes if case.multiclass else 0)

    x = flat(scores, case.points, 0)
    valid = by_class(~inputs.ignored(case))
    own = torch.arange(classes).view(1, -1, 1) if case.multiclass else 1
    positive = (by_class(inputs.target.to(torch.int64)) == own) & valid
    weight = inputs.extras.get("pixel_weight", torch.ones(case.target_shape)).double()
    if case.clouds == "batch_index":
        segment = inputs.extras["batch_index"].expand_as(x)
    elif case.clouds == "offsets":
        place = torch.arange(x.shape[2])
        segment = torch.bucketize(place, inputs.extras["offsets"], right=True).expand_as(x)
    elif case.options["per_image"]:
        segment = torch.arange(len(x)).view(-1, 1, 1).expand_as(x)
    else:
        segment = torch.zeros(x.shape, dtype=torch.int64)
    return Rows(errors_of(x, positive, case.link), positive, valid, by_class(weight), segment)


def near(case: Case, inputs: Inputs) -> Tensor:
    """Which scores have an error that the rounding of float32 may carry past another or an edge."""
    scores = inputs.plain(case).scores
    rows = rows_of(case, inputs, scores)
    reach = 2.0**-21 * (1 + rows.errors)
    if case.bins is None:
        unclear = close_by(rows, reach, kinds_of(scores, case))
    else:
        low, high = torch.maximum(rows.errors - reach, rows.errors / 2), rows.errors + reach
        unclear = case.bin_of(low) != case.bin_of(high)
        unclear &= rows.valid & (rows.errors > 0)
    unclear = unclear.any(1, keepdim=True).expand_as(unclear) if case.multiclass else unclear
    return unclear[0].t() if case.points else unclear.reshape(case.shape)


def kinds_of(scores: Tensor, case: Case) -> Tensor:
    """Numbers of pixels whose equal errors are equal in every precision, (N, C, L).

    Under a softmax those with the same scores, because the log-sum-exp is rounded; else all.
    """
    x = flat(scores, case.points, 0)
    if case.link != "softmax" or x.shape[1] == 1:
        return torch.zeros(x.shape, dtype=torch.int64)
    _, pixel = x.transpose(1, 2).flatten(0, 1).unique(dim=0, return_inverse=True)
    return pixel.view(len(x), 1, -1).expand_as(x)


def close_by(rows: Rows, reach: Tensor, kind: Tensor) -> Tensor:
    """Which errors lie next to one of the same segment and class, and are not equal to it."""
    images, classes, length = rows.errors.shape
    errors, reach, valid, segment, kind = (
        t.transpose(0, 1).flatten(1) for t in (rows.errors, reach, rows.valid, rows.segment, kind)
    )
    unclear = torch.zeros_like(valid)
    for own in segment.unique():
        rising, order = torch.where(valid & (segment == own), errors, torch.inf).sort(-1)
        gaps, other = rising.diff(), kind.gather(-1, order).diff() != 0
        close = ((gaps > 0) | other) & (gaps < 2 * reach.gather(-1, order)[:, 1:])
        either = F.pad(close, (1, 0)) | F.pad(close, (0, 1))
        unclear |= torch.zeros_like(valid).scatter(-1, order, either)
    return unclear.view(classes, images, length).transpose(0, 1)
