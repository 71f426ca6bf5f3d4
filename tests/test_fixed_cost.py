"""The cost of a call on a tiny input is that of its operators: each is a launch on a device."""

import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend

import lovasz
from tests.operators import Counter
from tests.test_torch_integration import FUSED, LOSSES

# Operators that are no views, forward and backward. Those of ``backward`` itself are among them:
# the gradient of 1 and its sum with what is there.
MOST = {
    "softmax": (3, 4),
    "softmax probabilities": (3, 4),
    "cross-entropy": (4, 5),
    "sigmoid": (4, 4),
    "sigmoid probabilities": (4, 4),
    "hinge": (4, 4),
    "elu": (4, 4),
    "binary cross-entropy": (5, 5),
    "cross-entropy upsampled": (4, 5),
    "soft labels": (5, 4),
    "Dice": (30, 24),  # its formula
}


def operators(name, **more):
    function, options, make = LOSSES[name]
    scores, target = make()
    scores.requires_grad_()
    scores.grad = torch.zeros_like(scores)
    with Counter() as forward:
        loss = function(scores, target, **options, **more)
    with Counter() as backward:
        loss.backward()
    return forward.names, backward.names


@pytest.mark.parametrize("name", LOSSES)
def test_few_operators(name):
    for names, most in zip(operators(name), MOST[name], strict=True):
        assert len(names) <= most, names


@pytest.mark.parametrize("name", [name for name in LOSSES if name not in FUSED])
def test_few_operators_when_sorting(name):
    forward, backward = operators(name, method="sort")
    assert len(forward) <= 4 + (name == "soft labels"), forward  # their sums come first
    assert len(backward) <= 4, backward


def test_few_operators_for_losses_of_images():
    forward, backward = operators("softmax", per_image=True)
    assert len(forward) <= 3, forward
    assert len(backward) <= 4, backward


def test_no_operator_fills_a_tensor_with_a_number():
    filling = {"aten::scalar_tensor", "aten::ones", "aten::full"}
    for name in LOSSES:
        forward, backward = operators(name)
        assert not filling & {*forward}
        # The derivative of a least denominator is torch's.
        assert name == "Dice" or not filling & {*backward}


def test_a_factor_of_one_is_no_operator():
    plain, _ = operators("cross-entropy")
    weighted, _ = operators("cross-entropy", cross_entropy_weight=0.5, lovasz_weight=2.0)
    assert len(weighted) == len(plain) + 2


def test_factors_that_change_compile_nothing_anew():
    torch._dynamo.reset()
    counter = CompileCounterWithBackend("aot_eager")

    def loss(scores, target, first, second):
        factors = {"cross_entropy_weight": first, "lovasz_weight": second}
        return lovasz.cross_entropy_lovasz_softmax(scores, target, ignore_index=255, **factors)

    compiled = torch.compile(loss, fullgraph=True, backend=counter, dynamic=True)
    scores, target = LOSSES["cross-entropy"][2]()
    compiled(scores, target, 0.5, 0.25)
    frames = counter.frame_count
    for factors in ((1.0, 1.0), (0.25, 1.0), (1.0, 0.75)):
        got, want = compiled(scores, target, *factors), loss(scores, target, *factors)
        torch.testing.assert_close(got, want)
    assert counter.frame_count == frames
