"""Pointcept's criteria build the losses by name, and its segmentors tell them where clouds end.

Pointcept can be tested where it can be imported; elsewhere a stand-in has its interface.
"""

import importlib
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import lovasz
from lovasz.compat import pointcept as compat
from tests.gradients import value_and_gradient
from tests.processes import start_processes
from tests.stacks import stand_ins

CLASSES = 5
NAMES = ["CrossEntropyLovaszSoftmaxLoss", "LovaszSoftmaxLoss", "CrossEntropyDiceLoss"]


class Backbone(nn.Module):
    """Features of points."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 8)

    def forward(self, point):
        return self.linear(point["feat"])


@pytest.fixture(scope="module")
def pointcept():
    """Its registries, and whether they are its own."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        found, real = stand_ins.integration("pointcept", stand_ins.pointcept, monkeypatch)
        models = importlib.import_module("pointcept.models.builder")
        losses = importlib.import_module("pointcept.models.losses.builder")
        models.MODELS.register_module(name="TinyBackbone", module=Backbone)
        yield SimpleNamespace(
            integration=found,
            model=models.build_model,
            criteria=losses.build_criteria,
            losses=losses.LOSSES,
            real=real,
        )


def draw(dtype=torch.float32):
    """Points of three clouds, some without a label."""
    logits = (2 * torch.randn(90, CLASSES)).to(dtype)
    labels = torch.randint(CLASSES - 1, (90,))
    labels[torch.rand(90) < 0.2] = -1
    return logits, labels, torch.tensor([20, 55, 90])


def same(got, want):
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", NAMES)
def test_criteria(name, dtype, pointcept):
    criteria = pointcept.criteria([{"type": name, "loss_weight": 0.5}])
    logits, labels, _ = draw(dtype)
    direct = getattr(lovasz, name)(ignore_index=-1)
    got = value_and_gradient(lambda x: criteria(x, labels), logits)
    same(got, value_and_gradient(lambda x: 0.5 * direct(x, labels), logits))
    assert got[1].any()


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_left(name, pointcept):
    criteria = pointcept.criteria([{"type": name}])
    logits, labels, _ = draw()
    for points in (90, 0):
        nothing = torch.full_like(labels[:points], -1)
        got = value_and_gradient(lambda x, y=nothing: criteria(x, y), logits[:points])
        assert got[0] == 0
        assert not got[1].any()


def test_in_the_place_of_two_losses(pointcept):
    """Those of nearly all of its configurations."""
    build_criteria, losses = pointcept.criteria, pointcept.losses
    logits, labels, _ = draw()
    fused = build_criteria([{"type": "CrossEntropyLovaszSoftmaxLoss"}])
    got = value_and_gradient(lambda x: fused(x, labels), logits)
    want = value_and_gradient(
        lambda x: (
            F.cross_entropy(x, labels, ignore_index=-1)
            + lovasz.lovasz_softmax(x, labels, ignore_index=-1, method="sort")
        ),
        logits,
    )
    torch.testing.assert_close(got, want, rtol=1e-2, atol=5e-4)  # errors in bins
    if pointcept.real:
        own = [
            {"type": "CrossEntropyLoss", "ignore_index": -1},
            {"type": "LovaszLoss", "mode": "multiclass", "ignore_index": -1},
        ]
        assert losses.get("LovaszLoss").__module__.startswith("pointcept.")
        two = build_criteria(own)
        own = value_and_gradient(lambda x: two(x, labels), logits)
        torch.testing.assert_close(own, want, rtol=1e-4, atol=1e-6)


def test_class_weights_go_where_the_logits_are(pointcept):
    weight = [1.0, 2.0, 3.0, 4.0, 5.0]
    (criterion,) = pointcept.criteria(
        [{"type": "CrossEntropyLovaszSoftmaxLoss", "class_weight": weight}]
    ).criteria
    logits, labels, _ = draw()
    direct = lovasz.CrossEntropyLovaszSoftmaxLoss(ignore_index=-1, weight=weight)
    got = value_and_gradient(lambda x: criterion(x, labels), logits)
    same(got, value_and_gradient(lambda x: direct(x, labels), logits))
    # Criteria are not moved with a network, so that the loss has to do it.
    assert criterion(logits.to("meta"), labels.to("meta")).device.type == "meta"


def test_two_processes(tmp_path):
    logits, labels, _ = draw()
    torch.save((logits, labels), tmp_path / "points.pt")
    config = {"type": "CrossEntropyLovaszSoftmaxLoss", "process_group": "world"}
    start_processes(stand_ins.criteria_of_ranks, (2, str(tmp_path), config), 2)
    ranks = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    want, gradient = value_and_gradient(
        lambda x: lovasz.cross_entropy_lovasz_softmax(x, labels, ignore_index=-1), logits
    )
    for rank, (value, found) in enumerate(ranks):
        same((value, found / 2), (want, gradient[rank::2]))


def test_its_own_loss_stays_until_it_is_replaced(pointcept):
    build_criteria, losses = pointcept.criteria, pointcept.losses
    own = losses.get("LovaszLoss")
    assert own is None or own.__module__.startswith("pointcept.")
    pointcept.integration.replace_lovasz_loss()
    try:
        config = {"type": "LovaszLoss", "mode": "multiclass", "ignore_index": -1}
        (criterion,) = build_criteria([config]).criteria
        assert isinstance(criterion, compat.LovaszLoss)
    finally:
        if own is not None:
            losses.register_module(name="LovaszLoss", force=True, module=own)


def test_a_window_counts_what_is_trained(pointcept):
    logits, labels, _ = draw()
    options = {"type": "LovaszSoftmaxLoss", "momentum": 0.9}
    one, other = (pointcept.criteria([options]) for _ in range(2))
    for criteria in (one, other):
        value_and_gradient(lambda x, c=criteria: c(x, labels), logits)
    with torch.no_grad():
        alone = other(logits.flip(1), labels)  # in evaluation the batch alone
    same(alone, lovasz.lovasz_softmax(logits.flip(1), labels, ignore_index=-1))
    got, want = (value_and_gradient(lambda x, c=c: c(x, labels), logits) for c in (other, one))
    same(got, want)


def model(build_model, **options):
    torch.manual_seed(1)
    return build_model(
        {
            "type": "PerCloudSegmentor",
            "segmentor": "DefaultSegmentorV2",
            "num_classes": CLASSES,
            "backbone_out_channels": 8,
            "backbone": {"type": "TinyBackbone"},
            "criteria": [{"type": "CrossEntropyLovaszSoftmaxLoss", "per_cloud": True}],
            **options,
        }
    )


@pytest.mark.parametrize("bfloat16", [False, True])
def test_a_loss_for_each_cloud(bfloat16, pointcept):
    network = model(pointcept.model)
    assert type(network).__name__ == "PerCloudDefaultSegmentorV2"
    _, labels, offsets = draw()
    inputs = {"feat": torch.randn(90, 4), "segment": labels, "offset": offsets}
    with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        loss = network.train()(inputs)["loss"]
        logits = network.seg_head(network.backbone(inputs))
        want = lovasz.cross_entropy_lovasz_softmax(
            logits, labels, ignore_index=-1, per_image=True, offsets=offsets
        )
    parameters = list(network.parameters())
    gradients = [torch.autograd.grad(value, parameters) for value in (loss, want)]
    same(loss, want)
    torch.testing.assert_close(*gradients)
    whole = lovasz.cross_entropy_lovasz_softmax(logits, labels, ignore_index=-1)
    assert not torch.isclose(loss, whole)
    assert network.eval()(inputs).keys() == {"loss", "seg_logits"}


def test_the_page(pointcept):
    """The loss of its first configuration, and the options of its second."""
    page = (Path(__file__).parents[2] / "docs" / "stacks" / "pointcept.md").read_text()
    line, criteria, segmentor = re.findall(r"```text\n(.*?)```", page, re.S)
    assert line == "import lovasz.integrations.pointcept\n"
    names = {}
    exec(criteria + segmentor, names)
    assert type(pointcept.criteria(names["criteria"]).criteria[0]).__name__ == NAMES[0]
    network = model(pointcept.model, **names["model"])
    assert type(network).__name__ == "PerCloudDefaultSegmentorV2"
    assert network.criteria.criteria[0].per_cloud


def test_its_parameters_have_the_names_of_the_segmentor(pointcept):
    names = {"seg_head.weight", "seg_head.bias", "backbone.linear.weight", "backbone.linear.bias"}
    assert set(model(pointcept.model).state_dict()) == names


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"per_cloud": 1}, "per_cloud"),
        ({"ignore_index": "void"}, "ignore_index"),
        ({"loss_weight": -1}, "loss_weight"),
        ({"mode": "multiclass"}, "mode"),
    ],
)
def test_what_cannot_work_is_said(options, words, pointcept):
    with pytest.raises((TypeError, ValueError), match=words):
        pointcept.criteria([{"type": "LovaszSoftmaxLoss", **options}])


def test_a_network_without_ends_of_clouds(pointcept):
    logits, labels, _ = draw()
    criteria = pointcept.criteria([{"type": "LovaszSoftmaxLoss", "per_cloud": True}])
    with pytest.raises(ValueError, match="PerCloudSegmentor"):
        criteria(logits, labels)
    with pytest.raises(ValueError, match="NoSegmentor"):
        model(pointcept.model, segmentor="NoSegmentor")


def test_the_stand_in_is_gone(pointcept):
    """So that other tests do not see it."""
    if not pointcept.real:
        assert "lovasz.integrations.pointcept" not in sys.modules
