"""The loss for networks of segmentation-models-pytorch: value, ignored labels, bfloat16.

smp starts no processes itself; `make stacks-torchvision` installs it with its encoders.
"""

import pytest
import torch

from tests.stacks.examples import load, of_labelled, require

require("segmentation_models_pytorch", "torchvision")


@pytest.fixture(scope="module")
def example():
    return load("smp_network")


@pytest.fixture(scope="module")
def whole(example):
    """The same network with logits of full resolution, as it comes."""
    torch.manual_seed(0)
    return example.smp.FPN("resnet18", encoder_weights=None, classes=4).eval()


def test_value_is_that_of_the_network_as_it_comes(example, whole):
    images, target = example.data()
    assert (target == 255).any()
    model = example.network().eval()
    logits = model(images)
    assert logits.shape == (2, 4, 16, 16)
    loss, want = example.criterion(logits, target), of_labelled(whole(images), target)
    torch.testing.assert_close(loss, want, rtol=1e-5, atol=0)
    parameters = [list(network.parameters()) for network in (model, whole)]
    pairs = (
        torch.autograd.grad(value, weights)
        for value, weights in zip((loss, want), parameters, strict=True)
    )
    for got, expected in zip(*pairs, strict=True):
        scale = expected.abs().max().item() + 1e-6
        torch.testing.assert_close(got, expected, rtol=0, atol=2e-3 * scale)


def test_a_batch_without_labels_is_zero(example):
    images, target = example.data()
    model = example.network()
    loss = example.criterion(model(images), torch.full_like(target, 255))
    loss.backward()
    assert loss == 0
    assert not any(weight.grad.any() for weight in model.parameters())


def test_bfloat16(example):
    images, target = example.data()
    model = example.network().eval()
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(images)
        loss = example.criterion(logits, target)
    assert logits.dtype == torch.bfloat16
    want = example.criterion(model(images), target)
    torch.testing.assert_close(loss.float(), want, rtol=2e-2, atol=0)


def test_the_example_trains(example):
    _, loss = example.train(steps=8)
    assert loss < example.train(steps=1)[1]
