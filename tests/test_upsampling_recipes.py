"""The code of docs/upsampling.md, with stand-ins of the libraries that it is for.

These have the signatures that the code meets there, in torchvision 0.29, transformers 5.24,
mmsegmentation 1.2.2, detectron2 0.6 and segmentation-models-pytorch 0.6.
"""

import re
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lovasz import cross_entropy_lovasz_softmax

PAGE = (Path(__file__).parents[1] / "docs" / "upsampling.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.S)
CLASSES, SIZE = 19, (37, 51)


@pytest.fixture
def batch():
    """Images, and labels of which some are ignored."""
    torch.manual_seed(0)
    target = torch.randint(CLASSES, (2, *SIZE))
    target[:, :3] = 255
    return torch.randn(2, 3, *SIZE), target


class Head(nn.Module):
    """Logits of a quarter of the resolution."""

    def __init__(self, classes=CLASSES):
        super().__init__()
        self.conv = nn.Conv2d(3, classes, 5, stride=4, padding=2)

    def forward(self, images):
        return self.conv(images)


def enlarged(logits, align_corners=False):
    return F.interpolate(logits, size=SIZE, mode="bilinear", align_corners=align_corners)


def by_storing(logits, target, align_corners=False, ignore_index=255):
    """What the recipes replace: the enlarged logits, and the loss of them."""
    scores = enlarged(logits, align_corners)
    return cross_entropy_lovasz_softmax(scores, target, ignore_index=ignore_index)


def assert_same(loss, expected, module):
    """Two losses and their gradients by the parameters of a module."""
    parameters = list(module.parameters())
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-6)
    gradients = [torch.autograd.grad(value, parameters) for value in (loss, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-5)
    assert all(gradient.any() for gradient in gradients[0])


class Registry:
    """A decorator by either name."""

    def __init__(self):
        self.known = {}

    def register(self):
        return lambda made: self.known.setdefault(made.__name__, made)

    register_module = register


@pytest.fixture
def run(monkeypatch):
    """Executes the block that has a word in it, where some modules can be imported."""

    def execute(word, modules=None, **names):
        for path, contents in (modules or {}).items():
            module = ModuleType(path)
            vars(module).update(contents)
            monkeypatch.setitem(sys.modules, path, module)
        (code,) = [block for block in BLOCKS if word in block]
        exec(code, names)
        return names

    return execute


def test_every_block_is_tested():
    assert len(BLOCKS) == 10


@pytest.mark.parametrize("word", ["loss = criterion(logits, target)  #", "lovasz_weight=0"])
def test_loss(word, run, batch):
    _, target = batch
    logits = torch.randn(2, CLASSES, 10, 13, requires_grad=True)
    loss = run(word, logits=logits, target=target)["loss"]
    if "weight" in word:
        expected = F.cross_entropy(enlarged(logits), target, ignore_index=255)
    else:
        expected = by_storing(logits, target)
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-6)
    gradients = [torch.autograd.grad(value, logits)[0] for value in (loss, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-6)


def test_labels(run, batch):
    logits = torch.randn(2, CLASSES, 10, 13)
    labels = run("labels = upsampled_argmax", logits=logits, target=batch[1])["labels"]
    assert labels.equal(enlarged(logits).argmax(1))


def test_network_that_ends_in_interpolate(run, batch):
    names = run("class Network")
    network = names["Network"](CLASSES)
    loss = names["training_step"](network, *batch)
    assert_same(loss, by_storing(network(batch[0]), batch[1]), network)
    assert network.predict(batch[0]).equal(enlarged(network(batch[0])).argmax(1))


@pytest.mark.parametrize("auxiliary", [True, False])
def test_torchvision(auxiliary, run, batch):
    class Backbone(nn.Module):
        def forward(self, images):
            return {"out": images, "aux": images.flip(1)}

    network = nn.Module()
    network.backbone, network.classifier = Backbone(), Head()
    network.aux_classifier = Head() if auxiliary else None
    loss = run("network.aux_classifier")["training_step"](network, *batch)
    images, target = batch
    expected = by_storing(network.classifier(images), target)
    if auxiliary:
        expected = expected + 0.5 * by_storing(network.aux_classifier(images.flip(1)), target)
    assert_same(loss, expected, network)


class Segformer(Head):
    """Takes and returns what the one of transformers does."""

    def forward(self, pixel_values, labels=None):
        assert labels is None  # it would enlarge the logits
        return SimpleNamespace(logits=self.conv(pixel_values))


class Trainer:
    """Calls ``compute_loss`` as the one of transformers does."""

    def training_step(self, model, inputs):
        assert self.loss_is_scaled_for_ga is False  # or steps that are accumulated add up
        return self.compute_loss(model, inputs, num_items_in_batch=None)

    def prediction_step(self, model, inputs):
        labels = inputs["labels"]
        loss, outputs = self.compute_loss(model, inputs, return_outputs=True)
        return loss, outputs.logits, labels


def test_transformers(run, batch):
    model = Segformer()
    inputs = {"pixel_values": batch[0], "labels": batch[1]}
    expected = by_storing(model(batch[0]).logits, batch[1])
    assert_same(run('batch["labels"]')["training_step"](model, inputs), expected, model)


def test_trainer_of_transformers(run, batch):
    trainer = run("class LovaszTrainer", {"transformers": {"Trainer": Trainer}})["LovaszTrainer"]()
    model = Segformer()
    inputs = {"pixel_values": batch[0], "labels": batch[1]}
    expected = by_storing(model(batch[0]).logits, batch[1])
    assert_same(trainer.training_step(model, dict(inputs)), expected, model)
    loss, logits, labels = trainer.prediction_step(model, dict(inputs))
    assert logits.shape == (2, CLASSES, 10, 13)
    assert labels is batch[1]
    assert loss == trainer.training_step(model, dict(inputs))


class DecodeHead(Head):
    """What a subclass of mmsegmentation's ``BaseDecodeHead`` finds."""

    ignore_index = 255

    def __init__(self, align_corners):
        super().__init__()
        self.align_corners = align_corners

    def _stack_batch_gt(self, batch_data_samples):
        return torch.stack([sample.gt_sem_seg.data for sample in batch_data_samples])

    def loss(self, inputs, batch_data_samples, train_cfg):
        return self.loss_by_feat(self.forward(inputs), batch_data_samples)


@pytest.mark.parametrize("align_corners", [True, False])
def test_mmsegmentation(align_corners, run, batch):
    models = Registry()
    modules = {
        "mmseg": {},
        "mmseg.models": {},
        "mmseg.models.decode_heads": {"SegformerHead": DecodeHead},
        "mmseg.registry": {"MODELS": models},
    }
    head = run("mmseg", modules)["LovaszSegformerHead"](align_corners)
    assert models.known == {"LovaszSegformerHead": type(head)}
    samples = [SimpleNamespace(gt_sem_seg=SimpleNamespace(data=y[None])) for y in batch[1]]
    losses = head.loss(batch[0], samples, None)
    expected = by_storing(head(batch[0]), batch[1], align_corners)
    assert all("loss" in name for name in losses)  # or it would only be logged
    assert_same(sum(losses.values()), expected, head)


class SemSegFPNHead(Head):
    """What a subclass of the one of detectron2 finds."""

    ignore_value, loss_weight = 255, 0.5

    def forward(self, features, targets=None):
        return None, self.losses(self.conv(features), targets)


def test_detectron2(run, batch):
    heads = Registry()
    modules = {
        "detectron2": {},
        "detectron2.modeling": {"SEM_SEG_HEADS_REGISTRY": heads},
        "detectron2.modeling.meta_arch": {},
        "detectron2.modeling.meta_arch.semantic_seg": {"SemSegFPNHead": SemSegFPNHead},
    }
    head = run("detectron2", modules)["LovaszSemSegFPNHead"]()
    assert heads.known == {"LovaszSemSegFPNHead": type(head)}
    _, losses = head(*batch)
    expected = 0.5 * by_storing(head.conv(batch[0]), batch[1])
    assert_same(losses["loss_sem_seg"], expected, head)


class FPN(Head):
    """Takes and returns what the one of segmentation-models-pytorch does."""

    def __init__(self, encoder_name, encoder_weights, classes, upsampling=4):
        super().__init__(classes)
        assert upsampling == 1


def test_segmentation_models_pytorch(run, batch):
    names = run("smp.FPN", {"segmentation_models_pytorch": {"FPN": FPN}})
    network = names["network"]
    loss = names["training_step"](network, *batch)
    assert_same(loss, by_storing(network(batch[0]), batch[1], align_corners=True), network)
    labels = names["predict"](network, batch[0])
    assert labels.equal(enlarged(network(batch[0]), align_corners=True).argmax(1))
