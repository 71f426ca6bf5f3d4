"""What kernels of channels have to do like the reference, whatever device they are for.

``kernels`` is a module with the operators of channels: ``cpu_channels`` or ``gpu.channels``.
"""

from types import ModuleType

import torch
from torch import Tensor

from lovasz.kernels import WEIGHT_UNIT, channels
from tests.kernels.cases import IGNORE, factors_of, relative, scores_of, slopes_of

BINS = 1024
LINKS = ["sigmoid", "hinge", "elu"]
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


def channel_scores(shape: Shape, layout: str, dtype: torch.dtype, scale: float, link: str):
    """Random scores, probabilities where the link asks for them."""
    scores = scores_of(shape, layout, dtype, scale)
    return scores.sigmoid() if link == "channel_probabilities" else scores


def moved(counts: Tensor, expected: Tensor) -> float:
    """Share of errors that were counted in another bin than the reference's."""
    return float((counts - expected).abs().sum() / 2 / expected.sum().clamp(min=1))


def check_count(
    kernels: ModuleType, shape: Shape, layout: str, link: str, per_image: bool, bins: int = BINS
) -> None:
    scores, target = channel_scores(shape, layout, torch.float32, 3.0, link), labels_of(shape)
    arguments = (scores, target, bins, IGNORE, per_image, link)
    counts, invalid, sums = kernels.count_channels(*arguments)
    expected, _, _ = channels.count_channels(*arguments)
    # every pixel is in its row; an error at the edge of two bins may be in either
    assert torch.equal(counts.sum(-1), expected.sum(-1))
    assert moved(counts, expected) < 2e-3
    assert (counts.cumsum(-1) - expected.cumsum(-1)).abs().max() <= max(1, 2e-3 * shape[2])
    assert not invalid.any()
    assert len(sums) == 0


def check_push(kernels: ModuleType, shape: Shape, layout: str, link: str, per_image: bool) -> None:
    scores, target = channel_scores(shape, layout, torch.float32, 3.0, link), labels_of(shape)
    groups = shape[0] if per_image else 1
    slopes, factors = slopes_of(groups, shape[1], BINS), factors_of(groups, shape[1])
    gradient = kernels.push_channels(scores, target, slopes, IGNORE, link, factors=factors)
    expected = channels.push_channels(scores, target, slopes, IGNORE, link, factors=factors)
    assert gradient.stride() == torch.empty_like(scores).stride()
    assert relative(gradient, expected) < TOLERANCE[torch.float32]
    assert not gradient[target == IGNORE].any()


def check_narrow(kernels: ModuleType, dtype: torch.dtype, layout: str, link: str) -> None:
    shape = (2, 5, 300)
    scores, target = scores_of(shape, layout, dtype, 3.0), labels_of(shape, torch.uint8)
    counts, _, _ = kernels.count_channels(scores, target, BINS, IGNORE, False, link)
    expected, _, _ = channels.count_channels(scores, target, BINS, IGNORE, False, link)
    assert moved(counts, expected) < 2e-3
    slopes = slopes_of(1, 5, BINS)
    gradient = kernels.push_channels(scores, target, slopes, IGNORE, link)
    assert gradient.dtype == dtype
    wide = channels.push_channels(scores.float(), target, slopes, IGNORE, link)
    assert relative(gradient, wide) < TOLERANCE[dtype]


def check_entropy(kernels: ModuleType, shape: Shape, weighted: bool) -> None:
    scores, target = scores_of(shape, "pixels", torch.float32, 5.0), labels_of(shape)
    positive = torch.linspace(0.5, 3.0, shape[1])
    weight = torch.rand(shape, generator=torch.Generator().manual_seed(3)) if weighted else None
    arguments = (scores, target, BINS, IGNORE, False, "sigmoid", True, positive, weight)
    sums = kernels.count_channels(*arguments)[2]
    torch.testing.assert_close(sums, channels.count_channels(*arguments)[2], rtol=1e-5, atol=1e-5)
    slopes, scale = slopes_of(1, shape[1], BINS), torch.tensor(0.3)
    arguments = (scores, target, slopes, IGNORE, "sigmoid", scale, positive)
    gradient = kernels.push_channels(*arguments)
    assert relative(gradient, channels.push_channels(*arguments)) < TOLERANCE[torch.float32]


def check_weights(kernels: ModuleType, shape: Shape, link: str, per_image: bool) -> None:
    scores, target = channel_scores(shape, "pixels", torch.float32, 3.0, link), labels_of(shape)
    weight = 3 * torch.rand(shape, generator=torch.Generator().manual_seed(3))
    options = (BINS, IGNORE, per_image, link)
    counts = kernels.count_channels(scores, target, *options, pixel_weight=weight)[0]
    expected = channels.count_channels(scores, target, *options, pixel_weight=weight)[0]
    assert torch.equal(counts.sum(-1), expected.sum(-1))
    assert moved(counts, expected) < 2e-3
    ones = torch.ones_like(weight)
    once = kernels.count_channels(scores, target, *options, pixel_weight=ones)[0]
    assert torch.equal(once, kernels.count_channels(scores, target, *options)[0] * WEIGHT_UNIT)


def check_extremes(kernels: ModuleType, scale: float, link: str) -> None:
    shape = (2, 3, 500)
    scores, target = scores_of(shape, "pixels", torch.float32, scale), labels_of(shape)
    arguments = (scores, target, BINS, IGNORE, False, link)
    counts, invalid, _ = kernels.count_channels(*arguments)
    expected, expected_invalid, _ = channels.count_channels(*arguments)
    assert torch.equal(invalid, expected_invalid)
    assert moved(counts, expected) < 2e-3
    slopes = slopes_of(1, 3, BINS)
    gradient = kernels.push_channels(scores, target, slopes, IGNORE, link)
    expected = channels.push_channels(scores, target, slopes, IGNORE, link)
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
        invalid = kernels.count_channels(*arguments)[1]
        assert torch.equal(invalid, channels.count_channels(*arguments)[1])


def check_unsortable(kernels: ModuleType, link: str, value: float) -> None:
    scores, target = _with_some(value)
    for per_image in (False, True):
        arguments = (scores, target, IGNORE, per_image, link, 1.0, 1.0)
        invalid = kernels.exact_channels(*arguments)[-1]
        assert torch.equal(invalid, channels.exact_channels(*arguments)[-1])


def check_exact(kernels: ModuleType, shape: Shape, link: str, per_image: bool) -> None:
    scores, target = channel_scores(shape, "pixels", torch.float32, 3.0, link), labels_of(shape)
    arguments = (scores, target, IGNORE, per_image, link, 1.0, 1.0)
    losses, slopes, positives, pixels, invalid = kernels.exact_channels(*arguments)
    expected = channels.exact_channels(*arguments)
    torch.testing.assert_close(losses, expected[0], rtol=1e-5, atol=1e-6)
    assert torch.equal(positives, expected[2])
    assert torch.equal(pixels, expected[3])
    assert not invalid.any()
    # Neighbours in the order may change places by the rounding of their errors.
    assert (slopes.sum(2) - expected[1].sum(2)).abs().max() < 1e-5
    assert not slopes[target == IGNORE].any()
    ranked = (scores, target, expected[1], IGNORE, link, factors_of(*expected[0].shape))
    gradient = kernels.push_ranked_channels(*ranked)
    wanted = channels.push_ranked_channels(*ranked)
    torch.testing.assert_close(gradient, wanted, rtol=1e-5, atol=1e-7)


def check_narrow_and_exact(kernels: ModuleType, dtype: torch.dtype, layout: str) -> None:
    shape = (2, 5, 300)
    scores, target = scores_of(shape, layout, dtype, 3.0), labels_of(shape, torch.int8)
    slopes = torch.rand(shape)
    gradient = kernels.push_ranked_channels(scores, target, slopes, IGNORE, "elu")
    wanted = channels.push_ranked_channels(scores, target, slopes, IGNORE, "elu")
    assert gradient.stride() == torch.empty_like(scores).stride()
    assert relative(gradient, wanted) < TOLERANCE[dtype]


def check_largest(kernels: ModuleType) -> None:
    scores = torch.tensor([[[-1e30, 2.0, -3e38, 1e-40, 5.0]]])
    target = torch.tensor([[[1, 0, 1, 0, 1]]])
    got = kernels.exact_channels(scores, target, None, False, "hinge", 1.0, 1.0)
    want = channels.exact_channels(scores.double(), target, None, False, "hinge", 1.0, 1.0)
    torch.testing.assert_close(got[0], want[0], rtol=1e-6, atol=0)
    torch.testing.assert_close(got[1].double(), want[1], rtol=1e-6, atol=1e-9)


def check_weighted_push(kernels, dtype, layout, link):
    """Weights multiply the gradient before it is rounded."""
    shape = (2, 3, 257)
    scores, target = scores_of(shape, layout, dtype, 3.0), labels_of(shape)
    slopes, weight = slopes_of(2, 3, 64), torch.rand(shape) * 300
    entropy = torch.tensor(0.3) if link == "sigmoid" else None
    tail = (IGNORE, link, entropy, None, None, factors_of(2, 3), weight)
    got = kernels.push_channels(scores, target, slopes, *tail)
    expected = channels.push_channels(scores.double(), target, slopes.double(), *tail)
    assert got.dtype == dtype
    assert got.stride() == torch.empty_like(scores).stride()
    rounding = {torch.float32: 2e-3, torch.bfloat16: 3e-3, torch.float16: 2e-3}[dtype]
    assert relative(got, expected) < rounding
