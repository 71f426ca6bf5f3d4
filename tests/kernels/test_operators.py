"""The operators as torch sees them."""

import pytest
import torch

from lovasz import lovasz_softmax
from lovasz.core.regions import SUMS
from tests.kernels.cases import IGNORE, labels_of, scores_of, slopes_of


@pytest.mark.parametrize("layout", ["pixels", "classes"])
@pytest.mark.parametrize("per_image", [False, True])
def test_opcheck(layout, per_image):
    shape = (2, 5, 70)
    scores, target = scores_of(shape, layout, torch.float32, 1.0), labels_of(shape)
    operators = torch.ops.lovasz
    torch.library.opcheck(operators.histogram, (scores, target, 64, IGNORE, per_image, "softmax"))
    lse = operators.histogram(scores, target, 64, IGNORE, per_image, "softmax")[1]
    slopes = slopes_of(2 if per_image else 1, 5, 64)
    factors = torch.rand(len(slopes), 5)
    tail = (None, None, 0.0, None, None, None, None, None, 0.0, None)
    arguments = (scores.requires_grad_(), target, lse, slopes, factors, IGNORE, "softmax", *tail)
    torch.library.opcheck(operators.backward, arguments)


@pytest.mark.parametrize("reduction", ["none", "mean"])
@pytest.mark.parametrize("sums", [None, torch.tensor([3.0, 2.0], dtype=torch.float64)])
def test_opcheck_of_what_has_the_gradient(sums, reduction):
    shape = (2, 5, 70)
    scores, target = scores_of(shape, "pixels", torch.float32, 1.0), labels_of(shape)
    losses, active = torch.rand(2, 5, dtype=torch.float64), torch.rand(2, 5) < 0.5
    options = (torch.rand(5), True, reduction, True, sums)
    kept = (scores.requires_grad_(), target, scores.logsumexp(1).detach(), slopes_of(2, 5, 64))
    arguments = (losses, active, torch.zeros(2).long(), *options, *kept)
    regions = torch.rand(2, 5, SUMS, dtype=torch.float64)
    tail = (torch.rand(5), None, None, None, regions, IGNORE, "softmax", 0.1, None, None, 0.2)
    torch.library.opcheck(torch.ops.lovasz.reduce, (*arguments, *tail))


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
