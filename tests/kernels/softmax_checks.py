"""What kernels have to do like the reference with the softmax, on whatever device."""

from types import ModuleType

import torch

from lovasz.core.bins import edges
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


def check_extreme_logits(kernels: ModuleType, bins: int, scale: float, length: int) -> None:
    """Equal logits, nearly equal ones, and those whose exponentials are too large."""
    shape = (1, 19, length)
    scores, target = scores_of(shape, "pixels", torch.float32, scale), labels_of(shape)
    counts, lse, invalid, *_ = kernels.histogram(scores, target, bins, IGNORE, False, "softmax")
    expected, lse_expected, *_ = reference.histogram(scores, target, bins, IGNORE, False, "softmax")
    assert torch.equal(counts.sum(-1), expected.sum(-1))
    # with equal scores all the errors are one number, which may lie at an edge; and a float32 that
    # is nearly 1 does not say in which of the last bins it is
    told = 1 - edges(torch, bins)[1:] > 1e-6
    beyond = (counts.cumsum(-1) - expected.cumsum(-1)).abs()[..., told]
    assert beyond.max() <= 3 or scale == 0
    torch.testing.assert_close(lse, lse_expected, rtol=1e-6, atol=2e-6)
    assert not invalid.any()


def with_no_numbers(layout: str, value: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores and labels with one value at an ignored pixel, and at one that counts."""
    shape = (2, 5, 300)
    scores, target = scores_of(shape, layout, torch.float32, 1.0), labels_of(shape)
    target[:, :9] = 0
    target[0, 5] = IGNORE
    scores[0, 3, 5] = value
    scores[1, 3, 7] = value
    return scores, target


def check_no_numbers(kernels: ModuleType, bins: int, layout: str, value: float) -> None:
    """They are told, and spoil the gradient of their own pixel alone."""
    scores, target = with_no_numbers(layout, value)
    _, lse, invalid, *_ = kernels.histogram(scores, target, bins, IGNORE, True, "softmax")
    assert invalid.tolist() == [0, 1]
    slopes = slopes_of(1, 5, bins)
    gradient = kernels.backward(scores, target, lse, slopes, None, IGNORE, "softmax")
    assert gradient[0, :, 5].tolist() == [0.0] * 5
    assert gradient[1, :, 7].isnan().all()
    assert int(gradient.isnan().any(1).sum()) == 1


def check_sort_of_no_numbers(kernels: ModuleType, value: float) -> None:
    """The same where errors are sorted."""
    scores, target = with_no_numbers("pixels", value)
    _, slopes, _, _, lse, invalid = kernels.sort_and_extend(
        scores, target, IGNORE, True, "softmax", 1.0, 1.0
    )
    assert invalid.tolist() == [0, 1]
    assert slopes.isfinite().all()
    gradient = kernels.backward(scores, target, lse, slopes, None, IGNORE, "softmax")
    assert gradient[0, :, 5].tolist() == [0.0] * 5
    assert gradient[1, :, 7].isnan().all()
