"""The GPU kernels of multilabel links against the reference, in Triton's interpreter."""

import math

import pytest
import torch

from lovasz.kernels import reference
from lovasz.kernels import triton as gpu
from tests.kernels import multilabel_checks as checks
from tests.kernels.cases import IGNORE, LAYOUTS, relative, slopes_of
from tests.kernels.multilabel_checks import (
    BINS,
    DTYPES,
    LINKS,
    LOGITS,
    NO_LSE,
    PROBABILITIES,
    labels_of,
)
from tests.pairwise import pairwise

pytestmark = [
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),
    pytest.mark.usefixtures("poison"),
]

SHAPES = [(1, 1, 1), (2, 1, 63), (3, 4, 7), (2, 19, 257)]


@pytest.mark.parametrize(
    ("shape", "layout", "link", "per_image"), pairwise(SHAPES, LAYOUTS, LINKS, [False, True])
)
def test_both_passes_are_the_reference(shape, layout, link, per_image):
    checks.check_histogram(gpu, shape, layout, link, per_image)
    checks.check_backward(gpu, shape, layout, link, per_image)


@pytest.mark.parametrize("link", LINKS)
def test_more_pixels_than_a_program_takes(link):
    checks.check_histogram(gpu, (1, 2, 9001), "pixels", link, False)
    checks.check_backward(gpu, (1, 2, 9001), "pixels", link, False)


@pytest.mark.parametrize("link", ["sigmoid", "hinge"])
@pytest.mark.parametrize("bins", [2, 3, 100, 8192])
def test_any_number_of_bins(bins, link):
    checks.check_histogram(gpu, (1, 3, 300), "pixels", link, False, bins)


@pytest.mark.parametrize("dtype", DTYPES[1:])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_narrow_scores(dtype, layout):
    checks.check_narrow(gpu, dtype, layout, "sigmoid")
    checks.check_narrow(gpu, dtype, layout, "probabilities")
    checks.check_narrow_and_sorted(gpu, dtype, layout, "elu")
    checks.check_narrow_and_sorted(gpu, dtype, layout, "probabilities")


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.uint16, torch.uint64])
def test_every_label_dtype(dtype):
    shape = (2, 3, 100)
    scores, target = torch.randn(shape), labels_of(shape)
    weight = torch.rand(shape)
    for options in ({}, {"pixel_weight": weight}):
        arguments = (BINS, IGNORE, False, "sigmoid")
        got = gpu.histogram(scores, target.to(dtype), *arguments, **options)[0]
        assert torch.equal(got, gpu.histogram(scores, target, *arguments, **options)[0])


def test_bool_labels_and_labels_for_all_channels():
    scores, target = torch.randn(2, 3, 65), torch.randint(2, (2, 1, 65)).expand(2, 3, 65)
    expected = reference.histogram(scores, target, BINS, None, False, "hinge")[0]
    for labels in (target, target.bool()):
        got = gpu.histogram(scores, labels, BINS, None, False, "hinge")[0]
        assert checks.moved(got, expected) < 2e-3


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_cross_entropy_of_the_same_passes(shape, weighted):
    checks.check_cross_entropy(gpu, shape, weighted)


@pytest.mark.parametrize("per_image", [False, True])
@pytest.mark.parametrize("link", LINKS)
def test_weights_of_pixels(link, per_image):
    checks.check_weights(gpu, (2, 5, 300), link, per_image)


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("scale", [0.0, 1e-3, 30.0, 1e4])
def test_extreme_scores(scale, link):
    checks.check_extremes(gpu, scale, link)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 7e4, -7e4])
@pytest.mark.parametrize("link", LOGITS)
def test_scores_that_are_no_numbers(link, value):
    checks.check_uncountable(gpu, link, value)
    checks.check_unsortable(gpu, link, value)


@pytest.mark.parametrize("link", PROBABILITIES)
def test_probabilities_that_are_none(link):
    checks.check_probabilities_that_are_none(gpu, link)


@pytest.mark.parametrize("link", PROBABILITIES)
def test_probabilities_outside_and_impossible_labels_are_counted(link):
    scores, target, _ = checks.probabilities_with_some(link)
    scores[0, 0, 0], scores[0, 2, 2] = 1.02, -0.02
    target[1, ..., 9], target[1, ..., 11] = 3, -1
    invalid = gpu.histogram(scores, target, BINS, IGNORE, True, link)[2]
    assert invalid.tolist() == [3, 1 + 2 * 3]  # of each class
    gradient = gpu.backward(scores, target, NO_LSE, slopes_of(2, 3, BINS), None, IGNORE, link)
    assert gradient.isfinite().all()


@pytest.mark.parametrize(
    ("shape", "link", "per_image"), pairwise([*SHAPES, (1, 2, 2100)], LINKS, [False, True])
)
def test_sort_is_the_reference(shape, link, per_image):
    checks.check_sort(gpu, shape, link, per_image)


def test_the_largest_errors_are_sorted_last():
    checks.check_largest(gpu)


def test_equal_errors_share_their_slopes():
    scores, target = torch.randint(2, (1, 2, 2500)).float(), torch.randint(2, (1, 2, 2500))
    got = gpu.sort_and_extend(scores, target, None, False, "hinge", 0.3, 2.0)
    want = reference.sort_and_extend(scores, target, None, False, "hinge", 0.3, 2.0)
    torch.testing.assert_close(got[0], want[0], rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(got[1], want[1], rtol=1e-6, atol=1e-9)


def test_the_gradient_has_the_dtype_and_scale_of_the_cross_entropy():
    scores, target = torch.randn(1, 2, 40, dtype=torch.float16), torch.randint(2, (1, 2, 40))
    slopes, scale = slopes_of(1, 2, BINS), torch.tensor(3.0, dtype=torch.float64)
    weight = torch.tensor([1.0, 5.0])
    arguments = (scores, target, NO_LSE, slopes, None, None, "sigmoid", scale, weight)
    gradient = gpu.backward(*arguments)
    assert gradient.dtype == torch.float16
    assert relative(gradient, reference.backward(*arguments)) < 1e-3


@pytest.mark.parametrize("link", ["sigmoid", "hinge", "probabilities"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_weights_multiply_the_gradient_before_it_is_rounded(layout, dtype, link):
    checks.check_weighted_gradient(gpu, dtype, layout, link)
