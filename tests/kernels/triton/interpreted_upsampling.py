"""Scores of another resolution than the labels in the GPU kernels, in Triton's interpreter.

Expected is the reference of the same scores in float64: that of float32 takes its weights from
torch, which are off by more than the rounding of the kernels.
"""

import itertools

import pytest
import torch
from torch.nn import functional as F

from lovasz.core.upsampling import KERNEL_MODES, LINEAR, LINEAR_CORNERS, NEAREST
from lovasz.kernels import reference
from lovasz.kernels import triton as gpu
from lovasz.kernels import upsampling as in_torch
from lovasz.kernels.triton import blocks
from lovasz.kernels.triton.axes import Upsampling
from lovasz.kernels.triton.chunks import chunks_of
from lovasz.kernels.triton.shrinking import shrink
from lovasz.kernels.triton.upsampling import enlarge
from tests.kernels.cases import IGNORE, factors_of, relative, slopes_of
from tests.kernels.multilabel_checks import moved
from tests.kernels.triton.interpreted import Watch
from tests.pairwise import pairwise

pytestmark = [
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),
    pytest.mark.usefixtures("poison"),
]

BINS = 256
DTYPES = [torch.float32, torch.bfloat16, torch.float16]
TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 8e-3, torch.float16: 2e-3}
# (d, h, w) and (D, H, W): by 4, by 8, by no integer, by less than 1, sizes of 1
SIZES = [
    ((1, 1, 5), (1, 1, 20)),
    ((1, 1, 9), (1, 1, 31)),
    ((1, 1, 3), (1, 1, 24)),
    ((1, 3, 4), (1, 12, 16)),
    ((1, 5, 7), (1, 13, 33)),
    ((1, 9, 11), (1, 4, 6)),
    ((1, 6, 5), (1, 6, 12)),
    ((2, 3, 4), (4, 5, 5)),
    ((1, 1, 1), (1, 1, 1)),
    ((1, 1, 1), (1, 5, 7)),
    ((2, 3, 1), (5, 1, 1)),
]
LAYOUTS = ["pixels", "classes", "every other column"]
# bytes of a chunk: several images, an image, rows of one, parts of a row
CHUNKS = [2**25, 3000, 700]


def scores_of(source, dtype=torch.float32, layout="pixels", images=2, classes=3):
    """Scores (N, C, d, h, w) whose pixels, classes, or neither, lie next to each other."""
    generator = torch.Generator().manual_seed(sum(source))
    shape = (images, classes, *source)
    scores = (2 * torch.randn(shape, generator=generator)).to(dtype)
    if layout == "classes":
        return scores.movedim(1, -1).contiguous().movedim(-1, 1)
    if layout == "every other column":
        return scores.new_zeros(*shape[:-1], 2 * source[-1])[..., ::2].copy_(scores)
    return scores


def labels_of(size, link="softmax", images=2, classes=3, dtype=torch.int64):
    """Random labels (N, L), or (N, C, L) of channels, a tenth of them ``IGNORE``."""
    length = size[0] * size[1] * size[2]
    generator = torch.Generator().manual_seed(length)
    shape = (images, length) if link == "softmax" else (images, classes, length)
    labels = torch.randint(classes if link == "softmax" else 2, shape, generator=generator)
    dropped = torch.rand(shape, generator=generator) < 0.1
    return labels.masked_fill(dropped, IGNORE).to(dtype)


def check_histogram(scores, target, link, per_image, options, upsampled, bins=BINS):
    arguments = (target, bins, IGNORE, per_image, link, *options, None, 1, *upsampled)
    counts, lse, invalid, sums, _ = gpu.histogram(scores, *arguments)
    expected, lse_expected, invalid_expected, sums_expected, _ = reference.histogram(
        scores.double(), *arguments
    )
    assert counts.shape == expected.shape
    assert torch.equal(counts.sum(-1), expected.sum(-1))
    assert moved(counts, expected) < 2e-3 + 1 / max(float(counts[0].sum()), 1)
    torch.testing.assert_close(lse, lse_expected, rtol=1e-6, atol=2e-6)
    assert torch.equal(invalid, invalid_expected)
    torch.testing.assert_close(sums, sums_expected, rtol=2e-6, atol=2e-6)


def check_backward(scores, target, link, slopes, factors, tail, upsampled):
    lse = reference.log_sum_exp(in_torch.enlarge(scores.double(), *upsampled[::-1]), link)
    arguments = (factors, IGNORE, link, *tail, *upsampled)
    gradient = gpu.backward(scores, target, lse, slopes, *arguments)
    expected = reference.backward(scores.double(), target, lse, slopes.double(), *arguments)
    assert gradient.dtype == scores.dtype
    assert gradient.stride() == torch.empty_like(scores).stride()
    assert relative(gradient, expected) < TOLERANCE[scores.dtype]


@pytest.mark.parametrize(
    ("mode", "source", "size"), [(mode, *sizes) for sizes in SIZES for mode in KERNEL_MODES]
)
def test_enlarged_scores_and_shrunk_gradients(source, size, mode):
    scores = scores_of(source)
    upsampling = Upsampling.of(scores, size, mode)
    length = upsampling.length
    expected = in_torch.enlarge(scores.double(), size, mode)
    gradient = torch.randn(expected.shape)
    shrunk = in_torch.shrink(gradient.double(), source, size, mode)
    for cuts in {(0, length), (0, length // 3, length // 2 + 1, length)}:
        got, back = [], torch.zeros_like(scores)
        for first, last in itertools.pairwise(cuts):
            if first < last:
                got.append(enlarge(scores, upsampling, first, last))
                part = gradient[..., first:last].contiguous()
                shrink(part, back, upsampling, first, last)
        torch.testing.assert_close(torch.cat(got, 2).double(), expected, rtol=2e-6, atol=2e-6)
        torch.testing.assert_close(back.double(), shrunk, rtol=2e-6, atol=1e-5)


@pytest.mark.parametrize("mode", [LINEAR, LINEAR_CORNERS])
@pytest.mark.parametrize(("source", "size"), [(171, 513), (512, 397), (3, 1030)])
def test_weights_are_those_of_float64(source, size, mode):
    scores = 100 * torch.randn(1, 1, 1, 1, source)
    upsampled = ((1, 1, size), mode)
    got = enlarge(scores, Upsampling.of(scores, *upsampled), 0, size)
    wanted = in_torch.enlarge(scores.double(), *upsampled)
    assert (got - wanted).abs().max() < 3e-5  # 1e-7 of the scores; of torch's float32 3e-3


@pytest.mark.parametrize(
    ("sizes", "mode", "dtype", "layout", "per_image", "chunk"),
    pairwise(SIZES, list(KERNEL_MODES), DTYPES, LAYOUTS, [False, True], CHUNKS),
)
def test_both_passes(sizes, mode, dtype, layout, per_image, chunk, monkeypatch):
    monkeypatch.setattr(blocks, "CHUNK_BYTES", chunk)
    source, size = sizes
    scores, target = scores_of(source, dtype, layout), labels_of(size)
    cross_entropy = (True, torch.rand(3), 0.1) if layout == "classes" else (False, None, 0.0)
    weight = 3 * torch.rand(target.shape) if dtype == torch.bfloat16 else None
    upsampled = (mode, size)
    check_histogram(scores, target, "softmax", per_image, (*cross_entropy, weight), upsampled)
    groups = 2 if per_image else 1
    scale = torch.tensor(0.3) if cross_entropy[0] else None
    tail = (scale, *cross_entropy[1:], None, weight)
    slopes, factors = slopes_of(groups, 3, BINS), factors_of(groups, 3)
    check_backward(scores, target, "softmax", slopes, factors, tail, upsampled)
    if layout == "pixels":
        by_pixel = torch.rand(2, 3, target.shape[1])
        check_backward(scores, target, "softmax", by_pixel, factors, tail, upsampled)


@pytest.mark.parametrize(
    ("sizes", "mode", "link", "per_image", "chunk"),
    pairwise(SIZES[3:6], list(KERNEL_MODES), ["sigmoid", "hinge"], [False, True], CHUNKS),
)
def test_channels(sizes, mode, link, per_image, chunk, monkeypatch):
    monkeypatch.setattr(blocks, "CHUNK_BYTES", chunk)
    source, size = sizes
    scores, target = scores_of(source), labels_of(size, link)
    fused = link == "sigmoid"
    weight = torch.rand(target.shape) if per_image else None
    options, upsampled = (fused, torch.rand(3) if fused else None, 0.0), (mode, size)
    check_histogram(scores, target, link, per_image, (*options, weight), upsampled)
    groups = 2 if per_image else 1
    tail = (torch.tensor(0.3) if fused else None, *options[1:], None, weight)
    slopes, factors = slopes_of(groups, 3, BINS), factors_of(groups, 3)
    check_backward(scores, target, link, slopes, factors, tail, upsampled)


@pytest.mark.parametrize(
    ("link", "classes", "upsample", "per_image", "weighted"),
    [
        ("softmax", 3, LINEAR, True, True),
        ("softmax", 3, None, False, False),
        ("softmax", 70, None, True, False),
        ("sigmoid", 3, LINEAR_CORNERS, False, False),
        ("sigmoid", 3, None, True, True),
    ],
)
def test_the_cross_entropy_alone(link, classes, upsample, per_image, weighted, monkeypatch):
    monkeypatch.setattr(blocks, "CHUNK_BYTES", 700)
    size = (1, 7, 9)
    source, upsampled = ((1, 3, 4), (upsample, size)) if upsample else (size, (None, None))
    scores = whole = scores_of(source, classes=classes)
    if upsample is None:
        scores = whole = scores.flatten(2)
    else:
        whole = in_torch.enlarge(scores.double(), size, upsample)
    target = labels_of(size, link, classes=classes)
    weight = torch.rand(target.shape) if weighted else None
    smoothing = 0.1 if link == "softmax" else 0.0
    options = (True, torch.rand(classes), smoothing, weight)
    check_histogram(scores, target, link, per_image, options, upsampled, bins=0)
    groups = 2 if per_image else 1
    slopes, factors = torch.empty(groups, classes, 2, 0), torch.rand(groups, classes)
    lse = reference.log_sum_exp(whole.double(), link)
    tail = (torch.tensor(0.7), *options[1:3], None, weight, *upsampled)
    arguments = (target, lse, slopes, factors, IGNORE, link, *tail)
    gradient = gpu.backward(scores, *arguments)
    expected = reference.backward(scores.double(), *arguments)
    torch.testing.assert_close(gradient.double(), expected, rtol=1e-5, atol=1e-6)


def test_the_cross_entropy_alone_tells_what_is_wrong():
    scores, target = torch.randn(2, 4, 60), torch.randint(4, (2, 60))
    scores[0, 1, 7], target[1, 5] = torch.nan, 9
    arguments = (scores, target, 0, IGNORE, True, "softmax", True)
    assert gpu.histogram(*arguments)[2].tolist() == [1, 1]
    target = torch.randint(2, scores.shape)
    target[1, 2, 3] = 7
    assert gpu.histogram(scores, target, 0, IGNORE, True, "sigmoid", True)[2].tolist() == [1, 1]


@pytest.mark.parametrize("mode", KERNEL_MODES)
def test_sort(mode):
    source, size = (1, 5, 4), (1, 11, 16)
    scores, target = scores_of(source, torch.bfloat16), labels_of(size)
    arguments = (target, IGNORE, True, "softmax", 1.0, 1.0, False, None, None, 1, mode, size)
    got, expected = (
        gpu.sort_and_extend(scores, *arguments),
        reference.sort_and_extend(scores.double(), *arguments),
    )
    torch.testing.assert_close(got[0], expected[0], rtol=1e-5, atol=1e-6)
    assert relative(got[1], expected[1]) < 0.02
    assert torch.equal(got[2], expected[2])
    torch.testing.assert_close(got[4], expected[4], rtol=1e-6, atol=2e-6)


@pytest.mark.parametrize("mode", KERNEL_MODES)
@pytest.mark.parametrize("value", [torch.inf, -torch.inf, torch.nan])
def test_what_is_no_number_spreads_as_in_torch(value, mode):
    scores, size = scores_of((1, 5, 6)), (1, 20, 24)
    scores[0, 1, 0, 2, 3] = value
    scores[1, 2, 0, 4, 5] = value
    expected = in_torch.enlarge(scores, size, mode)
    got = enlarge(scores, Upsampling.of(scores, size, mode), 0, 480)
    if mode != LINEAR_CORNERS:  # whose weights torch rounds, so that one of 0 may be a little more
        assert torch.equal(got.isnan(), expected.isnan())
    assert torch.equal(got.isfinite(), expected.isfinite()) or mode == LINEAR_CORNERS
    target = labels_of(size)
    arguments = (target, BINS, IGNORE, True, "softmax", False, None, 0.0, None, None, 1, mode, size)
    invalid = gpu.histogram(scores, *arguments)[2]
    assert (invalid > 0).tolist() == (reference.histogram(scores, *arguments)[2] > 0).tolist()


@pytest.mark.parametrize(
    ("sizes", "layout", "mode", "dtype", "narrow"),
    pairwise(SIZES, LAYOUTS, list(KERNEL_MODES), DTYPES, [False, True]),
)
def test_argmax(sizes, layout, mode, dtype, narrow):
    source, size = sizes
    scores = scores_of(source, dtype, layout, classes=5)
    labels = gpu.argmax(scores, size, mode, narrow)
    expected = reference.argmax(scores.double(), size, mode, narrow)
    assert labels.dtype == expected.dtype
    # of two classes that are equal but for their rounding, either
    assert (labels != expected).sum() <= (0 if dtype == torch.float32 else 1)


@pytest.mark.parametrize("multilabel", [False, True])
@pytest.mark.parametrize(("mode", "lines"), [(LINEAR, True), (LINEAR, False), (NEAREST, True)])
def test_argmax_of_lines_and_of_channels(mode, lines, multilabel):
    scores, size = scores_of((1, 5, 6), classes=5), (1, 9, 13)
    scores[0, 1, 0, 2, 3] = torch.nan
    scores[1, 2, 0, 1, 1] = -torch.inf
    how = (size, mode, True, slopes_of(2, 5, 1).view(2, -1)[:, :5] if lines else None, multilabel)
    assert torch.equal(gpu.argmax(scores, *how), reference.argmax(scores.double(), *how))


def test_argmax_of_equal_scores_and_of_what_is_no_number():
    scores = torch.zeros(1, 3, 1, 2, 2)
    assert not gpu.argmax(scores, (1, 4, 6), LINEAR, False).any()
    scores[:] = -torch.inf
    assert not gpu.argmax(scores, (1, 2, 2), NEAREST, False).any()
    scores = torch.randn(1, 3, 1, 4, 4)
    for bad, value in enumerate((torch.nan, torch.inf, -torch.inf)):
        scores[0, bad, 0, bad, bad] = value
    for mode, narrow in ((LINEAR, False), (NEAREST, True)):
        labels = gpu.argmax(scores, (1, 8, 8), mode, narrow)
        assert torch.equal(labels, reference.argmax(scores, (1, 8, 8), mode, narrow))
        assert (labels == (255 if narrow else -1)).any()


def test_gradients_repeat_bit_by_bit(monkeypatch):
    source, size = (1, 4, 5), (1, 11, 15)
    scores, target = scores_of(source), labels_of(size)
    slopes, lse = slopes_of(1, 3, BINS), torch.full((2, 165), 2.0, dtype=torch.float64)
    tail = (None, IGNORE, "softmax", None, None, 0.0, None, None, LINEAR, size)
    runs = []
    for chunk in (2**25, 900, 900):
        monkeypatch.setattr(blocks, "CHUNK_BYTES", chunk)
        runs.append(gpu.backward(scores, target, lse, slopes, *tail))
    assert torch.equal(runs[1], runs[2])
    assert relative(runs[1], runs[0]) < 1e-6


@pytest.mark.parametrize("chunk", CHUNKS)
def test_chunks_have_every_pixel_once_and_few_bytes(chunk, monkeypatch):
    monkeypatch.setattr(blocks, "CHUNK_BYTES", chunk)
    for size in ((1, 1, 1), (1, 1, 977), (1, 31, 65), (3, 5, 7)):
        scores = torch.empty(5, 3, *(1, 2, 2))
        upsampling = Upsampling.of(scores, size, LINEAR)
        times = torch.zeros(5, upsampling.length)
        for part in chunks_of(scores, upsampling):
            seen = part.of(times)
            seen += 1
            assert seen.numel() * 3 * 4 <= chunk
            whole_rows = part.first % size[2] == 0 and part.last % size[2] == 0
            assert whole_rows or size[2] * 3 * 4 > chunk
        assert bool((times == 1).all())


def test_nothing_waits_for_the_device():
    size = (1, 9, 8)
    scores, target = scores_of((1, 4, 5), torch.bfloat16), labels_of(size)
    weight = torch.rand(target.shape)
    with Watch() as watch:
        for bins in (64, 0):
            options = (True, torch.rand(3), 0.1, weight, None, 1, LINEAR, size)
            counts, lse, *_ = gpu.histogram(scores, target, bins, IGNORE, True, "softmax", *options)
            tail = (torch.tensor(0.5), None, 0.1, None, weight, LINEAR, size)
            gpu.backward(scores, target, lse, counts.float(), None, IGNORE, "softmax", *tail)
        gpu.argmax(scores, size, LINEAR, True)
    assert watch.waited == []


def test_float64_goes_to_the_reference():
    scores, size = scores_of((1, 3, 4), torch.float64), (1, 7, 5)
    target = labels_of(size)
    arguments = (target, BINS, IGNORE, False, "softmax", True)
    upsampled = {"upsample": LINEAR, "size": size}
    got = gpu.histogram(scores, *arguments, **upsampled)
    expected = reference.histogram(scores, *arguments, **upsampled)
    assert all(torch.equal(a, b) for a, b in zip(got, expected, strict=True))
    wanted = F.interpolate(scores[:, :, 0], size[1:], mode="bilinear").argmax(1).flatten(1)
    assert torch.equal(gpu.argmax(scores, size, LINEAR, False), wanted)
