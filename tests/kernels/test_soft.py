"""Soft labels and sums in the kernels of the CPU: as in the reference, over all kinds of labels."""

from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from lovasz.core.links import MULTICLASS
from lovasz.core.upsampling import KERNEL_MODES
from lovasz.kernels import cpu, reference
from tests.kernels.cases import IGNORE, factors_of, relative
from tests.kernels.multilabel_checks import moved

BINS = 64
DTYPES = [torch.float32, torch.bfloat16, torch.float16]
# Of scores and of labels: pixels, or classes, or neither lie next to each other.
LAYOUTS = ["pixels", "classes", "neither"]
KINDS = [
    ("softmax", "dense"),
    ("softmax", "maps"),
    ("softmax", "smoothed"),
    ("softmax", "hard"),
    ("probabilities", "dense"),
    ("probabilities", "maps"),
    ("probabilities", "hard"),
    ("sigmoid", "dense"),
    ("sigmoid", "hard"),
    ("channel_probabilities", "dense"),
    ("channel_probabilities", "hard"),
]
OF_LABELS = [1, 6, 7]  # sums in which no prediction takes part
# Rounding of the gradient itself.
TOLERANCE = {torch.float32: 2e-6, torch.bfloat16: 8e-3, torch.float16: 1e-3}


class Case(NamedTuple):
    """What is read, and how."""

    link: str
    scores: Tensor
    target: Tensor
    mixture: Tensor | None
    label_smoothing: float
    weight: Tensor | None
    class_weight: Tensor | None
    smoothing: float

    @property
    def fused(self) -> bool:
        """Whether there is a cross-entropy."""
        return self.link in ("softmax", "sigmoid")

    def histogram(self, module: Any, bins: int = BINS, **options: Any) -> tuple[Tensor, ...]:
        options = {"regions": True, "per_image": False, **options}
        found: tuple[Tensor, ...] = module.histogram(
            self.scores, self.target, bins, IGNORE, link=self.link, cross_entropy=self.fused,
            class_weight=self.class_weight, smoothing=self.smoothing, pixel_weight=self.weight,
            mixture=self.mixture, label_smoothing=self.label_smoothing, **options,
        )  # fmt: skip
        return found

    def backward(self, module: Any, lse: Tensor, slopes: Tensor, **options: Any) -> Tensor:
        options = {"factors": None, **options}
        found: Tensor = module.backward(
            self.scores, self.target, lse, slopes, ignore_index=IGNORE, link=self.link,
            scale=torch.tensor(0.3) if self.fused else None, class_weight=self.class_weight,
            smoothing=self.smoothing, pixel_weight=self.weight, mixture=self.mixture,
            label_smoothing=self.label_smoothing, **options,
        )  # fmt: skip
        return found

    def double(self) -> "Case":
        """The same for the reference, with digits to spare."""
        return self._replace(scores=self.scores.double())


def in_layout(values: Tensor, layout: str) -> Tensor:
    if layout == "classes":
        return values.transpose(1, 2).contiguous().transpose(1, 2)
    if layout == "neither":
        return torch.stack((values, values), -1)[..., 0]
    return values


def make(
    link: str,
    kind: str,
    *,
    seed: int = 0,
    shape: tuple[int, int, int] = (2, 5, 300),
    layout: str = "pixels",
    label_layout: str = "pixels",
    dtype: torch.dtype = torch.float32,
    label_dtype: torch.dtype = torch.float32,
    weighted: bool = True,
    ignored: bool = True,
) -> Case:
    """Random scores and labels; scores and soft labels of ignored pixels are NaN."""
    generator = torch.Generator().manual_seed(seed)
    images, classes, length = shape

    def rand(*size: int) -> Tensor:
        return torch.rand(size, generator=generator)

    scores = 3 * torch.randn(shape, generator=generator)
    if "probabilities" in link:
        scores = scores.softmax(1)
    places = (images, length) if link in MULTICLASS else shape
    drop = (rand(*places) < 0.1) & ignored
    weight = 3 * rand(*places) if weighted else None
    mixture = None
    if kind == "dense":
        soft = rand(*shape)
        if link in MULTICLASS:
            soft = (4 * soft).softmax(1)
            own = F.one_hot(torch.randint(classes, places, generator=generator), classes)
            soft = torch.where(rand(images, 1, length) < 0.3, own.transpose(1, 2).float(), soft)
            if ignored:
                weight = (torch.ones(places) if weight is None else weight).masked_fill(drop, 0.0)
            soft = soft.masked_fill(drop.unsqueeze(1), torch.nan)
        else:
            soft = torch.where(rand(*shape) < 0.3, (soft > 0.5).float(), soft)
            soft = soft.masked_fill(drop, float(IGNORE))
        target = in_layout(soft.to(label_dtype), label_layout)
    elif kind == "maps":
        target = torch.randint(classes, (images, 3, length), generator=generator)
        target = target.masked_fill((rand(*target.shape) < 0.2) & ignored, IGNORE)
        target = target.masked_fill(drop.unsqueeze(1), IGNORE)
        drop, mixture = (target == IGNORE).all(1), rand(images, 3)
    else:
        most = classes if link in MULTICLASS else 2
        target = torch.randint(most, places, generator=generator).masked_fill(drop, IGNORE)
    drop = drop.unsqueeze(1) if link in MULTICLASS else drop
    scores = in_layout(scores.masked_fill(drop, torch.nan).to(dtype), layout)
    label_smoothing = 0.2 if kind in ("smoothed", "maps") else 0.0
    class_weight = rand(classes) if link in ("softmax", "sigmoid") else None
    smoothing = 0.1 if link == "softmax" and seed % 2 else 0.0
    return Case(link, scores, target, mixture, label_smoothing, weight, class_weight, smoothing)


def check(case: Case, groups: int = 1, bins: int = BINS, **options: Any) -> None:
    """Both passes are those of the reference."""
    classes = case.scores.shape[1]
    counts, lse, invalid, sums, regions = case.histogram(cpu, bins, **options)
    expected = case.double().histogram(reference, bins, **options)
    # Every pixel is there; one at the edge of two bins, or at its label, may be in either.
    assert torch.equal(counts.sum((2, 3)), expected[0].sum((2, 3)))
    assert bins == 0 or moved(counts, expected[0]) < 5e-3
    torch.testing.assert_close(lse, expected[1], rtol=1e-6, atol=2e-6, equal_nan=True)
    assert not invalid.any()
    torch.testing.assert_close(sums, expected[3], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(regions, expected[4], rtol=1e-5, atol=1e-5)
    if bins > 0 or case.fused:  # and without the sums of predictions
        found = case.histogram(cpu, bins, **{**options, "regions": False})
        assert torch.equal(found[0].sum((2, 3)), counts.sum((2, 3)))
        assert bins == 0 or moved(found[0], counts) < 5e-3
        torch.testing.assert_close(found[3], sums, rtol=1e-5, atol=1e-6)
        if len(found[4]) > 0:
            of_labels = (sums[..., OF_LABELS] for sums in (found[4], regions))
            torch.testing.assert_close(*of_labels, rtol=1e-6, atol=1e-6)
    generator = torch.Generator().manual_seed(5)
    # The same for all bins, so that a score at the edge of two changes nothing.
    slopes = torch.rand(groups, classes, 2, 1, generator=generator)
    slopes = slopes.expand(-1, -1, -1, bins).contiguous()
    by_regions = torch.randn(groups, classes, 8, generator=generator, dtype=torch.float64)
    rest = {"factors": factors_of(groups, classes), "by_regions": by_regions}
    rest |= {name: value for name, value in options.items() if name in ("upsample", "size")}
    if "segment_ids" in options:
        rest["segment_ids"] = options["segment_ids"]
    for given in (by_regions, None):
        rest["by_regions"] = given
        got = case.backward(cpu, lse, slopes, **rest)
        want = case.double().backward(reference, expected[1], slopes.double(), **rest)
        assert got.dtype == case.scores.dtype
        assert got.stride() == torch.empty_like(case.scores).stride()
        assert relative(got, want) < TOLERANCE[case.scores.dtype]
        if "size" not in options:
            assert not got[case.scores.isnan()].any()


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("link", "kind"), KINDS)
def test_both_passes_are_the_reference(level, link, kind, layout):
    seed = LAYOUTS.index(layout)
    for per_image in (False, True):
        seed += 1
        case = make(
            link,
            kind,
            seed=seed,
            layout=layout,
            label_layout=LAYOUTS[(seed + 1) % 3],
            dtype=DTYPES[seed % 3],
            label_dtype=[*DTYPES, torch.float64][seed % 4],
            weighted=seed % 2 == 0,
            ignored=seed % 3 != 0,
        )
        check(case, 2 if per_image else 1, per_image=per_image)


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 2, 7), (1, 70, 130), (2, 19, 257)])
@pytest.mark.parametrize(("link", "kind"), KINDS)
def test_shapes(link, kind, shape):
    for bins, label_layout in ((0, "pixels"), (BINS, "classes")):
        check(make(link, kind, shape=shape, label_layout=label_layout, weighted=False), bins=bins)


@pytest.mark.parametrize(("link", "kind"), [kind for kind in KINDS if "probab" not in kind[0]])
def test_interpolated_logits(level, link, kind):
    size = (1, 12, 90)
    for mode in KERNEL_MODES:
        case = make(link, kind, shape=(2, 4, 12 * 90), seed=1)
        scores = 2 * torch.randn(2, 4, 1, 3, 30)
        check(case._replace(scores=scores), upsample=mode, size=size)


@pytest.mark.parametrize("ascending", [False, True])
@pytest.mark.parametrize(("link", "kind"), KINDS)
def test_clouds(link, kind, ascending):
    generator = torch.Generator().manual_seed(2)
    ids = torch.randint(4, (1, 3000), generator=generator)
    ids[ids == 2] = 3  # an empty one
    ids = ids.sort().values if ascending else ids
    for seed, layout in enumerate(("pixels", "classes")):
        case = make(link, kind, shape=(1, 5, 3000), layout=layout, label_layout=layout, seed=seed)
        check(case, 4, segment_ids=ids, segments=4)


@pytest.mark.parametrize(("link", "kind"), KINDS)
def test_slopes_by_pixel(level, link, kind):
    case = make(link, kind, seed=3)
    lse = case.histogram(cpu)[1]
    slopes = torch.rand(case.scores.shape)
    for by_regions in (None, torch.randn(2, 5, 8, dtype=torch.float64)):
        rest = {"factors": factors_of(2, 5), "by_regions": by_regions}
        got = case.backward(cpu, lse, slopes, **rest)
        want = case.double().backward(reference, lse, slopes.double(), **rest)
        assert relative(got, want) < TOLERANCE[torch.float32]


@pytest.mark.parametrize("by_regions", [False, True])
def test_slopes_by_pixel_of_clouds(by_regions):
    case = make("softmax", "dense", shape=(1, 5, 300))
    ids = torch.randint(3, (1, 300))
    lse = case.histogram(cpu)[1]
    rest = {"factors": factors_of(3, 5), "segment_ids": ids}
    if by_regions:
        rest["by_regions"] = torch.randn(3, 5, 8, dtype=torch.float64)
    slopes = torch.rand(case.scores.shape)
    got = case.backward(cpu, lse, slopes, **rest)
    want = case.double().backward(reference, lse, slopes.double(), **rest)
    assert relative(got, want) < TOLERANCE[torch.float32]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("link", ["softmax", "sigmoid", "probabilities", "channel_probabilities"])
def test_hard_labels_as_numbers_count_the_same(level, link, weighted):
    shape = (2, 7, 601)
    case = make(link, "hard", shape=shape, weighted=weighted, ignored=False)
    numbers = case.target.float()
    if link in MULTICLASS:
        numbers = F.one_hot(case.target, 7).transpose(1, 2).float()
    for label_layout in LAYOUTS:
        soft = case._replace(target=in_layout(numbers, label_layout))
        counts, lse, _, _, regions = soft.histogram(cpu, 1024, per_image=True)
        plain, plain_lse, _, _, none = case.histogram(cpu, 1024, per_image=True, regions=False)
        assert len(none) == 0
        assert torch.equal(counts, plain)
        assert torch.equal(lse, plain_lse)
        summed = case.histogram(cpu, 1024, per_image=True)
        assert torch.equal(summed[0], plain)
        assert torch.equal(summed[4], regions)
        if not weighted:
            assert torch.equal(regions[..., 1], plain[:, :, 1].sum(-1).double())


@pytest.mark.parametrize(("link", "kind"), KINDS)
def test_threads_change_nothing(level, link, kind):
    case = make(link, kind, shape=(2, 64, 2100))  # of which there are six chunks
    ids = torch.arange(2100).view(1, -1) * 5 // 2100
    clouds = case._replace(
        **{
            name: value[:1]
            for name, value in case._asdict().items()
            if name in ("scores", "target", "mixture", "weight") and value is not None
        }
    )
    slopes, results = torch.rand(1, 64, 2, BINS), []
    by_regions = torch.randn(1, 64, 8, dtype=torch.float64)
    for number in (1, 2, 3, 7):
        torch.set_num_threads(number)
        found = case.histogram(cpu)
        gradients = [
            case.backward(cpu, found[1], slopes, by_regions=given) for given in (by_regions, None)
        ]
        of_labels = case.histogram(cpu, regions=False)
        of_clouds = clouds.histogram(cpu, segment_ids=ids, segments=5)
        results.append((*found, *of_labels, *of_clouds, *gradients))
    torch.set_num_threads(2)
    first, *others = results
    assert all(
        torch.equal(a.nan_to_num(9.0), b.nan_to_num(9.0))
        for other in others
        for a, b in zip(first, other, strict=True)
    )


@pytest.mark.parametrize("alpha", [1.0, 0.3])
@pytest.mark.parametrize("wide", [False, True])
def test_extension_of_soft_labels(level, wide, alpha):
    generator = torch.Generator().manual_seed(3)
    counts = torch.randint(0, 50, (3, 7, 2, 300), generator=generator)
    counts[0, :, :, 40:] = counts[1, :, 0] = counts[2, :, 1, ::2] = 0
    # less than there are unders, more of them, and no labels
    positives = counts[:, :, 1].sum(-1) * torch.linspace(0.0, 1.5, 7, dtype=torch.float64)
    got = cpu.extend(counts, alpha, 0.7, wide, 1, False, positives)
    want = reference.extend(counts, alpha, 0.7, wide, 1, False, positives)
    torch.testing.assert_close(got[0], want[0], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(got[1], want[1], rtol=1e-6, atol=1e-12)
    assert torch.equal(got[2], want[2])


def test_the_cap_of_hard_labels_does_nothing(level):
    counts = torch.randint(0, 50, (3, 7, 2, 300))
    positives = counts[:, :, 1].sum(-1).double()
    hard, soft = (cpu.extend(counts, 1.0, 0.5, True, 1, False, mass) for mass in (None, positives))
    assert all(torch.equal(a, b) for a, b in zip(hard, soft, strict=True))


@pytest.mark.parametrize("bins", [0, BINS])
@pytest.mark.parametrize("link", ["hinge", "elu"])
def test_hinges_have_the_cross_entropy_of_logits(level, link, bins):
    case = make("sigmoid", "hard", seed=4)._replace(link=link)
    head = (case.scores, case.target, bins, IGNORE, True, link, True, case.class_weight, 0.0)
    counts, _, invalid, sums, regions = cpu.histogram(*head, case.weight)
    expected = reference.histogram(case.scores.double(), *head[1:], case.weight)
    assert torch.equal(counts.sum((2, 3)), expected[0].sum((2, 3)))
    assert not invalid.any()
    assert len(regions) == 0
    torch.testing.assert_close(sums, expected[3], rtol=1e-5, atol=1e-6)
    slopes = torch.rand(2, 5, 2, 1).expand(-1, -1, -1, bins).contiguous()
    scale = torch.tensor(0.3)
    for given in (slopes, torch.rand(case.scores.shape)):
        tail = (torch.rand(2, 5), IGNORE, link, scale, case.class_weight, 0.0, None, case.weight)
        got = cpu.backward(case.scores, case.target, torch.empty(0), given, *tail)
        want = reference.backward(
            case.scores.double(), case.target, torch.empty(0), given.double(), *tail
        )
        assert relative(got, want) < TOLERANCE[torch.float32]


@pytest.mark.parametrize("scale", [0.0, 20.0, 1e4])
@pytest.mark.parametrize("link", ["softmax", "sigmoid"])
def test_extreme_logits(level, link, scale):
    case = make(link, "dense", seed=6)
    case = case._replace(scores=case.scores / 3 * scale)
    check(case)


def test_gradients_next_to_certainty_have_their_digits(level):
    """Where p is nearly 1 the gradient is the difference of two numbers next to each other."""
    scores = torch.zeros(1, 3, 64)
    scores[:, 1] = torch.linspace(10, 18, 64)
    target = torch.tensor([0.1, 0.7, 0.2]).view(1, 3, 1).expand(1, 3, 64).contiguous()
    by_regions = torch.randn(1, 3, 8, dtype=torch.float64)
    tail = (None, None, "softmax", None, None, 0.0, None, None, None, None, None, 0.0, by_regions)
    slopes = torch.empty(1, 3, 2, 0)
    got = cpu.backward(scores, target, scores.double().logsumexp(1), slopes, *tail)
    wide = scores.double()
    want = reference.backward(wide, target.double(), wide.logsumexp(1), slopes.double(), *tail)
    torch.testing.assert_close(got.double(), want, rtol=1e-5, atol=0)


@pytest.mark.parametrize("value", [-0.02, 1.02, float("nan")])
@pytest.mark.parametrize("link", ["softmax", "probabilities", "sigmoid", "channel_probabilities"])
def test_labels_that_are_none(link, value):
    target = torch.full((2, 3, 70), 0.2)
    target[1, 2, 69] = value
    scores = torch.full((2, 3, 70), 0.3)
    with pytest.raises(ValueError, match=r"expected every soft label to be in \[0, 1\].*got "):
        cpu.histogram(scores, target, BINS, None, False, link)
    target[1, 2, 69] = 1.005  # the rounding of 16-bit numbers, together with others too much
    if link in MULTICLASS:
        with pytest.raises(ValueError, match=r"sum to at most 1 over the classes, got 1\.4"):
            cpu.histogram(scores, target, BINS, None, False, link)
    else:
        assert cpu.histogram(scores, target, BINS, None, False, link)[4][0, :, 1].max() < 140


def test_maps_that_are_none():
    target = torch.zeros(1, 2, 70, dtype=torch.long)
    target[0, 1, 3] = 5
    for link in MULTICLASS:
        with pytest.raises(ValueError, match=r"expected every label to be in \[0, 2\].*got 5"):
            cpu.histogram(
                torch.full((1, 3, 70), 0.3), target, BINS, None, False, link,
                mixture=torch.ones(1, 2),
            )  # fmt: skip


def test_maps_of_no_weight_have_no_say(level):
    case = make("softmax", "maps", seed=7)
    assert case.mixture is not None
    check(case._replace(mixture=case.mixture * torch.tensor([0.0, 1.0, 0.0])))


def test_a_score_that_is_no_number_is_reported(level):
    case = make("softmax", "dense", ignored=False)
    case.scores[1, 2, 5] = torch.nan
    found = case.histogram(cpu, per_image=True)
    assert found[2].tolist() == [0, 1]
    assert found[4].isfinite().all()
