"""The GPU kernels of soft labels and sums against the reference, in Triton's interpreter."""

import pytest
import torch

from lovasz.core.upsampling import KERNEL_MODES
from lovasz.kernels import reference
from lovasz.kernels import triton as gpu
from lovasz.kernels.fixed_point import SCALE
from lovasz.kernels.triton import blocks, histogram_soft
from tests.kernels.cases import IGNORE, LAYOUTS, relative, slopes_of
from tests.kernels.multilabel_checks import NO_LSE
from tests.kernels.soft_checks import (
    BINS,
    KINDS,
    LINKS,
    Case,
    by_sums,
    case_of,
    check_counts,
    check_gradient,
    labels_of,
)
from tests.kernels.triton.interpreted import Watch
from tests.pairwise import pairwise

pytestmark = [
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),
    pytest.mark.usefixtures("poison"),
]

SHAPES = [(1, 1, 1), (3, 4, 7), (2, 3, 140)]
DTYPES = [torch.float32, torch.bfloat16, torch.float16]


def check(case):
    check_gradient(gpu, case, check_counts(gpu, case))


@pytest.mark.parametrize(("link", "kind"), pairwise(LINKS, KINDS))
def test_every_kind_of_label(link, kind):
    smoothing = 0.1 if kind == "labels" and link == "probabilities" else 0.0
    check(case_of((2, 3, 70), link, kind, smoothing=smoothing))


@pytest.mark.parametrize(
    ("shape", "link", "kind", "layout", "dtype", "weighted", "per_image"),
    pairwise(SHAPES, LINKS, KINDS, LAYOUTS, DTYPES, [False, True], [False, True]),
)
def test_both_passes(shape, link, kind, layout, dtype, weighted, per_image):
    check(case_of(shape, link, kind, layout, dtype, weighted, per_image=per_image))


@pytest.mark.parametrize("kind", ["floats", "maps"])
def test_label_smoothing(kind):
    check(case_of((2, 5, 70), "softmax", kind, smoothing=0.1))


def test_smoothing_of_labels_and_of_their_cross_entropy():
    """An index is a map by itself."""
    case = case_of((2, 5, 70), "softmax", "labels", smoothing=0.1)
    as_map = case._replace(target=case.target.unsqueeze(1), mixture=torch.ones(2, 1))
    counts, lse, _, _, sums = case.count(gpu)
    for got, want in zip((counts, sums), as_map.count(gpu)[::4], strict=True):
        assert torch.equal(got, want)
    regions = by_sums(case)
    got = case.differentiate(gpu, lse, regions)
    assert relative(got, as_map.differentiate(reference, lse, regions)) < 5e-4


@pytest.mark.parametrize(("kind", "layout"), [("floats", "pixels"), ("maps", "classes")])
def test_more_classes_than_a_block_holds(kind, layout):
    check(case_of((1, 65, 20), "softmax", kind, layout, bins=16))


@pytest.mark.parametrize("link", LINKS)
def test_hard_labels_are_counted_as_before(link):
    case = case_of((2, 5, 70), link, "labels", weighted=link == "sigmoid")
    options = (BINS, IGNORE, False, link, False, None, 0.0, case.weight)
    before = gpu.histogram(case.scores, case.target, *options)[0]
    assert torch.equal(case.count(gpu)[0], before)
    if case.target.dim() == 3:
        floats = case.target.float()
    else:  # ignored pixels have no weight
        kept = (case.target != IGNORE).float()
        floats = (case.target.unsqueeze(1) == torch.arange(5).view(1, -1, 1)).half()
        case, before = case._replace(weight=kept), before * SCALE
    assert torch.equal(case._replace(target=floats).count(gpu)[0], before)


@pytest.mark.parametrize("link", ["softmax", "sigmoid"])
def test_more_pixels_than_a_program_takes(link, monkeypatch):
    monkeypatch.setattr(blocks, "FEWEST_STRIPS", 2)
    check(case_of((1, 2, 5_000), link, "floats"))


@pytest.mark.parametrize("bins", [2, 2048])
def test_any_number_of_bins(bins):
    check(case_of((1, 3, 100), "softmax", "floats", bins=bins))


@pytest.mark.parametrize("link", LINKS)
def test_sums_alone(link):
    check(case_of((2, 3, 70), link, "labels", bins=0, per_image=link == "softmax"))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    ("link", "kind"), [("softmax", "maps"), ("sigmoid", "floats"), ("softmax", "labels")]
)
def test_clouds(link, kind, weighted):
    ids = torch.randint(4, (1, 300), generator=torch.Generator().manual_seed(0))  # the last: empty
    check(case_of((1, 3, 300), link, kind, "classes", weighted=weighted, ids=ids, clouds=5))


def test_clouds_of_many_programs(monkeypatch):
    monkeypatch.setattr(blocks, "chunk_of", lambda work, device: 128)
    monkeypatch.setattr(histogram_soft, "STRIPS", 1)
    ids = (torch.arange(900) // 600).view(1, -1)
    check(case_of((1, 2, 900), "sigmoid", "floats", ids=ids, clouds=2))


@pytest.mark.parametrize(
    ("link", "kind", "mode", "per_image", "weighted", "chunk"),
    pairwise(
        ["softmax", "sigmoid"],
        KINDS,
        list(KERNEL_MODES)[:2],
        [False, True],
        [False, True],
        [2**25, 600],
    ),
)
def test_upsampled(link, kind, mode, per_image, weighted, chunk, monkeypatch):
    monkeypatch.setattr(blocks, "CHUNK_BYTES", chunk)
    size = (1, 5, 11)
    case = case_of((2, 2, 55), link, kind, weighted=weighted, per_image=per_image)
    scores = torch.randn(2, 2, 1, 3, 4)
    check(case._replace(scores=scores, upsample=mode, size=size))


@pytest.mark.parametrize("kind", ["floats", "labels"])
def test_digits_of_predictions_that_are_nearly_certain(kind):
    scores = torch.randn(1, 70, 40)
    scores[:, 3] += 20
    target, _ = labels_of((1, 70, 40), "softmax", kind)
    case = Case(scores, target, "softmax", bins=0)
    regions = by_sums(case)
    regions[..., 3] = 0  # whose sign is that of a difference which has no digits there
    for few in (70, 7):  # by blocks of classes, and all at once
        part = case._replace(scores=scores[:, :few])
        part = part._replace(target=target[:, :few] if kind == "floats" else target % few)
        lse = reference.log_sum_exp(part.scores.double(), "softmax")
        arguments = (torch.zeros(1, few, 2, 0), None, IGNORE, "softmax", None, None, 0.0)
        tail = (None, None, None, None, None, 0.0, regions[:, :few])
        got = gpu.backward(part.scores, part.target, lse, *arguments, *tail)
        want = reference.backward(part.scores.double(), part.target, lse, *arguments, *tail)
        assert relative(1e9 * got, 1e9 * want) < 1e-5


def spoil(case):
    """Scores and labels of pixels that do not count, and of no other, are no numbers."""
    scores, target = case.scores.clone(), case.target.clone()
    if case.target.is_floating_point() and case.link == "softmax":
        lost = (case.weight == 0).unsqueeze(1).expand(scores.shape)
        target[lost] = torch.nan
    elif case.link == "softmax":
        labels = case.target if case.mixture is not None else case.target.unsqueeze(1)
        lost = (labels == IGNORE).all(1, keepdim=True).expand(scores.shape)
    else:
        lost = case.target == IGNORE
    assert lost.any()
    scores[lost] = torch.nan
    return case._replace(scores=scores, target=target)


@pytest.mark.parametrize(
    ("link", "kind"), [("softmax", kind) for kind in KINDS] + [("sigmoid", "floats")]
)
def test_ignored_pixels_may_be_anything(link, kind):
    case = case_of((2, 3, 70), link, kind, weighted=kind == "floats" and link == "softmax")
    if kind == "maps":
        case.target[:, :, 50:60] = IGNORE
    spoilt = spoil(case)
    expected, got = case.count(gpu), spoilt.count(gpu)
    assert not got[2].any()
    for index in (0, 3, 4):
        assert torch.equal(got[index], expected[index])
    regions = by_sums(case)
    gradients = [each.differentiate(gpu, got[1], regions) for each in (spoilt, case)]
    assert torch.equal(*gradients)


@pytest.mark.parametrize("value", [torch.nan, -0.1, 1.1, 0.8])
def test_labels_that_are_none(value):
    target = torch.full((2, 3, 70), 0.3)
    target[1, 2, 5] = value  # 0.8 is one too many for a pixel
    for link in LINKS:
        case = Case(torch.rand(2, 3, 70), target, link, per_image=True)
        invalid = case.count(gpu)[2]
        channels = link in ("sigmoid", "channel_probabilities")
        assert (invalid > 0).tolist() == [False, value != 0.8 or not channels]
        gradient = case.differentiate(gpu, torch.zeros(2, 70).double(), by_sums(case))
        assert gradient.isfinite().all()


@pytest.mark.parametrize("bad", [-1, 5, 2**40])
def test_impossible_labels_of_maps(bad):
    for link in ("softmax", "probabilities"):
        case = case_of((2, 5, 70), link, "maps", per_image=True)
        case.target[1, 2, 69] = bad
        assert (case.count(gpu)[2] > 0).tolist() == [False, True]


@pytest.mark.parametrize("link", LINKS)
def test_scores_that_are_no_numbers(link):
    case = case_of((2, 5, 70), link, "floats", per_image=True)
    case.target[0, :, 7] = 0.1
    case.scores[0, 1, 7] = torch.nan
    assert (case.count(gpu)[2] > 0).tolist() == [True, False]


@pytest.mark.parametrize("link", ["hinge", "elu"])
@pytest.mark.parametrize("weighted", [False, True])
def test_cross_entropy_beside_the_hinge(link, weighted):
    scores, (target, _) = 2 * torch.randn(2, 3, 70), labels_of((2, 3, 70), "sigmoid", "labels")
    weight, own = torch.rand(target.shape) if weighted else None, torch.rand(3)
    arguments = (scores, target, BINS, IGNORE, False, link, True, own, 0.0, weight)
    got, want = gpu.histogram(*arguments), reference.histogram(*arguments)
    torch.testing.assert_close(got[3], want[3], rtol=1e-6, atol=1e-6)
    tail = (None, IGNORE, link, torch.tensor(0.3), own, 0.0, None, weight)
    arguments = (scores, target, NO_LSE, slopes_of(1, 3, BINS), *tail)
    gradient, expected = gpu.backward(*arguments), reference.backward(*arguments)
    assert relative(gradient, expected) < 5e-4


@pytest.mark.parametrize("bins", [2, 300])
def test_no_more_is_missed_than_there_is(bins):
    generator = torch.Generator().manual_seed(bins)
    counts = torch.randint(9, (2, 1, 2, bins), generator=generator)
    counts *= torch.rand(counts.shape, generator=generator) < 0.5
    mass = counts[:, :, 1].sum(-1) * torch.rand(2, 1, generator=generator).double()
    mass[0, 0] = 0
    for scale in (1, SCALE):
        arguments = (counts * scale, 0.7, 1.3, True, scale, False, mass)
        for got, want in zip(gpu.extend(*arguments), reference.extend(*arguments), strict=True):
            torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-15)


def test_nothing_waits_for_the_device():
    ids = torch.arange(70).view(1, -1) // 20
    cases = [
        case_of((2, 3, 70), "softmax", "floats", weighted=True),
        case_of((1, 3, 70), "softmax", "maps", ids=ids, clouds=4),
        case_of((2, 3, 70), "sigmoid", "labels", weighted=True),
        case_of((2, 3, 77), "softmax", "labels", weighted=True)._replace(
            scores=torch.randn(2, 3, 1, 3, 4), upsample="linear", size=(1, 7, 11)
        ),
    ]
    inputs = [(case, case.entropy, by_sums(case)) for case in cases]
    with Watch() as watch:
        for case, _, regions in inputs:
            lse = case.count(gpu)[1]
            case.differentiate(gpu, lse, regions)
    assert watch.waited == []


def test_float64_goes_to_the_reference():
    case = case_of((2, 3, 70), "softmax", "floats")
    case = case._replace(scores=case.scores.double())
    for got, want in zip(case.count(gpu), case.count(reference), strict=True):
        assert torch.equal(got, want)
