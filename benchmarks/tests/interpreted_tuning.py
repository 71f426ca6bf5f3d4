"""The sweep of the constants runs, in Triton's interpreter: run by ``make interpret``."""

import time

import pytest
import torch

from benchmarks import gpu_tune
from lovasz.kernels.triton import blocks

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")


def test_the_constants_of_the_blocks_can_be_tuned():
    def timed(work):
        began = time.perf_counter()
        work()
        return time.perf_counter() - began

    points, of_class = torch.randn(300, 3), torch.randint(3, (300,))
    masks, labels = torch.randn(1, 2, 10, 10), torch.randint(2, (1, 2, 10, 10))
    before = dict(vars(blocks))
    for operators in (
        gpu_tune.softmax_operators(points, of_class),
        gpu_tune.multilabel_operators(masks, labels),
    ):
        found = gpu_tune.sweep(operators, list(gpu_tune.CANDIDATES), 1, timed, unseen=0)
        assert found.keys() == operators.keys()
        for name, (values, concerned) in gpu_tune.CANDIDATES.items():
            for operator in found.keys() & set(concerned):
                assert set(found[operator][name]) == set(values)
    assert vars(blocks) == before
