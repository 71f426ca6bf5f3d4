"""Soft labels and losses by sums on a real device: CUDA or ROCm, with Triton."""

import pytest
import torch

import lovasz
from lovasz.kernels import reference
from lovasz.kernels import triton as gpu
from lovasz.kernels.fixed_point import SCALE
from tests.kernels.cases import IGNORE, relative
from tests.kernels.multilabel_checks import moved
from tests.kernels.soft_checks import (
    KINDS,
    LINKS,
    Case,
    by_sums,
    case_of,
    check_counts,
    check_gradient,
)
from tests.pairwise import pairwise

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA or ROCm device")

BINS = 2048
# images, classes, pixels
WORKLOADS = {
    "cityscapes": (2, 19, 512 * 1024),
    "ade": (2, 150, 200 * 300),
    "volumes": (2, 14, 48**3),
    "odd": (3, 7, 9_973),
    "one": (1, 1, 70_001),
}
ROUNDING = 1e-5


def device_case(shape, *arguments, **options):
    return case_of(shape, *arguments, **{"bins": BINS, **options}).to("cuda")


def check(case):
    check_gradient(gpu, case, check_counts(gpu, case, ROUNDING))


@pytest.mark.parametrize(
    ("shape", "link", "kind", "layout", "dtype", "weighted", "per_image"),
    pairwise(
        list(WORKLOADS.values()), LINKS, KINDS, ["pixels", "classes", "neither"],
        [torch.float32, torch.bfloat16, torch.float16], [False, True], [False, True],
    ),
)  # fmt: skip
def test_both_passes_are_the_reference(shape, link, kind, layout, dtype, weighted, per_image):
    check(device_case(shape, link, kind, layout, dtype, weighted, per_image=per_image))


@pytest.mark.parametrize(("link", "kind"), [("softmax", "labels"), ("sigmoid", "floats")])
def test_sums_alone(link, kind):
    check(device_case(WORKLOADS["volumes"], link, kind, bins=0))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    ("link", "kind"), [("softmax", "maps"), ("sigmoid", "floats"), ("softmax", "labels")]
)
def test_clouds(link, kind, weighted):
    ids = torch.randint(6, (1, 50_000), generator=torch.Generator().manual_seed(0))
    ids[:, 30_000:] = 2  # one of them is large, the last is empty
    options = {"weighted": weighted, "ids": ids, "clouds": 7}
    check(device_case((1, 20, 50_000), link, kind, "classes", **options))


@pytest.mark.parametrize("mode", ["linear", "nearest"])
@pytest.mark.parametrize("kind", KINDS)
def test_upsampled(kind, mode):
    case = device_case((2, 19, 200 * 300), "softmax", kind)
    scores = 2 * torch.randn(2, 19, 1, 50, 75, device="cuda")
    check(case._replace(scores=scores, upsample=mode, size=(1, 200, 300)))


@pytest.mark.parametrize("link", ["softmax", "sigmoid"])
def test_hard_labels_are_counted_as_before(link):
    case = device_case(WORKLOADS["cityscapes"], link, "labels")
    before = gpu.histogram(case.scores, case.target, BINS, IGNORE, False, link)[0]
    counts = case.count(gpu)[0]
    assert torch.equal(counts.sum(-1), before.sum(-1))
    assert moved(counts, before) < 1e-3  # log-sum-exps that differ by a rounding
    once = case._replace(weight=torch.ones(case.target.shape, device="cuda"))
    assert torch.equal(once.count(gpu)[0], counts * SCALE)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scale", [0.0, 3.0, 30.0])
def test_everything_can_be_repeated_bitwise(scale, kind):
    case = device_case(WORKLOADS["cityscapes"], "softmax", kind, weighted=kind == "maps")
    case = case._replace(scores=case.scores * scale)
    regions = by_sums(case)
    runs = [case.count(gpu) for _ in range(4)]
    for run in runs[1:]:
        assert all(torch.equal(a, b) for a, b in zip(run, runs[0], strict=True))
    first, second = (case.differentiate(gpu, runs[0][1], regions) for _ in range(2))
    assert torch.equal(first, second)


def blurred(labels, classes):
    hard = torch.nn.functional.one_hot(labels, classes).movedim(-1, 1).float()
    return (hard + hard.roll(1, -1)) / 2


LOSSES = {
    "soft labels": lambda x, y: lovasz.lovasz_softmax(x, blurred(y, 19)),
    "two label maps": lambda x, y: lovasz.lovasz_softmax(x, [y, y.flip(-1)]),
    "label smoothing": lambda x, y: lovasz.lovasz_softmax(x, y, label_smoothing=0.1),
    "cross-entropy and Dice": lambda x, y: lovasz.cross_entropy_dice(x, y, ignore_index=3),
    "Dice of channels": lambda x, y: lovasz.dice_loss(
        x, blurred(y, 19), activation="sigmoid", multilabel=True, per_image=True
    ),
    "metric of upsampled logits": lambda x, y: lovasz.jaccard_metric_loss(
        x, y.repeat_interleave(2, 1), upsample="bilinear"
    ),
    "hinge with cross-entropy": lambda x, y: lovasz.binary_cross_entropy_lovasz_hinge(
        x[:, :1], y % 2
    ),
}


def logits_and_labels(device="cuda"):
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(2, 19, 64, 96, generator=generator)
    target = torch.randint(19, (2, 64, 96), generator=generator)
    return logits.to(device).requires_grad_(), target.to(device)


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
def test_losses_are_those_of_the_cpu(loss):
    there, here = logits_and_labels("cpu"), logits_and_labels()
    want, got = loss(*there), loss(*here)
    torch.testing.assert_close(got.cpu(), want, rtol=1e-5, atol=1e-6)
    (expected,) = torch.autograd.grad(want, there[0])
    (gradient,) = torch.autograd.grad(got, here[0])
    assert relative(1e3 * gradient.cpu(), 1e3 * expected) < 1e-3


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
def test_nothing_waits_for_the_device(loss):
    logits, target = logits_and_labels()
    torch.autograd.grad(loss(logits, target), logits)  # compiles
    torch.cuda.set_sync_debug_mode("error")
    try:
        torch.autograd.grad(loss(logits, target), logits)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_a_graph_records_it():
    logits, target = logits_and_labels()
    loss = LOSSES["cross-entropy and Dice"]
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            torch.autograd.grad(loss(logits, target), logits)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        value = loss(logits, target)
        (gradient,) = torch.autograd.grad(value, logits)
    for _ in range(2):
        with torch.no_grad():
            logits.normal_()
        graph.replay()
        expected = loss(logits, target)
        torch.testing.assert_close(value, expected)
        torch.testing.assert_close(gradient, torch.autograd.grad(expected, logits)[0])


def test_memory_is_that_of_the_gradient_and_of_pixels():
    logits = torch.randn(2, 14, 96, 96, 96, device="cuda", requires_grad=True)
    target = torch.randint(14, (2, 96, 96, 96), device="cuda", dtype=torch.uint8)
    for _ in range(2):  # the first compiles
        logits.grad = None
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        lovasz.cross_entropy_dice(logits, target).backward()
        peak = torch.cuda.max_memory_allocated() - before
    assert peak < 4 * logits.numel() + 32 * target.numel() + 2**22


def test_more_elements_than_32_bits_address():
    shape = (1, 33, 2**26)  # 2.2e9 scores, the last class beyond 2^31 of them
    if torch.cuda.mem_get_info()[0] < 40 * 2**30:
        pytest.skip("needs 40 GiB")
    scores = torch.randn(shape, dtype=torch.float16, device="cuda")
    target = torch.randint(33, (1, 2, 2**26), device="cuda", dtype=torch.uint8)
    mixture = torch.tensor([[0.4, 0.6]], device="cuda")
    case = Case(scores, target, "softmax", mixture, bins=BINS)
    counts, lse, invalid, _, sums = case.count(gpu)
    assert counts.sum((2, 3)).eq(2**26).all()
    assert not invalid.any()
    assert abs(float(sums[..., 1].sum()) / 2**26 - 1) < 1e-6
    regions = by_sums(case)
    gradient = case.differentiate(gpu, lse, regions)
    part = slice(2**26 - 1000, 2**26)
    last = case._replace(scores=scores[..., part], target=target[..., part])
    expected = last.differentiate(reference, lse[:, part], regions)
    assert relative(gradient[..., part], expected) < 8e-3
