"""Losses, modules, metrics and weights on a device that has no float64: those of the CPU."""

import pytest
import torch

import lovasz
from lovasz import metrics
from lovasz.compat import lovasz_losses
from tests.test_torch_integration import LOSSES
from tests.without_float64.device import DEVICE

EVERY = pytest.mark.parametrize("name", LOSSES)


def there_and_here(scores):
    return scores.to(DEVICE).requires_grad_(), scores.clone().requires_grad_()


def assert_same(there, here):
    assert there.device == DEVICE
    assert torch.equal(there.cpu(), here)


def test_the_device_is_as_it_should_be():
    ones = torch.ones(2, 3).to(DEVICE)
    assert ones.device == DEVICE
    assert (ones + 1).sum().item() == 12
    with pytest.raises(TypeError, match="no float64"):
        ones.double()
    with pytest.raises(RuntimeError, match="two devices"):
        ones + torch.ones(2, 3)


@EVERY
def test_losses_and_gradients(name):
    function, options, make = LOSSES[name]
    scores, target = make()
    there, here = there_and_here(scores)
    loss = function(there, target.to(DEVICE), **options)
    expected = function(here, target, **options)
    assert_same(loss.detach(), expected.detach())
    loss.backward()
    expected.backward()
    assert_same(there.grad, here.grad)


@pytest.mark.parametrize("method", ["histogram", "sort"])
def test_every_tensor_moves(method):
    logits = torch.randn(60, 4)
    target = torch.randint(4, (60,))
    tensors = {
        "weight": torch.rand(4),
        "pixel_weight": torch.rand(60),
        "ignore_mask": torch.rand(60) < 0.1,
        "offsets": torch.tensor([20, 35, 60]),
    }
    if method == "sort":
        del tensors["pixel_weight"]
    options = {"method": method, "per_image": True, "classes": [0, 2, 3], "reduction": "none"}
    there, here = there_and_here(logits)
    moved = {name: tensor.to(DEVICE) for name, tensor in tensors.items()}
    loss = lovasz.lovasz_softmax(there, target.to(DEVICE), **moved, **options)
    assert_same(loss.detach(), lovasz.lovasz_softmax(here, target, **tensors, **options).detach())


def test_labels_are_looked_at():
    logits = torch.randn(2, 3, 4).to(DEVICE)
    with pytest.raises(ValueError, match="expected every label to be in"):
        lovasz.lovasz_softmax(logits, torch.full((2, 4), 7).to(DEVICE))


def test_a_weight_has_to_be_there():
    logits = torch.randn(2, 3, 4).to(DEVICE)
    with pytest.raises(ValueError, match="expected weight on singles"):
        lovasz.lovasz_softmax(logits, torch.zeros(2, 4).long().to(DEVICE), weight=torch.ones(3))


def test_a_module_with_a_window_moves_at_any_time():
    modules = [
        lovasz.CrossEntropyLovaszSoftmaxLoss(momentum=0.5, weight=[1.0, 2.0, 3.0]) for _ in range(2)
    ]
    for step in range(3):
        modules[0].to(DEVICE)
        logits, target = torch.randn(2, 3, 40), torch.randint(3, (2, 40))
        there, here = there_and_here(logits)
        loss = modules[0](there, target.to(DEVICE))
        assert_same(loss.detach(), modules[1](here, target).detach())
        if step == 1:
            modules[0].load_state_dict(modules[1].state_dict())


def test_metrics():
    logits, target = torch.randn(3, 4, 50), torch.randint(4, (3, 50))
    for make in (
        metrics.DatasetIoU,
        metrics.ImageIoU,
        metrics.ClassIoU,
        lambda classes: metrics.ImageScore(classes, "dice", average="weighted"),
        lambda classes: metrics.DatasetScore(classes, "accuracy", average="micro"),
    ):
        there, here = make(4).to(DEVICE), make(4)
        there.update(logits.to(DEVICE), target.to(DEVICE))
        here.update(logits, target)
        assert torch.equal(there.compute().cpu(), here.compute())


@pytest.mark.parametrize("scheme", ["inverse", "sqrt", "effective", "enet"])
def test_class_weights(scheme):
    counts = torch.tensor([1000, 10, 100])
    there = lovasz.class_weights(counts.to(DEVICE), scheme)
    assert torch.equal(there.cpu(), lovasz.class_weights(counts, scheme))


def test_functions_of_the_authors():
    sorted_labels = torch.tensor([1.0, 0.0, 1.0, 0.0])
    slopes = lovasz_losses.lovasz_grad(sorted_labels.to(DEVICE))
    assert_same(slopes, lovasz_losses.lovasz_grad(sorted_labels))
    probabilities, labels = torch.randn(2, 3, 4, 5).softmax(1), torch.randint(3, (2, 4, 5))
    there, here = there_and_here(probabilities)
    loss = lovasz_losses.lovasz_softmax(there, labels.to(DEVICE))
    assert_same(loss.detach(), lovasz_losses.lovasz_softmax(here, labels).detach())
