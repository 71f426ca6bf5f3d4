"""The factors of the two losses as a function of the epoch."""

import numpy as np
import pytest
import torch

from lovasz import CrossEntropyLovaszSoftmaxLoss, LossSchedule, cross_entropy_lovasz_softmax

POINTS = [(2, 1, 0), (4, 1, 0.5), (8, 0, 1.5)]


def test_it_is_piecewise_linear_and_constant_outside():
    schedule = LossSchedule(POINTS)
    epochs = np.linspace(-1, 10, 45)
    expected = [np.interp(epochs, [2, 4, 8], values) for values in ([1, 1, 0], [0, 0.5, 1.5])]
    found = np.array([schedule(epoch) for epoch in epochs]).T
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert schedule(4) == (1, 0.5)
    assert schedule(8) == (0, 1.5)


def test_one_point_is_constant():
    assert {LossSchedule([(3, 1, 2)])(epoch) for epoch in (0, 3, 7.5)} == {(1.0, 2.0)}


def test_function_and_module_take_the_factors():
    random = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 5, generator=random)
    target = torch.randint(0, 3, (2, 5), generator=random)
    factors = LossSchedule(POINTS)(6)
    criterion = CrossEntropyLovaszSoftmaxLoss()
    criterion.cross_entropy_weight, criterion.lovasz_weight = factors
    entropy = torch.nn.functional.cross_entropy(logits, target)
    lovasz = cross_entropy_lovasz_softmax(logits, target, cross_entropy_weight=0)
    expected = 0.5 * entropy + lovasz
    torch.testing.assert_close(criterion(logits, target), expected)
    named = cross_entropy_lovasz_softmax(logits, target, **factors._asdict())
    torch.testing.assert_close(named, expected)


@pytest.mark.parametrize(
    ("points", "error", "sentence"),
    [
        ([], ValueError, "one or more points, got none"),
        ([(0, 1)], TypeError, r"points of three numbers .* got \(0, 1\)"),
        ([3], TypeError, "points of three numbers .* got 3"),
        ([(0, 1, "1")], TypeError, r"points of three numbers .* got \(0, 1, '1'\)"),
        ([(0, 1, -1)], ValueError, r"not negative and not both 0, got \(0, 1, -1\)"),
        ([(0, 0, 0)], ValueError, r"not negative and not both 0, got \(0, 0, 0\)"),
        ([(float("nan"), 1, 0)], ValueError, "a finite epoch"),
        ([(2, 1, 0), (2, 0, 1)], ValueError, r"rising epochs, got \[2.0, 2.0\]"),
    ],
)
def test_points_that_make_no_sense(points, error, sentence):
    with pytest.raises(error, match="^LossSchedule: expected .*" + sentence):
        LossSchedule(points)


def test_an_epoch_is_a_number():
    with pytest.raises(ValueError, match="expected epoch to be a finite number, got 'first'"):
        LossSchedule(POINTS)("first")
