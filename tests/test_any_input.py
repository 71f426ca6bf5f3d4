"""Any layout, dtype and option against a plain copy in float64, and against the definition.

Float64 goes through the reference in torch, everything else through the kernels where there are
any, so that the comparison is one of two implementations; the oracle is a third.
"""

import contextlib
import dataclasses
from collections.abc import Iterator

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from lovasz.core import bins
from tests import oracle
from tests.any_input import (
    FUSED,
    LABELS,
    LOSSES,
    MULTICLASS,
    UNSIGNED,
    Case,
    Inputs,
    Rows,
    flat,
    inputs_of,
    rows_of,
)
from tests.layouts import layouts

DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
# Recording takes a thousand times as long as computing, so few cases are recorded.
COMMON_MODES = ("grad", "backward", "func", "checkpoint", "value")
MODES = (*COMMON_MODES * 5, "export", "compile")
# What one rounding of a gradient to its dtype may change every element by, and a quarter more; two
# roundings need up to twice as much. In float32 p and 1 - p are rounded: where a wrong class has
# p = 0.9997 the gradient, a multiple of 1 - p, has lost three and a half of seven digits.
ROUNDING = {
    torch.float64: 1e-9,
    torch.float32: 1e-3,
    torch.bfloat16: 1.25 * 2**-8,
    torch.float16: 1.25 * 2**-11,
}
# What may be left where an element cancels, relative to the largest one.
CANCELLED = {dtype: 1e-10 if dtype == torch.float64 else 2e-5 for dtype in DTYPES}
# What is next to nothing in float16.
UNDERFLOW = {dtype: 2.0**-24 if dtype == torch.float16 else 0.0 for dtype in DTYPES}
# Scores of inputs for which there is time to go back to the definition.
SMALL = 150

pytestmark = pytest.mark.usefixtures("poison")


# --- what is drawn --------------------------------------------------------------------------------


@st.composite
def shapes(draw, fewest: int) -> tuple[int, ...]:
    classes = draw(st.sampled_from([fewest, 2, 3, 4, 7, 19]))
    images = draw(st.integers(1, 3))
    kind = draw(st.sampled_from(["points", "line", "line", "image"]))
    if kind == "points":
        return draw(st.sampled_from([1, 2, 9, 30, 90])), classes
    if kind == "line":
        return images, classes, draw(st.sampled_from([1, 2, 5, 17, 64, 150]))
    return images, classes, draw(st.integers(1, 9)), draw(st.integers(1, 9))


@st.composite
def options_of(draw, loss: str, classes: int, labels: torch.dtype) -> dict:
    """Options that are no tensors; weights as lists, because they are shown."""
    options = {"per_image": draw(st.booleans())}
    weights = st.none() | st.lists(st.sampled_from([0.5, 1, 3]), min_size=classes, max_size=classes)
    some = st.lists(st.integers(0, classes - 1), min_size=1, unique=True)
    options["classes"] = draw(st.sampled_from(["present", "all"]) | some)
    fitting = [None, 255] if labels in UNSIGNED or labels == torch.bool else [None, -1, -100]
    options["ignore_index"] = draw(st.sampled_from(fitting))
    options["normalize_weight"] = draw(st.booleans())
    if loss not in FUSED:
        options["method"] = draw(st.sampled_from(["histogram", "sort"]))
        options["reduction"] = draw(st.sampled_from(["mean", "sum", "none"]))
        options["weight"] = draw(weights)
    else:
        options["lovasz_weight"] = draw(st.sampled_from([1.0, 0.5]))
        options["lovasz_class_weight"] = draw(weights)
        options["weight" if loss in MULTICLASS else "pos_weight"] = draw(weights)
    if options.get("method") != "sort":
        options["bins"] = draw(st.sampled_from([2, 16, 100, 1024]))
    if loss == "cross-entropy":
        options["label_smoothing"] = draw(st.sampled_from([0.0, 0.1]))
    if loss not in MULTICLASS:
        options["symmetric"] = draw(st.booleans())
    return options


@st.composite
def cases(draw) -> Case:
    loss = draw(st.sampled_from(list(LOSSES)))
    shape = draw(shapes(fewest=2 if loss in MULTICLASS else 1))
    labels, layout = draw(st.sampled_from(LABELS)), draw(layouts(len(shape)))
    dims = len(shape) - (loss in MULTICLASS)
    options = draw(options_of(loss, shape[1], labels))
    overlapping = any(kind == "expand" for kind, _, _ in layout)
    weights = st.tuples(
        st.sampled_from([4.0, 4.0, 60_000.0]), st.sampled_from(DTYPES), layouts(dims)
    )
    clouds = len(shape) == 2 and options["per_image"]
    return Case(
        loss=loss,
        dtype=draw(st.sampled_from(DTYPES)),
        shape=shape,
        layout=layout,
        labels=labels,
        labels_layout=draw(layouts(dims)),
        options=options,
        values=draw(st.sampled_from(["spread", "tied"])),
        # Numbers that lie in two pixels cannot be ignored in one.
        in_ignored=None if overlapping else draw(st.sampled_from([None, torch.inf, torch.nan])),
        pixel_weight=draw(st.none() | weights),
        ignore_mask=draw(st.none() | layouts(dims)),
        clouds=draw(st.sampled_from([None, "offsets", "batch_index"])) if clouds else None,
        mode=draw(st.sampled_from(MODES)),
        threads=draw(st.integers(1, 2)),
        seed=draw(st.integers(0, 2**31 - 1)),
    )


# --- what is computed -----------------------------------------------------------------------------


def loss_of(case: Case, inputs: Inputs):
    """A scalar function of the scores; of several losses a sum in which each has another part."""
    function, fixed, _ = LOSSES[case.loss]
    count = {"batch_size": 3} if case.clouds == "batch_index" else {}

    def call(scores: Tensor) -> Tensor:
        options = {**fixed, **case.options, **inputs.extras, **count}
        loss = function(scores, inputs.target, **options)
        return (loss * parts(loss)).sum()

    return call


def parts(loss: Tensor) -> Tensor:
    """Factors of many losses, all different."""
    return torch.linspace(1, 2, loss.numel(), dtype=loss.dtype).view(loss.shape)


class Recorded(nn.Module):
    def __init__(self, call):
        super().__init__()
        self.call = call

    def forward(self, scores):
        return self.call(scores)


def compiled(call, _):
    torch._dynamo.reset()
    return torch.compile(call, fullgraph=True, backend="aot_eager")


RECORDERS = {
    "export": lambda call, scores: torch.export.export(Recorded(call), (scores,)).module(),
    "compile": compiled,
}


def value_and_gradient(call, scores: Tensor, mode: str) -> tuple[Tensor, Tensor | None]:
    if mode == "func":
        gradient, value = torch.func.grad_and_value(call)(scores)
        return value, gradient
    leaf = scores.detach().requires_grad_(mode != "value")
    if mode in RECORDERS:
        call = RECORDERS[mode](call, scores.detach())
    loss = checkpoint(call, leaf, use_reentrant=False) if mode == "checkpoint" else call(leaf)
    if mode == "value":
        return loss, None
    if mode == "backward":
        loss.backward()
        return loss.detach(), leaf.grad
    return loss.detach(), torch.autograd.grad(loss, leaf)[0]


# --- by the definition ----------------------------------------------------------------------------


def by_definition(case: Case, inputs: Inputs) -> tuple[Tensor, Tensor]:
    """The same loss, and its gradient, by the oracle; of plain inputs."""
    scores = inputs.scores.clone().requires_grad_()
    rows = rows_of(case, inputs, scores)
    segments = range(3 if case.clouds else int(rows.segment.max()) + 1)
    own = [rows.valid & (rows.segment == segment) for segment in segments]
    losses = [[class_loss(case, rows, o[:, c], c) for c in range(case.shape[1])] for o in own]
    loss = reduced(case, losses) + 0 * scores.sum()
    if case.loss in FUSED:
        added = cross_entropy if case.multiclass else binary_cross_entropy
        loss = case.options["lovasz_weight"] * loss + added(case, rows, scores)
    return loss.detach(), torch.autograd.grad(loss, scores)[0]


def class_loss(case: Case, rows: Rows, own: Tensor, c: int) -> Tensor | None:
    """Loss of a class at its own pixels (N, L), None if it does not count."""
    errors, positive = rows.errors[:, c][own], rows.positive[:, c][own]
    chosen = case.options["classes"]
    counts = positive.any() if chosen == "present" else len(errors) > 0
    if not counts or not (isinstance(chosen, str) or c in chosen):
        return None
    levels = errors.detach()
    if case.bins is not None:
        centres = bins.centres(torch, case.bins, unbounded=case.unbounded)
        levels = centres[case.bin_of(levels)]
    slopes = slopes_at(levels, positive, rows.weight[:, c][own])
    if case.options.get("symmetric"):
        slopes = (slopes + slopes_at(levels, ~positive, rows.weight[:, c][own])) / 2
    # The value is that at the levels, and the gradient goes to the errors.
    return (slopes * (levels + errors - errors.detach())).sum()


def slopes_at(levels: Tensor, positive: Tensor, weights: Tensor) -> Tensor:
    lists = (levels.tolist(), positive.tolist(), weights.tolist())
    return torch.tensor(oracle.mean_slopes(*lists, oracle.jaccard), dtype=torch.float64)


def reduced(case: Case, losses: list[list[Tensor | None]]) -> Tensor | float:
    """Sum or mean of the losses of the classes that count, by segment."""
    options = case.options
    weight = options["lovasz_class_weight" if case.loss in FUSED else "weight"]
    weight = weight or [1.0] * case.shape[1]
    shares = weight if options["normalize_weight"] else [1.0] * case.shape[1]
    active = [[c for c, loss in enumerate(row) if loss is not None] for row in losses]
    weighted = [
        {c: weight[c] * row[c] for c in own} for row, own in zip(losses, active, strict=True)
    ]
    reduction = options.get("reduction", "mean")
    if reduction == "sum":
        return sum(sum(row.values()) for row in weighted)
    if reduction == "none":
        part = parts(torch.zeros(len(losses), case.shape[1], dtype=torch.float64)).tolist()
        return sum(part[g][c] * loss for g, row in enumerate(weighted) for c, loss in row.items())
    means = [sum(row.values()) / sum(shares[c] for c in row) for row in weighted if row]
    return sum(means) / max(1, len(means))


def cross_entropy(case: Case, rows: Rows, scores: Tensor) -> Tensor:
    """As torch defines it: a mean weighted by the weights of the classes."""
    smoothing, count = case.options["label_smoothing"], case.shape[1]
    weight = torch.tensor(case.options["weight"] or [1.0] * count, dtype=torch.float64).view(-1, 1)
    nll = -weight * flat(scores, case.points, 0).log_softmax(1)
    wanted = (1 - smoothing) * rows.positive.double() + smoothing / count
    weights = rows.weight * rows.valid
    total = (weights * rows.positive * weight).sum()
    return (weights * wanted * nll).sum() / (total if total else 1.0)


def binary_cross_entropy(case: Case, rows: Rows, scores: Tensor) -> Tensor:
    weight = torch.tensor(case.options["pos_weight"] or [1.0] * case.shape[1]).double().view(-1, 1)
    x = flat(scores, case.points, 0)
    nll = torch.where(rows.positive, weight * F.softplus(-x), F.softplus(x))
    weights = rows.weight * rows.valid
    return (weights * nll).sum() / (weights.sum() if weights.any() else 1.0)


# --- the test -------------------------------------------------------------------------------------


def check(case: Case, got: tuple, want: tuple) -> None:
    """Value and gradient, the latter to its rounding."""
    rtol = 1e-9 if case.dtype == torch.float64 else 2e-5
    torch.testing.assert_close(got[0].double(), want[0], rtol=rtol, atol=rtol)
    if case.mode == "value":
        return
    assert got[1].dtype == case.dtype
    largest = want[1].abs().max().item()
    # What cancels may be all there is: where there is one class no score matters.
    atol = CANCELLED[case.dtype] * (largest + 1 / want[1].numel()) + UNDERFLOW[case.dtype]
    torch.testing.assert_close(got[1].double(), want[1], rtol=ROUNDING[case.dtype], atol=atol)


@contextlib.contextmanager
def threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def compare(case: Case) -> None:
    """The loss of a case with that of the plain numbers, and with the definition."""
    inputs = inputs_of(case)
    plain = inputs.plain(case)
    with threads(case.threads):
        got = value_and_gradient(loss_of(case, inputs), inputs.scores, case.mode)
    mode = "value" if case.mode == "value" else "grad"
    check(case, got, value_and_gradient(loss_of(case, plain), plain.scores, mode))
    if plain.scores.numel() <= SMALL:
        check(case, got, by_definition(case, plain))


@given(cases())
def test_any_input(case):
    compare(case)


PLAIN = Case(
    loss="sigmoid",
    dtype=torch.float32,
    shape=(2, 3, 40),
    layout=(),
    labels=torch.int64,
    labels_layout=(),
    options={
        "per_image": False,
        "classes": "all",
        "ignore_index": 255,
        "normalize_weight": True,
        "method": "sort",
        "reduction": "mean",
        "weight": None,
    },
    values="spread",
    in_ignored=None,
    pixel_weight=None,
    ignore_mask=None,
    clouds=None,
    mode="grad",
    threads=1,
    seed=0,
)


def case_of(options: dict, **changes) -> Case:
    return dataclasses.replace(PLAIN, options={**PLAIN.options, **options}, **changes)


BINS = {"method": "histogram", "bins": 1024}
MULTICLASS_LOSS = {"loss": "softmax"}
INTERLEAVED = {"layout": (("permute", (1, 2, 0), 0),)}  # points of several images, in turn
WEIGHTED = {"pixel_weight": (4.0, torch.float32, ())}
POINTS = {"shape": (90, 3), "clouds": "offsets"}
CLOUD_BINS = {"method": "histogram", "bins": 7, "per_image": True}
EXAMPLES = {
    "interleaved points of classes, in bins": case_of(BINS, **MULTICLASS_LOSS, **INTERLEAVED),
    "interleaved points of classes, sorted": case_of({}, **MULTICLASS_LOSS, **INTERLEAVED),
    "interleaved points of channels, in bins": case_of(BINS, **INTERLEAVED),
    "interleaved points of channels, sorted": case_of({}, **INTERLEAVED),
    "weights and bfloat16": case_of(BINS, dtype=torch.bfloat16, **WEIGHTED),
    "weights and float16": case_of(BINS, dtype=torch.float16, **WEIGHTED),
    "large weights and float16": case_of(
        BINS, dtype=torch.float16, pixel_weight=(60_000.0, torch.float32, ())
    ),
    "weights and infinity": case_of({}, **MULTICLASS_LOSS, **WEIGHTED, in_ignored=torch.inf),
    "weights and NaN": case_of({}, **WEIGHTED, in_ignored=torch.nan),
    "clouds and infinity": case_of(
        {"per_image": True}, **MULTICLASS_LOSS, **POINTS, in_ignored=torch.inf
    ),
    "clouds and NaN": case_of({"per_image": True}, **POINTS, in_ignored=torch.nan),
    "clouds in bins": case_of(CLOUD_BINS, **MULTICLASS_LOSS, **POINTS, in_ignored=torch.nan),
    "channels of clouds in bins": case_of(
        CLOUD_BINS, shape=(90, 3), clouds="batch_index", in_ignored=torch.inf, threads=2
    ),
    "weights and clouds in any order, in bins": case_of(
        CLOUD_BINS, **MULTICLASS_LOSS, **WEIGHTED, shape=(90, 3), clouds="batch_index"
    ),
    "small clouds in any order": case_of(
        {**BINS, "per_image": True}, **MULTICLASS_LOSS, shape=(90, 3), clouds="batch_index"
    ),
    "complements and infinity": case_of({"symmetric": True}, in_ignored=torch.inf),
    "complements and NaN": case_of({"symmetric": True}, in_ignored=torch.nan),
    "complements and ties": case_of({"symmetric": True}, values="tied"),
    "complements, ties and weights": case_of({"symmetric": True}, values="tied", **WEIGHTED),
    "complements, ties and margins": case_of({"symmetric": True}, loss="hinge", values="tied"),
    # Of five pixels with the same scores torch's sums over the classes round the last differently.
    "float64 and pixels that are all alike": dataclasses.replace(
        case_of({"classes": "all", "ignore_index": 255}, **MULTICLASS_LOSS),
        shape=(30, 19),
        layout=(("expand", 1, 0), ("select", 0, 0)),
        dtype=torch.float64,
        labels=torch.uint8,
    ),
    "weights and pixels that are all alike": dataclasses.replace(
        case_of({"classes": "all", "ignore_index": -1}, **MULTICLASS_LOSS, **WEIGHTED),
        shape=(1, 19, 5),
        layout=(("select", 0, 1), ("expand", 3, 0), ("select", 0, 1)),
        labels=torch.int8,
        values="tied",
        pixel_weight=(4.0, torch.float64, ()),
        ignore_mask=(("select", 0, 1), ("expand", 0, 0), ("select", 0, 1)),
        seed=64,
    ),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_what_has_gone_wrong_before(name):
    compare(EXAMPLES[name])


@pytest.mark.parametrize("shape", [(0, 3), (2, 3, 0), (0, 3, 4, 4)])
@pytest.mark.parametrize("options", [{}, {"per_image": True}, {"symmetric": True}])
@pytest.mark.parametrize("method", ["histogram", "sort"])
@pytest.mark.parametrize("name", LOSSES)
def test_a_batch_without_pixels_has_no_loss(name, method, options, shape):
    function, fixed, _ = LOSSES[name]
    options = options | ({} if name in FUSED else {"method": method})
    if name in MULTICLASS:
        options.pop("symmetric", None)
    target = (shape[0], *shape[2:]) if name in MULTICLASS else shape
    labels, weight = torch.zeros(target, dtype=torch.int64), torch.ones(target)
    scores = torch.zeros(shape, requires_grad=True)
    for extras in ({}, {"pixel_weight": weight}):
        loss = function(scores, labels, **fixed, **options, **extras)
        (gradient,) = torch.autograd.grad(loss, scores)
        assert loss.item() == 0
        assert gradient.shape == shape
