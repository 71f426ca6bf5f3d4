"""A device without Triton, and a benchmark without a device."""

import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch

from lovasz.ops import gpu, reference
from tests.ops.cases import IGNORE, labels_of, scores_of, slopes_of


@pytest.fixture
def _no_triton(monkeypatch):
    monkeypatch.setitem(sys.modules, "lovasz.ops.gpu.launch", None)
    monkeypatch.delattr(gpu, "launch", raising=False)
    gpu._launch.cache_clear()
    yield
    gpu._launch.cache_clear()


@pytest.mark.usefixtures("_no_triton")
def test_without_triton_the_reference_runs_and_one_warning_says_so():
    shape = (2, 5, 70)
    scores, target = scores_of(shape, "pixels", torch.float32, 1.0), labels_of(shape)
    with pytest.warns(RuntimeWarning, match="Triton cannot be imported"):
        counts, lse, _, _ = gpu.count(scores, target, 64, IGNORE, False, True)
    assert torch.equal(counts, reference.count(scores, target, 64, IGNORE, False, True)[0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        slopes = slopes_of(1, 5, 64)
        got = gpu.push(scores, target, lse, slopes, IGNORE, True)
        assert torch.equal(got, reference.push(scores, target, lse, slopes, IGNORE, True))
        _, by_pixel, *_ = gpu.exact(scores, target, IGNORE, False, True, 1.0, 1.0)
        got = gpu.push_ranked(scores, target, lse, by_pixel, IGNORE, True)
    assert got.shape == scores.shape


@pytest.mark.usefixtures("_no_triton")
@pytest.mark.filterwarnings("error")
def test_double_precision_and_probabilities_go_to_the_reference():
    scores, target = torch.randn(2, 3, 9, dtype=torch.float64), torch.randint(3, (2, 9))
    counts, lse, _, _ = gpu.count(scores, target, 64, None, False, True)
    assert lse.dtype == torch.float64
    gpu.push(scores, target, lse, torch.rand(counts.shape), None, True)
    gpu.count(scores.softmax(1), target, 64, None, False, False)


@pytest.mark.parametrize("name", ["count", "push", "exact", "push_ranked"])
def test_the_dispatcher_knows_the_kernels(name):
    assert torch._C._dispatch_has_kernel_for_dispatch_key(f"lovasz::{name}", "CUDA")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a device here")
def test_the_benchmark_says_that_there_is_no_device():
    result = subprocess.run(
        [sys.executable, "-m", "benchmarks", "gpu", "--rounds", "1"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert "no CUDA or ROCm device" in result.stderr
