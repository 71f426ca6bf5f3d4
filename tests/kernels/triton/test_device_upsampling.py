"""Scores of another resolution than the labels on a real device: CUDA or ROCm, with Triton."""

from contextlib import contextmanager

import pytest
import torch
from torch.nn import functional as F

from lovasz import cross_entropy_lovasz_softmax, lovasz_softmax
from lovasz.core.upsampling import KERNEL_MODES, LINEAR
from lovasz.kernels import reference
from lovasz.kernels import triton as gpu
from lovasz.kernels.triton import blocks
from tests.kernels.cases import IGNORE, factors_of, slopes_of

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA or ROCm device")

BINS = 1024
# images, classes, (d, h, w), (D, H, W)
WORKLOADS = {
    "cityscapes": (2, 19, (1, 128, 256), (1, 512, 1024)),
    "ade": (2, 150, (1, 128, 128), (1, 512, 512)),
    "odd": (3, 7, (1, 61, 83), (1, 333, 517)),
    "smaller": (2, 5, (1, 200, 300), (1, 120, 170)),
    "volumes": (2, 4, (24, 24, 24), (96, 96, 96)),
    "signals": (2, 3, (1, 1, 5_000), (1, 1, 123_457)),
}


def inputs_of(work, dtype=torch.float32, layout="pixels"):
    images, classes, source, size = work
    generator = torch.Generator().manual_seed(classes)
    scores = 2 * torch.randn(images, classes, *source, generator=generator)
    shape = (images, size[0] * size[1] * size[2])
    target = torch.randint(classes, shape, generator=generator)
    target[torch.rand(shape, generator=generator) < 0.1] = IGNORE
    scores = scores.to(dtype).cuda()
    if layout == "classes":
        scores = scores.movedim(1, -1).contiguous().movedim(-1, 1)
    return scores, target.cuda()


def relative(got, expected):
    return float((got.double() - expected.double()).norm() / expected.double().norm())


@contextmanager
def torch_may_vary():
    """Torch has no interpolation for devices whose gradient is deterministic, as all tests ask."""
    torch.use_deterministic_algorithms(False)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("layout", ["pixels", "classes"])
@pytest.mark.parametrize("mode", KERNEL_MODES)
@pytest.mark.parametrize("work", WORKLOADS.values(), ids=WORKLOADS.keys())
def test_both_passes_are_the_reference(work, mode, layout, dtype):
    scores, target = inputs_of(work, dtype, layout)
    upsampled, (images, classes) = (mode, work[3]), work[:2]
    arguments = (target, BINS, IGNORE, True, "softmax", True, None, 0.1, None, None, 1, *upsampled)
    counts, lse, invalid, sums, _ = gpu.histogram(scores, *arguments)
    expected, lse_expected, _, sums_expected, _ = reference.histogram(scores.double(), *arguments)
    assert torch.equal(counts.sum(-1), expected.sum(-1))
    assert (counts - expected).abs().sum() < 4e-3 * expected.sum()
    torch.testing.assert_close(lse, lse_expected, rtol=1e-6, atol=3e-6)
    torch.testing.assert_close(sums, sums_expected, rtol=1e-5, atol=1e-5)
    assert not invalid.any()
    slopes, factors = slopes_of(images, classes, BINS).cuda(), factors_of(images, classes).cuda()
    scale = torch.tensor(0.3, device="cuda")
    tail = (factors, IGNORE, "softmax", scale, None, 0.1, None, None, *upsampled)
    gradient = gpu.backward(scores, target, lse, slopes, *tail)
    with torch_may_vary():
        expected = reference.backward(scores.double(), target, lse_expected, slopes.double(), *tail)
    assert gradient.stride() == torch.empty_like(scores).stride()
    assert relative(gradient, expected) < (1e-3 if dtype == torch.float32 else 8e-3)
    assert torch.equal(gradient, gpu.backward(scores, target, lse, slopes, *tail))
    lines = torch.rand(2, classes, device="cuda")
    for how in ((None, False), (lines, False), (lines, True)):
        labels = gpu.argmax(scores, work[3], mode, True, *how)
        expected = reference.argmax(scores.double(), work[3], mode, True, *how)
        assert (labels != expected).float().mean() < 1e-5


@pytest.mark.parametrize("options", [{}, {"lovasz_weight": 0.0}, {"method": "sort"}])
def test_the_loss_is_that_of_enlarged_logits(options):
    logits = torch.randn(2, 19, 60, 70, device="cuda", requires_grad=True)
    target = torch.randint(19, (2, 240, 280), device="cuda")
    whole = F.interpolate(logits, (240, 280), mode="bilinear")
    expected = cross_entropy_lovasz_softmax(whole, target, **options)
    with torch_may_vary():
        (wanted,) = torch.autograd.grad(expected, logits)
    value = cross_entropy_lovasz_softmax(logits, target, upsample="bilinear", **options)
    (gradient,) = torch.autograd.grad(value, logits)
    torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-6)
    assert relative(gradient, wanted) < 5e-3


def test_memory_does_not_grow_with_the_scores():
    logits = torch.randn(4, 150, 128, 128, device="cuda", requires_grad=True)
    target = torch.randint(150, (4, 512, 512), device="cuda")
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    lovasz_softmax(logits, target, upsample="bilinear").backward()
    allowed = 3 * blocks.CHUNK_BYTES // 2 + 2 * logits.numel() * 4 + 2 * target.numel() * 8
    tables = 8 * 150 * 2 * 2048 * 8 + blocks.CHUNK_COPIES_BYTES
    assert torch.cuda.max_memory_allocated() - before < allowed + tables


def test_a_graph_records_it():
    scores, target = inputs_of(WORKLOADS["cityscapes"])
    arguments = (target, BINS, IGNORE, False, "softmax", True, None, 0.0, None, None, 1)
    upsampled = (LINEAR, WORKLOADS["cityscapes"][3])
    expected = gpu.histogram(scores, *arguments, *upsampled)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        recorded = gpu.histogram(scores, *arguments, *upsampled)
    graph.replay()
    torch.cuda.synchronize()
    assert all(torch.equal(a, b) for a, b in zip(recorded, expected, strict=True))
