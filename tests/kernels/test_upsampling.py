"""The CPU kernels of interpolated scores against plain torch in float64, at every level."""

import itertools

import pytest
import torch
from torch.nn import functional as F

from lovasz.core.upsampling import KERNEL_MODES, LINEAR, LINEAR_CORNERS, NEAREST
from lovasz.kernels import cpu, reference
from lovasz.kernels.upsampling import enlarge, shrink
from tests.kernels.cases import IGNORE, factors_of, relative, slopes_of
from tests.kernels.multilabel_checks import moved

BINS = 1024
# Sizes of scores and of labels: integer ratios and others, one pixel, fewer labels than scores,
# tiles that are full and that are not, one axis, two and three.
SIZES = [
    ((1, 9, 16), (1, 36, 64)),
    ((1, 5, 7), (1, 23, 170)),
    ((1, 33, 65), (1, 65, 129)),
    ((1, 12, 300), (1, 5, 40)),
    ((1, 1, 1), (1, 6, 3)),
    ((1, 7, 5), (1, 7, 5)),
    ((1, 4, 9), (1, 4, 300)),
    ((1, 6, 40), (1, 90, 40)),
    ((1, 1, 50), (1, 1, 501)),
    ((1, 1, 700), (1, 1, 33)),
    ((3, 4, 5), (7, 9, 21)),
    ((4, 3, 20), (2, 12, 80)),
    ((5, 1, 6), (5, 1, 60)),
    ((1, 3, 4), (6, 6, 8)),
]
CLASSES, IMAGES = 5, 2
TORCH_MODES = {1: "linear", 2: "bilinear", 3: "trilinear"}
LOSSES = ["softmax", "sigmoid", "hinge", "elu"]


def made(source, size, link="softmax", scale=3.0):
    """Scores, labels of which some are ignored, and how much pixels weigh."""
    scores = scale * torch.randn(IMAGES, CLASSES, *source)
    pixels = (IMAGES, size[0] * size[1] * size[2])
    shape = pixels if link == "softmax" else (IMAGES, CLASSES, pixels[1])
    target = torch.randint(CLASSES if link == "softmax" else 2, shape)
    return scores, target.masked_fill(torch.rand(shape) < 0.1, IGNORE), 2 * torch.rand(shape)


@pytest.mark.parametrize("mode", KERNEL_MODES)
@pytest.mark.parametrize(("source", "size"), SIZES)
def test_plain_torch_interpolates_as_its_own_function(source, size, mode):
    scores = torch.randn(2, 3, *source, dtype=torch.float64, requires_grad=True)
    axes = 3 if source[0] > 1 or size[0] > 1 else 2
    whole = scores if axes == 3 else scores.squeeze(2)
    options = {} if mode == NEAREST else {"align_corners": mode == LINEAR_CORNERS}
    name = "nearest" if mode == NEAREST else TORCH_MODES[axes]
    want = F.interpolate(whole, size=size[-axes:], mode=name, **options).flatten(2)
    torch.testing.assert_close(enlarge(scores, size, mode), want)
    gradient = torch.randn_like(want)
    (expected,) = torch.autograd.grad(want, scores, gradient)
    torch.testing.assert_close(shrink(gradient, source, size, mode), expected)


@pytest.mark.parametrize(
    ("source", "size", "link"),
    [(*sizes, "softmax") for sizes in SIZES]
    + [(*sizes, link) for sizes in (SIZES[1], SIZES[10]) for link in LOSSES[1:]],
)
@pytest.mark.parametrize("mode", KERNEL_MODES)
def test_both_passes_are_those_of_plain_torch(level, source, size, mode, link):
    scores, target, weight = made(source, size, link)
    fused = link in ("softmax", "sigmoid")
    options = (fused, torch.rand(CLASSES) if fused else None, 0.1 if link == "softmax" else 0.0)
    head = (BINS, IGNORE, True, link, *options, weight, None, 1, mode, size)
    counts, lse, invalid, sums, _ = cpu.histogram(scores, target, *head)
    wide = reference.histogram(scores.double(), target, *head)
    assert torch.equal(counts.sum(-1), wide[0].sum(-1))
    assert moved(counts, wide[0]) < 2e-2
    torch.testing.assert_close(lse, wide[1], rtol=1e-6, atol=2e-6)
    torch.testing.assert_close(sums, wide[3], rtol=1e-6, atol=1e-6)
    assert not invalid.any()
    factors, scale = factors_of(IMAGES, CLASSES), torch.tensor(0.25) if fused else None
    # The same for all bins, so that a score at the edge of two changes nothing.
    slopes = slopes_of(IMAGES, CLASSES, 1).expand(-1, -1, -1, BINS)
    tail = (factors, IGNORE, link, scale, *options[1:], None, weight, mode, size)
    got = cpu.backward(scores, target, lse, slopes, *tail)
    want = reference.backward(scores.double(), target, wide[1], slopes.double(), *tail)
    assert got.dtype == torch.float32
    assert relative(got, want) < 1e-6
    by_pixel = torch.rand(IMAGES, CLASSES, target.shape[-1])
    got = cpu.backward(scores, target, lse, by_pixel, *tail)
    want = reference.backward(scores.double(), target, wide[1], by_pixel.double(), *tail)
    assert relative(got, want) < 1e-6


@pytest.mark.parametrize("link", ["softmax", "sigmoid"])
@pytest.mark.parametrize("upsample", [None, LINEAR])
def test_a_cross_entropy_alone_counts_nothing(level, upsample, link):
    source, size = (1, 9, 33), (1, 40, 130)
    scores, target, weight = made(source, size, link)
    if upsample is None:
        scores, size = enlarge(scores, size, LINEAR), None
    options = (torch.rand(CLASSES), 0.1 if link == "softmax" else 0.0)
    how = (weight, None, 1, upsample, size)
    counts, lse, _, sums, _ = cpu.histogram(
        scores, target, 0, IGNORE, False, link, True, *options, *how
    )
    want = reference.histogram(
        scores.double(), target, 0, IGNORE, False, link, True, *options, *how
    )
    assert counts.shape == want[0].shape == (1, CLASSES, 2, 0)
    torch.testing.assert_close(lse, want[1], rtol=1e-6, atol=2e-6)
    torch.testing.assert_close(sums, want[3], rtol=1e-6, atol=1e-6)
    slopes = torch.empty(1, CLASSES, 2, 0)
    tail = (None, IGNORE, link, torch.tensor(0.3), *options, None, weight, upsample, size)
    got = cpu.backward(scores, target, lse, slopes, *tail)
    want = reference.backward(scores.double(), target, want[1], slopes.double(), *tail)
    assert relative(got, want) < 1e-6


@pytest.mark.parametrize("link", LOSSES)
@pytest.mark.parametrize("mode", KERNEL_MODES)
def test_sorted_errors_are_those_of_plain_torch(level, mode, link):
    source, size = (1, 5, 7), (1, 23, 60)
    scores, target, weight = made(source, size, link)
    head = (IGNORE, True, link, 1.0, 0.5, link == "elu", weight, None, 1, mode, size)
    got = cpu.sort_and_extend(scores, target, *head)
    want = reference.sort_and_extend(scores.double(), target, *head)
    torch.testing.assert_close(got[0], want[0], rtol=1e-5, atol=1e-7)
    assert torch.equal(got[2], want[2])
    assert torch.equal(got[3], want[3])
    # Errors that rounding makes equal, or exchanges, share or exchange their slopes.
    assert relative(got[1], want[1]) < 0.1


@pytest.mark.parametrize(("source", "size"), [SIZES[0], SIZES[8], SIZES[10], SIZES[13]])
def test_threads_change_nothing(level, source, size):
    scores, target, _ = made(source, [4 * number for number in size])
    size = [4 * number for number in size]
    slopes, results = slopes_of(1, CLASSES, BINS), []
    for number in (1, 2, 3, 7):
        torch.set_num_threads(number)
        head = (BINS, IGNORE, False, "softmax", True, None, 0.0, None, None, 1, LINEAR, size)
        counts, lse, _, sums, _ = cpu.histogram(scores, target, *head)
        tail = (None, IGNORE, "softmax", torch.tensor(0.3), None, 0.0, None, None, LINEAR, size)
        gradient = cpu.backward(scores, target, lse, slopes, *tail)
        results.append((counts, lse, sums, gradient, cpu.argmax(scores, size, LINEAR, False)))
    first, *others = results
    assert all(torch.equal(a, b) for other in others for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("layout", ["contiguous", "channels last", "every other", "expanded"])
def test_layouts_and_dtypes(level, layout, dtype):
    source, size = (1, 9, 20), (1, 36, 80)
    plain, target, _ = made(source, size)
    plain = plain.to(dtype)
    if layout == "channels last":
        scores = plain.squeeze(2).to(memory_format=torch.channels_last).unsqueeze(2)
    elif layout == "every other":
        scores = torch.stack((plain, plain + 1), -1)[..., 0]
    elif layout == "expanded":
        scores = plain[:1].expand_as(plain)
        plain = scores.clone()
    else:
        scores = plain
    head = (BINS, IGNORE, False, "softmax", False, None, 0.0, None, None, 1, LINEAR, size)
    found, wanted = cpu.histogram(scores, target, *head), cpu.histogram(plain, target, *head)
    assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))
    slopes = slopes_of(1, CLASSES, BINS)
    tail = (None, IGNORE, "softmax", None, None, 0.0, None, None, LINEAR, size)
    got = cpu.backward(scores, target, found[1], slopes, *tail)
    want = cpu.backward(plain, target, found[1], slopes, *tail)
    assert got.dtype == dtype
    assert got.stride() == torch.empty_like(scores).stride()
    assert torch.equal(got, want)


@pytest.mark.parametrize("mode", KERNEL_MODES)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_is_no_number_spreads_as_in_torch(level, value, mode):
    source, size = (1, 9, 20), (1, 36, 81)
    scores, target, _ = made(source, size)
    scores[0, 1, 0, 4, 11] = scores[1, 2, 0, 8, 19] = scores[1, 0, 0, 0, 0] = value
    head = (BINS, None, True, "softmax", False, None, 0.0, None, None, 1, mode, size)
    target = target.clamp(max=CLASSES - 1)
    _, lse, invalid, *_ = cpu.histogram(scores, target, *head)
    _, expected, bad, *_ = reference.histogram(scores, target, *head)
    assert torch.equal(lse.isfinite(), expected.isfinite())
    assert torch.equal(invalid, bad)
    assert torch.equal(
        cpu.argmax(scores, size, mode, False), reference.argmax(scores, size, mode, False)
    )


@pytest.mark.parametrize("narrow", [False, True])
@pytest.mark.parametrize("mode", KERNEL_MODES)
@pytest.mark.parametrize(("source", "size"), SIZES)
def test_argmax(level, source, size, mode, narrow):
    scores = torch.randn(IMAGES, CLASSES, *source)
    got = cpu.argmax(scores, size, mode, narrow)
    enlarged = enlarge(scores.double(), size, mode)
    if mode == NEAREST:  # in which torch rounds a float
        enlarged = enlarge(scores, size, mode).double()
    assert got.dtype == (torch.uint8 if narrow else torch.int64)
    best = enlarged.gather(1, got.long().unsqueeze(1)).squeeze(1)
    torch.testing.assert_close(best, enlarged.amax(1), rtol=1e-6, atol=1e-6)


def test_argmax_of_equal_scores_is_the_first(level):
    scores = torch.zeros(1, 4, 1, 3, 3)
    scores[:, 2:] = 1
    assert (cpu.argmax(scores, (1, 9, 9), LINEAR, False) == 2).all()


@pytest.mark.parametrize("mode", [LINEAR, LINEAR_CORNERS])
def test_weights_have_the_digits_of_a_float_far_from_the_first_pixel(level, mode):
    scores, size = torch.randn(1, 2, 1, 1, 1500), (1, 1, 4001)
    target = torch.randint(2, (1, 4001))
    head = (BINS, None, False, "softmax", False, None, 0.0, None, None, 1, mode, size)
    lse = cpu.histogram(scores, target, *head)[1]
    expected = reference.histogram(scores.double(), target, *head)[1]
    # Torch's own weights of floats are off by 1e-4 here.
    torch.testing.assert_close(lse, expected, rtol=0, atol=2e-6)


def test_many_images_and_bands():
    """More images than bands are wanted, and intervals that are no multiple of the bands."""
    for images, rows in itertools.product((1, 3, 70), (1, 2, 67)):
        scores = torch.randn(images, 2, 1, rows, 3)
        size = (1, 3 * rows + 1, 5)
        target = torch.randint(2, (images, size[1] * size[2]))
        head = (BINS, None, False, "softmax", False, None, 0.0, None, None, 1, LINEAR, size)
        lse = cpu.histogram(scores, target, *head)[1]
        slopes = slopes_of(1, 2, BINS)
        tail = (None, None, "softmax", None, None, 0.0, None, None, LINEAR, size)
        got = cpu.backward(scores, target, lse, slopes, *tail)
        want = reference.backward(scores, target, lse, slopes, *tail)
        assert relative(got, want) < 1e-3


@pytest.mark.parametrize("mode", KERNEL_MODES)
def test_operators_pass_opcheck(mode):
    source, size = (1, 4, 5), (1, 9, 11)
    scores, target, weight = made(source, size)
    ops, how = torch.ops.lovasz, (weight, None, 1, mode, size)
    head = (16, IGNORE, True, "softmax", True, torch.rand(CLASSES), 0.1, *how)
    torch.library.opcheck(ops.histogram, (scores, target, *head))
    _, lse, *_ = ops.histogram(scores, target, *head)
    torch.library.opcheck(ops.sort, (scores, target, IGNORE, True, "softmax", *how[1:]))
    torch.library.opcheck(
        ops.sort_and_extend, (scores, target, IGNORE, True, "softmax", 1.0, 1.0, True, *how)
    )
    for slopes in (
        torch.rand(IMAGES, CLASSES, 2, 16),
        torch.rand(IMAGES, CLASSES, 99),
        torch.empty(1, CLASSES, 2, 0),
    ):
        tail = (None, IGNORE, "softmax", torch.tensor(0.3), None, 0.1, None, weight, mode, size)
        tail = (*tail, None, 0.0, None)
        torch.library.opcheck(ops.backward, (scores, target, lse, slopes, *tail))
    torch.library.opcheck(ops.argmax, (scores, size, mode, True))


BAD = [
    {"scores": torch.zeros(2, 5, 20)},
    {"scores": torch.zeros(2, 5, 1, 0, 5)},
    {"size": (9, 11)},
    {"size": (1, 9, 0)},
    {"size": ()},
    {"size": (1, 9, 10)},
    {"upsample": "bilinear"},
    {"upsample": None},
    {"segment_ids": torch.zeros(1, 99).long()},
]


@pytest.mark.parametrize("bad", BAD)
def test_what_does_not_fit_has_a_sentence(bad):
    scores, target, _ = made((1, 4, 5), (1, 9, 11))
    given = {"upsample": LINEAR, "size": (1, 9, 11), "scores": scores, **bad}
    with pytest.raises(ValueError, match=r"lovasz::histogram: expected .* got "):
        torch.ops.lovasz.histogram(
            target=target, bins=8, ignore_index=None, per_image=False, link="softmax", **given
        )


def test_too_many_classes_for_a_byte_have_a_sentence():
    with pytest.raises(ValueError, match="1 to 255 classes for uint8, got 256"):
        torch.ops.lovasz.argmax(torch.zeros(1, 256, 1, 2, 2), (1, 4, 4), LINEAR, True)
