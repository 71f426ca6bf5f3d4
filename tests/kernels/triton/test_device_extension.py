"""The kernels between the passes on a real device; see ``test_device``."""

import pytest
import torch

from lovasz.kernels import reference
from lovasz.kernels import triton as gpu
from lovasz.kernels.fixed_point import SCALE
from tests.kernels.reduction_checks import check_reduction, every_reduction

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA or ROCm device")


def counts_of(shape, most):
    """Counts of which a third are 0, with an absent class."""
    counts = torch.randint(1, most + 1, shape) * (torch.rand(shape) < 2 / 3)
    counts[0, 0, 1] = 0
    return counts


def check(got, expected):
    # every operation rounds as on the CPU; what bins stand for may differ by a rounding
    torch.testing.assert_close(got[0].cpu(), expected[0].cpu(), rtol=1e-12, atol=1e-15)
    torch.testing.assert_close(got[1].cpu(), expected[1].cpu(), rtol=1e-12, atol=1e-15)
    assert torch.equal(got[2].cpu(), expected[2].cpu())


@pytest.mark.parametrize("unbounded", [False, True])
@pytest.mark.parametrize("scale", [1, SCALE])
@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 1.0), (0.3, 2.0), (0.5, 0.5)])
@pytest.mark.parametrize("bins", [2, 3, 100, 1024, 2048, 5000, 2**17])
def test_extend_is_the_formula(bins, alpha, beta, scale, unbounded):
    counts = counts_of((2, 7, 2, bins), 1000 * scale)
    options = (alpha, beta, True, scale, unbounded)
    got = gpu.extend(counts.cuda(), *options)
    check(got, reference.extend(counts, *options))
    narrow = gpu.extend(counts.cuda(), alpha, beta, False, scale, unbounded)
    assert torch.equal(narrow[0], got[0])
    assert torch.equal(narrow[1], got[1].float())
    for _ in range(5):
        again = gpu.extend(counts.cuda(), *options)
        assert all(torch.equal(a, b) for a, b in zip(again, got, strict=True))


@every_reduction
@pytest.mark.parametrize("shape", [(1, 1), (1, 19), (64, 150), (300, 20), (2, 5000)])
def test_the_reduction_is_the_reference(shape, weighting, mean, per_image, wide):
    check_reduction(gpu.reduce, shape, weighting, mean, per_image, wide, "cuda")


def test_graphs():
    counts = counts_of((1, 19, 2, 1024), 1000).cuda()
    gpu.extend(counts, 1.0, 1.0, False)  # compiles
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        got = gpu.extend(counts, 1.0, 1.0, False)
    for most in (10, 10_000):
        counts.copy_(counts_of(counts.shape, most))
        graph.replay()
        expected = gpu.extend(counts, 1.0, 1.0, False)
        assert all(torch.equal(a, b) for a, b in zip(got, expected, strict=True))


def test_more_cells_than_32_bits_address():
    shape = (2, 2**19 + 1, 2, 1024)  # 2.1e9 cells
    if torch.cuda.mem_get_info()[0] < 40 * 2**30:
        pytest.skip("needs 40 GiB")
    counts = torch.randint(100, shape, device="cuda")
    losses, slopes, _ = gpu.extend(counts, 1.0, 1.0, False)
    last = slice(-3, None)
    expected_losses, expected, _ = reference.extend(counts[1:, last], 1.0, 1.0, False)
    torch.testing.assert_close(losses[1:, last], expected_losses, rtol=1e-12, atol=1e-15)
    torch.testing.assert_close(slopes[1:, last], expected)
