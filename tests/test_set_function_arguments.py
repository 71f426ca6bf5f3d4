"""What a loss says of something that is no set function."""

import numpy as np
import pytest
import torch

import lovasz
from lovasz import LovaszHingeLoss, LovaszSoftmaxLoss, lovasz_sigmoid, lovasz_softmax


class Scaled:
    """A set function of the caller's own, an object with a state."""

    def __init__(self, factor=0.5):
        self.factor = factor

    def __call__(self, fn, fp, positives):
        return self.factor * lovasz.jaccard(fn, fp, positives)


def changed(fn, fp, positives):
    return fn.add_(fp) / (positives + fp)


def of_numbers(fn, fp, positives):
    return fn if fn > 0 else fp


def of_numpy(fn, fp, positives):
    return np.asarray(fn + fp)


WRONG = [
    (
        lovasz.dice,
        TypeError,
        r"function dice that makes one \(pass dice\(accept_nonconvex=True\)\)",
    ),
    (lovasz.tversky, TypeError, r"tversky that makes one \(pass tversky\(alpha, beta\)\)"),
    ("dice", TypeError, r"got 'dice' \(pass lovasz.dice\(accept_nonconvex=True\)\)"),
    ("Jaccard", TypeError, r"got 'Jaccard' \(pass lovasz.jaccard\)"),
    ("SetFunction", TypeError, "got 'SetFunction'$"),
    ("iou", TypeError, "got 'iou'$"),
    (None, TypeError, "got None$"),
    (Scaled, TypeError, "the class Scaled .pass an object of it"),
    (lambda errors, count: errors / count, TypeError, "which raises TypeError: .*2 positional"),
    (lovasz.dice_loss, TypeError, "dice_loss .* which raises TypeError"),
    (of_numbers, TypeError, "of_numbers .* which raises RuntimeError: Boolean value of Tensor"),
    (changed, ValueError, "leave its arguments as they are, .*changed"),
    (of_numpy, ValueError, "return a float64 tensor .* got ndarray"),
    (lambda fn, fp, positives: (fn + fp).sum(), ValueError, r"got torch.float64 of shape \(\)"),
]


@pytest.mark.parametrize(("value", "error", "sentence"), WRONG)
def test_what_is_no_set_function_is_said(value, error, sentence):
    logits, target = torch.randn(4, 3), torch.tensor([0, 1, 2, 0])
    with pytest.raises(error, match="^lovasz_softmax: expected set_function to .*" + sentence):
        lovasz_softmax(logits, target, set_function=value)
    for module in (LovaszSoftmaxLoss, LovaszHingeLoss):
        with pytest.raises(error, match=f"^{module.__name__}: expected set_function to "):
            module(set_function=value)
    with pytest.raises(error, match=r"^lovasz_sigmoid: expected set_function to "):
        lovasz_sigmoid(logits[:, 0], target.clamp(max=1), set_function=value)


@pytest.mark.parametrize("set_function", [Scaled(), lovasz.dice(accept_nonconvex=True)])
def test_what_is_one_is_taken(set_function):
    logits, target = torch.randn(8, 3, requires_grad=True), torch.arange(8) % 3
    loss = lovasz_softmax(logits, target, set_function=set_function)
    (gradient,) = torch.autograd.grad(loss, logits)
    if isinstance(set_function, Scaled):
        plain = lovasz_softmax(logits, target)
        torch.testing.assert_close(loss, 0.5 * plain)
        torch.testing.assert_close(gradient, 0.5 * torch.autograd.grad(plain, logits)[0])
    assert gradient.abs().sum() > 0


def test_a_function_that_makes_them_is_refused_while_compiling_too():
    logits, target = torch.randn(4, 3), torch.tensor([0, 1, 2, 0])
    compiled = torch.compile(lovasz_softmax, backend="eager")
    with pytest.raises(Exception, match="function dice that makes one"):
        compiled(logits, target, set_function=lovasz.dice)
