"""The CPU kernels with links of multilabel against the reference."""

import math

import pytest
import torch

from lovasz.kernels import cpu
from tests.kernels import multilabel_checks as checks
from tests.kernels.cases import IGNORE, LAYOUTS, SHAPES, slopes_of
from tests.kernels.multilabel_checks import (
    BINS,
    DTYPES,
    LINKS,
    LOGITS,
    NO_LSE,
    PROBABILITIES,
    inputs_of,
)

EVERY = [
    pytest.mark.parametrize("per_image", [False, True]),
    pytest.mark.parametrize("link", LINKS),
    pytest.mark.parametrize("shape", SHAPES),
]


def everywhere(test):
    for mark in EVERY:
        test = mark(test)
    return test


@everywhere
@pytest.mark.parametrize("layout", LAYOUTS)
def test_histogram_is_the_reference(level, shape, layout, link, per_image):
    checks.check_histogram(cpu, shape, layout, link, per_image)


@everywhere
@pytest.mark.parametrize("layout", LAYOUTS)
def test_backward_is_the_reference(level, shape, layout, link, per_image):
    checks.check_backward(cpu, shape, layout, link, per_image)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("link", LINKS)
def test_narrow_scores(level, dtype, layout, link):
    checks.check_narrow(cpu, dtype, layout, link)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_cross_entropy_rides_along(level, shape, weighted):
    checks.check_cross_entropy(cpu, shape, weighted)


@everywhere
def test_weights_of_pixels(level, shape, link, per_image):
    checks.check_weights(cpu, shape, link, per_image)


@pytest.mark.parametrize("per_image", [False, True])
@pytest.mark.parametrize("link", LINKS)
def test_threads_change_nothing(level, link, per_image):
    shape = (3, 4, 70001)
    scores, target = inputs_of(shape, "pixels", torch.float32, 3.0, link)
    slopes = slopes_of(3 if per_image else 1, 4, BINS)
    cross_entropy = link == "sigmoid"
    results = []
    for number in (1, 2, 5):
        torch.set_num_threads(number)
        arguments = (scores, target, BINS, IGNORE, per_image, link, cross_entropy)
        counts, _, _, sums, _ = cpu.histogram(*arguments)
        gradient = cpu.backward(scores, target, NO_LSE, slopes, None, IGNORE, link)
        results.append((counts, sums, gradient))
    first, *others = results
    assert all(torch.equal(a, b) for other in others for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("scale", [0.0, 1e-3, 30.0, 1e4])
def test_extreme_scores(level, scale, link):
    checks.check_extremes(cpu, scale, link)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 7e4, -7e4])
@pytest.mark.parametrize("link", LOGITS)
def test_scores_that_cannot_be_counted(level, link, value):
    checks.check_uncountable(cpu, link, value)


def test_labels_that_are_none():
    scores, target = torch.zeros(1, 2, 5), torch.tensor([[[0, 1, 2, 0, 3], [1, 1, 0, 9, 9]]])
    sentence = "got 2 "
    with pytest.raises(ValueError, match=rf"lovasz_hinge: .* ignore_index=9, {sentence}\(and 1"):
        cpu.histogram(scores, target, BINS, 9, False, "hinge")
    with pytest.raises(ValueError, match=r"lovasz_sigmoid: .* ignore_index=None, got 2 \(and 3"):
        cpu.histogram(scores, target, BINS, None, False, "sigmoid")
    with pytest.raises(ValueError, match="binary_cross_entropy_lovasz_sigmoid: "):
        cpu.histogram(scores, target, BINS, 9, False, "sigmoid", True)


@everywhere
def test_sort_is_the_reference(level, shape, link, per_image):
    checks.check_sort(cpu, shape, link, per_image)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("link", ["elu", *PROBABILITIES])
def test_sorted_gradients_of_narrow_scores_in_any_layout(level, dtype, layout, link):
    checks.check_narrow_and_sorted(cpu, dtype, layout, link)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 3e38])
@pytest.mark.parametrize("link", LOGITS)
def test_scores_that_cannot_be_sorted(level, link, value):
    checks.check_unsortable(cpu, link, value)


def test_the_largest_errors_are_sorted_last():
    checks.check_largest(cpu)


@pytest.mark.parametrize("link", PROBABILITIES)
def test_probabilities_that_are_none(level, link):
    checks.check_probabilities_that_are_none(cpu, link)


@pytest.mark.parametrize("value", [1.02, -0.02, math.inf])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("link", PROBABILITIES)
def test_what_is_no_probability_is_told(level, link, dtype, value):
    scores, target, _ = checks.probabilities_with_some(link)
    scores = scores.to(dtype)
    scores[1, 0, 7] = value  # ignored
    cpu.histogram(scores, target, BINS, IGNORE, False, link)
    scores[1, 0, 20] = value
    sentence = rf"from_probabilities: expected probabilities in \[0, 1\] .*got {scores[1, 0, 20]:g}"
    with pytest.raises(ValueError, match=sentence):
        cpu.histogram(scores, target, BINS, IGNORE, False, link)
    with pytest.raises(ValueError, match=sentence):
        cpu.sort_and_extend(scores, target, IGNORE, False, link, 1.0, 1.0)


@pytest.mark.parametrize("link", PROBABILITIES)
def test_links_without_cross_entropy(link):
    scores, target = inputs_of((1, 2, 5), "pixels", torch.float32, 1.0, link)
    with pytest.raises(ValueError, match=f"sigmoid or hinge or elu alone, got {link}"):
        torch.ops.lovasz.histogram(scores, target, BINS, IGNORE, False, link, True)
    tail = (slopes_of(1, 2, BINS), None, IGNORE, link, torch.tensor(1.0), None, 0.0)
    tail = (*tail, *(None,) * 5, 0.0, None)
    with pytest.raises(ValueError, match=f"sigmoid or hinge or elu alone, got {link}"):
        torch.ops.lovasz.backward(scores, target, NO_LSE, *tail)


def test_operators_pass_opcheck():
    scores, target = torch.randn(2, 3, 20), torch.randint(2, (2, 3, 20))
    ops = torch.ops.lovasz
    counts = ops.histogram(scores, target, 16, IGNORE, True, "sigmoid")[0]
    slopes, by_pixel = torch.rand(counts.shape), torch.rand(scores.shape)
    torch.library.opcheck(ops.histogram, (scores, target, 16, IGNORE, True, "hinge"))
    tail = (None, IGNORE, "elu", None, None, 0.0, *(None,) * 5, 0.0, None)
    torch.library.opcheck(ops.backward, (scores, target, NO_LSE, slopes, *tail))
    torch.library.opcheck(ops.backward, (scores, target, NO_LSE, by_pixel, *tail))
    torch.library.opcheck(ops.sort, (scores, target, IGNORE, True, "sigmoid"))
    torch.library.opcheck(ops.sort_and_extend, (scores, target, IGNORE, True, "hinge", 1.0, 1.0))
    scores, target = inputs_of((2, 3, 20), "pixels", torch.float32, 1.0, "probabilities")
    torch.library.opcheck(ops.histogram, (scores, target, 16, IGNORE, True, "probabilities"))
    tail = (None, IGNORE, "probabilities", None, None, 0.0, *(None,) * 5, 0.0, None)
    torch.library.opcheck(ops.backward, (scores, target, NO_LSE, slopes, *tail))


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_weights_multiply_the_gradient_before_it_is_rounded(level, layout, dtype, link):
    checks.check_weighted_gradient(cpu, dtype, layout, link)
