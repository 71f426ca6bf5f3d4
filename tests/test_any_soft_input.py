"""Soft labels and losses by sums of any layout, dtype and option against a plain copy in float64.

Float64 goes through plain torch, everything else through the kernels where there are any. Sums have
no bins, and are compared to the rounding of float32. An error that float32 carries past the edge of
a bin has another slope, so that Lovász losses are compared as a whole; tests/test_soft_labels.py
has them against the definition.
"""

import dataclasses
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import lovasz
from tests.any_input import LABELS, UNSIGNED
from tests.layouts import Arrangement, Layout, layouts

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
WIDE = (torch.float64, *DTYPES)
SETS = {"activation": "sigmoid", "multilabel": True}
MULTICLASS = ("softmax", "cross-entropy", "Dice", "generalised Dice", "Jaccard metric")
BY_SUMS = ("Dice", "generalised Dice", "Jaccard metric", "Dice of sigmoids", "binary Dice")
LOSSES: dict[str, tuple[Any, dict[str, Any]]] = {
    "softmax": (lovasz.lovasz_softmax, {"bins": 16}),
    "cross-entropy": (
        lovasz.cross_entropy_lovasz_softmax,
        {"bins": 16, "region": lovasz.SoftTversky(0.3, 0.7), "label_smoothing": 0.1},
    ),
    "sigmoid": (lovasz.lovasz_sigmoid, {"multilabel": True, "bins": 16}),
    "binary cross-entropy": (
        lovasz.binary_cross_entropy_lovasz_sigmoid,
        {"multilabel": True, "bins": 16, "region": lovasz.SoftJaccard(squared=True)},
    ),
    "Dice": (lovasz.cross_entropy_dice, {}),
    "generalised Dice": (lovasz.generalized_dice_loss, {}),
    "Jaccard metric": (lovasz.jaccard_metric_loss, {}),
    "Dice of sigmoids": (lovasz.dice_loss, {**SETS, "squared": True}),
    "binary Dice": (lovasz.binary_cross_entropy_dice, {"multilabel": True}),
}

pytestmark = pytest.mark.usefixtures("poison")


@dataclasses.dataclass(frozen=True)
class Case:
    """One call; everything in the tensors follows from the seed."""

    loss: str
    dtype: torch.dtype
    shape: tuple[int, ...]  # of the scores: (N, C, *) or (P, C)
    layout: Layout
    kind: str  # of labels: "dense", "maps" or "indices"
    labels: torch.dtype
    labels_layout: Layout
    options: dict[str, Any]
    ignored: bool
    pixel_weight: Layout | None
    clouds: str | None
    threads: int
    seed: int

    @property
    def by_pixel(self) -> tuple[int, ...]:
        """Shape of what there is once for each pixel, or for each label of a channel."""
        return (self.shape[0], *self.shape[2:]) if self.loss in MULTICLASS else self.shape


@st.composite
def cases(draw) -> Case:
    loss = draw(st.sampled_from(list(LOSSES)))
    classes, images = draw(st.sampled_from([2, 3, 7, 19])), draw(st.integers(1, 3))
    shape = draw(
        st.sampled_from(
            [(draw(st.sampled_from([1, 30, 90])), classes)]
            + [(images, classes, length) for length in (1, 17, 150)]
            + [(images, classes, 5, 7)]
        )
    )
    multiclass = loss in MULTICLASS
    kind = draw(st.sampled_from(["dense", "dense", "maps", "indices"])) if multiclass else "dense"
    options: dict[str, Any] = {"per_image": draw(st.booleans())}
    options["classes"] = draw(st.sampled_from(["present", "all", "foreground"]))
    if multiclass:
        own = "label_smoothing"
        if loss in ("cross-entropy", "Dice"):
            own = "lovasz_label_smoothing" if loss == "cross-entropy" else "dice_label_smoothing"
        options[own] = draw(st.sampled_from([0.0, 0.2])) if kind != "indices" else 0.2
    dims = len(shape) if kind == "dense" else len(shape) - 1
    pixels = len(shape) - multiclass
    clouds = len(shape) == 2 and options["per_image"]
    return Case(
        loss=loss,
        dtype=draw(st.sampled_from(DTYPES)),
        shape=shape,
        layout=draw(layouts(len(shape))),
        kind=kind,
        labels=draw(st.sampled_from(WIDE if kind == "dense" else LABELS[1:])),
        labels_layout=draw(layouts(dims)),
        options=options,
        ignored=draw(st.booleans()),
        pixel_weight=draw(st.none() | layouts(pixels)),
        clouds=draw(st.sampled_from([None, "offsets", "batch_index"])) if clouds else None,
        threads=draw(st.integers(1, 2)),
        seed=draw(st.integers(0, 2**31 - 1)),
    )


def dense_labels(case: Case, generator: torch.Generator) -> Tensor:
    """Soft labels of which some are 0 and 1; of classes they add up to 1 or less."""
    q = torch.randn(case.shape, generator=generator) * 3
    q = q.softmax(1) if case.loss in MULTICLASS else q.sigmoid()
    q = torch.where(q < 0.05, 0.0, q)
    q = torch.where(q > 0.9, 1.0, q) if case.loss not in MULTICLASS else q
    # So that the labels that are compared are those that were rounded.
    return q.to(case.labels)


def arranged(values: Tensor, layout: Layout) -> Tensor:
    """The same values in a tensor of this layout, but for expanded ones."""
    arrangement = Arrangement(tuple(values.shape), layout)
    tensor = arrangement(torch.zeros(arrangement.base_shape, dtype=values.dtype))
    if any(s == 0 and n > 1 for s, n in zip(tensor.stride(), tensor.shape, strict=True)):
        return values  # numbers of several pixels cannot be told apart
    return tensor.copy_(values)


def maps_of(case: Case, generator: torch.Generator) -> list[Tensor]:
    number = 1 if case.kind == "indices" else 3
    maps = torch.randint(case.shape[1], (number, *case.by_pixel), generator=generator)
    if case.ignored:
        index = case.options["ignore_index"]
        maps[torch.rand(maps.shape, generator=generator) < 0.3] = index
    return [arranged(one.to(case.labels), case.labels_layout) for one in maps]


def inputs_of(case: Case) -> tuple[Tensor, Any, dict[str, Any]]:
    """Scores, labels, and options with tensors."""
    generator = torch.Generator().manual_seed(case.seed)
    extras: dict[str, Any] = {}
    scores = (2 * torch.randn(case.shape, generator=generator)).to(case.dtype)
    mask = torch.rand(case.by_pixel, generator=generator) < 0.3
    if case.kind == "dense":
        labels = dense_labels(case, generator)
        if case.ignored and case.loss in MULTICLASS:
            extras["ignore_mask"] = mask
            everywhere = mask.unsqueeze(1).expand(case.shape)
            labels[everywhere], scores[everywhere] = 7.0, float("nan")
        elif case.ignored:
            extras["ignore_index"] = 255
            labels[mask], scores[mask] = 255.0, float("nan")
        target: Any = arranged(labels, case.labels_layout)
    else:
        extras["ignore_index"] = case.options["ignore_index"] if case.ignored else None
        target = maps_of(case, generator)
        target = target[0] if case.kind == "indices" else target
    if case.pixel_weight is not None:
        weight = torch.randint(5, case.by_pixel, generator=generator) / 2
        extras["pixel_weight"] = arranged(weight, case.pixel_weight)
    if case.clouds is not None:
        cloud = torch.randint(3, (case.shape[0],), generator=generator)
        extras[case.clouds] = (
            cloud.bincount(minlength=3).cumsum(0) if case.clouds == "offsets" else cloud
        )
        if case.clouds == "batch_index":
            extras["batch_size"] = 3
    return arranged(scores, case.layout), target, extras


def plain(value: Any) -> Any:
    """The same in float64 and int64, one after the other."""
    if isinstance(value, list):
        return [plain(one) for one in value]
    if not isinstance(value, Tensor):
        return value
    wide = torch.float64 if value.is_floating_point() else torch.int64
    wide = torch.bool if value.dtype == torch.bool else wide
    return value.detach().to(wide, copy=True).contiguous()


def value_and_gradient(case: Case, scores: Tensor, target: Any, extras: dict[str, Any]):
    function, fixed = LOSSES[case.loss]
    leaf = scores.detach().requires_grad_()
    loss = function(leaf, target, **{**fixed, **case.options, **extras})
    return loss.detach().double(), torch.autograd.grad(loss, leaf)[0].double()


def compare(case: Case) -> None:
    inputs = inputs_of(case)
    before = torch.get_num_threads()
    torch.set_num_threads(case.threads)
    try:
        got = value_and_gradient(case, *inputs)
    finally:
        torch.set_num_threads(before)
    want = value_and_gradient(
        case,
        *(plain(value) for value in inputs[:2]),
        {key: plain(value) for key, value in inputs[2].items()},
    )
    rounding = {torch.float32: 1e-5, torch.bfloat16: 2**-8, torch.float16: 2**-11}[case.dtype]
    largest = want[1].abs().max().item()
    if case.loss in BY_SUMS:
        torch.testing.assert_close(got[0], want[0], rtol=2e-5, atol=2e-5)
        floor = 2e-5 * (largest + 1 / want[1].numel())
        floor += 2.0**-24 if case.dtype == torch.float16 else 0.0
        torch.testing.assert_close(got[1], want[1], rtol=max(1e-3, 1.25 * rounding), atol=floor)
    else:
        # One error in the next of 16 bins.
        torch.testing.assert_close(got[0], want[0], rtol=1e-3, atol=0.02)
        floor = 0.02 * largest * want[1].numel() ** 0.5 + 1e-6
        assert (got[1] - want[1]).norm() <= 0.1 * want[1].norm() + floor


@given(cases())
def test_any_soft_input(case):
    options = dict(case.options)
    if case.kind != "dense":
        options["ignore_index"] = 100 if case.labels in UNSIGNED else -1
        case = dataclasses.replace(case, options=options)
    compare(case)
