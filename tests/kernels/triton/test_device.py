"""The operators on a real device, for whoever has one: CUDA or ROCm, with Triton."""

import pytest
import torch
import torch.nn.functional as F

from lovasz import cross_entropy_lovasz_softmax, lovasz_softmax
from lovasz.kernels import reference
from lovasz.kernels import triton as gpu
from tests.kernels.cases import IGNORE, LAYOUTS, factors_of, labels_of, scores_of, slopes_of

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA or ROCm device")

BINS = 1024
WORKLOADS = {
    "cityscapes": (2, 19, 512 * 1024),
    "voc": (8, 21, 320 * 320),
    "ade": (2, 150, 512 * 512),
    "scannet": (1, 20, 307_200),
    "binary": (8, 1, 512 * 512),
    "many": (1, 1001, 20_000),
    "odd": (3, 7, 9_973),
    "grouped": (1, 45, 3_001),  # more classes than a table in shared memory holds
}


def relative(got, expected):
    return float((got.double() - expected.double()).norm() / expected.double().norm())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", WORKLOADS.values(), ids=WORKLOADS.keys())
def test_both_passes_are_the_reference(shape, layout, dtype):
    scores, target = scores_of(shape, layout, dtype, 3.0).cuda(), labels_of(shape).cuda()
    counts, lse, invalid, *_ = gpu.histogram(scores, target, BINS, IGNORE, True, "softmax")
    expected, lse_expected, *_ = reference.histogram(scores, target, BINS, IGNORE, True, "softmax")
    assert torch.equal(counts.sum(-1), expected.sum(-1))
    assert (counts - expected).abs().sum() < 2e-3 * expected.sum()
    torch.testing.assert_close(lse, lse_expected, rtol=1e-6, atol=2e-6)
    assert not invalid.any()
    slopes, factors = slopes_of(*shape[:2], BINS).cuda(), factors_of(*shape[:2]).cuda()
    gradient = gpu.backward(scores, target, lse, slopes, factors, IGNORE, "softmax")
    expected = reference.backward(scores, target, lse, slopes, factors, IGNORE, "softmax")
    assert gradient.stride() == torch.empty_like(scores).stride()
    if shape[1] > 1:
        assert relative(gradient, expected) < (5e-4 if dtype == torch.float32 else 8e-3)


@pytest.mark.parametrize("scale", [0.0, 0.1, 3.0, 30.0])
def test_counts_can_be_repeated_bitwise(scale):
    shape = WORKLOADS["cityscapes"]
    scores, target = scores_of(shape, "pixels", torch.float32, scale).cuda(), labels_of(shape)
    runs = [
        gpu.histogram(scores, target.cuda(), BINS, IGNORE, False, "softmax")[0] for _ in range(5)
    ]
    assert all(torch.equal(run, runs[0]) for run in runs)
    assert int(runs[0].sum()) == shape[1] * int((target != IGNORE).sum())


@pytest.mark.parametrize("per_image", [False, True])
@pytest.mark.parametrize("shape", WORKLOADS.values(), ids=WORKLOADS.keys())
def test_sort_is_the_reference(shape, per_image):
    scores, target = scores_of(shape, "pixels", torch.float32, 2.0).cuda(), labels_of(shape).cuda()
    got = gpu.sort_and_extend(scores, target, IGNORE, per_image, "softmax", 1.0, 1.0)
    expected = reference.sort_and_extend(scores, target, IGNORE, per_image, "softmax", 1.0, 1.0)
    torch.testing.assert_close(got[0], expected[0], rtol=1e-5, atol=1e-7)
    assert torch.equal(got[2], expected[2])
    assert relative(got[1], expected[1]) < 0.02


@pytest.mark.parametrize("loss", [lovasz_softmax, cross_entropy_lovasz_softmax])
def test_the_loss_is_that_of_the_cpu(loss):
    logits, target = torch.randn(2, 19, 64, 96) * 3, torch.randint(19, (2, 64, 96))
    want_input, got_input = logits.clone().requires_grad_(), logits.cuda().requires_grad_()
    want, got = loss(want_input, target), loss(got_input, target.cuda())
    (expected,) = torch.autograd.grad(want, want_input)
    (gradient,) = torch.autograd.grad(got, got_input)
    torch.testing.assert_close(got.cpu(), want, rtol=1e-5, atol=1e-6)
    assert relative(gradient.cpu(), expected) < 1e-3


@pytest.mark.parametrize("method", ["histogram", "sort"])
def test_nothing_waits_for_the_device(method):
    logits = torch.randn(2, 5, 64, 64, device="cuda", requires_grad=True)
    target = torch.randint(5, (2, 64, 64), device="cuda")
    torch.autograd.grad(lovasz_softmax(logits, target, method=method), logits)  # compiles
    torch.cuda.set_sync_debug_mode("error")
    try:
        torch.autograd.grad(lovasz_softmax(logits, target, method=method), logits)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_graphs():
    logits = torch.randn(2, 5, 64, 64, device="cuda", requires_grad=True)
    target = torch.randint(5, (2, 64, 64), device="cuda")
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            torch.autograd.grad(cross_entropy_lovasz_softmax(logits, target), logits)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        loss = cross_entropy_lovasz_softmax(logits, target)
        (gradient,) = torch.autograd.grad(loss, logits)
    for _ in range(2):
        with torch.no_grad():
            logits.normal_()
        graph.replay()
        expected = cross_entropy_lovasz_softmax(logits, target)
        torch.testing.assert_close(loss, expected)
        torch.testing.assert_close(gradient, torch.autograd.grad(expected, logits)[0])


def test_streams():
    logits = torch.randn(2, 19, 512, 512, device="cuda", requires_grad=True)
    target = torch.randint(19, (2, 512, 512), device="cuda")
    want = lovasz_softmax(logits, target)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        got = [lovasz_softmax(logits * 1.0, target) for _ in range(5)]
    stream.synchronize()
    assert all(torch.equal(loss, want) for loss in got)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="one device or none")
def test_another_device():
    logits, target = torch.randn(1, 5, 32, 32), torch.randint(5, (1, 32, 32))
    first = lovasz_softmax(logits.to("cuda:0"), target.to("cuda:0"))
    assert torch.equal(lovasz_softmax(logits.to("cuda:1"), target.to("cuda:1")).cpu(), first.cpu())


def test_compiles_in_one_piece():
    logits = torch.randn(2, 5, 64, 64, device="cuda", requires_grad=True)
    target = torch.randint(5, (2, 64, 64), device="cuda")
    got = torch.compile(lovasz_softmax, fullgraph=True)(logits, target)
    torch.testing.assert_close(got, lovasz_softmax(logits, target))
    torch.autograd.grad(got, logits)


@pytest.mark.parametrize("bad", [-1, 19])
def test_impossible_labels_make_the_loss_nan(bad):
    logits, target = torch.randn(1, 19, 999).cuda(), torch.zeros(1, 999, dtype=torch.long).cuda()
    target[0, 500] = bad
    assert lovasz_softmax(logits, target).isnan()


def test_more_elements_than_32_bits_address():
    shape = (2, 33, 2**26)  # 2.2e9 scores of an image, the last class beyond 2^31 of them
    if torch.cuda.mem_get_info()[0] < 40 * 2**30:
        pytest.skip("needs 40 GiB")
    scores = torch.randn(shape, dtype=torch.float16, device="cuda")
    target = torch.randint(33, (2, 2**26), device="cuda", dtype=torch.uint8)
    counts, lse, invalid, *_ = gpu.histogram(scores, target, BINS, None, True, "softmax")
    assert counts.sum((2, 3)).eq(2**26).all()
    assert not invalid.any()
    slopes = slopes_of(2, 33, BINS).cuda()
    gradient = gpu.backward(scores, target, lse, slopes, None, None, "softmax")
    part = slice(2**26 - 1000, 2**26)
    last = scores[1:, :, part], target[1:, part], lse[1:, part], slopes[1:]
    torch.testing.assert_close(
        gradient[1:, :, part],
        reference.backward(*last, None, None, "softmax"),
        rtol=1e-2,
        atol=1e-4,
    )


def test_cross_entropy_is_that_of_torch():
    logits = torch.randn(2, 19, 128, 128, device="cuda", requires_grad=True)
    target = torch.randint(19, (2, 128, 128), device="cuda")
    weight = torch.rand(19, device="cuda")
    got = cross_entropy_lovasz_softmax(
        logits, target, lovasz_weight=0.0, weight=weight, label_smoothing=0.1
    )
    # On the CPU, as torch has no deterministic one for devices, which all tests ask for.
    there = logits.detach().cpu().requires_grad_()
    want = F.cross_entropy(there, target.cpu(), weight=weight.cpu(), label_smoothing=0.1)
    torch.testing.assert_close(got.cpu(), want)
    torch.testing.assert_close(
        torch.autograd.grad(got, logits)[0].cpu(),
        torch.autograd.grad(want, there)[0],
        rtol=1e-4,
        atol=1e-9,
    )
