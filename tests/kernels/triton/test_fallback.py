"""A device without Triton."""

import sys
import warnings

import pytest
import torch

from lovasz.kernels import reference, self_test, verdicts
from lovasz.kernels import triton as gpu
from lovasz.kernels.triton import availability
from tests.kernels.cases import IGNORE, labels_of, scores_of, slopes_of


@pytest.fixture
def _no_triton(monkeypatch):
    monkeypatch.setitem(sys.modules, "triton", None)
    availability.has_triton.cache_clear()
    yield
    availability.has_triton.cache_clear()


@pytest.mark.usefixtures("_no_triton")
def test_without_triton_the_reference_runs_and_one_warning_says_so():
    shape = (2, 5, 70)
    scores, target = scores_of(shape, "pixels", torch.float32, 1.0), labels_of(shape)
    with pytest.warns(RuntimeWarning, match="Triton cannot be imported"):
        counts, lse, *_ = gpu.histogram(scores, target, 64, IGNORE, False, "softmax")
    assert torch.equal(counts, reference.histogram(scores, target, 64, IGNORE, False, "softmax")[0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        losses, slopes, _ = gpu.extend(counts, 1.0, 1.0, False)
        assert torch.equal(losses, reference.extend(counts, 1.0, 1.0, False)[0])
        got = gpu.backward(scores, target, lse, slopes, None, IGNORE, "softmax")
        assert torch.equal(
            got, reference.backward(scores, target, lse, slopes, None, IGNORE, "softmax")
        )
        _, by_pixel, *_ = gpu.sort_and_extend(scores, target, IGNORE, False, "softmax", 1.0, 1.0)
        got = gpu.backward(scores, target, lse, by_pixel, None, IGNORE, "softmax")
        assert got.shape == scores.shape
        # no second warning, with kernels of another kind
        labels = torch.randint(2, shape)
        arguments = (scores, labels, 64, IGNORE, False, "sigmoid")
        counts, lse, *_ = gpu.histogram(*arguments)
        assert torch.equal(counts, reference.histogram(*arguments)[0])
        slopes = slopes_of(1, 5, 64)
        gpu.backward(scores, labels, lse, slopes, None, IGNORE, "sigmoid")
        arguments = (scores, labels, IGNORE, False, "sigmoid", 1.0, 1.0)
        _, by_pixel, *_ = gpu.sort_and_extend(*arguments)
        gpu.backward(scores, labels, lse, by_pixel, None, IGNORE, "sigmoid")


@pytest.mark.usefixtures("_no_triton")
def test_without_triton_nothing_is_tested(monkeypatch):
    monkeypatch.setattr(verdicts, "identity", lambda _: pytest.fail("which needs Triton"))
    self_test.forget()
    counts = torch.randint(9, (1, 3, 2, 64))
    extend = self_test.proven("extend", gpu.extend, reference.extend)
    with pytest.warns(RuntimeWarning, match="Triton cannot be imported"):
        losses = extend(counts, 1.0, 1.0, False)[0]
    assert torch.equal(losses, reference.extend(counts, 1.0, 1.0, False)[0])
    self_test.forget()


@pytest.mark.usefixtures("_no_triton")
@pytest.mark.filterwarnings("error")
def test_kernels_that_are_not_wanted_are_not_missed(monkeypatch):
    monkeypatch.setenv("LOVASZ_KERNELS", "off")
    scores, target = torch.randn(1, 2, 9), torch.randint(2, (1, 9))
    counts = gpu.histogram(scores, target, 64, None, False, "softmax")[0]
    gpu.extend(counts, 1.0, 1.0, False)


@pytest.mark.usefixtures("_no_triton")
@pytest.mark.filterwarnings("error")
def test_double_precision_and_probabilities_go_to_the_reference():
    scores, target = torch.randn(2, 3, 9, dtype=torch.float64), torch.randint(3, (2, 9))
    counts, lse, *_ = gpu.histogram(scores, target, 64, None, False, "softmax")
    assert lse.dtype == torch.float64
    gpu.backward(scores, target, lse, torch.rand(counts.shape), None, None, "softmax")
    gpu.histogram(scores.softmax(1), target, 64, None, False, "probabilities")


@pytest.mark.parametrize(
    "name",
    ["histogram", "sort_and_extend", "extend", "reduce", "backward", "argmax"],
)
def test_the_dispatcher_knows_the_kernels(name):
    assert torch._C._dispatch_has_kernel_for_dispatch_key(f"lovasz::{name}", "CUDA")
