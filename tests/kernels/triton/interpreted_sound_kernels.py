"""Sound kernels pass the test that is made before their first use, in Triton's interpreter."""

import inspect

import pytest
import torch

from lovasz.kernels import reference, self_test, small_inputs
from lovasz.kernels import triton as gpu
from tests.kernels.cases import labels_of, scores_of
from tests.pairwise import pairwise

# numpy, which interprets, remarks on what happens in lanes that are masked
pytestmark = [pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")]

IGNORE = 77


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    """The interpreter is slow."""
    monkeypatch.setattr(small_inputs, "_LENGTHS", (48, 37))
    monkeypatch.setattr(small_inputs, "_SORTED_LENGTHS", (16, 17))
    monkeypatch.setattr(small_inputs, "_MOST_BINS", 256)


def passes(name, *arguments):
    """Whether the kernels pass the test that a call asks for."""
    plain = getattr(reference, name)
    bound = inspect.signature(plain).bind(*arguments)
    bound.apply_defaults()
    wrong = self_test._test(name, getattr(gpu, name), plain, bound.arguments, torch.device("cpu"))
    assert wrong is None, (name, wrong)
    return True


@pytest.mark.parametrize(
    ("shape", "dtype", "link", "layout", "per_image", "weighted", "entropy"),
    pairwise(
        [(1, 1, 33), (2, 5, 64), (1, 17, 33)],
        [torch.float32, torch.bfloat16, torch.float16],
        ["softmax", "sigmoid", "hinge", "elu", "probabilities", "channel_probabilities"],
        ["pixels", "classes"],
        [False, True],  # one loss for each image
        [False, True],  # weights of pixels
        [False, True],  # cross-entropy
    ),
)
def test_both_passes(shape, dtype, link, layout, per_image, weighted, entropy):
    scores, target = scores_of(shape, layout, dtype, 2.0), labels_of(shape)
    if link not in ("softmax", "probabilities"):
        target = target.unsqueeze(1).expand(shape) % 2
    weight = torch.ones(target.shape) if weighted else None
    entropy = entropy and "prob" not in link
    class_weight, scale = (torch.ones(shape[1]), torch.tensor(1.0)) if entropy else (None, None)
    reading = (IGNORE, per_image, link)
    passes("histogram", scores, target, 64, *reading, entropy, class_weight, 0.0, weight)
    groups = shape[0] if per_image else 1
    slopes, factors = torch.ones(groups, shape[1], 2, 64), torch.ones(groups, shape[1])
    lse = torch.empty(shape[::2] if link == "softmax" else 0, dtype=torch.float64)
    tail = (IGNORE, link, scale, class_weight, 0.0, None, weight)
    passes("backward", scores, target, lse, slopes, factors, *tail)
    passes("sort_and_extend", scores, target, *reading, 1.0, 1.0, False, weight)
    passes("backward", scores, target, lse, torch.ones(shape), factors, *tail)


def test_of_many_classes():
    scores, target, lse = torch.ones(1, 70, 9), torch.ones(1, 9).long(), torch.ones(1, 9)
    passes("histogram", scores, target, 64, None, False, "softmax")
    slopes = torch.ones(1, 70, 2, 64)
    passes("backward", scores, target, lse.double(), slopes, None, None, "softmax")


@pytest.mark.parametrize("scale", [1, 2**20])
def test_between_the_passes(scale):
    counts = torch.ones(2, 3, 2, 64, dtype=torch.int64)
    for unbounded, positives in ((False, None), (True, None), (False, torch.ones(2, 3))):
        passes("extend", counts, 0.3, 1.0, unbounded, scale, unbounded, positives)
    losses, active, invalid = torch.ones(2, 3), torch.ones(2, 3), torch.ones(2)
    for weight, mean, sums in ((None, True, None), (torch.ones(3), False, torch.ones(2))):
        passes("reduce", losses, active, invalid, weight, mean, mean, mean, mean, sums)


def test_of_interpolated_scores():
    target, lse = labels_of((2, 3, 99)), torch.empty(2, 99, dtype=torch.float64)
    for mode, dtype in (("linear", torch.float32), ("linear_align_corners", torch.bfloat16)):
        scores = scores_of((2, 3, 20), "pixels", dtype, 2.0).view(2, 3, 1, 4, 5)
        size = [1, 9, 11]
        options = (None, 1, mode, size)
        reading = (64, IGNORE, True, "softmax", True, None, 0.1, None)
        passes("histogram", scores, target, *reading, *options)
        tail = (IGNORE, "softmax", torch.tensor(1.0), None, 0.1, None, None, mode, size)
        passes("backward", scores, target, lse, torch.ones(2, 3, 2, 64), torch.ones(2, 3), *tail)
        passes("backward", scores, target, lse, torch.ones(2, 3, 99), torch.ones(1, 3), *tail)
        sort = (IGNORE, False, "softmax", 1.0, 1.0, False, None)
        passes("sort_and_extend", scores, target, *sort, *options)
        for lines, multilabel in ((None, False), (torch.ones(2, 3), False), (None, True)):
            passes("argmax", scores, size, mode, True, lines, multilabel)
    passes("argmax", torch.ones(1, 3, 2, 4, 5), [5, 4, 9], "nearest", False)


def test_of_soft_labels_and_clouds():
    shape = (2, 3, 40)
    scores, target = scores_of(shape, "pixels", torch.float32, 2.0), labels_of(shape)
    soft, weight = torch.ones(shape), torch.ones(2, 40)
    lse, none = torch.empty(2, 40, dtype=torch.float64), (None, 1, None, None)
    reading = (64, None, False, "softmax", True, None, 0.1, weight)
    passes("histogram", scores, soft, *reading, *none)
    reading = (64, IGNORE, False, "sigmoid", False, None, 0.0, None)
    passes("histogram", scores, soft > 0, *reading, *none, None, 0.0, True)
    maps, mixture = torch.stack((target, target), 1), torch.ones(2, 2)
    reading = (64, IGNORE, True, "softmax", False, None, 0.0, None)
    passes("histogram", scores, maps, *reading, *none, mixture, 0.1)
    tail = (None, "softmax", torch.tensor(1.0), None, 0.1, None, weight, None, None, None, 0.0)
    slopes, factors = torch.ones(1, 3, 2, 64), torch.ones(1, 3)
    passes("backward", scores, soft, lse, slopes, factors, *tail, torch.ones(1, 3, 8))

    points, labels, ids = scores[:1], target[:1], torch.zeros(1, 40, dtype=torch.int64)
    clouds = (None, ids, 5)
    passes("histogram", points, labels, 64, IGNORE, False, "softmax", False, None, 0.0, *clouds)
    passes("sort_and_extend", points, labels, IGNORE, False, "softmax", 1.0, 1.0, False, *clouds)
    tail = (IGNORE, "softmax", None, None, 0.0, ids)
    passes("backward", points, labels, lse[:1], slopes.expand(5, -1, -1, -1), None, *tail)
