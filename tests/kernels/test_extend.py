"""The operator that extends against the formula that it repeats."""

import pytest
import torch

from lovasz.kernels import cpu, reference

COUNTS = {
    "sparse": (3, 5, 2, 64, 3),
    "dense": (2, 19, 2, 1024, 1000),
    "huge": (1, 2, 2, 300, 10**7),
    "one bin or two": (1, 4, 2, 2, 3),
}


@pytest.mark.parametrize("scale", [1, 2**20])
@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 1.0), (0.3, 2.0), (0.5, 0.5)])
@pytest.mark.parametrize("case", COUNTS)
def test_extend_is_the_formula(level, case, alpha, beta, scale):
    *shape, most = COUNTS[case]
    counts = torch.randint(0, most * scale, shape)
    counts[0, 0, 1] = 0  # an absent class
    counts[0, 1, 0] = 0  # nothing else in the image
    counts[-1, -1] = 0  # nothing at all
    losses, slopes, present = cpu.extend(counts, alpha, beta, True, scale)
    expected_losses, expected, expected_present = reference.extend(counts, alpha, beta, True, scale)
    torch.testing.assert_close(losses, expected_losses, rtol=1e-12, atol=1e-13)
    # differences of numbers near 1 keep nine digits at ten million pixels
    torch.testing.assert_close(slopes, expected, rtol=1e-7, atol=4e-16)
    assert torch.equal(present, expected_present)
    narrow = cpu.extend(counts, alpha, beta, False, scale)[1]
    assert narrow.dtype == torch.float32
    assert torch.equal(narrow, slopes.float())


# Bins that are not empty. The kernel has blocks of 256 bins, from the last down.
PLACES = {
    "nothing": [],
    "first": [0],
    "last": [-1],
    "ends": [0, -1],
    "middle": [0.5],
    "beside borders": [-255, -256, -257, -258, -511, -513],
    "on borders": [-1, -256, -512],
    "far apart": [0.1, 0.3, 0.33, 0.9],
}


@pytest.mark.parametrize("scale", [1, 2**20])
@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 1.0), (0.3, 2.0), (0.0, 1.0)])
@pytest.mark.parametrize("most", [1, 1000])
@pytest.mark.parametrize("bins", [2, 3, 100, 256, 257, 1025])
def test_empty_bins(level, bins, most, alpha, beta, scale):
    # a class for each pair of places of its negatives and of its positives
    places = list(PLACES.values())
    counts = torch.zeros(len(places), len(places), 2, bins, dtype=torch.int64)
    for i, negatives in enumerate(places):
        for j, positives in enumerate(places):
            for side, chosen in enumerate((negatives, positives)):
                for place in chosen:
                    index = int(place * bins) if isinstance(place, float) else place
                    if -bins <= index < bins:
                        counts[i, j, side, index] = torch.randint(1, most + 1, ())
    if scale > 1:  # whole pixels, fractions of them, and several with one
        part = torch.randint(0, 3, counts.shape)
        counts = counts * torch.where(part == 0, scale, torch.randint(1, 2 * scale, counts.shape))
    losses, slopes, present = cpu.extend(counts, alpha, beta, True, scale)
    expected_losses, expected, expected_present = reference.extend(counts, alpha, beta, True, scale)
    torch.testing.assert_close(losses, expected_losses, rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(slopes, expected, rtol=1e-7, atol=4e-16)
    assert torch.equal(present, expected_present)
    assert torch.equal(cpu.extend(counts, alpha, beta, False, scale)[1], slopes.float())


@pytest.mark.parametrize("scale", [1, 2**20])
@pytest.mark.parametrize("filled", [0.01, 0.1, 0.5])
@pytest.mark.parametrize("bins", [100, 1000, 1024, 1025])
def test_runs_of_empty_bins(level, bins, filled, scale):
    shape = (8, 4, 2, bins)
    counts = torch.randint(1, 3 * scale, shape) * (torch.rand(shape) < filled)
    counts[:, 1, 1] = 0  # an absent class
    counts[:, 2, 0] = 0
    for alpha, beta in ((1.0, 1.0), (0.3, 2.0)):
        losses, slopes, present = cpu.extend(counts, alpha, beta, True, scale)
        expected_losses, expected, expected_present = reference.extend(
            counts, alpha, beta, True, scale
        )
        torch.testing.assert_close(losses, expected_losses, rtol=1e-12, atol=1e-13)
        torch.testing.assert_close(slopes, expected, rtol=1e-7, atol=4e-16)
        assert torch.equal(present, expected_present)


def test_empty_bins_have_the_slope_of_their_fuller_neighbour(level):
    counts = torch.zeros(1, 2, 2, 600, dtype=torch.int64)
    counts[0, 0, 0, [3, 5, 255, 257, 599]] = torch.tensor([1, 9, 9, 1, 4])
    counts[0, :, 1, 300] = 7
    for extend in (cpu.extend, reference.extend):
        _, slopes, _ = extend(counts, 1.0, 1.0, True)
        negatives, positives = slopes[0, 0]
        for empty, full in ((2, 3), (4, 5), (6, 5), (254, 255), (256, 255), (258, 257), (598, 599)):
            assert negatives[empty] == negatives[full]
        assert positives[299] == positives[300] == positives[301]
        assert negatives[300] > 0  # of a single pixel


def test_threads_change_nothing(level):
    counts = torch.randint(0, 100, (1, 64, 2, 1024))
    torch.set_num_threads(1)
    alone = cpu.extend(counts, 1.0, 1.0, False)
    torch.set_num_threads(3)
    assert all(
        torch.equal(a, b) for a, b in zip(cpu.extend(counts, 1.0, 1.0, False), alone, strict=True)
    )


def test_fixed_point_changes_nothing_for_whole_pixels(level):
    counts = torch.randint(0, 50, (2, 5, 2, 256))
    for extend in (cpu.extend, reference.extend):
        whole, fixed = extend(counts, 1.0, 1.0, True), extend(counts << 20, 1.0, 1.0, True, 2**20)
        assert all(torch.equal(a, b) for a, b in zip(whole, fixed, strict=True))


def test_slopes_of_fractions_of_pixels_add_up(level):
    # a bin with a quarter of a pixel has a slope for each pixel, not for each quarter
    counts = torch.randint(0, 2**20, (1, 4, 2, 64))
    for extend in (cpu.extend, reference.extend):
        _, slopes, _ = extend(counts, 1.0, 1.0, True, 2**20)
        ones = (slopes * counts / 2**20).sum((-2, -1))  # the extension of errors of 1: all wrong
        torch.testing.assert_close(ones, torch.ones(1, 4, dtype=torch.float64))


@pytest.mark.parametrize("passed", [1.25, 1.5])
def test_the_step_of_an_empty_bin_ends_at_it(level, passed):
    # One and a half positives of weight, most of them or all above a run of empty bins, and 2
    # negatives below it.
    scale, bins = 2**20, 64
    counts = torch.zeros(1, 1, 2, bins, dtype=torch.int64)
    counts[..., 1, 60] = int(passed * scale)
    counts[..., 1, 0] = int((1.5 - passed) * scale)
    counts[..., 0, 0] = 2 * scale
    negatives, positives = cpu.extend(counts, 1.0, 1.0, True, scale)[1][0, 0, :, 30].tolist()
    # Jaccard: (fn + fp) / (positives + fp). The last quarter of a positive, or the whole last one.
    start, end = (1.25, 1.5) if passed < 1.5 else (0.5, 1.5)
    assert positives == pytest.approx((end / 1.5 - start / 1.5) / (end - start))
    assert negatives == pytest.approx((passed + 1) / 2.5 - passed / 1.5)
    expected = reference.extend(counts, 1.0, 1.0, True, scale)[1][0, 0, :, 30].tolist()
    assert [negatives, positives] == pytest.approx(expected, rel=1e-12)
