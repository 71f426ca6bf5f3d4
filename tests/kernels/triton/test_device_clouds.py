"""Clouds of points on a real device, for whoever has one."""

import pytest
import torch

from lovasz import cross_entropy_lovasz_softmax, lovasz_hinge, lovasz_sigmoid, lovasz_softmax
from lovasz.kernels import reference
from lovasz.kernels import triton as gpu
from tests.kernels.cases import IGNORE, relative

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA or ROCm device")

BINS = 256
TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 8e-3, torch.float16: 2e-3}


def make(shape, clouds, dtype, channels=False, points_first=True, seed=0):
    """Scores, labels, weights and segment ids, of which some are of no point."""
    generator = torch.Generator("cuda").manual_seed(seed)
    options = {"device": "cuda", "generator": generator}
    scores = (3 * torch.randn(shape, **options)).to(dtype)
    if points_first:
        scores = scores.transpose(1, 2).contiguous().transpose(1, 2)
    labels = shape if channels else (1, shape[2])
    target = torch.randint(2 if channels else shape[1], labels, **options)
    target[torch.rand(labels, **options) < 0.1] = IGNORE
    ids = torch.randint(max(1, clouds - 1), (1, shape[2]), **options)
    return scores, target, 3 * torch.rand(labels, **options), ids


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("points_first", [False, True])
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("link", ["softmax", "sigmoid", "hinge", "elu"])
@pytest.mark.parametrize(
    ("shape", "clouds"), [((1, 20, 100_003), 12), ((1, 3, 5_000), 700), ((1, 200, 20_000), 3)]
)
def test_both_passes_are_the_reference(shape, clouds, link, dtype, points_first, weighted):
    channels = link != "softmax"
    scores, target, weight, ids = make(shape, clouds, dtype, channels, points_first)
    weight = weight if weighted else None
    fused = link in ("softmax", "sigmoid")
    class_weight = torch.rand(shape[1], device="cuda") if fused else None
    smoothing = 0.0 if channels else 0.1
    arguments = (
        scores, target, BINS, IGNORE, False, link, fused, class_weight, smoothing, weight, ids,
        clouds,
    )  # fmt: skip
    counts, lse, invalid, sums, _ = gpu.histogram(*arguments)
    want, _, _, sums_want, _ = reference.histogram(*arguments)
    assert torch.equal(counts.sum(-1), want.sum(-1))
    assert (counts - want).abs().sum() < 4e-3 * want.sum()
    torch.testing.assert_close(sums, sums_want, rtol=1e-5, atol=1e-5)
    assert not invalid.any()
    for by_pixel in (False, True):
        slopes = torch.rand(shape if by_pixel else (clouds, shape[1], 2, BINS), device="cuda")
        factors = torch.rand(clouds, shape[1], device="cuda")
        scale = torch.tensor(0.3, device="cuda") if fused else None
        arguments = (
            scores, target, lse, slopes, factors, IGNORE, link, scale, class_weight, smoothing,
            ids, weight,
        )  # fmt: skip
        gradient, wanted = gpu.backward(*arguments), reference.backward(*arguments)
        assert gradient.stride() == wanted.stride()
        # Random slopes of neighbouring bins differ by anything.
        rounding = 0.0 if by_pixel else 0.06
        assert relative(gradient, wanted) < TOLERANCE[dtype] + rounding


@pytest.mark.parametrize("clouds", [12, 3_000])
def test_losses_are_those_of_the_cpu(clouds):
    scores, target, _, ids = make((1, 20, 60_000), clouds, torch.float32)
    points, labels = scores[0].t(), target[0]
    index = {"batch_index": ids[0], "batch_size": clouds}
    ends = {"offsets": ids[0].bincount(minlength=clouds).cumsum(0)}
    sets = torch.nn.functional.one_hot(labels % 20, 20)
    for loss, wanted, options in (
        (lovasz_softmax, labels, {"ignore_index": IGNORE}),
        (cross_entropy_lovasz_softmax, labels, {"ignore_index": IGNORE}),
        (lovasz_sigmoid, sets, {"multilabel": True}),
        (lovasz_hinge, sets, {"multilabel": True}),
    ):
        for of_clouds in (index, ends):
            found = []
            for device in ("cuda", "cpu"):
                leaf = points.detach().to(device).requires_grad_()
                own = {
                    name: value.to(device) if isinstance(value, torch.Tensor) else value
                    for name, value in of_clouds.items()
                }
                value = loss(leaf, wanted.to(device), per_image=True, **options, **own)
                found.append((value.cpu(), torch.autograd.grad(value, leaf)[0].cpu()))
            torch.testing.assert_close(found[0][0], found[1][0], rtol=1e-5, atol=1e-6)
            assert relative(found[0][1], found[1][1]) < 1e-3


def test_counts_can_be_repeated_bitwise():
    scores, target, weight, ids = make((1, 20, 100_003), 12, torch.float32)
    for by_pixel in (None, weight):
        arguments = (scores, target, BINS, IGNORE, False, "softmax", True, None, 0.0, by_pixel)
        runs = [gpu.histogram(*arguments, ids, 12) for _ in range(5)]
        assert all(torch.equal(a, b) for run in runs for a, b in zip(run, runs[0], strict=True))


def test_what_is_wrong_is_of_its_cloud_alone():
    scores, target, _, ids = make((1, 5, 30_000), 9, torch.float32)
    target[0, :2], ids[0, :2] = 0, torch.tensor([2, 5], device="cuda")
    scores[0, 1, 0] = torch.nan
    target[0, 1] = IGNORE + 1
    arguments = (scores, target, BINS, IGNORE, False, "softmax", False, None, 0.0, None, ids, 9)
    assert gpu.histogram(*arguments)[2].tolist() == [0, 0, 1, 0, 0, 1, 0, 0, 0]


@pytest.mark.parametrize("number", [-1, 9, 2**40])
def test_a_number_of_no_cloud_makes_the_loss_nan(number):
    scores, target, _, ids = make((1, 5, 30_000), 9, torch.float32)
    ids[0, 77] = number
    options = {"per_image": True, "batch_index": ids[0], "batch_size": 9, "ignore_index": IGNORE}
    leaf = scores[0].t().requires_grad_()
    value = lovasz_softmax(leaf, target[0], bins=64, **options)
    assert value.isnan()
    torch.autograd.grad(value, leaf)
    torch.cuda.synchronize()


@pytest.mark.parametrize("bins", [64, 1024])
def test_nothing_waits_for_the_device(bins):
    scores, target, weight, ids = make((1, 20, 30_000), 12, torch.float32)
    leaf = scores[0].t().requires_grad_()
    ends = ids[0].bincount(minlength=12).cumsum(0)
    calls = [
        {"offsets": ends},
        {"batch_index": ids[0], "batch_size": 12, "pixel_weight": weight[0]},
    ]
    for warm in (True, False):
        if not warm:
            torch.cuda.set_sync_debug_mode("error")
        try:
            for options in calls:
                loss = cross_entropy_lovasz_softmax(
                    leaf, target[0], per_image=True, ignore_index=IGNORE, bins=bins, **options
                )
                torch.autograd.grad(loss, leaf)
        finally:
            torch.cuda.set_sync_debug_mode("default")
