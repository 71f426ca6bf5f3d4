"""What kernels have to do like the reference with links of multilabel, on whatever device.

``kernels`` is an implementation of the operators: ``cpu`` or ``triton``.
"""

from types import ModuleType

import torch
from torch import Tensor

from lovasz.kernels import reference
from lovasz.kernels.fixed_point import SCALE
from tests.kernels import cases
from tests.kernels.cases import IGNORE, factors_of, relative, scores_of, slopes_of

BINS = 1024
LOGITS = ["sigmoid", "hinge", "elu"]
PROBABILITIES = ["channel_probabilities", "probabilities"]
LINKS = [*LOGITS, *PROBABILITIES]
DTYPES = [torch.float32, torch.bfloat16, torch.float16]
# Rounding of the gradient itself, and slopes of neighbouring bins.
TOLERANCE = {torch.float32: 5e-4, torch.bfloat16: 8e-3, torch.float16: 1e-3}
Shape = tuple[int, int, int]


def labels_of(shape: Shape, dtype: torch.dtype = torch.int64) -> Tensor:
    """Zeros and ones, a tenth of them ``IGNORE``."""
    generator = torch.Generator().manual_seed(shape[2])
    labels = torch.randint(2, shape, generator=generator)
    dropped = torch.rand(shape, generator=generator) < 0.1
    return labels.masked_fill(dropped, IGNORE).to(dtype)


def inputs_of(
    shape: Shape,
    layout: str,
    dtype: torch.dtype,
    scale: float,
    link: str,
    labels: torch.dtype = torch.int64,
) -> tuple[Tensor, Tensor]:
    """Random scores, probabilities where the link asks for them, and labels."""
    scores = scores_of(shape, layout, dtype, scale)
    if link == "probabilities":  # in place, as other layouts would come of it
        return scores.copy_(scores.float().softmax(1)), cases.labels_of(shape, labels)
    if link == "channel_probabilities":
        scores.copy_(scores.float().sigmoid())
    return scores, labels_of(shape, labels)


def ignored(scores: Tensor, target: Tensor) -> Tensor:
    """Numbers (N, C, L) at the places that are ignored."""
    return scores[(target.view(len(scores), -1, scores.shape[2]) == IGNORE).expand(scores.shape)]


def moved(counts: Tensor, expected: Tensor) -> float:
    """Share of errors that were counted in another bin than the reference's."""
    return float((counts - expected).abs().sum() / 2 / expected.sum().clamp(min=1))


NO_LSE = torch.empty(0)


def check_histogram(
    kernels: ModuleType, shape: Shape, layout: str, link: str, per_image: bool, bins: int = BINS
) -> None:
    scores, target = inputs_of(shape, layout, torch.float32, 3.0, link)
    arguments = (scores, target, bins, IGNORE, per_image, link)
    counts, lse, invalid, sums, _ = kernels.histogram(*arguments)
    expected, *_ = reference.histogram(*arguments)
    # every pixel is in its row; an error at the edge of two bins may be in either
    assert torch.equal(counts.sum(-1), expected.sum(-1))
    assert moved(counts, expected) < 2e-3
    assert (counts.cumsum(-1) - expected.cumsum(-1)).abs().max() <= max(1, 2e-3 * shape[2])
    assert not invalid.any()
    assert len(lse) == len(sums) == 0


def check_backward(
    kernels: ModuleType, shape: Shape, layout: str, link: str, per_image: bool
) -> None:
    scores, target = inputs_of(shape, layout, torch.float32, 3.0, link)
    groups = shape[0] if per_image else 1
    slopes, factors = slopes_of(groups, shape[1], BINS), factors_of(groups, shape[1])
    arguments = (scores, target, NO_LSE, slopes, factors, IGNORE, link)
    gradient, expected = kernels.backward(*arguments), reference.backward(*arguments)
    assert gradient.stride() == torch.empty_like(scores).stride()
    assert relative(gradient, expected) < TOLERANCE[torch.float32]
    assert not ignored(gradient, target).any()


def check_narrow(kernels: ModuleType, dtype: torch.dtype, layout: str, link: str) -> None:
    shape = (2, 5, 300)
    scores, target = inputs_of(shape, layout, dtype, 3.0, link, torch.uint8)
    counts, *_ = kernels.histogram(scores, target, BINS, IGNORE, False, link)
    expected, *_ = reference.histogram(scores, target, BINS, IGNORE, False, link)
    assert moved(counts, expected) < 2e-3
    arguments = (target, NO_LSE, slopes_of(1, 5, BINS), None, IGNORE, link)
    gradient = kernels.backward(scores, *arguments)
    assert gradient.dtype == dtype
    wide = reference.backward(scores.float(), *arguments)
    assert relative(gradient, wide) < TOLERANCE[dtype]


def check_cross_entropy(kernels: ModuleType, shape: Shape, weighted: bool) -> None:
    scores, target = scores_of(shape, "pixels", torch.float32, 5.0), labels_of(shape)
    positive = torch.linspace(0.5, 3.0, shape[1])
    weight = torch.rand(shape, generator=torch.Generator().manual_seed(3)) if weighted else None
    arguments = (scores, target, BINS, IGNORE, False, "sigmoid", True, positive, 0.0, weight)
    sums, expected = kernels.histogram(*arguments)[3], reference.histogram(*arguments)[3]
    torch.testing.assert_close(sums, expected, rtol=1e-5, atol=1e-5)
    slopes, scale = slopes_of(1, shape[1], BINS), torch.tensor(0.3)
    arguments = (scores, target, NO_LSE, slopes, None, IGNORE, "sigmoid", scale, positive)
    gradient, expected = kernels.backward(*arguments), reference.backward(*arguments)
    assert relative(gradient, expected) < TOLERANCE[torch.float32]


def check_weights(kernels: ModuleType, shape: Shape, link: str, per_image: bool) -> None:
    scores, target = inputs_of(shape, "pixels", torch.float32, 3.0, link)
    weight = 3 * torch.rand(target.shape, generator=torch.Generator().manual_seed(3))
    arguments = (scores, target, BINS, IGNORE, per_image, link)
    counts = kernels.histogram(*arguments, pixel_weight=weight)[0]
    expected = reference.histogram(*arguments, pixel_weight=weight)[0]
    assert torch.equal(counts.sum(-1), expected.sum(-1))
    assert moved(counts, expected) < 2e-3
    once = kernels.histogram(*arguments, pixel_weight=torch.ones_like(weight))[0]
    assert torch.equal(once, kernels.histogram(*arguments)[0] * SCALE)


def check_extremes(kernels: ModuleType, scale: float, link: str) -> None:
    shape = (2, 3, 500)
    scores, target = inputs_of(shape, "pixels", torch.float32, scale, link)
    arguments = (scores, target, BINS, IGNORE, False, link)
    counts, _, invalid, *_ = kernels.histogram(*arguments)
    expected, _, expected_invalid, *_ = reference.histogram(*arguments)
    assert torch.equal(invalid, expected_invalid)
    assert moved(counts, expected) < 2e-3
    arguments = (scores, target, NO_LSE, slopes_of(1, 3, BINS), None, IGNORE, link)
    gradient, expected = kernels.backward(*arguments), reference.backward(*arguments)
    assert relative(gradient, expected) < TOLERANCE[torch.float32]


def _with_some(value: float) -> tuple[Tensor, Tensor]:
    """Scores and labels with a value at three places, one of which is ignored."""
    scores, target = torch.zeros(2, 3, 70), torch.zeros(2, 3, 70, dtype=torch.int64)
    scores[0, 1, 5] = scores[1, 2, 69] = scores[1, 0, 0] = value
    target[1, 2, 69] = 1
    target[1, 0, 0] = IGNORE
    return scores, target


def check_uncountable(kernels: ModuleType, link: str, value: float) -> None:
    scores, target = _with_some(value)
    for per_image in (False, True):
        arguments = (scores, target, BINS, IGNORE, per_image, link)
        invalid = kernels.histogram(*arguments)[2]
        assert torch.equal(invalid, reference.histogram(*arguments)[2])


def check_unsortable(kernels: ModuleType, link: str, value: float) -> None:
    scores, target = _with_some(value)
    for per_image in (False, True):
        arguments = (scores, target, IGNORE, per_image, link, 1.0, 1.0)
        invalid = kernels.sort_and_extend(*arguments)[-1]
        assert torch.equal(invalid, reference.sort_and_extend(*arguments)[-1])


def check_sort(kernels: ModuleType, shape: Shape, link: str, per_image: bool) -> None:
    scores, target = inputs_of(shape, "pixels", torch.float32, 3.0, link)
    arguments = (scores, target, IGNORE, per_image, link, 1.0, 1.0)
    losses, slopes, positives, pixels, lse, invalid = kernels.sort_and_extend(*arguments)
    expected = reference.sort_and_extend(*arguments)
    torch.testing.assert_close(losses, expected[0], rtol=1e-5, atol=1e-6)
    assert torch.equal(positives, expected[2])
    assert torch.equal(pixels, expected[3])
    assert len(lse) == 0
    assert not invalid.any()
    # Neighbours in the order may change places by the rounding of their errors.
    assert (slopes.sum(2) - expected[1].sum(2)).abs().max() < 1e-5
    assert not ignored(slopes, target).any()
    factors = factors_of(*expected[0].shape)
    arguments = (scores, target, lse, expected[1], factors, IGNORE, link)
    gradient, wanted = kernels.backward(*arguments), reference.backward(*arguments)
    torch.testing.assert_close(gradient, wanted, rtol=1e-5, atol=1e-7)


def check_narrow_and_sorted(
    kernels: ModuleType, dtype: torch.dtype, layout: str, link: str
) -> None:
    shape = (2, 5, 300)
    scores, target = inputs_of(shape, layout, dtype, 3.0, link, torch.int8)
    arguments = (scores, target, NO_LSE, torch.rand(shape), None, IGNORE, link)
    gradient, wanted = kernels.backward(*arguments), reference.backward(*arguments)
    assert gradient.stride() == torch.empty_like(scores).stride()
    assert relative(gradient, wanted) < TOLERANCE[dtype]


def check_largest(kernels: ModuleType) -> None:
    scores = torch.tensor([[[-1e30, 2.0, -3e38, 1e-40, 5.0]]])
    target = torch.tensor([[[1, 0, 1, 0, 1]]])
    got = kernels.sort_and_extend(scores, target, None, False, "hinge", 1.0, 1.0)
    want = reference.sort_and_extend(scores.double(), target, None, False, "hinge", 1.0, 1.0)
    torch.testing.assert_close(got[0], want[0], rtol=1e-6, atol=0)
    torch.testing.assert_close(got[1].double(), want[1], rtol=1e-6, atol=1e-9)


def check_weighted_gradient(
    kernels: ModuleType, dtype: torch.dtype, layout: str, link: str
) -> None:
    """Weights multiply the gradient before it is rounded."""
    shape = (2, 3, 257)
    scores, target = inputs_of(shape, layout, dtype, 3.0, link)
    slopes, factors, weight = slopes_of(2, 3, 64), factors_of(2, 3), torch.rand(target.shape) * 300
    cross_entropy = torch.tensor(0.3) if link == "sigmoid" else None
    tail = (factors, IGNORE, link, cross_entropy, None, 0.0, None, weight)
    got = kernels.backward(scores, target, NO_LSE, slopes, *tail)
    expected = reference.backward(scores.double(), target, NO_LSE, slopes.double(), *tail)
    assert got.dtype == dtype
    assert got.stride() == torch.empty_like(scores).stride()
    rounding = {torch.float32: 2e-3, torch.bfloat16: 3e-3, torch.float16: 2e-3}[dtype]
    assert relative(got, expected) < rounding


def probabilities_with_some(link: str) -> tuple[Tensor, Tensor, list[int]]:
    """Some are NaN, some nearly probabilities, some ignored; and how many are NaN, by image."""
    scores = torch.full((2, 3, 70), 0.3)
    target = torch.zeros((2, 70) if link == "probabilities" else (2, 3, 70), dtype=torch.int64)
    scores[0, 1, 1] = scores[1, 2, 69] = torch.nan
    scores[0, 0, 3], scores[0, 1, 3] = 1.005, -0.005  # the rounding of 16-bit numbers
    target[..., 7], scores[..., 7] = IGNORE, 2.0
    target[0, ..., 2] = 1
    return scores, target, [1, 1]


def check_probabilities_that_are_none(kernels: ModuleType, link: str) -> None:
    """NaN is counted, of ignored pixels nothing; what rounding carried out of [0, 1] is kept in."""
    scores, target, wrong = probabilities_with_some(link)
    arguments = (target, BINS, IGNORE, True, link)
    invalid = kernels.histogram(scores, *arguments)[2]
    assert invalid.tolist() == wrong
    sorts = (target, IGNORE, True, link, 1.0, 1.0)
    assert kernels.sort_and_extend(scores, *sorts)[-1].tolist() == wrong
    scores = scores.nan_to_num(0.3)
    inside = scores.clamp(0.0, 1.0)
    expected = reference.histogram(inside, *arguments)[0]
    assert torch.equal(kernels.histogram(scores, *arguments)[0], expected)
    got = kernels.sort_and_extend(scores, *sorts)[:2]
    for one, other in zip(got, reference.sort_and_extend(inside, *sorts)[:2], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-8)
    tail = (target, NO_LSE, slopes_of(2, 3, BINS), None, IGNORE, link)
    gradient, expected = kernels.backward(scores, *tail), reference.backward(inside, *tail)
    assert torch.equal(gradient, expected)
