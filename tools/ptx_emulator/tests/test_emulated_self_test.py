"""The test that kernels have to pass before their first use, of the compiled kernels, as it is."""

import inspect

import pytest
import torch

from lovasz.core.upsampling import LINEAR
from lovasz.kernels import reference, self_test
from lovasz.kernels import triton as gpu
from tools.ptx_emulator import launching


@pytest.fixture(autouse=True)
def _emulator(monkeypatch):
    return launching.use_emulator(monkeypatch)


def check(name, *arguments):
    plain = getattr(reference, name)
    bound = inspect.signature(plain).bind(*arguments)
    bound.apply_defaults()
    wrong = self_test._test(name, getattr(gpu, name), plain, bound.arguments, torch.device("cpu"))
    assert wrong is None


@pytest.mark.parametrize("link", ["softmax", "sigmoid", "elu"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_passes(link, dtype):
    scores, target = torch.ones(2, 3, 112, dtype=dtype), torch.ones(2, 112, dtype=torch.int64)
    target = target if link == "softmax" else torch.ones(2, 3, 112, dtype=torch.bool)
    check("histogram", scores, target, 2048, 255, False, link)
    lse = torch.empty((2, 112) if link == "softmax" else 0, dtype=torch.float64)
    slopes, factors = torch.ones(1, 3, 2, 2048), torch.ones(1, 3)
    check("backward", scores, target, lse, slopes, factors, 255, link)
    check("sort_and_extend", scores, target, 255, False, link, 1.0, 1.0)


def test_between_the_passes():
    check("extend", torch.ones(1, 3, 2, 2048, dtype=torch.int64), 1.0, 1.0, False)
    numbers = torch.ones(2, 3), torch.ones(2, 3), torch.ones(2), None
    check("reduce", *numbers, False, True, False, False, torch.ones(2))


def test_interpolated_scores():
    scores, target = torch.ones(2, 3, 1, 6, 7), torch.ones(2, 168, dtype=torch.int64)
    upsampled = (None, 1, LINEAR, [1, 12, 14])
    common = (255, False, "softmax")
    check("histogram", scores, target, 2048, *common, True, None, 0.0, None, *upsampled)
    slopes, factors = torch.ones(1, 3, 2, 2048), torch.ones(1, 3)
    lse, tail = torch.empty(2, 168, dtype=torch.float64), (None, None, 0.0, None, None, LINEAR)
    check("backward", scores, target, lse, slopes, factors, 255, "softmax", *tail, [1, 12, 14])
    check("argmax", scores, [1, 12, 14], LINEAR, True, None, False)
    check("argmax", scores, [1, 12, 14], LINEAR, True, torch.ones(2, 3), True)


@pytest.mark.parametrize("link", ["softmax", "sigmoid"])
def test_soft_labels(link):
    check("histogram", torch.ones(2, 3, 101), torch.ones(2, 3, 101), 2048, None, False, link)
