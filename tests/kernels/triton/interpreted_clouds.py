"""Clouds of points in the GPU kernels, against the reference, in Triton's interpreter."""

import pytest
import torch

from lovasz.core.links import MULTICLASS
from lovasz.kernels import reference
from lovasz.kernels import triton as gpu
from tests.kernels.cases import IGNORE, relative

pytestmark = [
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),
    pytest.mark.usefixtures("poison"),
]

BINS, CLOUDS = 64, 9


def make(link, classes, points, layout, dtype, weighted):
    scores = (3 * torch.randn(1, classes, points)).to(dtype)
    if link in ("probabilities", "channel_probabilities"):
        scores = scores.softmax(1)
    if layout == "points":
        scores = scores.transpose(1, 2).contiguous().transpose(1, 2)
    shape = (1, points) if link in MULTICLASS else scores.shape
    target = torch.randint(classes if link in MULTICLASS else 2, shape)
    target[torch.rand(shape) < 0.1] = IGNORE
    weight = 3 * torch.rand(shape) if weighted else None
    ids = torch.randint(CLOUDS - 1, (1, points))  # the last is empty
    return scores, target, weight, ids


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("layout", ["points", "classes"])
@pytest.mark.parametrize(
    ("link", "classes"), [("softmax", 5), ("softmax", 70), ("sigmoid", 3), ("probabilities", 4)]
)
def test_clouds_are_those_of_the_reference(link, classes, layout, weighted):
    dtype = torch.bfloat16 if weighted else torch.float32
    scores, target, weight, ids = make(link, classes, 700, layout, dtype, weighted)
    fused = link != "probabilities"
    class_weight = torch.rand(classes) if fused else None
    scale, smoothing = torch.tensor(0.3) if fused else None, 0.1 if link == "softmax" else 0.0
    arguments = (
        scores, target, BINS, IGNORE, False, link, fused, class_weight, smoothing, weight, ids,
        CLOUDS,
    )  # fmt: skip
    counts, lse, invalid, sums, _ = gpu.histogram(*arguments)
    want, lse_want, _, sums_want, _ = reference.histogram(*arguments)
    assert torch.equal(counts.sum(-1), want.sum(-1))
    assert (counts - want).abs().sum() <= 5e-3 * want.sum()
    torch.testing.assert_close(lse, lse_want, rtol=1e-6, atol=2e-6)
    torch.testing.assert_close(sums, sums_want, rtol=1e-5, atol=1e-5)
    assert invalid.tolist() == [0] * CLOUDS
    for slopes in (torch.rand(CLOUDS, classes, 2, BINS), torch.rand(1, classes, 700)):
        for factors in (torch.rand(CLOUDS, classes), None):
            arguments = (
                scores, target, lse_want, slopes, factors, IGNORE, link, scale,
                class_weight, smoothing, ids, weight,
            )  # fmt: skip
            gradient, wanted = gpu.backward(*arguments), reference.backward(*arguments)
            assert gradient.stride() == wanted.stride()
            assert relative(gradient, wanted) < (8e-3 if weighted else 5e-3)


@pytest.mark.parametrize("link", ["softmax", "sigmoid"])
def test_what_is_wrong_is_of_its_cloud_alone(link):
    scores, target, _, ids = make(link, 3, 300, "points", torch.float32, False)
    target[..., :3] = 0
    ids[0, :3] = torch.tensor([2, 5, 2])
    scores[0, 1, 0] = torch.nan
    target[..., 1] = 7
    scores[0, :, 2] = torch.inf
    arguments = (scores, target, BINS, IGNORE, False, link, False, None, 0.0, None, ids, CLOUDS)
    invalid = gpu.histogram(*arguments)[2]
    assert (invalid > 0).nonzero().flatten().tolist() == [2, 5]


def test_numbers_of_no_cloud_make_everything_invalid():
    scores, target, _, ids = make("softmax", 3, 300, "points", torch.float32, False)
    for number in (-1, CLOUDS):
        ids[0, 7] = number
        arguments = (scores, target, BINS, IGNORE, False, "softmax")
        invalid = gpu.histogram(*arguments, False, None, 0.0, None, ids, CLOUDS)[2]
        assert bool((invalid > 0).all())
        slopes, lse = torch.rand(CLOUDS, 3, 2, BINS), reference.log_sum_exp(scores, "softmax")
        options = (IGNORE, "softmax", None, None, 0.0, ids, None)
        assert gpu.backward(scores, target, lse, slopes, None, *options).isfinite().all()
