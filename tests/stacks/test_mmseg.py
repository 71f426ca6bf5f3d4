"""mmsegmentation builds the losses by name and trains with them, with its own heads and models."""

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import lovasz
from tests.gradients import value_and_gradient
from tests.processes import start_processes

pytest.importorskip("mmseg")
openmmlab = pytest.importorskip("tests.stacks.openmmlab")
integration = pytest.importorskip("lovasz.integrations.mmseg")
MODELS = pytest.importorskip("mmseg.registry").MODELS
mmseg_head = pytest.importorskip("lovasz.integrations._mmseg_head")
openmmlab_losses = pytest.importorskip("lovasz.integrations._openmmlab")
compat = pytest.importorskip("lovasz.compat.mmseg")

CLASSES, SIZE, HEAD = openmmlab.CLASSES, openmmlab.SIZE, openmmlab.HEAD
SOFTMAX = ["CrossEntropyLovaszSoftmaxLoss", "LovaszSoftmaxLoss", "CrossEntropyDiceLoss"]
BINARY = [name for name in integration.__all__ if name.endswith("Loss") and name not in SOFTMAX]
pytestmark = pytest.mark.filterwarnings("ignore")


def build(name, **options):
    return MODELS.build({"type": name, **options})


def draw(name, dtype=torch.float32):
    """Scores, labels of which some are ignored, and weights of pixels."""
    channels = 1 if name in BINARY else CLASSES
    scores = (2 * torch.randn(2, channels, 9, 11)).to(dtype)
    labels = torch.randint(max(channels, 2), (2, 9, 11))
    labels[:, :2] = 255
    return scores, labels, torch.rand(2, 9, 11)


def same(got, want):
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", SOFTMAX + BINARY)
def test_a_loss_is_that_of_the_same_name(name, dtype):
    criterion = build(name, loss_weight=0.5)
    scores, labels, weight = draw(name, dtype)
    direct = getattr(lovasz, name)(ignore_index=255)
    for options in ({}, {"weight": weight}):
        pixels = {"pixel_weight": options.get("weight")}
        got = value_and_gradient(lambda x, o=options: criterion(x, labels, **o), scores)
        want = value_and_gradient(lambda x, p=pixels: 0.5 * direct(x, labels, **p), scores)
        same(got, want)
        assert got[1].any()


@pytest.mark.parametrize("name", SOFTMAX + BINARY)
def test_nothing_is_left(name):
    scores, labels, _ = draw(name)
    for images in (2, 0):
        inputs = scores[:images], torch.full_like(labels[:images], 255)
        value, gradient = value_and_gradient(lambda x, y=inputs[1]: build(name)(x, y), inputs[0])
        assert value == 0
        assert not gradient.any()


def test_the_head_says_what_is_ignored():
    scores, labels, _ = draw("LovaszSoftmaxLoss")
    labels[labels == 255] = 3
    criterion = build("LovaszSoftmaxLoss")
    got = value_and_gradient(lambda x: criterion(x, labels, ignore_index=3), scores)
    want = value_and_gradient(lambda x: lovasz.lovasz_softmax(x, labels, ignore_index=3), scores)
    same(got, want)
    got = value_and_gradient(lambda x: criterion(x, labels, ignore_index=None), scores)
    same(got, value_and_gradient(lambda x: lovasz.lovasz_softmax(x, labels), scores))


def test_class_weights_from_a_list_or_a_file(tmp_path):
    weight = [1.0, 2.0, 0.5, 3.0, 1.0]
    (tmp_path / "w.json").write_text(json.dumps(weight))
    np.save(tmp_path / "w.npy", np.array(weight))
    scores, labels, _ = draw("LovaszSoftmaxLoss")
    for name in SOFTMAX:
        direct = getattr(lovasz, name)(ignore_index=255, weight=weight)
        want = value_and_gradient(lambda x, d=direct: d(x, labels), scores)
        for given in (weight, str(tmp_path / "w.json"), str(tmp_path / "w.npy")):
            criterion = build(name, class_weight=given)
            same(value_and_gradient(lambda x, c=criterion: c(x, labels), scores), want)
    criterion = build("BinaryCrossEntropyLovaszSigmoidLoss", class_weight=[3.0])
    assert criterion.loss.pos_weight.tolist() == [3.0]


def test_compiles_whole():
    scores, labels, weight = draw("CrossEntropyLovaszSoftmaxLoss")
    criterion = build("CrossEntropyLovaszSoftmaxLoss")
    whole = torch.compile(criterion, fullgraph=True, backend="aot_eager")
    got = value_and_gradient(lambda x: whole(x, labels, weight=weight, ignore_index=255), scores)
    same(got, value_and_gradient(lambda x: criterion(x, labels, weight=weight), scores))


@pytest.mark.parametrize(
    ("options", "call", "words"),
    [
        ({"loss_name": "lovasz"}, {}, "begin with"),
        ({"ignore_index": 255}, {}, "option of the head"),
        ({"loss_weight": -1.0}, {}, "loss_weight"),
        ({"loss_weight": math.nan}, {}, "loss_weight"),
        ({"loss_weight": "1"}, {}, "loss_weight"),
        ({"momentums": 0.9}, {}, "momentums"),
        ({"weight": [1.0] * CLASSES, "class_weight": [1.0] * CLASSES}, {}, "got both"),
        ({"per_sample": 1}, {}, "per_sample"),
        ({}, {"avg_factor": 3.0}, "avg_factor"),
        ({}, {"reduction_override": "none"}, "thresh"),
    ],
)
def test_what_cannot_work_is_said(options, call, words):
    scores, labels, _ = draw("CrossEntropyLovaszSoftmaxLoss")
    with pytest.raises((TypeError, ValueError), match=words):
        build("CrossEntropyLovaszSoftmaxLoss", **options)(scores, labels, **call)


# Heads and models of mmsegmentation.


def enlarged(head, features):
    logits = head([features])
    corners = head.align_corners
    return F.interpolate(logits, size=SIZE, mode="bilinear", align_corners=corners)


def test_a_head_with_ohem():
    features, labels = openmmlab.draw()
    sampler = {"type": "OHEMPixelSampler", "thresh": 0.25, "min_kept": 100}
    head = openmmlab.build(loss_decode={"type": "CrossEntropyLovaszSoftmaxLoss"}, sampler=sampler)
    weight = head.sampler.sample(enlarged(head, features), labels[:, None])
    assert 0 < weight.sum() < weight.numel()
    got = openmmlab.step(head, features, labels)
    head.zero_grad()
    want = lovasz.cross_entropy_lovasz_softmax(
        enlarged(head, features), labels, ignore_index=255, pixel_weight=weight
    )
    same(got, (want.detach(), list(torch.autograd.grad(want, list(head.parameters())))))


SEVERAL = [
    {"type": "CrossEntropyLovaszSoftmaxLoss", "loss_weight": 0.5},
    {"type": "CrossEntropyDiceLoss", "classes": "present", "loss_name": "loss_ce_lovasz"},
    {"type": "LovaszSoftmaxLoss", "per_image": True},
]


@pytest.mark.parametrize("corners", [False, True])
@pytest.mark.parametrize(
    ("head", "options", "features"),
    [
        ("FCNHead", {"num_convs": 1}, 1),
        ("SegformerHead", {"in_channels": [8, 8], "in_index": [0, 1]}, 2),
        ("DAHead", {"pam_channels": 4}, 1),  # its loss_by_feat calls that of BaseDecodeHead thrice
    ],
)
def test_logits_of_low_resolution(head, options, features, corners):
    x, labels = openmmlab.draw()
    inputs = [x, F.avg_pool2d(x, 2)][:features]
    found = []
    for kind in ({"type": head}, {"type": "LowResolutionHead", "head": head}):
        torch.manual_seed(1)
        made = MODELS.build(
            {**HEAD, **options, **kind, "align_corners": corners, "loss_decode": SEVERAL}
        )
        losses = made.loss(inputs, openmmlab.samples(labels), None)
        total = sum(value for name, value in losses.items() if "loss" in name)
        parameters = list(made.parameters())
        found.append((losses, torch.autograd.grad(total, parameters, allow_unused=True)))
    (plain, gradients), (low, others) = found
    assert type(made).__name__ == f"LowResolution{head}"
    assert plain.keys() == low.keys()
    for name, value in plain.items():
        torch.testing.assert_close(low[name].squeeze(), value.squeeze(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(others, gradients, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("low", [False, True])
@pytest.mark.parametrize("name", BINARY)
def test_a_head_of_one_channel(name, low):
    features, labels = openmmlab.draw()
    labels = torch.where(labels == 255, 255, labels % 2)
    kind = {"type": "LowResolutionHead", "head": "FCNHead"} if low else {}
    head = openmmlab.build(
        **kind, out_channels=1, num_classes=2, threshold=0.5, loss_decode={"type": name}
    )
    value, gradients = openmmlab.step(head, features, labels)
    want = getattr(lovasz, name)(ignore_index=255)(enlarged(head, features), labels)
    torch.testing.assert_close(value, want.detach(), rtol=1e-5, atol=1e-6)
    others = torch.autograd.grad(want, list(head.parameters()))
    torch.testing.assert_close(gradients, list(others), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"head": "PIDHead"}, "PIDHead"),  # interpolates its three outputs itself
        ({"head": "MaskFormerHead"}, "MaskFormerHead"),
        ({"head": nn.Identity}, "Identity"),
        ({"sampler": {"type": "OHEMPixelSampler", "thresh": 0.7}}, "sampler"),
        ({"loss_decode": {"type": "CrossEntropyLoss"}}, "CrossEntropyLoss"),
        ({"loss_decode": [{"type": "LovaszSoftmaxLoss"}, {"type": "DiceLoss"}]}, "DiceLoss"),
    ],
)
def test_heads_that_need_enlarged_logits(config, words):
    loss = {"type": "CrossEntropyLovaszSoftmaxLoss"}
    with pytest.raises(ValueError, match=words):
        openmmlab.build(
            **{"type": "LowResolutionHead", "head": "FCNHead", "loss_decode": loss, **config}
        )


class Backbone(nn.Module):
    """Features of a quarter of the resolution."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 5, stride=4, padding=2)

    def forward(self, images):
        return (self.conv(images),)


@pytest.fixture(scope="module")
def model():
    """What a configuration file that imports the module builds."""
    from mmengine.config import ConfigDict
    from mmengine.registry import init_default_scope

    if "TinyBackbone" not in MODELS:
        MODELS.register_module(name="TinyBackbone", module=Backbone)
    init_default_scope("mmseg")  # as a Runner does
    loss = {"type": "CrossEntropyLovaszSoftmaxLoss"}
    head = {**HEAD, "head": "FCNHead", "num_convs": 1, "type": "LowResolutionHead"}
    config = ConfigDict(
        {
            "type": "EncoderDecoder",
            "data_preprocessor": {"type": "SegDataPreProcessor", "size": SIZE},
            "backbone": {"type": "TinyBackbone"},
            "decode_head": {**head, "loss_decode": loss},
            "auxiliary_head": {**head, "loss_decode": {**loss, "loss_weight": 0.4}},
            "test_cfg": {"mode": "whole"},
        }
    )
    return MODELS.build(config)


@pytest.mark.parametrize("bfloat16", [False, True])
def test_a_training_step(model, bfloat16):
    from mmengine.optim import OptimWrapper

    model.train()
    optimizer = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1))
    _, labels = openmmlab.draw()
    images = [torch.randint(256, (3, *SIZE), dtype=torch.uint8) for _ in labels]
    data = {"inputs": images, "data_samples": openmmlab.samples(labels)}
    before = [parameter.detach().clone() for parameter in model.parameters()]
    with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        features = model.backbone(torch.stack(images).float())
        want = sum(
            weight
            * lovasz.cross_entropy_lovasz_softmax(
                head(features), labels, ignore_index=255, upsample="bilinear"
            )
            for weight, head in ((1.0, model.decode_head), (0.4, model.auxiliary_head))
        )
        logged = model.train_step(data, optimizer)
    torch.testing.assert_close(logged["loss"], want.detach(), rtol=1e-3, atol=1e-3)
    assert {"decode.loss_ce_lovasz", "decode.acc_seg", "aux.loss_ce_lovasz"} < logged.keys()
    assert all((a != b).any() for a, b in zip(before, model.parameters(), strict=True))
    model.eval()
    assert model.test_step(data)[0].pred_sem_seg.data.shape == (1, *SIZE)


def test_two_processes(tmp_path):
    config = {"loss_decode": {"type": "CrossEntropyLovaszSoftmaxLoss", "process_group": "world"}}
    start_processes(openmmlab.run, (2, str(tmp_path), config), 2)
    ranks = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    want, gradients = openmmlab.step(
        openmmlab.build(loss_decode={"type": "CrossEntropyLovaszSoftmaxLoss"}), *openmmlab.draw(4)
    )
    for value, found in ranks:
        torch.testing.assert_close(value, want, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(found, gradients, rtol=1e-3, atol=1e-6)


# What the page says.

PAGE = (Path(__file__).parents[2] / "docs" / "stacks" / "mmsegmentation.md").read_text()
BLOCKS = re.findall(r"```text\n(.*?)```", PAGE, re.S)


@pytest.mark.parametrize("block", BLOCKS[:2])
def test_configurations_of_the_page(block, tmp_path):
    from mmengine.config import Config

    head = {**HEAD, "type": "SegformerHead", "in_channels": [8, 8], "in_index": [0, 1]}
    head["loss_decode"] = {"type": "CrossEntropyLoss", "use_sigmoid": False}
    (tmp_path / "base.py").write_text(f"model = dict(decode_head={head})")
    (tmp_path / "mine.py").write_text(f'_base_ = ["base.py"]\n{block}')
    made = MODELS.build(Config.fromfile(tmp_path / "mine.py").model.decode_head)
    low = "LowResolutionHead" in block
    assert type(made).__name__ == ("LowResolution" if low else "") + "SegformerHead"
    assert isinstance(made.loss_decode, integration.CrossEntropyLovaszSoftmaxLoss)
    assert made.loss_decode.loss.upsample == ("bilinear" if low else None)


def test_heads_that_the_page_leaves_out():
    """Those of mmsegmentation that have a loss of their own, and no other."""
    base = MODELS.get("FCNHead").__mro__[1]
    heads = {name: kind for name, kind in MODELS.module_dict.items() if name.endswith("Head")}
    refused = set()
    for name, kind in heads.items():
        if isinstance(kind, type) and not (issubclass(kind, base) and mmseg_head._passes_on(kind)):
            refused.add(name)
    named = {"PIDHead", "DDRHead", "PointHead", "IterativeDecodeHead"}
    masks = {"MaskFormerHead", "Mask2FormerHead", "SideAdapterCLIPHead"}
    # Of depths, and the part of a head that is no head.
    assert refused - masks - {"VPDDepthHead", "KernelUpdateHead"} == named
    assert all(f"`{name}`" in PAGE for name in named)


def test_names_of_the_page():
    table = PAGE[PAGE.index("| `type`") : PAGE.index("Each takes")]
    rows = [re.findall(r"`([^`]+)`", row) for row in table.splitlines()[2:] if row]
    found = {name: row[-2] for row in rows for name in row if name.endswith("Loss")}
    assert found == {kind.__name__: kind.default_name for kind in openmmlab_losses.LOSSES}


# Names in the registry.


def test_a_configuration_names_them(tmp_path):
    from mmengine.config import Config

    file = tmp_path / "config.py"
    file.write_text(
        'custom_imports = dict(imports=["lovasz.integrations.mmseg"])\n'
        'loss = dict(type="LovaszSoftmaxLoss", loss_weight=0.5)\n'
    )
    assert isinstance(MODELS.build(Config.fromfile(file).loss), integration.LovaszSoftmaxLoss)
    # Without an import: mmengine finds what has the name of a module before it.
    path = {"type": "lovasz.integrations.mmseg.LovaszSoftmaxLoss"}
    assert isinstance(MODELS.build(path), integration.LovaszSoftmaxLoss)


def test_its_own_loss_stays_until_it_is_replaced(monkeypatch):
    own = MODELS.get("LovaszLoss")
    assert own.__module__.startswith("mmseg.")
    monkeypatch.setitem(MODELS._module_dict, "LovaszLoss", own)  # restored afterwards
    integration.replace_lovasz_loss()
    assert MODELS.get("LovaszLoss") is compat.LovaszLoss
    assert isinstance(build("LovaszLoss", loss_weight=0.5), compat.LovaszLoss)
