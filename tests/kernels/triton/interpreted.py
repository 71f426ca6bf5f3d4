"""The GPU kernels against the reference, in Triton's interpreter (see ``test_interpreter.py``).

The interpreter runs one program after another: it sees arithmetic, masks and addresses, and no
races. Small shapes, because it is slow.
"""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from lovasz import error_bound
from lovasz.core.bins import centres
from lovasz.core.extension import extend_histogram
from lovasz.core.set_functions import jaccard
from lovasz.kernels import reference
from lovasz.kernels import triton as gpu
from lovasz.kernels.fixed_point import SCALE
from tests import oracle
from tests.kernels.cases import (
    IGNORE,
    LAYOUTS,
    SHAPES,
    factors_of,
    labels_of,
    relative,
    scores_of,
    slopes_of,
)
from tests.kernels.multilabel_checks import moved
from tests.kernels.softmax_checks import (
    check_extreme_logits,
    check_no_numbers,
    check_sort_of_no_numbers,
    check_weighted_gradient,
)
from tests.pairwise import pairwise

# numpy, which interprets, remarks on what happens in lanes that are masked
pytestmark = [
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),
    pytest.mark.usefixtures("poison"),
]

BINS = 1024
DTYPES = [torch.float32, torch.bfloat16, torch.float16]
LABELS = [
    torch.uint8,
    torch.int8,
    torch.int16,
    torch.uint16,
    torch.int32,
    torch.uint32,
    torch.int64,
    torch.uint64,
]
# rounding of the gradient itself
TOLERANCE = {torch.float32: 2e-5, torch.bfloat16: 8e-3, torch.float16: 1e-3}
SMALL = [shape for shape in SHAPES if shape[1] < 100]
LARGE = [shape for shape in SHAPES if shape[1] >= 100]


def check_histogram(scores, target, per_image, bins=BINS):
    counts, lse, invalid, *_ = gpu.histogram(scores, target, bins, IGNORE, per_image, "softmax")
    expected, lse_expected, *_ = reference.histogram(
        scores, target, bins, IGNORE, per_image, "softmax"
    )
    # every pixel is in its row; an error at the edge of two bins may be in either
    assert torch.equal(counts.sum(-1), expected.sum(-1))
    assert moved(counts, expected) < 1e-3 + 2 / counts[0].sum()
    assert (counts.cumsum(-1) - expected.cumsum(-1)).abs().max() <= 2
    torch.testing.assert_close(lse, lse_expected, rtol=1e-6, atol=2e-6)
    assert not invalid.any()


def check_backward(scores, target, groups, bins=BINS):
    slopes, factors = slopes_of(groups, scores.shape[1], bins), factors_of(groups, scores.shape[1])
    lse = reference.log_sum_exp(scores, "softmax")
    gradient = gpu.backward(scores, target, lse, slopes, factors, IGNORE, "softmax")
    expected = reference.backward(scores, target, lse, slopes, factors, IGNORE, "softmax")
    assert gradient.dtype == scores.dtype
    assert gradient.stride() == torch.empty_like(scores).stride()
    assert relative(gradient, expected) < TOLERANCE[scores.dtype] + 2e-4 * (scores.shape[1] > 1)
    assert not gradient.transpose(0, 1)[:, target == IGNORE].any()


def test_both_methods_against_the_definition():
    scores, target = torch.randn(1, 3, 40) * 2, torch.randint(3, (1, 40))
    target[0, :4] = IGNORE
    rows, labels = scores[0].double().t().tolist(), target[0].tolist()
    wanted, by_class = oracle.class_losses(rows, labels, ignore_index=IGNORE)
    wanted, gradient = torch.tensor([wanted]), torch.tensor(by_class).sum(0).t()

    losses, slopes, *_, lse, _ = gpu.sort_and_extend(
        scores, target, IGNORE, False, "softmax", 1.0, 1.0
    )
    torch.testing.assert_close(losses, wanted.double(), rtol=0, atol=1e-6)
    got = gpu.backward(scores, target, lse, slopes, None, IGNORE, "softmax")
    torch.testing.assert_close(got[0], gradient, rtol=1e-4, atol=1e-6)

    # bins so fine that every error has its own
    bins = 2**16
    counts, lse, *_ = gpu.histogram(scores, target, bins, IGNORE, False, "softmax")
    losses, slopes = extend_histogram(torch, counts.double(), centres(torch, bins), jaccard)
    assert (losses - wanted).abs().max() < error_bound(bins) + 1e-6
    got = gpu.backward(scores, target, lse, slopes.float(), None, IGNORE, "softmax")
    assert relative(got[0], gradient) < 1e-4


@pytest.mark.parametrize(
    ("shape", "layout", "dtype", "per_image"), pairwise(SMALL, LAYOUTS, DTYPES, [False, True])
)
def test_few_classes(shape, layout, dtype, per_image):
    scores, target = scores_of(shape, layout, dtype, 3.0), labels_of(shape)
    check_histogram(scores, target, per_image)
    check_backward(scores, target, shape[0] if per_image else 1)


@pytest.mark.parametrize(("shape", "layout"), pairwise(LARGE, LAYOUTS))
def test_many_classes(shape, layout):
    scores, target = scores_of(shape, layout, torch.float32, 3.0), labels_of(shape)
    check_histogram(scores, target, False)
    check_backward(scores, target, 1)


def test_many_classes_of_more_pixels():
    """As many that blocks of classes are those of one thread."""
    shape = (1, 66, 1100)
    check_backward(scores_of(shape, "pixels", torch.float32, 3.0), labels_of(shape), 1)


@pytest.mark.parametrize("dtype", LABELS)
def test_every_label_dtype(dtype):
    shape = (2, 5, 257)
    scores, target = scores_of(shape, "pixels", torch.float32, 2.0), labels_of(shape)
    counts = gpu.histogram(scores, target.to(dtype), BINS, IGNORE, False, "softmax")[0]
    assert torch.equal(counts, gpu.histogram(scores, target, BINS, IGNORE, False, "softmax")[0])


def test_bool_labels_and_strided_labels():
    scores = scores_of((2, 2, 65), "pixels", torch.float32, 2.0)
    target = labels_of((2, 2, 65)) % 2
    expected = gpu.histogram(scores, target, BINS, None, False, "softmax")[0]
    wide = target.repeat_interleave(2, dim=1)[:, ::2]
    assert torch.equal(
        gpu.histogram(scores, target.bool(), BINS, None, False, "softmax")[0], expected
    )
    assert torch.equal(gpu.histogram(scores, wide, BINS, None, False, "softmax")[0], expected)


def test_more_pixels_than_a_program_takes():
    shape = (1, 3, 9001)
    scores, target = scores_of(shape, "pixels", torch.float32, 3.0), labels_of(shape)
    check_histogram(scores, target, False)
    check_backward(scores, target, 1)


@pytest.mark.parametrize("bins", [2, 3, 100, 8192])
def test_any_number_of_bins(bins):
    shape = (1, 3, 300)
    scores, target = scores_of(shape, "pixels", torch.float32, 2.0), labels_of(shape)
    check_histogram(scores, target, False, bins)
    slopes = slopes_of(1, 3, bins)
    lse = reference.log_sum_exp(scores, "softmax")
    got = gpu.backward(scores, target, lse, slopes, None, IGNORE, "softmax")
    expected = reference.backward(scores, target, lse, slopes, None, IGNORE, "softmax")
    assert relative(got, expected) < 1e-2


@pytest.mark.parametrize("scale", [0.0, 1e-3, 30.0, 1e4])
def test_extreme_logits(scale):
    check_extreme_logits(gpu, BINS, scale, 300)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_scores_that_are_no_numbers(value, layout):
    check_no_numbers(gpu, BINS, layout, value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("classes", [5, 19])
def test_ignored_pixels_may_have_any_scores(classes, value):
    shape = (1, classes, 300)
    scores, target = scores_of(shape, "pixels", torch.float32, 1.0), labels_of(shape)
    expected = gpu.histogram(scores, target, BINS, IGNORE, False, "softmax", True)
    spoilt = scores.clone()
    spoilt[0, 1, target[0] == IGNORE] = value
    spoilt[0, :, (target[0] == IGNORE).nonzero()[0]] = value
    got = gpu.histogram(spoilt, target, BINS, IGNORE, False, "softmax", True)
    assert not got[2].any()
    assert torch.equal(got[0], expected[0])
    assert torch.equal(got[3], expected[3])
    slopes = slopes_of(1, classes, BINS)
    gradient = gpu.backward(spoilt, target, got[1], slopes, None, IGNORE, "softmax")
    assert torch.equal(
        gradient, gpu.backward(scores, target, expected[1], slopes, None, IGNORE, "softmax")
    )


def test_masked_classes():
    shape = (1, 4, 64)
    scores, target = scores_of(shape, "pixels", torch.float32, 1.0), labels_of(shape) % 3
    scores[:, 3] = -float("inf")
    counts, lse, invalid, *_ = gpu.histogram(scores, target, BINS, None, False, "softmax")
    assert not invalid.any()
    assert counts[0, 3, 0, 0] == 64
    gradient = gpu.backward(scores, target, lse, slopes_of(1, 4, BINS), None, None, "softmax")
    assert not gradient[:, 3].any()
    assert gradient.isfinite().all()


@pytest.mark.parametrize("bad", [-1, 5, 2**40, -(2**40)])
def test_impossible_labels_are_counted(bad):
    scores, target = torch.zeros(2, 5, 70), torch.zeros(2, 70, dtype=torch.long)
    target[1, 69] = bad
    counts, lse, invalid, *_ = gpu.histogram(scores, target, BINS, 255, True, "softmax")
    assert invalid.tolist() == [0, 1]
    assert counts[:, :, 1].sum((1, 2)).tolist() == [70, 69]
    gradient = gpu.backward(scores, target, lse, slopes_of(2, 5, BINS), None, 255, "softmax")
    assert gradient.isfinite().all()


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("classes", [19, 70])
def test_cross_entropy_of_the_same_passes(classes, weighted, smoothing):
    scores, target = torch.randn(2, classes, 100), torch.randint(classes, (2, 100))
    target[0, :50] = IGNORE % classes
    options = (torch.rand(classes) if weighted else None, smoothing)
    arguments = (scores, target, BINS, IGNORE % classes, False, "softmax", True, *options)
    _, lse, _, sums, _ = gpu.histogram(*arguments)
    torch.testing.assert_close(sums, reference.histogram(*arguments)[3], rtol=1e-6, atol=1e-6)
    slopes = slopes_of(1, classes, BINS)
    scale = torch.tensor(1.5, dtype=torch.float64)
    arguments = (scores, target, lse, slopes, None, IGNORE % classes, "softmax", scale, *options)
    torch.testing.assert_close(
        gpu.backward(*arguments), reference.backward(*arguments), rtol=1e-3, atol=1e-4
    )


@pytest.mark.parametrize(
    ("shape", "layout", "per_image", "weights"),
    pairwise(
        [(1, 1, 1), (3, 4, 7), (2, 19, 257), (1, 2, 2100)],
        LAYOUTS,
        [False, True],
        [(1.0, 1.0), (0.3, 2.0)],
    ),
)
def test_sort_is_the_reference(shape, layout, per_image, weights):
    scores, target = scores_of(shape, layout, torch.float32, 2.0), labels_of(shape)
    got = gpu.sort_and_extend(scores, target, IGNORE, per_image, "softmax", *weights)
    expected = reference.sort_and_extend(scores, target, IGNORE, per_image, "softmax", *weights)
    losses, slopes, *counts, lse, invalid = got
    expected_losses, expected_slopes, *expected_counts, expected_lse, _ = expected
    torch.testing.assert_close(losses, expected_losses, rtol=2e-6, atol=1e-7)
    assert all(torch.equal(a, b) for a, b in zip(counts, expected_counts, strict=True))
    torch.testing.assert_close(lse, expected_lse, rtol=1e-6, atol=2e-6)
    assert not invalid.any()
    # errors that differ by a rounding may change places
    assert relative(slopes, expected_slopes) < 0.02
    arguments = (scores, target, lse, expected_slopes, factors_of(*losses.shape), IGNORE, "softmax")
    gradient, expected_gradient = gpu.backward(*arguments), reference.backward(*arguments)
    assert gradient.stride() == torch.empty_like(scores).stride()
    assert relative(gradient, expected_gradient) < 2e-5


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("classes", [2, 4, 16, 20, 64])
def test_points_whose_classes_are_loaded_at_once(classes, dtype):
    points, labels = torch.randn(300, classes).to(dtype) * 3, torch.randint(classes, (1, 300))
    labels[:, ::9] = IGNORE
    for skipped in (0, 1):  # the second point need not begin at a multiple of 16 bytes
        scores, target = points[skipped:].t().unsqueeze(0), labels[:, skipped:]
        check_histogram(scores, target, False)
        check_backward(scores, target, 1)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_sort_and_backward_of_narrow_scores(dtype):
    shape = (2, 5, 130)
    scores, target = scores_of(shape, "pixels", dtype, 2.0), labels_of(shape)
    losses, slopes, *_, lse, _ = gpu.sort_and_extend(
        scores, target, IGNORE, False, "softmax", 1.0, 1.0
    )
    expected, by_pixel, *_ = reference.sort_and_extend(
        scores, target, IGNORE, False, "softmax", 1.0, 1.0
    )
    torch.testing.assert_close(losses, expected, rtol=2e-6, atol=1e-7)
    gradient = gpu.backward(scores, target, lse, slopes, None, IGNORE, "softmax")
    expected = reference.backward(scores, target, lse, by_pixel, None, IGNORE, "softmax")
    assert gradient.dtype == dtype
    assert relative(gradient, expected) < 8e-3


def test_equal_errors_share_their_slopes():
    # probabilities of 0, 1/2 and 1, so that all the errors are ties of both kinds
    scores = torch.randint(0, 2, (1, 2, 2500)).float() * 200
    target = torch.randint(0, 2, (1, 2500))
    losses, slopes, *_ = gpu.sort_and_extend(scores, target, None, False, "softmax", 1.0, 1.0)
    expected_losses, expected, *_ = reference.sort_and_extend(
        scores, target, None, False, "softmax", 1.0, 1.0
    )
    torch.testing.assert_close(losses, expected_losses, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(slopes, expected, rtol=1e-6, atol=1e-9)


def test_errors_of_nought_and_one():
    shape = (2, 5, 300)
    # One score of a pixel is larger than the others by 10,000 and more.
    scores, target = 1e4 * torch.rand(shape).argsort(1).float(), labels_of(shape)
    losses, slopes, *_ = gpu.sort_and_extend(scores, target, IGNORE, True, "softmax", 1.0, 1.0)
    expected_losses, expected, *_ = reference.sort_and_extend(
        scores, target, IGNORE, True, "softmax", 1.0, 1.0
    )
    torch.testing.assert_close(losses, expected_losses, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(slopes, expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_sort_of_scores_that_are_no_numbers(value):
    check_sort_of_no_numbers(gpu, value)


@pytest.mark.parametrize(
    ("shape", "layout", "per_image", "cross_entropy"),
    pairwise(
        [(1, 1, 1), (3, 4, 7), (2, 19, 257), (1, 150, 300)], LAYOUTS, [False, True], [False, True]
    ),
)
def test_weights_of_pixels(shape, layout, per_image, cross_entropy):
    scores, target = scores_of(shape, layout, torch.float32, 3.0), labels_of(shape)
    options = (True, torch.rand(shape[1]), 0.1) if cross_entropy else (False, None, 0.0)
    arguments = (scores, target, BINS, IGNORE, per_image, "softmax", *options)
    weight = 3 * torch.rand(target.shape)
    counts, _, invalid, sums, _ = gpu.histogram(*arguments, weight)
    expected, _, _, expected_sums, _ = reference.histogram(*arguments, weight)
    assert torch.equal(counts.sum(-1), expected.sum(-1))
    assert moved(counts, expected) < 1e-3
    assert not invalid.any()
    torch.testing.assert_close(sums, expected_sums, rtol=1e-6, atol=1e-6)
    once = gpu.histogram(*arguments, torch.ones_like(weight))[0]
    assert torch.equal(once, gpu.histogram(*arguments)[0] * SCALE)


def test_weights_that_are_none_count_nothing():
    shape = (2, 5, 70)
    scores, target = scores_of(shape, "pixels", torch.float32, 3.0), labels_of(shape)
    weight = torch.rand(target.shape)
    weight[0, :3] = torch.tensor([float("nan"), -1.0, float("inf")])
    arguments = (scores, target, 64, IGNORE, True, "softmax", False, None, 0.0)
    got = gpu.histogram(*arguments, weight)[0]
    assert torch.equal(got.sum(-1), reference.histogram(*arguments, weight)[0].sum(-1))


class Watch(TorchDispatchMode):
    """Notes every operator whose result depends on the contents of a tensor on the device."""

    WAITING = ("_local_scalar_dense", "nonzero", "equal", "masked_select", "unique", "is_nonzero")

    def __init__(self):
        super().__init__()
        self.waited = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.__name__
        to_host = "_to_copy" in name and "device" in (kwargs or {})
        if to_host or any(word in name for word in self.WAITING):
            self.waited.append(name)
        return func(*args, **(kwargs or {}))


def test_nothing_waits_for_the_device():
    scores, target = scores_of((2, 5, 70), "pixels", torch.float32, 1.0), labels_of((2, 5, 70))
    scale, weight, by_pixel = torch.tensor(0.5), torch.rand(5), torch.rand(2, 70)
    with Watch() as watch:
        gpu.histogram(scores, target, 64, IGNORE, True, "softmax", True, weight, 0.1, by_pixel)
        _, lse, *_ = gpu.histogram(scores, target, 64, IGNORE, True, "softmax", True, weight, 0.1)
        gpu.backward(
            scores, target, lse, slopes_of(2, 5, 64), None, IGNORE, "softmax", scale, weight, 0.1
        )
        _, slopes, *_ = gpu.sort_and_extend(scores, target, IGNORE, True, "softmax", 1.0, 1.0)
        gpu.backward(scores, target, lse, slopes, None, IGNORE, "softmax")
    assert watch.waited == []


def test_nothing_waits_for_the_device_with_multilabel_links():
    shape = (2, 5, 70)
    scores, target = scores_of(shape, "pixels", torch.float32, 1.0), torch.randint(2, shape)
    scale, weight, by_pixel = torch.tensor(0.5), torch.rand(5), torch.rand(shape)
    with Watch() as watch:
        arguments = (scores, target, 64, IGNORE, True, "sigmoid")
        _, lse, *_ = gpu.histogram(*arguments, True, weight)
        gpu.histogram(*arguments, True, weight, 0.0, by_pixel)
        slopes = slopes_of(2, 5, 64)
        gpu.backward(scores, target, lse, slopes, None, IGNORE, "sigmoid", scale, weight)
        _, slopes, *_ = gpu.sort_and_extend(scores, target, IGNORE, True, "hinge", 1.0, 1.0)
        gpu.backward(scores, target, lse, slopes, None, IGNORE, "hinge")
    assert watch.waited == []


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_weights_multiply_the_gradient_before_it_is_rounded(layout, dtype):
    rounding = {torch.float32: 2e-5, torch.bfloat16: 2**-9, torch.float16: 2**-12}[dtype]
    check_weighted_gradient(gpu, dtype, layout, rounding)
