"""Probabilities where logits are expected: one warning, and none for logits."""

import warnings

import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

import lovasz
from lovasz.losses import _first_calls, _logits

SOFTMAX = {
    "lovasz_softmax": {},
    "cross_entropy_lovasz_softmax": {},
    "dice_loss": {},
    "cross_entropy_dice": {},
}
SIGMOID = {
    "lovasz_sigmoid": {},
    "lovasz_hinge": {},
    "binary_cross_entropy_lovasz_sigmoid": {},
    "binary_cross_entropy_dice": {},
    "jaccard_loss": {"activation": "sigmoid"},
}
SHAPE = (2, 3, 5, 7)


@pytest.fixture(autouse=True)
def _nothing_told(monkeypatch):
    monkeypatch.setattr(_first_calls, "_looks", _first_calls.Counter())
    for names in (_first_calls.LOOKED_AT, _logits.TOLD):
        names.clear()
    yield
    for names in (_first_calls.LOOKED_AT, _logits.TOLD):
        names.clear()


def call(name, scores, **options):
    kinds = {**SOFTMAX, **SIGMOID}
    labels = torch.randint(2, scores.shape)
    if name in SIGMOID:
        options["multilabel"] = True
    else:
        labels = labels[:, 0]
    return getattr(lovasz, name)(scores, labels, **kinds[name], **options)


def warnings_of(*calls):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for one in calls:
            one()
    return [str(one.message) for one in caught]


def probabilities(name, shape=SHAPE):
    x = 3 * torch.randn(shape)
    return x.softmax(1) if name in SOFTMAX else x.sigmoid()


@pytest.mark.parametrize("name", [*SOFTMAX, *SIGMOID])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_one_warning(name, dtype):
    scores = probabilities(name).to(dtype)
    told = warnings_of(*[lambda: call(name, scores)] * 3)
    assert len(told) == 1
    layer = "softmax" if name in SOFTMAX else "sigmoid"
    assert told[0].startswith(f"{name}: expected logits, got numbers in [0, 1]")
    assert f"leave out the {layer}" in told[0]


@pytest.mark.parametrize("name", [*SOFTMAX, *SIGMOID])
def test_of_points_and_of_another_resolution(name):
    points = probabilities(name, (30, 3))
    assert len(warnings_of(lambda: call(name, points))) == 1
    _logits.TOLD.clear()
    small, labels = probabilities(name), torch.randint(2, (2, 3, 9, 9))
    options = {"multilabel": True} if name in SIGMOID else {}
    labels = labels if name in SIGMOID else labels[:, 0]
    if name == "jaccard_loss":
        options["activation"] = "sigmoid"

    def enlarged():
        getattr(lovasz, name)(small, labels, upsample="bilinear", **options)

    assert len(warnings_of(enlarged)) == 1


@pytest.mark.parametrize("name", [*SOFTMAX, *SIGMOID])
@pytest.mark.parametrize(
    "logits",
    [
        torch.randn(SHAPE),
        torch.zeros(SHAPE),  # of a last layer that begins with zeros
        torch.full(SHAPE, 1 / 3),
        torch.randn(SHAPE).log_softmax(1),
        torch.rand(SHAPE) * 2,
        torch.full(SHAPE, float("nan")),
        torch.randn(1, 3, 1, 1).softmax(1),  # too few to tell
        torch.randn(0, 3, 5, 7),
        torch.randn(2, 3, 0, 7),
        torch.randn(0, 3),
    ],
)
def test_none_for_logits(name, logits):
    assert warnings_of(lambda: call(name, logits)) == []


@pytest.mark.parametrize(
    "name", ["lovasz_softmax_from_probabilities", "lovasz_sigmoid_from_probabilities"]
)
def test_none_where_probabilities_are_expected(name):
    softmax = name == "lovasz_softmax_from_probabilities"
    scores = torch.randn(SHAPE).softmax(1)
    labels = torch.randint(2, SHAPE)
    options = {} if softmax else {"multilabel": True}
    function = getattr(lovasz, name)
    assert (
        warnings_of(lambda: function(scores, labels[:, 0] if softmax else labels, **options)) == []
    )


def test_a_later_call_is_looked_at_too():
    logits, scores = torch.randn(SHAPE), torch.randn(SHAPE).softmax(1)
    told = warnings_of(
        *[lambda: call("lovasz_softmax", logits)] * 5, lambda: call("lovasz_softmax", scores)
    )
    assert len(told) == 1


class Module(torch.nn.Module):
    def forward(self, scores, target):
        return lovasz.lovasz_softmax(scores, target)


def test_nothing_is_looked_at_while_tracing():
    """A look would be an error of the tracer, or a graph that is cut in two."""
    scores, target = torch.randn(SHAPE).softmax(1), torch.randint(3, (2, 5, 7))

    def loss(x, y):
        return lovasz.lovasz_softmax(x, y)

    torch._dynamo.reset()
    calls = [
        lambda: torch.compile(loss, backend="aot_eager", fullgraph=True)(scores, target),
        lambda: torch.func.grad(loss)(scores, target),
        lambda: torch.func.vmap(loss)(scores.unsqueeze(0), target.unsqueeze(0)),
        lambda: make_fx(loss)(scores, target),
        lambda: make_fx(loss, pre_dispatch=True)(scores, target),
        lambda: make_fx(loss, tracing_mode="symbolic")(scores, target),
        lambda: torch.export.export(Module(), (scores, target), strict=False),
        lambda: torch.jit.trace(loss, (scores, target), check_trace=False),
    ]
    for one in calls:
        assert not [told for told in warnings_of(one) if "expected logits" in told]
