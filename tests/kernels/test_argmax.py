"""Labels without a loss by the CPU kernels, against plain torch, at every level."""

import pytest
import torch

from lovasz.core.upsampling import KERNEL_MODES
from lovasz.kernels import cpu, reference
from tests.kernels.cases import assert_decided

DTYPES = [torch.float32, torch.bfloat16, torch.float16]
# Of one tile, of some and a part, and of one pixel; and with many labels, which go past the caches.
SHAPES = [(2, 5, 256), (1, 3, 1000), (3, 1, 77), (2, 150, 1), (2, 7, 90_000)]


def lines_of(classes):
    """Factors that are no power of two, of both signs, and offsets."""
    generator = torch.Generator().manual_seed(2)
    return torch.randn(2, classes, generator=generator)


def by_pixel(scores):
    """The classes of a pixel next to each other."""
    return scores.movedim(1, -1).contiguous().movedim(-1, 1)


def layouts(scores):
    """Classes next to each other, with a gap, in every second place, and images inside."""
    yield scores
    yield by_pixel(scores)
    wide = torch.zeros(len(scores), 3 * scores.shape[1], scores.shape[2], dtype=scores.dtype)
    yield wide[:, ::3].copy_(scores)
    yield torch.zeros(*scores.shape[:2], 2 * scores.shape[2]).to(scores)[..., ::2].copy_(scores)
    yield scores.movedim(0, -1).contiguous().movedim(-1, 0)


@pytest.mark.parametrize("narrow", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_scores_as_given(level, shape, dtype, narrow):
    scores = torch.randn(shape).to(dtype)
    flat = scores.view(-1)
    for place, value in enumerate((torch.nan, torch.inf, -torch.inf)):
        flat[place * 31 % len(flat)] = value
    for multilabel in (False, True):
        wanted = reference.argmax(scores, None, None, narrow, None, multilabel)
        assert wanted.dtype == (torch.uint8 if narrow else torch.int64)
        assert (wanted == (255 if narrow else -1)).any()
        for given in layouts(scores):
            got = cpu.argmax(given, None, None, narrow, None, multilabel)
            assert got.dtype == wanted.dtype
            assert torch.equal(got, wanted)


@pytest.mark.parametrize("multilabel", [False, True])
@pytest.mark.parametrize("dtype", [torch.float64, *DTYPES])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_lines(level, shape, dtype, multilabel):
    scores, lines = torch.randn(shape).to(dtype), lines_of(shape[1])
    factors, offsets = lines.double().unsqueeze(2)
    wanted = factors * scores.double() + offsets
    got = cpu.argmax(by_pixel(scores), None, None, False, lines.t().contiguous().t(), multilabel)
    assert_decided(got, wanted, 1e-6, multilabel=multilabel)


@pytest.mark.parametrize("multilabel", [False, True])
@pytest.mark.parametrize("mode", KERNEL_MODES)
@pytest.mark.parametrize(
    ("source", "size"),
    [((1, 5, 7), (1, 23, 170)), ((3, 4, 5), (2, 9, 21)), ((1, 1, 9), (1, 1, 40))],
)
def test_lines_of_interpolated_scores(level, source, size, mode, multilabel):
    scores, lines = torch.randn(2, 5, *source), lines_of(5)
    got = cpu.argmax(scores, size, mode, True, lines, multilabel).long()
    whole = reference.decided_by(scores, size, mode, lines)
    assert_decided(got, whole, 1e-5, multilabel=multilabel)


def test_equal_scores(level):
    """The first class; and of channels what is not above 0 is not in the mask."""
    scores = torch.ones(1, 4, 300)
    scores[:, 0] = 0
    assert (cpu.argmax(scores, None, None, False) == 1).all()
    assert (cpu.argmax(scores, None, None, False, None, True) == scores).all()
    infinite = torch.full((1, 4, 300), -torch.inf)
    assert not cpu.argmax(infinite, None, None, False, lines_of(4).abs()).any()


@pytest.mark.parametrize("multilabel", [False, True])
def test_nothing_to_decide(multilabel):
    for shape in ((0, 3, 4), (2, 3, 0)):
        labels = cpu.argmax(torch.zeros(shape), None, None, True, None, multilabel)
        assert labels.shape == (shape if multilabel else (shape[0], shape[2]))


@pytest.mark.parametrize("lines", [None, lines_of(3)], ids=["alone", "lines"])
@pytest.mark.parametrize("multilabel", [False, True])
def test_operator_passes_opcheck(multilabel, lines):
    for scores, size, mode in (
        (torch.randn(2, 3, 20), None, None),
        (torch.randn(2, 3, 1, 4, 5), (1, 9, 11), KERNEL_MODES[0]),
    ):
        torch.library.opcheck(
            torch.ops.lovasz.argmax, (scores, size, mode, True, lines, multilabel)
        )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((torch.zeros(1, 256, 4), None, None, True), "1 to 255 classes for uint8, got 256"),
        ((torch.zeros(3, 4), None, None, True), r"scores of shape \(N, C, L\), got \(3, 4\)"),
        ((torch.zeros(1, 3, 4), None, None, True, torch.zeros(3)), r"lines of shape \(2, 3\)"),
        (
            (torch.zeros(1, 3, 4), None, None, True, torch.zeros(2, 3).double()),
            "dtype torch.float32",
        ),
    ],
)
def test_what_does_not_fit_has_a_sentence(arguments, words):
    with pytest.raises(ValueError, match=f"^lovasz::argmax: expected .*{words}"):
        torch.ops.lovasz.argmax(*arguments)
