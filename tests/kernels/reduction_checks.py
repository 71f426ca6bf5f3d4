"""What every implementation of ``lovasz::reduce`` has to do."""

import pytest
import torch

from lovasz.kernels import reference


def every_reduction(test):
    """Parametrize a test by the options of a reduction."""
    kinds = [(False, False), (True, False), (True, True)]
    for mark in (
        pytest.mark.parametrize("wide", [False, True]),
        pytest.mark.parametrize(("mean", "per_image"), kinds),
        pytest.mark.parametrize("weighting", ["none", "sum", "normalized", "zeros"]),
    ):
        test = mark(test)
    return test


def check_reduction(reduce, shape, weighting, mean, per_image, wide, device="cpu"):
    """Total and factors are those of the reference, with invalid pixels and without."""
    groups, classes = shape
    losses, active = torch.rand(shape, dtype=torch.float64), torch.rand(shape) < 0.6
    active[-1] = False  # an image in which nothing counts
    weight = None if weighting == "none" else torch.rand(classes) * (weighting != "zeros")
    weight = weight if weight is None or not wide else weight.double()
    options = (weighting == "normalized", mean, per_image, wide)
    some, none = torch.tensor([5.0, 3.0]).double(), torch.zeros(2).double()
    for bad, sums in ((0.0, None), (0.3, some), (0.0, none)):
        invalid = (torch.rand(groups) < bad).long() * 3
        tensors = (losses, active, invalid, weight, sums)
        *moved, summed = (None if tensor is None else tensor.to(device) for tensor in tensors)
        got = reduce(*moved, *options, summed)
        expected = reference.reduce(*tensors[:-1], *options, sums)
        for result, wanted in zip(got, expected, strict=True):
            # The reference rounds more often.
            tolerance = {"rtol": 1e-12 if wide else 1e-6, "atol": 0}
            torch.testing.assert_close(result.cpu(), wanted, equal_nan=True, **tolerance)
