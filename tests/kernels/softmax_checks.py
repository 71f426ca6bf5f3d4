"""What kernels have to do like the reference with the softmax, on whatever device."""

from types import ModuleType

import torch

from lovasz.kernels import reference
from tests.kernels.cases import IGNORE, factors_of, labels_of, relative, scores_of, slopes_of


def check_weighted_gradient(
    kernels: ModuleType, dtype: torch.dtype, layout: str, rounding: float
) -> None:
    """Weights multiply the gradient before it is rounded: elements are rounded once, not twice."""
    shape = (2, 19, 257)
    scores, target = scores_of(shape, layout, dtype, 3.0), labels_of(shape)
    lse, slopes = scores.float().logsumexp(1), slopes_of(2, 19, 64)
    weight = torch.rand(2, 257) * 300
    tail = (factors_of(2, 19), IGNORE, "softmax", torch.tensor(0.3), None, 0.1, None, weight)
    got = kernels.backward(scores, target, lse, slopes, *tail)
    expected = reference.backward(scores.double(), target, lse.double(), slopes.double(), *tail)
    assert got.dtype == dtype
    assert got.stride() == torch.empty_like(scores).stride()
    assert relative(got, expected) < rounding
