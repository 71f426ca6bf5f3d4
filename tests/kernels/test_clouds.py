"""Clouds of points in the kernels of the CPU: as the reference, whatever the number of threads."""

import pytest
import torch

from lovasz.core.links import MULTICLASS, PROBABILITIES
from lovasz.kernels import operators, reference
from lovasz.kernels.clouds import Clouds

assert operators is not None  # defines them
OPS = torch.ops.lovasz
BINS, IGNORED = 64, 255
LAYOUTS = ["classes first", "points first", "every other point"]


def make(link, layout, dtype, *, points, clouds, ascending, weighted, seed=0, classes=7):
    """Scores, labels, weights and segment ids, of which 3 is an empty cloud."""
    generator = torch.Generator().manual_seed(seed)
    scores = 3 * torch.randn(1, classes, points, generator=generator)
    if link in PROBABILITIES:
        scores = scores.softmax(1)
    if layout != "classes first":
        step = 1 if layout == "points first" else 2
        base = torch.zeros(1, points * step, classes)
        base[:, ::step] = scores.transpose(1, 2)
        scores = base[:, ::step].transpose(1, 2)
    shape = (1, points) if link in MULTICLASS else (1, classes, points)
    most = classes if link in MULTICLASS else 2
    target = torch.randint(most, shape, generator=generator)
    target[torch.rand(shape, generator=generator) < 0.1] = IGNORED
    weight = 3 * torch.rand(shape, generator=generator) if weighted else None
    ids = torch.randint(clouds, (1, points), generator=generator)
    ids[ids == 3] = 4
    ids = ids.sort().values if ascending else ids
    return scores.to(dtype), target, weight, ids


def passes(module, made, link, clouds, *, fused, by_pixel):
    """Results of the histogram, and of the backward pass with slopes that are drawn."""
    scores, target, weight, ids = made
    classes = scores.shape[1]
    generator = torch.Generator().manual_seed(1)
    class_weight = torch.rand(classes, generator=generator) if fused else None
    smoothing = 0.1 if fused and link == "softmax" else 0.0
    found = module.histogram(
        scores, target, BINS, IGNORED, False, link, fused, class_weight, smoothing, weight, ids,
        clouds,
    )  # fmt: skip
    shape = scores.shape if by_pixel else (clouds, classes, 2, BINS)
    slopes = torch.rand(shape, generator=generator)
    factors = torch.rand(clouds, classes, generator=generator)
    scale = torch.tensor(0.3) if fused else None
    gradient = module.backward(
        scores, target, found[1], slopes, factors, IGNORED, link, scale, class_weight, smoothing,
        ids, weight, None, None, None, 0.0, None,
    )  # fmt: skip
    return (*found[:4], gradient)  # without sums of regions, which are not asked for


@pytest.mark.parametrize("ascending", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("link", ["softmax", "sigmoid", "hinge", "elu", *PROBABILITIES])
def test_clouds_are_those_of_the_reference(link, layout, dtype, ascending):
    for seed, (points, clouds) in enumerate([(3000, 9), (600, 400), (257, 5), (1, 5)]):
        weighted, by_pixel = seed % 2 == 1, seed < 2
        fused = link in ("softmax", "sigmoid") and seed != 2
        made = make(
            link, layout, dtype, points=points, clouds=clouds, ascending=ascending,
            weighted=weighted, seed=seed,
        )  # fmt: skip
        options = {"fused": fused, "by_pixel": by_pixel}
        counts, lse, invalid, sums, gradient = passes(OPS, made, link, clouds, **options)
        want = passes(reference, made, link, clouds, **options)
        # Rounding may carry an error over the edge of a bin, never out of its row.
        assert torch.equal(counts.sum(3), want[0].sum(3))
        assert (counts - want[0]).abs().sum() <= 2e-2 * want[0].sum()
        torch.testing.assert_close(lse, want[1], rtol=1e-5, atol=1e-5)
        assert torch.equal(invalid, want[2])
        torch.testing.assert_close(sums, want[3], rtol=1e-5, atol=1e-5)
        assert gradient.stride() == torch.empty_like(made[0]).stride()
        tolerance = 2e-2 if dtype == torch.bfloat16 else 3e-3
        off = (gradient - want[4]).float().abs() > 1e-5 + tolerance * want[4].float().abs()
        assert off.float().mean() <= (1e-3 if by_pixel else 2e-2)


@pytest.mark.parametrize("by_pixel", [True, False])
@pytest.mark.parametrize("link", ["softmax", "sigmoid"])
def test_clouds_do_not_depend_on_the_number_of_threads(link, by_pixel):
    made = make(
        link, "points first", torch.float32, points=40_000, clouds=50, ascending=True, weighted=True
    )
    found = []
    threads = torch.get_num_threads()
    for number in (1, 2, 5):
        torch.set_num_threads(number)
        found.append(passes(OPS, made, link, 50, fused=True, by_pixel=by_pixel))
    torch.set_num_threads(threads)
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            assert torch.equal(a, b)


def test_a_score_that_is_no_number_is_of_its_cloud_alone():
    made = make(
        "softmax",
        "points first",
        torch.float32,
        points=900,
        clouds=6,
        ascending=True,
        weighted=False,
    )
    scores, target, _, ids = made
    at = int((ids[0] == 2).nonzero()[5])
    target[0, at] = 0
    scores[0, 1, at] = torch.nan
    invalid = passes(OPS, made, "softmax", 6, fused=False, by_pixel=False)[2]
    assert invalid.tolist() == [0, 0, 1, 0, 0, 0]


def test_clouds_by_counting():
    ids = torch.tensor([[2, 0, 2, 4, 0]])
    clouds = Clouds.of(ids, 5)
    assert clouds.offsets.tolist() == [0, 2, 2, 4, 4, 5]
    assert clouds.order.tolist() == [1, 4, 0, 2, 3]
    (moved,) = clouds.gather(ids)
    assert moved.tolist() == [[0, 0, 2, 2, 4]]
    assert torch.equal(clouds.scatter(moved), ids)
    assert Clouds.of(moved, 5).order is None
    assert Clouds.of(moved, 5).offsets.tolist() == [0, 2, 2, 4, 4, 5]


@pytest.mark.parametrize("ids", [[0, 1, 3], [-1, 0, 1]])
def test_numbers_of_clouds_have_to_be_in_their_range(ids):
    with pytest.raises(ValueError, match=r"segment_ids in \[0, 2\], got"):
        Clouds.of(torch.tensor([ids]), 3)


@pytest.mark.parametrize("dtype", [torch.uint16, torch.uint32, torch.uint64])
def test_labels_of_clouds_may_be_unsigned(dtype):
    ids = torch.tensor([[2, 0, 2, 4, 0]])
    labels = torch.tensor([[0, 1, 2, 3, 4]])
    (moved,) = Clouds.of(ids, 5).gather(labels.to(dtype))
    assert moved.dtype == dtype
    assert moved.tolist() == [[1, 4, 0, 2, 3]]
    channels = torch.stack((labels, labels + 5), 1).to(dtype)  # (1, 2, 5)
    for given in (channels, channels.transpose(1, 2).contiguous().transpose(1, 2)):
        (moved,) = Clouds.of(ids, 5).gather(given)
        assert moved.tolist() == [[[1, 4, 0, 2, 3], [6, 9, 5, 7, 8]]]
