"""The CPU kernels of the softmax against the reference, over shapes, layouts, dtypes, levels."""

import pytest
import torch

from lovasz import lovasz_sigmoid, lovasz_softmax
from lovasz.kernels import cpu, reference
from lovasz.kernels.fixed_point import SCALE
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
    check_weighted_gradient,
)

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


@pytest.mark.parametrize("per_image", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", SHAPES)
def test_histogram_is_the_reference(level, shape, layout, dtype, per_image):
    scores, target = scores_of(shape, layout, dtype, 3.0), labels_of(shape)
    counts, lse, invalid, *_ = cpu.histogram(scores, target, BINS, IGNORE, per_image, "softmax")
    expected, lse_expected, *_ = reference.histogram(
        scores, target, BINS, IGNORE, per_image, "softmax"
    )
    # every pixel is in its row; an error at the edge of two bins may be in either
    assert torch.equal(counts.sum(-1), expected.sum(-1))
    assert moved(counts, expected) < 1e-3
    assert (counts.cumsum(-1) - expected.cumsum(-1)).abs().max() <= max(1, 1e-3 * shape[2])
    torch.testing.assert_close(lse, lse_expected, rtol=1e-6, atol=2e-6)
    assert not invalid.any()


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("per_image", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_weighted_histograms_are_the_reference(level, shape, per_image, number):
    scores, target = scores_of(shape, LAYOUTS[0], torch.float32, 3.0), labels_of(shape)
    weight = 3 * torch.rand(target.shape, generator=torch.Generator().manual_seed(3))
    weight[..., ::3] = 0.0
    arguments = (scores, target, BINS, IGNORE, per_image, "softmax", True, None, 0.1, weight)
    torch.set_num_threads(number)
    counts, _, _, sums, _ = cpu.histogram(*arguments)
    expected, _, _, sums_expected, _ = reference.histogram(*arguments)
    assert torch.equal(counts.sum(-1), expected.sum(-1))
    assert moved(counts, expected) < 1e-3
    torch.testing.assert_close(sums, sums_expected, rtol=1e-5, atol=1e-6)
    plain = (scores, target, BINS, IGNORE, per_image, "softmax")
    once = cpu.histogram(*plain, pixel_weight=torch.ones(target.shape))[0]
    assert torch.equal(once, cpu.histogram(*plain)[0] * SCALE)


@pytest.mark.parametrize("per_image", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", SHAPES)
def test_backward_is_the_reference(level, shape, layout, dtype, per_image):
    scores, target = scores_of(shape, layout, dtype, 3.0), labels_of(shape)
    groups = shape[0] if per_image else 1
    slopes, factors = slopes_of(groups, shape[1], BINS), factors_of(groups, shape[1])
    lse = reference.log_sum_exp(scores, "softmax")
    arguments = (scores, target, lse, slopes, factors, IGNORE, "softmax")
    gradient, expected = cpu.backward(*arguments), reference.backward(*arguments)
    assert gradient.dtype == dtype
    assert gradient.stride() == torch.empty_like(scores).stride()
    assert relative(gradient, expected) < TOLERANCE[dtype] + 2e-4 * (shape[1] > 1)
    assert not gradient.transpose(0, 1)[:, target == IGNORE].any()


@pytest.mark.parametrize("dtype", LABELS)
def test_every_label_dtype(dtype):
    shape = (2, 19, 257)
    scores = scores_of(shape, "pixels", torch.float32, 2.0)
    counts, *_ = cpu.histogram(scores, labels_of(shape, dtype), BINS, IGNORE, False, "softmax")
    expected, *_ = cpu.histogram(scores, labels_of(shape), BINS, IGNORE, False, "softmax")
    assert torch.equal(counts, expected)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32, torch.int64])
def test_an_ignore_index_that_no_label_has(dtype):
    scores = scores_of((2, 19, 257), "pixels", torch.float32, 2.0)
    target = (labels_of((2, 19, 257)) % 19).to(dtype)
    expected = cpu.histogram(scores, target, BINS, None, False, "softmax")[0]
    # 5 in the lowest 32 bits
    assert torch.equal(
        cpu.histogram(scores, target, BINS, 2**32 + 5, False, "softmax")[0], expected
    )


def test_bool_labels_and_strided_labels():
    scores = scores_of((2, 2, 65), "pixels", torch.float32, 2.0)
    target = labels_of((2, 2, 65)) % 2
    expected = cpu.histogram(scores, target, BINS, None, False, "softmax")[0]
    wide = target.repeat_interleave(2, dim=1)[:, ::2]
    assert torch.equal(
        cpu.histogram(scores, target.bool(), BINS, None, False, "softmax")[0], expected
    )
    assert torch.equal(cpu.histogram(scores, wide, BINS, None, False, "softmax")[0], expected)


@pytest.mark.parametrize("offset", [1, 3])
def test_unaligned_pointers(level, offset):
    shape = (2, 3, 600)
    scores = scores_of(shape, "pixels", torch.float32, 2.0)
    target = labels_of(shape, torch.uint8)
    shifted = torch.zeros(scores.numel() + offset)[offset:].view(shape).copy_(scores)
    labels = torch.zeros(target.numel() + offset, dtype=torch.uint8)[offset:].view(target.shape)
    expected, lse, *_ = cpu.histogram(scores, target, BINS, IGNORE, False, "softmax")
    assert torch.equal(
        cpu.histogram(shifted, labels.copy_(target), BINS, IGNORE, False, "softmax")[0], expected
    )
    slopes = slopes_of(1, 3, BINS)
    torch.testing.assert_close(
        cpu.backward(shifted, target, lse, slopes, None, IGNORE, "softmax"),
        cpu.backward(scores, target, lse, slopes, None, IGNORE, "softmax"),
        rtol=0,
        atol=0,
    )


# 8 MiB and more are written past the caches; no multiple of a tile, nor of a line of the cache
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("layout", ["pixels", "classes"])
@pytest.mark.parametrize("classes", [3, 300])
def test_a_large_gradient_is_that_of_its_parts(level, classes, layout, dtype):
    torch.set_num_threads(2)
    shape = (1, classes, 2**23 // dtype.itemsize // classes // 4 * 4 + 44)
    scores, target = scores_of(shape, layout, dtype, 3.0), labels_of(shape)
    slopes, lse = slopes_of(1, classes, BINS), torch.logsumexp(scores.float(), 1)
    whole = cpu.backward(scores, target, lse, slopes, None, IGNORE, "softmax")
    pieces = [
        cpu.backward(part, labels, sums, slopes, None, IGNORE, "softmax")
        for part, labels, sums in zip(
            scores.split(4001, 2), target.split(4001, 1), lse.split(4001, 1), strict=True
        )
    ]
    assert whole.nbytes > 2**23
    assert torch.equal(whole, torch.cat(pieces, 2))


@pytest.mark.parametrize("per_image", [False, True])
def test_threads_change_nothing(level, per_image):
    shape = (3, 19, 9001)
    scores, target = scores_of(shape, "pixels", torch.float32, 3.0), labels_of(shape)
    slopes = slopes_of(3 if per_image else 1, 19, BINS)
    results = []
    for number in (1, 2, 3, 7):
        torch.set_num_threads(number)
        counts, lse, *_ = cpu.histogram(scores, target, BINS, IGNORE, per_image, "softmax")
        results.append(
            (counts, lse, cpu.backward(scores, target, lse, slopes, None, IGNORE, "softmax"))
        )
    first, *others = results
    assert all(torch.equal(a, b) for other in others for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize("scale", [0.0, 1e-3, 30.0, 1e4])
def test_extreme_logits(level, scale):
    check_extreme_logits(cpu, BINS, scale, 600)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_scores_that_are_no_numbers(level, value, layout):
    check_no_numbers(cpu, BINS, layout, value)


def test_every_nan_is_found(level):
    # a NaN whose payload reaches into the bits that arithmetic on exponents touches
    bits = torch.tensor([0x7FFFFFFF, 0x7F800001, -1, 0x7FC001FF], dtype=torch.int32)
    scores = torch.zeros(4, 3, 1)
    scores[:, 1, 0] = bits.view(torch.float32)
    _, _, invalid, *_ = cpu.histogram(
        scores, torch.zeros(4, 1, dtype=torch.long), BINS, None, True, "softmax"
    )
    assert invalid.tolist() == [1, 1, 1, 1]


def test_masked_classes(level):
    shape = (1, 4, 64)
    scores, target = scores_of(shape, "pixels", torch.float32, 1.0), labels_of(shape) % 3
    scores[:, 3] = -float("inf")
    counts, lse, invalid, *_ = cpu.histogram(scores, target, BINS, None, False, "softmax")
    assert not invalid.any()
    assert counts[0, 3, 0, 0] == 64
    gradient = cpu.backward(scores, target, lse, slopes_of(1, 4, BINS), None, None, "softmax")
    assert not gradient[:, 3].any()
    assert gradient.isfinite().all()


@pytest.mark.parametrize("bad", [-1, 5, 2**40, -(2**40)])
def test_impossible_labels(bad):
    scores, target = torch.zeros(2, 5, 70), torch.zeros(2, 70, dtype=torch.long)
    target[1, 69] = bad
    with pytest.raises(ValueError, match=f"ignore_index=255, got {bad} .and 0 more outside"):
        cpu.histogram(scores, target, BINS, 255, False, "softmax")


@pytest.mark.parametrize("bins", [2, 3, 100, 4096])
def test_any_number_of_bins(level, bins):
    shape = (1, 3, 500)
    scores, target = scores_of(shape, "pixels", torch.float32, 2.0), labels_of(shape)
    counts, lse, *_ = cpu.histogram(scores, target, bins, IGNORE, False, "softmax")
    expected, *_ = reference.histogram(scores, target, bins, IGNORE, False, "softmax")
    assert (counts.cumsum(-1) - expected.cumsum(-1)).abs().max() <= 2
    slopes = slopes_of(1, 3, bins)
    got = cpu.backward(scores, target, lse, slopes, None, IGNORE, "softmax")
    want = reference.backward(scores, target, lse, slopes, None, IGNORE, "softmax")
    assert relative(got, want) < 1e-2


def test_levels_give_the_same_loss():
    """An error at the edge of two bins may fall in either, which moves the loss by very little."""
    kernels = cpu.load()
    logits = torch.randn(2, 7, 40_000) * 3
    target = torch.randint(0, 7, (2, 40_000))
    losses = []
    for name in (b"baseline", b"v3", b"v4"):
        if kernels is not None and kernels.lovasz_choose_level(name):
            losses.append(lovasz_softmax(logits, target, reduction="none"))
            kernels.lovasz_choose_level(b"best")
    for loss in losses[1:]:
        assert (loss - losses[0]).abs().max() < 1e-6


@pytest.mark.parametrize("method", ["histogram", "sort"])
@pytest.mark.parametrize("layout", ["pixels", "classes"])
def test_every_image_has_its_own_factors(level, layout, method):
    # With one, two, three and four classes present, images have factors of 1, 1/2, 1/3 and 1/4.
    scores = scores_of((4, 5, 130), layout, torch.float32, 2.0).requires_grad_()
    target = torch.arange(130) % torch.arange(1, 5).view(4, 1)
    loss = lovasz_softmax(scores, target, per_image=True, method=method)
    (gradient,) = torch.autograd.grad(loss, scores)
    for image, labels, got in zip(scores, target, gradient, strict=True):
        alone = lovasz_softmax(image[None], labels[None], method=method)
        (want,) = torch.autograd.grad(alone / len(scores), image)
        torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("method", ["histogram", "sort"])
def test_every_image_has_its_own_factors_with_multilabel(level, method):
    scores = scores_of((4, 5, 130), "pixels", torch.float32, 2.0).requires_grad_()
    # image n has pixels of the first n + 1 channels
    there = torch.arange(5) <= torch.arange(4).view(4, 1)
    target = (torch.arange(130) % 3 == 0).long() * there.unsqueeze(-1)
    options = {"multilabel": True, "classes": "present", "method": method}
    loss = lovasz_sigmoid(scores, target, per_image=True, **options)
    (gradient,) = torch.autograd.grad(loss, scores)
    for image, labels, got in zip(scores, target, gradient, strict=True):
        alone = lovasz_sigmoid(image[None], labels[None], **options)
        (want,) = torch.autograd.grad(alone / len(scores), image)
        torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_weights_multiply_the_gradient_before_it_is_rounded(level, layout, dtype):
    check_weighted_gradient(cpu, dtype, layout, 1e-3 if dtype == torch.float32 else 3e-3)
