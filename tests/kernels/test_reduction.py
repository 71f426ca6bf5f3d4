"""The operator from the losses of classes to the loss."""

import pytest
import torch

from lovasz.kernels import cpu, reference
from tests.kernels.reduction_checks import check_reduction, every_reduction


@every_reduction
@pytest.mark.parametrize("shape", [(1, 1), (1, 19), (5, 3), (300, 20)])
def test_the_kernel_is_the_reference(shape, weighting, mean, per_image, wide):
    check_reduction(cpu.reduce, shape, weighting, mean, per_image, wide)


@pytest.mark.parametrize("reduce", [cpu.reduce, reference.reduce])
def test_a_mean_over_the_images_in_which_a_class_counts(reduce):
    losses = torch.tensor([[0.5, 0.25, 9.0], [0.75, 9.0, 9.0], [9.0, 9.0, 9.0]]).double()
    active, weight = losses < 1, torch.tensor([1.0, 3.0, 2.0])
    valid = torch.zeros(3, dtype=torch.int64)
    total, factors, *_ = reduce(losses, active, valid, weight, True, True, True, False)
    # (0.5 + 3 · 0.25) / 4 and 0.75 of two images
    assert total.item() == pytest.approx((1.25 / 4 + 0.75) / 2)
    assert factors.tolist() == [[0.125, 0.375, 0.0], [0.5, 0.0, 0.0], [0.0, 0.0, 0.0]]
    total, factors, *_ = reduce(losses, active, valid, weight, False, True, True, False)
    assert total.item() == pytest.approx((1.25 / 2 + 0.75) / 2)
    total, factors, *_ = reduce(losses, active, valid, weight, True, False, False, False)
    assert total.item() == 2.0
    assert factors.tolist() == [[1.0, 3.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]


@pytest.mark.parametrize("reduce", [cpu.reduce, reference.reduce])
def test_nothing_is_known_of_a_group_with_invalid_pixels(reduce):
    losses, active = torch.rand(2, 3).double(), torch.ones(2, 3, dtype=torch.bool)
    invalid = torch.tensor([0, 2])
    total, factors, *_ = reduce(losses, active, invalid, None, False, True, True, True)
    assert total.isnan()
    assert factors.isnan().tolist() == [[False] * 3, [True] * 3]


@pytest.mark.parametrize("reduce", [cpu.reduce, reference.reduce])
@pytest.mark.parametrize("shape", [(0, 3), (2, 0), (1, 4)])
def test_where_nothing_counts(reduce, shape):
    losses, active = torch.rand(shape).double(), torch.zeros(shape, dtype=torch.bool)
    invalid = torch.zeros(shape[0], dtype=torch.int64)
    total, factors, *_ = reduce(losses, active, invalid, None, False, True, True, False)
    assert total.item() == 0
    assert torch.equal(factors, torch.zeros(shape))


def test_strided_arguments():
    losses, active = torch.rand(7, 4).double().T, (torch.rand(7, 4) < 0.5).T
    invalid = torch.zeros(8, dtype=torch.int64)[::2]
    weight = torch.rand(14)[::2]
    tensors = (losses, active, invalid, weight)
    got = cpu.reduce(*tensors, True, True, True, False)
    wanted = cpu.reduce(*(tensor.contiguous() for tensor in tensors), True, True, True, False)
    assert all(torch.equal(a, b) for a, b in zip(got, wanted, strict=True))


@pytest.mark.parametrize("reduce", [cpu.reduce, reference.reduce])
def test_the_mean_of_the_cross_entropies(reduce):
    losses, active = torch.rand(1, 3).double(), torch.ones(1, 3, dtype=torch.bool)
    arguments = (losses, active, torch.zeros(1).long(), None, False, True, False, True)
    for sums, mean in (((6.0, 4.0), (1.5, 0.25)), ((0.0, 0.0), (0.0, 0.0))):
        *_, cross_entropy, by_sum = reduce(*arguments, torch.tensor(sums).double())
        assert (cross_entropy.item(), by_sum.item()) == mean
    assert reduce(*arguments)[2].shape == (0,)
