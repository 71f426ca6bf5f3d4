"""Kernels prove themselves, in Triton's interpreter: sound ones pass, and planted faults do not."""

import json
import threading
import warnings

import pytest
import torch

from lovasz.kernels import reference, self_test, verdicts
from lovasz.kernels import triton as gpu
from lovasz.kernels.self_test import proven
from lovasz.kernels.triton import chunks, extension, gradient, histograms, reduction, soft, sorting
from lovasz.kernels.triton import upsampling as upsampled
from tests.kernels.cases import labels_of, scores_of
from tests.pairwise import pairwise

pytestmark = [pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")]

DTYPES = [torch.float32, torch.bfloat16, torch.float16]
NAMES = ("histogram", "sort_and_extend", "extend", "reduce", "backward", "argmax")
OPERATORS = {name: proven(name, getattr(gpu, name), getattr(reference, name)) for name in NAMES}
IGNORE = 77
DEVICE = "Some Device (sm_1), driver 2, torch 3, Triton 4"
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _a_device(monkeypatch, tmp_path):
    """The interpreter, taken for a device that nobody knows."""
    monkeypatch.setattr(verdicts, "identity", lambda _: DEVICE)
    monkeypatch.setenv("LOVASZ_CACHE", str(tmp_path))
    monkeypatch.delenv("LOVASZ_KERNELS", raising=False)
    self_test.forget()
    yield
    self_test.forget()


def call(name, shape=(2, 5, 100), dtype=torch.float32, link="softmax", layout="pixels", **options):
    """Arguments of an operator, and the reference's results, by name."""
    scores, target = scores_of(shape, layout, dtype, 2.0), labels_of(shape)
    if link in ("probabilities", "channel_probabilities"):
        scores = scores.float().softmax(1).to(dtype)
    if link not in ("softmax", "probabilities"):
        target = target.unsqueeze(1).expand(shape) % 2
    weight = options.pop("weighted", False)
    pixel_weight = torch.rand(target.shape) if weight else None
    return scores, target, pixel_weight, options


CASES = pairwise(
    [(1, 1, 33), (2, 2, 64), (2, 19, 70), (1, 45, 33), (1, 150, 20)],
    DTYPES,
    ["softmax", "sigmoid", "hinge", "elu", "probabilities", "channel_probabilities"],
    ["pixels", "classes"],
    [False, True],  # one loss for each image
    [False, True],  # weights of pixels
    [False, True],  # cross-entropy
)


@pytest.mark.parametrize(
    ("shape", "dtype", "link", "layout", "per_image", "weighted", "entropy"), CASES
)
def test_sound_kernels_pass(shape, dtype, link, layout, per_image, weighted, entropy):
    scores, target, weight, _ = call("", shape, dtype, link, layout, weighted=weighted)
    entropy = entropy and "prob" not in link
    class_weight = torch.rand(shape[1]) if entropy else None
    arguments = (scores, target, 300, IGNORE, per_image, link, entropy, class_weight, 0.0, weight)
    counts, lse, *_ = OPERATORS["histogram"](*arguments)
    losses, slopes, _ = OPERATORS["extend"](counts, 1.0, 1.0, False, 1, link in ("hinge", "elu"))
    factors, scale = torch.ones(losses.shape), torch.tensor(1.0) if entropy else None
    tail = (IGNORE, link, scale, class_weight, 0.0, None, weight)
    OPERATORS["backward"](scores, target, lse, slopes, factors, *tail)
    found = OPERATORS["sort_and_extend"](
        scores, target, IGNORE, per_image, link, 1.0, 1.0, False, weight
    )
    OPERATORS["backward"](scores, target, lse, found[1], factors, *tail)
    assert all(self_test._known.values())
    assert len(self_test._known) == 5
