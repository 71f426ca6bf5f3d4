"""The GPU kernels between the passes against their formulas, in Triton's interpreter."""

import pytest
import torch

from lovasz.kernels import reference
from lovasz.kernels import triton as gpu
from lovasz.kernels.fixed_point import SCALE
from lovasz.kernels.triton import extension
from tests.kernels.reduction_checks import check_reduction, every_reduction
from tests.kernels.triton.interpreted import Watch
from tests.operators import Counter
from tests.pairwise import pairwise
from tools.launches import Recorder

pytestmark = [
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),
    pytest.mark.usefixtures("poison"),
]


def check(counts, alpha=1.0, beta=1.0, scale=1, unbounded=False):
    losses, slopes, present = gpu.extend(counts, alpha, beta, True, scale, unbounded)
    expected_losses, expected, expected_present = reference.extend(
        counts, alpha, beta, True, scale, unbounded
    )
    assert slopes.dtype == losses.dtype == torch.float64
    torch.testing.assert_close(losses, expected_losses, rtol=1e-12, atol=1e-15)
    torch.testing.assert_close(slopes, expected, rtol=1e-12, atol=1e-15)
    assert torch.equal(present, expected_present)
    narrow_losses, narrow, _ = gpu.extend(counts, alpha, beta, False, scale, unbounded)
    assert torch.equal(narrow_losses, losses)
    assert torch.equal(narrow, slopes.float())


def sparse(shape, most, seed):
    """Counts with every share of empty bins, one for each class."""
    generator = torch.Generator().manual_seed(seed)
    filled = torch.rand(shape, generator=generator)
    share = torch.rand(*shape[:2], 2, 1, generator=generator) ** 3
    return torch.randint(1, most + 1, shape, generator=generator) * (filled < share)


@pytest.mark.parametrize(
    ("bins", "weights", "scale", "unbounded"),
    pairwise(
        [2, 3, 100, 1024],
        [(1.0, 1.0), (0.3, 2.0), (0.5, 0.5)],
        [1, SCALE],
        [False, True],
    ),
)
def test_extend_is_the_formula(bins, weights, scale, unbounded):
    counts = sparse((2, 2, 2, bins), 9 * scale, bins)
    counts[0, 0, 1] = 0  # an absent class
    counts[0, 1, 0] = 0  # nothing else in the image
    counts[-1, -1] = 0  # nothing at all
    check(counts, *weights, scale, unbounded)


@pytest.mark.parametrize(
    ("bins", "unbounded"), [(1025, False), (1025, True), (2048, True), (5000, False)]
)
def test_more_bins_than_a_block(bins, unbounded):
    check(sparse((1, 2, 2, bins), 9, bins), 1.0, 1.0, 1, unbounded)


@pytest.mark.parametrize("seed", range(4))
def test_sparse_histograms(seed):
    check(sparse((2, 9, 2, 1 + 37 * (seed + 1)), 10**seed, seed), 0.7, 1.3)


@pytest.mark.parametrize("most", [1, 10**7])
def test_full_histograms(most):
    check(torch.randint(1, most + 1, (1, 2, 2, 1024)))


@pytest.mark.parametrize("b", [0, 1, 274, 275, 276, 1299])
def test_one_bin(b):
    """The first block begins at the last of the 1300 bins and ends at bin 276."""
    counts = torch.zeros(1, 3, 2, 1300, dtype=torch.int64)
    counts[0, 0, 0, b] = 5
    counts[0, 1, 1, b] = 1
    counts[0, 2, :, b] = 7
    check(counts)


def test_empty_bins_have_the_slope_of_their_fuller_neighbour():
    counts = torch.zeros(1, 2, 2, 1300, dtype=torch.int64)
    # the first block ends at bin 276
    counts[0, 0, 0, [3, 5, 274, 277, 1299]] = torch.tensor([1, 9, 9, 1, 4])
    counts[0, :, 1, 300] = 7
    negatives, positives = gpu.extend(counts, 1.0, 1.0, True)[1][0, 0]
    for empty, full in ((2, 3), (4, 5), (6, 5), (273, 274), (275, 274), (276, 277), (1298, 1299)):
        assert negatives[empty] == negatives[full]
    assert positives[299] == positives[300] == positives[301]
    assert negatives[300] > 0  # of a single pixel
    check(counts)


def test_fractions_of_pixels():
    counts = torch.randint(0, SCALE, (1, 4, 2, 64))
    check(counts, scale=SCALE)
    whole, fixed = (
        gpu.extend(counts, 1.0, 1.0, True),
        gpu.extend(counts << 20, 1.0, 1.0, True, 2**20),
    )
    assert all(torch.equal(a, b) for a, b in zip(whole, fixed, strict=True))


def test_counts_of_any_strides():
    counts = sparse((2, 3, 2, 100), 9, 0)
    expected = gpu.extend(counts, 1.0, 1.0, False)
    for strided in (
        counts.transpose(0, 3).contiguous().transpose(0, 3),
        counts[:1].expand(2, -1, -1, -1),
    ):
        losses, slopes, _ = gpu.extend(strided, 1.0, 1.0, False)
        assert slopes.is_contiguous()
        assert torch.equal(losses[0], expected[0][0])
        assert torch.equal(slopes[0], expected[1][0])


@every_reduction
@pytest.mark.parametrize("shape", [(1, 1), (1, 19), (5, 3), (3, 1500)])
def test_the_reduction_is_the_reference(shape, weighting, mean, per_image, wide):
    check_reduction(gpu.reduce, shape, weighting, mean, per_image, wide)


def test_more_images_than_are_reduced_at_once():
    check_reduction(gpu.reduce, (300, 20), "normalized", True, True, False)


def test_more_classes_than_a_program_holds():
    check_reduction(gpu.reduce, (2, 5000), "none", True, True, False)


def test_no_groups():
    losses, slopes, _ = gpu.extend(torch.zeros(0, 3, 2, 64, dtype=torch.int64), 1.0, 1.0, False)
    assert losses.shape == (0, 3)
    assert slopes.shape == (0, 3, 2, 64)


def test_nothing_waits_for_the_device():
    counts = sparse((2, 3, 2, 64), 9, 0)
    with Watch() as watch:
        for options in ((False, 1, False), (True, SCALE, True)):
            gpu.extend(counts, 1.0, 1.0, *options)
    assert watch.waited == []


@pytest.mark.parametrize(("bins", "programs"), [(2, 2), (1024, 5), (1025, 6), (2**20, 17)])
def test_one_launch_and_three_new_tensors(bins, programs, monkeypatch):
    launches = []
    kernel = Recorder(extension.extend_kernel, launches)
    monkeypatch.setattr(extension, "extend_kernel", kernel)
    counts = torch.zeros(2, 3, 2, bins, dtype=torch.int64)
    with Counter() as operators:
        gpu.extend(counts, 1.0, 1.0, False)
    assert operators.names == ["aten::new_empty"] * 3
    assert [launch.grid for launch in launches] == [(6 * programs,)]


def test_without_kernels(monkeypatch):
    launches = []
    kernel = Recorder(extension.extend_kernel, launches)
    monkeypatch.setattr(extension, "extend_kernel", kernel)
    monkeypatch.setenv("LOVASZ_KERNELS", "off")
    check(sparse((2, 3, 2, 64), 9, 0))
    assert launches == []
