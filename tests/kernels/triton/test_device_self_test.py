"""Kernels prove themselves on a real device, for whoever has one: CUDA or ROCm, with Triton."""

import warnings

import pytest
import torch

import lovasz
from lovasz.kernels import self_test, verdicts

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA or ROCm device")

LOSSES = {
    "classes": lovasz.lovasz_softmax,
    "cross-entropy": lovasz.cross_entropy_lovasz_softmax,
    "sorted": lambda x, y: lovasz.lovasz_softmax(x, y, method="sort"),
    "soft": lambda x, y: lovasz.lovasz_softmax(x, x.detach().float().softmax(1)),
    "interpolated": lambda x, y: lovasz.lovasz_softmax(
        x, y.repeat_interleave(2, 1).repeat_interleave(2, 2), upsample="bilinear"
    ),
    "sigmoid": lambda x, y: lovasz.lovasz_sigmoid(x, x.detach() > 0, multilabel=True),
    "hinge": lambda x, y: lovasz.lovasz_hinge(x, x.detach() > 0, multilabel=True),
}


@pytest.fixture(autouse=True)
def _anew(monkeypatch, tmp_path):
    monkeypatch.setenv("LOVASZ_CACHE", str(tmp_path))
    monkeypatch.delenv("LOVASZ_KERNELS", raising=False)
    self_test.forget()
    yield
    self_test.forget()


def inputs(classes, dtype):
    logits = torch.randn(2, classes, 32, 32, device="cuda").to(dtype).requires_grad_()
    return logits, torch.randint(classes, (2, 32, 32), device="cuda")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("classes", [2, 19, 150])
@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
def test_sound_kernels_pass(loss, classes, dtype, monkeypatch):
    monkeypatch.setenv("LOVASZ_KERNELS", "check")  # raises if not
    for layout in (torch.contiguous_format, torch.channels_last):
        logits, target = inputs(classes, dtype)
        logits = logits.detach().contiguous(memory_format=layout).requires_grad_()
        torch.autograd.grad(loss(logits, target), logits)
    assert self_test._known
    assert all(self_test._known.values())


def test_what_passed_is_kept_and_nothing_else_is_changed(tmp_path):
    logits, target = inputs(5, torch.float32)
    state, held = torch.cuda.get_rng_state(), torch.cuda.memory_allocated()
    torch.cuda.set_sync_debug_mode("error")
    try:
        lovasz.lovasz_softmax(logits, target).backward()
        assert torch.cuda.get_sync_debug_mode() == 2
    finally:
        torch.cuda.set_sync_debug_mode("default")
    logits.grad = None
    assert torch.equal(torch.cuda.get_rng_state(), state)
    assert torch.cuda.memory_allocated() == held
    assert len(list(tmp_path.rglob("*.json"))) == len(self_test._known) == 4
    who = verdicts.identity(logits.device)
    assert torch.cuda.get_device_name() in who
    assert torch.__version__ in who


def test_while_a_graph_is_recorded_nothing_is_tested():
    logits, target = inputs(5, torch.float32)
    expected = lovasz.lovasz_softmax(logits, target)  # forward alone is known
    torch.autograd.grad(expected, logits)
    self_test._known.clear()
    self_test._recent.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # they are read from the folder
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            loss = lovasz.lovasz_softmax(logits, target)
            (gradient,) = torch.autograd.grad(loss, logits)
    graph.replay()
    torch.testing.assert_close(loss, expected)
    assert gradient.isfinite().all()
