"""torch's own tools: compile, autograd checks, functional transforms, modules."""

import copy
import io

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

import lovasz
from lovasz import LovaszSoftmaxLoss, lovasz_softmax, lovasz_softmax_from_probabilities

METHODS = pytest.mark.parametrize("method", ["histogram", "sort"])


def pixels(dtype=torch.float32, shape=(2, 4, 5, 3)):
    logits = torch.randn(shape, dtype=dtype) * 2
    target = torch.randint(0, shape[1], (shape[0], *shape[2:]))
    target[0, 0] = 255
    return logits, target


@pytest.mark.parametrize("per_image", [False, True])
@pytest.mark.parametrize("classes", ["present", "all", [1, 2]])
def test_gradcheck(per_image, classes):
    logits, target = pixels(torch.float64, (2, 4, 3, 2))
    options = {"ignore_index": 255, "method": "sort", "per_image": per_image, "classes": classes}
    assert gradcheck(lambda x: lovasz_softmax(x, target, **options), logits.requires_grad_())


@METHODS
def test_second_derivative(method):
    logits, target = pixels(torch.float64, (1, 3, 2, 3))
    options = {"ignore_index": 255, "method": method, "weight": [1.0, 2.0, 3.0]}
    assert gradgradcheck(lambda x: lovasz_softmax(x, target, **options), logits.requires_grad_())


@METHODS
def test_second_derivative_from_probabilities(method):
    probabilities = torch.rand(1, 3, 6, dtype=torch.float64, requires_grad=True)
    target = torch.randint(0, 3, (1, 6))

    def loss(p):
        return lovasz_softmax_from_probabilities(p.square(), target, method=method)

    assert gradgradcheck(loss, probabilities)


@METHODS
@pytest.mark.parametrize("options", [{}, {"classes": "all"}, {"classes": [0, 2]}])
def test_compiles_without_a_graph_break(method, options):
    logits, target = pixels()
    weight = torch.tensor([1.0, 2.0, 0.5, 1.0])

    def loss(x, y):
        return lovasz_softmax(x, y, ignore_index=255, method=method, weight=weight, **options)

    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    want_input, got_input = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    want, got = loss(want_input, target), compiled(got_input, target)
    want.backward()
    got.backward()
    torch.testing.assert_close(got, want)
    torch.testing.assert_close(got_input.grad, want_input.grad)


def test_compiles_as_a_module_with_inductor():
    logits, target = pixels()
    module = LovaszSoftmaxLoss(ignore_index=255, classes=[0, 1, 3], per_image=True)
    compiled = torch.compile(module, fullgraph=True)
    torch.testing.assert_close(compiled(logits, target), module(logits, target))


@METHODS
def test_compiled_code_still_raises_for_labels(method):
    logits, target = pixels()
    compiled = torch.compile(
        lambda x, y: lovasz_softmax(x, y, method=method), fullgraph=True, backend="aot_eager"
    )
    with pytest.raises(ValueError, match="got 255"):
        compiled(logits, target)


@pytest.mark.parametrize("link", ["softmax", "probabilities"])
@pytest.mark.parametrize("per_image", [True, False])
def test_operators_pass_opcheck(link, per_image):
    logits, target = pixels(shape=(2, 4, 15))
    scores = logits if link == "softmax" else logits.softmax(1)
    ops = torch.ops.lovasz
    counts, lse, *_ = ops.histogram(scores, target, 16, 255, per_image, link)
    slopes = torch.rand(counts.shape)
    torch.library.opcheck(ops.histogram, (scores, target, 16, 255, per_image, link))
    torch.library.opcheck(ops.sort, (scores, target, 255, per_image, link))
    tail = (None, 255, link, None, None, 0.0, *(None,) * 5, 0.0, None)
    torch.library.opcheck(ops.backward, (scores, target, lse, slopes, *tail))
    by_pixel = torch.rand(scores.shape)
    torch.library.opcheck(ops.backward, (scores, target, lse, by_pixel, *tail))


def test_modules_are_copied_and_saved():
    module = LovaszSoftmaxLoss(weight=[1.0, 2.0, 3.0, 4.0], set_function=lovasz.tversky(1, 2))
    logits, target = pixels()
    target[target == 255] = 0
    want = module(logits, target)
    assert torch.equal(copy.deepcopy(module)(logits, target), want)
    buffer = io.BytesIO()
    torch.save(module, buffer)
    buffer.seek(0)
    assert torch.equal(torch.load(buffer, weights_only=False)(logits, target), want)
    assert module.double().weight.dtype == torch.float64


@METHODS
def test_results_can_be_repeated_bitwise(method):
    logits, target = pixels(shape=(2, 4, 50, 40))
    runs = []
    for _ in range(3):
        x = logits.clone().requires_grad_()
        loss = lovasz_softmax(x, target, ignore_index=255, method=method)
        loss.backward()
        runs.append((loss.detach(), x.grad))
    for loss, gradient in runs[1:]:
        assert torch.equal(loss, runs[0][0])
        assert torch.equal(gradient, runs[0][1])


def test_inputs_are_not_changed():
    logits, target = pixels()
    before = logits.clone(), target.clone()
    lovasz_softmax(logits.requires_grad_(), target, ignore_index=255).backward()
    assert torch.equal(logits, before[0])
    assert torch.equal(target, before[1])
