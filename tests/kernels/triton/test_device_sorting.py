"""Weights of pixels, the complement and clouds in the sort on a real device."""

import pytest
import torch

from lovasz import lovasz_hinge
from lovasz.kernels import reference
from lovasz.kernels import triton as gpu
from tests.kernels.cases import IGNORE
from tests.kernels.sorting_checks import channels_of, check, check_classes, clouds_of

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA or ROCm device")

OFTEN = pytest.mark.parametrize("weighted", [False, True])
SIDES = pytest.mark.parametrize("symmetric", [False, True])
SIZES = [[100_000, 0, 50_003, 7], [20] * 5000, [1]]


@pytest.mark.parametrize("per_image", [False, True])
@pytest.mark.parametrize("shape", [(2, 3, 250_007), (8, 1, 262_144), (1, 80, 3_001)])
@OFTEN
@SIDES
def test_channels(shape, per_image, symmetric, weighted):
    scores, target, weight = (x.cuda() for x in channels_of(shape))
    arguments = (scores, target, IGNORE, per_image, "hinge", 0.3, 2.0, symmetric)
    weight = weight if weighted else None
    check(gpu.sort_and_extend(*arguments, weight), reference.sort_and_extend(*arguments, weight))


@pytest.mark.parametrize("sizes", SIZES)
@OFTEN
@SIDES
def test_clouds(sizes, symmetric, weighted):
    ids = clouds_of(sizes, ascending=False).cuda()
    scores, target, weight = (x.cuda() for x in channels_of((1, 3, ids.shape[1])))
    arguments = (
        *(scores, target, IGNORE, False, "hinge", 1.0, 1.0, symmetric),
        *(weight if weighted else None, ids, len(sizes)),
    )
    got = gpu.sort_and_extend(*arguments)
    check(got, reference.sort_and_extend(*arguments))
    again = gpu.sort_and_extend(*arguments)
    assert all(torch.equal(a, b) for a, b in zip(got, again, strict=True))


@pytest.mark.parametrize("clouds", [None, SIZES[0]])
@OFTEN
@SIDES
def test_classes(clouds, symmetric, weighted):
    shape = (1, 20, 150_010)
    check_classes(gpu, clouds, shape, "cuda", symmetric=symmetric, weighted=weighted)


@pytest.mark.parametrize("number", [-1, 3, 2**40])
def test_a_number_of_no_cloud_makes_the_loss_nan(number):
    logits, target, _ = channels_of((1, 1, 9_000))
    leaf, ids = logits[0, 0].cuda().requires_grad_(), torch.zeros(9_000, dtype=torch.int64)
    ids[77] = number
    options = {"per_image": True, "batch_index": ids.cuda(), "batch_size": 3}
    value = lovasz_hinge(leaf, target[0, 0].cuda(), method="sort", ignore_index=IGNORE, **options)
    assert value.isnan()
    torch.autograd.grad(value, leaf)
    torch.cuda.synchronize()


def test_nothing_waits_for_the_device():
    logits, target, weight = (x[0].t().contiguous().cuda() for x in channels_of((1, 3, 30_000)))
    leaf, ends = logits.requires_grad_(), torch.tensor([9, 20_000, 30_000]).cuda()
    options = {"symmetric": True, "pixel_weight": weight, "offsets": ends, "per_image": True}
    for warm in (True, False):
        if not warm:
            torch.cuda.set_sync_debug_mode("error")
        try:
            loss = lovasz_hinge(
                leaf, target, multilabel=True, method="sort", ignore_index=IGNORE, **options
            )
            torch.autograd.grad(loss, leaf)
        finally:
            torch.cuda.set_sync_debug_mode("default")
