"""Tensors with something besides, such as MONAI's MetaTensor: the loss of the tensors inside."""

from collections import UserDict
from types import SimpleNamespace

import pytest
import torch

import lovasz
from tests.test_torch_integration import KINDRED, LOSSES

CASES = {**LOSSES, **KINDRED}


class Tagged(torch.Tensor):
    """A subclass that takes part in operations, and answers them with its kind."""


def tagged(tensor):
    return tensor.as_subclass(Tagged)


def meta(tensor):
    return pytest.importorskip("monai.data").MetaTensor(tensor)


KINDS = {"tagged": tagged, "MetaTensor": meta}


def value_and_gradient(loss, scores, wrap):
    leaf = scores.clone().requires_grad_()
    value = loss(wrap(leaf))
    value.backward()
    assert type(value) is torch.Tensor
    return value.detach(), leaf.grad


def same(got, want):
    for one, other in zip(got, want, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("name", CASES)
def test_the_loss_of_the_tensors_inside(name, dtype, kind):
    function, options, make = CASES[name]
    scores, target = make()
    if target.is_floating_point():
        target = target.to(dtype)
    scores, wrap = scores.to(dtype), KINDS[kind]
    want = value_and_gradient(lambda x: function(x, target, **options), scores, lambda x: x)
    got = value_and_gradient(lambda x: function(x, wrap(target), **options), scores, wrap)
    same(got, want)
    # One of the two alone.
    same(value_and_gradient(lambda x: function(x, target, **options), scores, wrap), want)
    got = value_and_gradient(lambda x: function(x, wrap(target), **options), scores, lambda x: x)
    same(got, want)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", ["histogram", "sort"])
def test_options_that_are_tensors(kind, method):
    wrap = KINDS[kind]
    logits, target = torch.randn(30, 4), torch.randint(4, (30,))
    options = {
        "pixel_weight": torch.rand(30),
        "ignore_mask": torch.rand(30) < 0.2,
        "weight": torch.tensor([1.0, 2.0, 0.5, 3.0]),
        "batch_index": torch.randint(3, (30,)),
    }

    def of(**options):
        def loss(x):
            return lovasz.lovasz_softmax(x, target, method=method, per_image=True, **options)

        return value_and_gradient(loss, logits, lambda x: x)

    want = of(**options)
    same(of(**{name: wrap(option) for name, option in options.items()}), want)
    for name, option in options.items():
        same(of(**{**options, name: wrap(option)}), want)


@pytest.mark.parametrize("kind", KINDS)
def test_maps_weights_of_maps_and_of_cross_entropy(kind):
    wrap = KINDS[kind]
    logits, maps = torch.randn(2, 4, 5), list(torch.randint(4, (2, 2, 5)))
    share, weight = torch.tensor([0.25, 0.75]), torch.rand(4)

    def of(wrap):
        def loss(x):
            return lovasz.cross_entropy_lovasz_softmax(
                x, [wrap(one) for one in maps], target_weight=wrap(share), weight=wrap(weight)
            )

        return value_and_gradient(loss, logits, lambda x: x)

    same(of(wrap), of(lambda x: x))


@pytest.mark.parametrize("kind", KINDS)
def test_modules_windows_and_several_scales(kind):
    wrap = KINDS[kind]
    scales, target = [torch.randn(2, 3, n, n) for n in (8, 4)], torch.randint(3, (2, 8, 8))
    losses = []
    for use in (wrap, lambda x: x):
        criterion = lovasz.CrossEntropyLovaszSoftmaxLoss(momentum=0.9)
        criterion = lovasz.DeepSupervision(criterion, scales=2)
        leaves = [one.clone().requires_grad_() for one in scales]
        for _ in range(2):
            loss = criterion([use(leaf) for leaf in leaves], use(target))
        loss.backward()
        losses.append((loss.detach(), *(leaf.grad for leaf in leaves)))
        assert all(type(buffer) is torch.Tensor for buffer in criterion.buffers())
    same(*losses)


@pytest.mark.parametrize("kind", KINDS)
def test_labels_of_logits(kind):
    logits = torch.randn(2, 3, 4, 4)
    want = lovasz.upsampled_argmax(logits, (8, 8))
    assert torch.equal(lovasz.upsampled_argmax(KINDS[kind](logits), (8, 8)), want)


LOGITS = torch.randn(2, 3, 4, 4)
OUTPUTS = {
    "a list": ([LOGITS, LOGITS[..., :2]], "got list: .* lovasz.deep_supervision"),
    "a tuple": ((LOGITS, LOGITS), "got tuple: .* lovasz.deep_supervision"),
    "a dict": (
        {"out": LOGITS, "aux": LOGITS, "loss": 1.0},
        r"got dict: .* tensors, \['out', 'aux'\]",
    ),
    "a mapping": (UserDict(out=LOGITS), r"got UserDict: .* \['out'\]"),
    "an object": (SimpleNamespace(logits=LOGITS), "got SimpleNamespace: pass its .logits"),
    "no tensor": ([1, 2], "got list$"),
    "nothing": (None, "got NoneType$"),
}


@pytest.mark.parametrize("case", OUTPUTS)
@pytest.mark.parametrize("function", ["lovasz_softmax", "lovasz_sigmoid", "cross_entropy_dice"])
def test_what_networks_return_besides_tensors(function, case):
    output, words = OUTPUTS[case]
    with pytest.raises(TypeError, match=f"^{function}: expected logits to be a tensor, {words}"):
        getattr(lovasz, function)(output, torch.zeros(2, 4, 4).long())


ONE = {name: getattr(lovasz, name) for name in ("lovasz_softmax", "cross_entropy_lovasz_softmax")}
ONE |= {"cross_entropy_dice": lovasz.cross_entropy_dice}
SUMS = ("dice_loss", "jaccard_loss", "jaccard_metric_loss", "tversky_loss", "generalized_dice_loss")


@pytest.mark.parametrize("name", [*ONE, *SUMS])
@pytest.mark.parametrize("shape", [(2, 1, 4, 4), (9, 1)])
def test_the_softmax_of_one_channel_is_no_loss(name, shape):
    other = 'pass activation="sigmoid"' if name in SUMS else r"use \w+(sigmoid|dice)$"
    for labels in (shape, (shape[0], *shape[2:])):
        with pytest.raises(ValueError, match=f"^{name}: expected .* two classes or more.*{other}"):
            getattr(lovasz, name)(torch.randn(shape), torch.randint(2, labels))
