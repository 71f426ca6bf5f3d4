"""The CPU kernels of channels against the reference, over shapes, layouts, dtypes and levels."""

import math

import pytest
import torch

from lovasz.ops import WEIGHT_UNIT, channels, cpu_channels
from tests.ops.cases import IGNORE, LAYOUTS, SHAPES, relative, scores_of, slopes_of

BINS = 1024
LINKS = ["sigmoid", "hinge", "elu"]
DTYPES = [torch.float32, torch.bfloat16, torch.float16]
# Rounding of the gradient itself, and slopes of neighbouring bins.
TOLERANCE = {torch.float32: 5e-4, torch.bfloat16: 8e-3, torch.float16: 1e-3}
EVERY = [
    pytest.mark.parametrize("per_image", [False, True]),
    pytest.mark.parametrize("link", LINKS),
    pytest.mark.parametrize("shape", SHAPES),
]


def everywhere(test):
    for mark in EVERY:
        test = mark(test)
    return test


def labels_of(shape, dtype=torch.int64):
    """Zeros and ones, a tenth of them ``IGNORE``."""
    generator = torch.Generator().manual_seed(shape[2])
    labels = torch.randint(2, shape, generator=generator)
    dropped = torch.rand(shape, generator=generator) < 0.1
    return labels.masked_fill(dropped, IGNORE).to(dtype)


def moved(counts, expected):
    """Share of errors that were counted in another bin than the reference's."""
    return float((counts - expected).abs().sum() / 2 / expected.sum().clamp(min=1))


@everywhere
@pytest.mark.parametrize("layout", LAYOUTS)
def test_count_is_the_reference(level, shape, layout, link, per_image):
    scores, target = scores_of(shape, layout, torch.float32, 3.0), labels_of(shape)
    arguments = (scores, target, BINS, IGNORE, per_image, link)
    counts, invalid, sums = cpu_channels.count_channels(*arguments)
    expected, _, _ = channels.count_channels(*arguments)
    # every pixel is in its row; an error at the edge of two bins may be in either
    assert torch.equal(counts.sum(-1), expected.sum(-1))
    assert moved(counts, expected) < 2e-3
    assert (counts.cumsum(-1) - expected.cumsum(-1)).abs().max() <= max(1, 2e-3 * shape[2])
    assert not invalid.any()
    assert len(sums) == 0


@everywhere
@pytest.mark.parametrize("layout", LAYOUTS)
def test_push_is_the_reference(level, shape, layout, link, per_image):
    scores, target = scores_of(shape, layout, torch.float32, 3.0), labels_of(shape)
    slopes = slopes_of(shape[0] if per_image else 1, shape[1], BINS)
    gradient = cpu_channels.push_channels(scores, target, slopes, IGNORE, link)
    expected = channels.push_channels(scores, target, slopes, IGNORE, link)
    assert gradient.stride() == torch.empty_like(scores).stride()
    assert relative(gradient, expected) < TOLERANCE[torch.float32]
    assert not gradient[target == IGNORE].any()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("link", LINKS)
def test_narrow_scores(level, dtype, layout, link):
    shape = (2, 5, 300)
    scores, target = scores_of(shape, layout, dtype, 3.0), labels_of(shape, torch.uint8)
    counts, _, _ = cpu_channels.count_channels(scores, target, BINS, IGNORE, False, link)
    expected, _, _ = channels.count_channels(scores, target, BINS, IGNORE, False, link)
    assert moved(counts, expected) < 2e-3
    slopes = slopes_of(1, 5, BINS)
    gradient = cpu_channels.push_channels(scores, target, slopes, IGNORE, link)
    assert gradient.dtype == dtype
    wide = channels.push_channels(scores.float(), target, slopes, IGNORE, link)
    assert relative(gradient, wide) < TOLERANCE[dtype]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_cross_entropy_rides_along(level, shape, weighted):
    scores, target = scores_of(shape, "pixels", torch.float32, 5.0), labels_of(shape)
    positive = torch.linspace(0.5, 3.0, shape[1])
    weight = torch.rand(shape, generator=torch.Generator().manual_seed(3)) if weighted else None
    arguments = (scores, target, BINS, IGNORE, False, "sigmoid", True, positive, weight)
    sums = cpu_channels.count_channels(*arguments)[2]
    torch.testing.assert_close(sums, channels.count_channels(*arguments)[2], rtol=1e-5, atol=1e-5)
    slopes, scale = slopes_of(1, shape[1], BINS), torch.tensor(0.3)
    arguments = (scores, target, slopes, IGNORE, "sigmoid", scale, positive)
    gradient = cpu_channels.push_channels(*arguments)
    assert relative(gradient, channels.push_channels(*arguments)) < TOLERANCE[torch.float32]


@everywhere
def test_weights_of_pixels(level, shape, link, per_image):
    scores, target = scores_of(shape, "pixels", torch.float32, 3.0), labels_of(shape)
    weight = 3 * torch.rand(shape, generator=torch.Generator().manual_seed(3))
    options = (BINS, IGNORE, per_image, link)
    counts = cpu_channels.count_channels(scores, target, *options, pixel_weight=weight)[0]
    expected = channels.count_channels(scores, target, *options, pixel_weight=weight)[0]
    assert torch.equal(counts.sum(-1), expected.sum(-1))
    assert moved(counts, expected) < 2e-3
    once = cpu_channels.count_channels(
        scores, target, *options, pixel_weight=torch.ones_like(weight)
    )[0]
    assert torch.equal(once, cpu_channels.count_channels(scores, target, *options)[0] * WEIGHT_UNIT)


@pytest.mark.parametrize("per_image", [False, True])
@pytest.mark.parametrize("link", LINKS)
def test_threads_change_nothing(level, threads, link, per_image):
    shape = (3, 4, 70001)
    scores, target = scores_of(shape, "pixels", torch.float32, 3.0), labels_of(shape)
    slopes = slopes_of(3 if per_image else 1, 4, BINS)
    entropy = link == "sigmoid"
    results = []
    for number in (1, 2, 5):
        torch.set_num_threads(number)
        arguments = (scores, target, BINS, IGNORE, per_image, link, entropy)
        counts, _, sums = cpu_channels.count_channels(*arguments)
        gradient = cpu_channels.push_channels(scores, target, slopes, IGNORE, link)
        results.append((counts, sums, gradient))
    first, *others = results
    assert all(torch.equal(a, b) for other in others for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("scale", [0.0, 1e-3, 30.0, 1e4])
def test_extreme_scores(level, scale, link):
    shape = (2, 3, 500)
    scores, target = scores_of(shape, "pixels", torch.float32, scale), labels_of(shape)
    arguments = (scores, target, BINS, IGNORE, False, link)
    counts, invalid, _ = cpu_channels.count_channels(*arguments)
    expected, expected_invalid, _ = channels.count_channels(*arguments)
    assert torch.equal(invalid, expected_invalid)
    assert moved(counts, expected) < 2e-3
    slopes = slopes_of(1, 3, BINS)
    gradient = cpu_channels.push_channels(scores, target, slopes, IGNORE, link)
    expected = channels.push_channels(scores, target, slopes, IGNORE, link)
    assert relative(gradient, expected) < TOLERANCE[torch.float32]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 7e4, -7e4])
@pytest.mark.parametrize("link", LINKS)
def test_scores_that_cannot_be_counted(level, link, value):
    scores, target = torch.zeros(2, 3, 70), torch.zeros(2, 3, 70, dtype=torch.int64)
    scores[0, 1, 5] = scores[1, 2, 69] = scores[1, 0, 0] = value
    target[1, 2, 69] = 1
    target[1, 0, 0] = IGNORE
    for per_image in (False, True):
        arguments = (scores, target, BINS, IGNORE, per_image, link)
        invalid = cpu_channels.count_channels(*arguments)[1]
        assert torch.equal(invalid, channels.count_channels(*arguments)[1])


def test_labels_that_are_none():
    scores, target = torch.zeros(1, 2, 5), torch.tensor([[[0, 1, 2, 0, 3], [1, 1, 0, 9, 9]]])
    sentence = "got 2 "
    with pytest.raises(ValueError, match=rf"lovasz_hinge: .* ignore_index=9, {sentence}\(and 1"):
        cpu_channels.count_channels(scores, target, BINS, 9, False, "hinge")
    with pytest.raises(ValueError, match=r"lovasz_sigmoid: .* ignore_index=None, got 2 \(and 3"):
        cpu_channels.count_channels(scores, target, BINS, None, False, "sigmoid")
    with pytest.raises(ValueError, match="binary_cross_entropy_lovasz_sigmoid: "):
        cpu_channels.count_channels(scores, target, BINS, 9, False, "sigmoid", True)


@everywhere
def test_exact_is_the_reference(level, shape, link, per_image):
    scores, target = scores_of(shape, "pixels", torch.float32, 3.0), labels_of(shape)
    arguments = (scores, target, IGNORE, per_image, link, 1.0, 1.0)
    losses, slopes, positives, pixels, invalid = cpu_channels.exact_channels(*arguments)
    expected = channels.exact_channels(*arguments)
    torch.testing.assert_close(losses, expected[0], rtol=1e-5, atol=1e-6)
    assert torch.equal(positives, expected[2])
    assert torch.equal(pixels, expected[3])
    assert not invalid.any()
    # Neighbours in the order may change places by the rounding of their errors.
    assert (slopes.sum(2) - expected[1].sum(2)).abs().max() < 1e-5
    assert not slopes[target == IGNORE].any()
    gradient = cpu_channels.push_ranked_channels(scores, target, expected[1], IGNORE, link)
    wanted = channels.push_ranked_channels(scores, target, expected[1], IGNORE, link)
    torch.testing.assert_close(gradient, wanted, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_exact_gradients_of_narrow_scores_in_any_layout(level, dtype, layout):
    shape = (2, 5, 300)
    scores, target = scores_of(shape, layout, dtype, 3.0), labels_of(shape, torch.int8)
    slopes = torch.rand(shape)
    gradient = cpu_channels.push_ranked_channels(scores, target, slopes, IGNORE, "elu")
    wanted = channels.push_ranked_channels(scores, target, slopes, IGNORE, "elu")
    assert gradient.stride() == torch.empty_like(scores).stride()
    assert relative(gradient, wanted) < TOLERANCE[dtype]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 3e38])
@pytest.mark.parametrize("link", LINKS)
def test_scores_that_cannot_be_sorted(level, link, value):
    scores, target = torch.zeros(2, 3, 70), torch.zeros(2, 3, 70, dtype=torch.int64)
    scores[0, 1, 5] = scores[1, 2, 69] = scores[1, 0, 0] = value
    target[1, 2, 69] = 1
    target[1, 0, 0] = IGNORE
    for per_image in (False, True):
        arguments = (scores, target, IGNORE, per_image, link, 1.0, 1.0)
        invalid = cpu_channels.exact_channels(*arguments)[-1]
        assert torch.equal(invalid, channels.exact_channels(*arguments)[-1])


def test_the_largest_errors_are_sorted_last():
    scores = torch.tensor([[[-1e30, 2.0, -3e38, 1e-40, 5.0]]])
    target = torch.tensor([[[1, 0, 1, 0, 1]]])
    got = cpu_channels.exact_channels(scores, target, None, False, "hinge", 1.0, 1.0)
    want = channels.exact_channels(scores.double(), target, None, False, "hinge", 1.0, 1.0)
    torch.testing.assert_close(got[0], want[0], rtol=1e-6, atol=0)
    torch.testing.assert_close(got[1].double(), want[1], rtol=1e-6, atol=1e-9)


def test_operators_pass_opcheck():
    scores, target = torch.randn(2, 3, 20), torch.randint(2, (2, 3, 20))
    ops = torch.ops.lovasz
    counts = ops.count_channels(scores, target, 16, IGNORE, True, "sigmoid")[0]
    slopes, by_pixel = torch.rand(counts.shape), torch.rand(scores.shape)
    torch.library.opcheck(ops.count_channels, (scores, target, 16, IGNORE, True, "hinge"))
    torch.library.opcheck(ops.push_channels, (scores, target, slopes, IGNORE, "elu"))
    torch.library.opcheck(ops.rank_channels, (scores, target, IGNORE, True, "sigmoid"))
    torch.library.opcheck(ops.exact_channels, (scores, target, IGNORE, True, "hinge", 1.0, 1.0))
    torch.library.opcheck(ops.push_ranked_channels, (scores, target, by_pixel, IGNORE, "hinge"))
