"""The operators as torch sees them."""

import pytest
import torch

from lovasz import lovasz_softmax
from tests.ops.cases import IGNORE, labels_of, scores_of, slopes_of


@pytest.mark.parametrize("layout", ["pixels", "classes"])
@pytest.mark.parametrize("per_image", [False, True])
def test_opcheck(layout, per_image):
    shape = (2, 5, 70)
    scores, target = scores_of(shape, layout, torch.float32, 1.0), labels_of(shape)
    operators = torch.ops.lovasz
    torch.library.opcheck(operators.count, (scores, target, 64, IGNORE, per_image, True))
    lse = operators.count(scores, target, 64, IGNORE, per_image, True)[1]
    slopes = slopes_of(2 if per_image else 1, 5, 64)
    factors = torch.rand(len(slopes), 5)
    tail = (None, None, 0.0, None, None)
    arguments = (scores.requires_grad_(), target, lse, slopes, factors, IGNORE, "softmax", *tail)
    torch.library.opcheck(operators.backward, arguments)


@pytest.mark.parametrize("mean", [None, torch.rand(())])
def test_opcheck_of_what_attaches_the_gradient(mean):
    shape = (2, 5, 70)
    scores, target = scores_of(shape, "pixels", torch.float32, 1.0), labels_of(shape)
    lse, slopes, factors = scores.logsumexp(1), slopes_of(1, 5, 64), torch.rand(1, 5)
    kept = (scores.requires_grad_(), target, lse, slopes, factors)
    by_sum = None if mean is None else torch.rand(())
    tail = (by_sum, None, None, None, IGNORE, "softmax", 0.0)
    value = torch.rand((), dtype=torch.float64)
    torch.library.opcheck(torch.ops.lovasz.attach, (value, mean, *kept, *tail))


# dynamo itself makes an instance of the autograd function, which torch deprecates
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_compiles_in_one_piece():
    logits = torch.randn(2, 5, 8, 9, requires_grad=True)
    target = torch.randint(5, (2, 8, 9))
    compiled = torch.compile(lovasz_softmax, fullgraph=True, backend="aot_eager")
    expected = lovasz_softmax(logits, target)
    (gradient,) = torch.autograd.grad(expected, logits)
    got = compiled(logits, target)
    torch.testing.assert_close(got, expected)
    torch.testing.assert_close(torch.autograd.grad(got, logits)[0], gradient)
