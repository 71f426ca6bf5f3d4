"""Multilabel links, and weights of pixels, on a real device, for whoever has one."""

import math

import pytest
import torch
import torch.nn.functional as F

from lovasz import (
    binary_cross_entropy_lovasz_sigmoid,
    lovasz_hinge,
    lovasz_sigmoid,
    lovasz_sigmoid_from_probabilities,
    lovasz_softmax,
    lovasz_softmax_from_probabilities,
)
from lovasz.kernels import reference
from lovasz.kernels import triton as gpu
from tests.kernels import cases
from tests.kernels.cases import IGNORE, LAYOUTS, factors_of, relative, scores_of, slopes_of
from tests.kernels.multilabel_checks import (
    BINS,
    DTYPES,
    LINKS,
    LOGITS,
    PROBABILITIES,
    TOLERANCE,
    inputs_of,
    labels_of,
    moved,
    probabilities_with_some,
)

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA or ROCm device")

WORKLOADS = {
    "binary": (8, 1, 512 * 512),
    "multilabel": (2, 20, 256 * 256),
    "many": (1, 500, 20_000),
    "odd": (3, 7, 9_973),
}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", WORKLOADS.values(), ids=WORKLOADS.keys())
def test_both_passes_are_the_reference(shape, layout, link, dtype, weighted):
    scores, target = (x.cuda() for x in inputs_of(shape, layout, dtype, 3.0, link))
    weight = torch.rand(target.shape).cuda() if weighted else None
    arguments = (scores, target, BINS, IGNORE, True, link, False, None, 0.0, weight)
    counts, lse, invalid, *_ = gpu.histogram(*arguments)
    expected, *_ = reference.histogram(*arguments)
    assert torch.equal(counts.sum(-1), expected.sum(-1))
    assert moved(counts, expected) < 2e-3
    assert not invalid.any()
    slopes, factors = slopes_of(*shape[:2], BINS).cuda(), factors_of(*shape[:2]).cuda()
    arguments = (scores, target, lse, slopes, factors, IGNORE, link)
    gradient, expected = gpu.backward(*arguments), reference.backward(*arguments)
    assert gradient.stride() == torch.empty_like(scores).stride()
    assert relative(gradient, expected) < TOLERANCE[dtype]


@pytest.mark.parametrize("per_image", [False, True])
@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("shape", WORKLOADS.values(), ids=WORKLOADS.keys())
def test_sort_is_the_reference(shape, link, per_image):
    scores, target = (x.cuda() for x in inputs_of(shape, "pixels", torch.float32, 2.0, link))
    got = gpu.sort_and_extend(scores, target, IGNORE, per_image, link, 1.0, 1.0)
    expected = reference.sort_and_extend(scores, target, IGNORE, per_image, link, 1.0, 1.0)
    torch.testing.assert_close(got[0], expected[0], rtol=1e-5, atol=1e-7)
    assert torch.equal(got[2], expected[2])
    assert torch.equal(got[3], expected[3])


@pytest.mark.parametrize("scale", [0.0, 0.1, 3.0, 30.0])
def test_counts_can_be_repeated_bitwise(scale):
    shape = WORKLOADS["binary"]
    scores, target = scores_of(shape, "pixels", torch.float32, scale).cuda(), labels_of(shape)
    weight = torch.rand(shape).cuda()
    for by_pixel in (None, weight):
        arguments = (scores, target.cuda(), BINS, IGNORE, False, "sigmoid", True, None, 0.0)
        runs = [gpu.histogram(*arguments, by_pixel) for _ in range(5)]
        assert all(torch.equal(a, b) for run in runs for a, b in zip(run, runs[0], strict=True))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_weights_of_pixels_of_classes(layout):
    shape = (2, 19, 128 * 128)
    scores = scores_of(shape, layout, torch.float32, 3.0).cuda()
    target = cases.labels_of(shape).cuda()
    weight = 3 * torch.rand(target.shape).cuda()
    arguments = (scores, target, BINS, IGNORE, True, "softmax", True, None, 0.1, weight)
    counts, _, _, sums, _ = gpu.histogram(*arguments)
    expected, _, _, expected_sums, _ = reference.histogram(*arguments)
    assert torch.equal(counts.sum(-1), expected.sum(-1))
    assert moved(counts, expected) < 2e-3
    torch.testing.assert_close(sums, expected_sums, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("method", ["histogram", "sort"])
@pytest.mark.parametrize(
    "loss",
    [
        lovasz_sigmoid,
        lovasz_sigmoid_from_probabilities,
        lovasz_hinge,
        lovasz_softmax,
        lovasz_softmax_from_probabilities,
    ],
)
def test_the_loss_is_that_of_the_cpu(loss, method, weighted):
    logits = torch.randn(2, 3, 64, 96) * 3
    logits = logits.softmax(1) if "probabilities" in loss.__name__ else logits
    target = torch.randint(3, (2, 64, 96))
    options = {"method": method}
    if "softmax" not in loss.__name__:
        target, options["multilabel"] = F.one_hot(target, 3).movedim(-1, 1), True
    weight = torch.rand(target.shape) if weighted else None
    want_input, got_input = logits.clone().requires_grad_(), logits.cuda().requires_grad_()
    want = loss(want_input, target, pixel_weight=weight, **options)
    weight = None if weight is None else weight.cuda()
    got = loss(got_input, target.cuda(), pixel_weight=weight, **options)
    (expected,) = torch.autograd.grad(want, want_input)
    (gradient,) = torch.autograd.grad(got, got_input)
    torch.testing.assert_close(got.cpu(), want, rtol=1e-5, atol=1e-6)
    assert relative(gradient.cpu(), expected) < 1e-3


@pytest.mark.parametrize("weighted", [False, True])
def test_nothing_waits_for_the_device_and_graphs_can_record_it(weighted):
    logits = torch.randn(2, 1, 64, 64, device="cuda", requires_grad=True)
    target = torch.randint(2, (2, 1, 64, 64), device="cuda")
    weight = torch.rand(target.shape, device="cuda") if weighted else None

    def step():
        loss = binary_cross_entropy_lovasz_sigmoid(logits, target, pixel_weight=weight)
        return loss, torch.autograd.grad(loss, logits)[0]

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()  # compiles
    torch.cuda.current_stream().wait_stream(side)
    torch.cuda.set_sync_debug_mode("error")
    try:
        step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        loss, gradient = step()
    for _ in range(2):
        with torch.no_grad():
            logits.normal_()
        graph.replay()
        expected, expected_gradient = step()
        torch.testing.assert_close(loss, expected)
        torch.testing.assert_close(gradient, expected_gradient)


@pytest.mark.parametrize("link", PROBABILITIES)
def test_probabilities_that_are_none(link):
    scores, target, _ = probabilities_with_some(link)
    scores[0, 0, 0], scores[0, 2, 2] = 1.02, -0.02
    target[1, ..., 9] = 3
    scores, target = scores.cuda(), target.cuda()
    expected = reference.histogram(scores, target, BINS, IGNORE, True, link)[2]
    assert torch.equal(gpu.histogram(scores, target, BINS, IGNORE, True, link)[2], expected)
    got = gpu.sort_and_extend(scores, target, IGNORE, True, link, 1.0, 1.0)[-1]
    assert torch.equal(got, expected)


@pytest.mark.parametrize("link", LOGITS)
@pytest.mark.parametrize("value", [math.nan, math.inf, 7e4])
def test_scores_that_are_no_numbers(value, link):
    scores, target = torch.zeros(2, 3, 999), torch.zeros(2, 3, 999, dtype=torch.int64)
    scores[1, 2, 500] = value
    arguments = (scores.cuda(), target.cuda(), BINS, None, True, link)
    invalid = gpu.histogram(*arguments)[2]
    assert torch.equal(invalid, reference.histogram(*arguments)[2])


def test_cross_entropy_is_that_of_torch():
    logits = torch.randn(2, 3, 128, 128, device="cuda", requires_grad=True)
    target = torch.randint(2, logits.shape, device="cuda")
    options = {"lovasz_weight": 0.0, "multilabel": True}
    got = binary_cross_entropy_lovasz_sigmoid(logits, target, **options)
    want = F.binary_cross_entropy_with_logits(logits, target.float())
    torch.testing.assert_close(got, want)
    torch.testing.assert_close(
        torch.autograd.grad(got, logits)[0],
        torch.autograd.grad(want, logits)[0],
        rtol=1e-4,
        atol=1e-8,
    )
