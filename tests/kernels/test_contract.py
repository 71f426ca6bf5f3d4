"""Tensors that do not fit end in a sentence or an error code, never in memory of others."""

import pytest
import torch

from lovasz.core import native
from lovasz.kernels.problems import address, check, make_problem

OPS = torch.ops.lovasz
SCORES, TARGET = torch.zeros(2, 3, 5), torch.zeros(2, 5, dtype=torch.int64)
LABELS = torch.zeros(2, 3, 5, dtype=torch.int64)
LSE, SLOPES, FACTORS = torch.zeros(2, 5), torch.zeros(1, 3, 2, 8), torch.ones(1, 3)
LOSSES, ALL = torch.zeros(2, 3, dtype=torch.float64), torch.ones(2, 3, dtype=torch.bool)
NOTHING = torch.zeros(2, dtype=torch.int64)
GOOD = {
    "count": {
        "scores": SCORES,
        "target": TARGET,
        "bins": 8,
        "ignore_index": None,
        "per_image": False,
        "softmax": True,
        "entropy": True,
        "entropy_weight": torch.ones(3),
        "pixel_weight": torch.ones(2, 5),
    },
    "count_channels": {
        "scores": SCORES,
        "target": LABELS,
        "bins": 8,
        "ignore_index": None,
        "per_image": False,
        "link": "sigmoid",
        "entropy": True,
        "positive_weight": torch.ones(3),
        "pixel_weight": torch.ones(2, 3, 5),
    },
    "exact": {
        "scores": SCORES,
        "target": TARGET,
        "ignore_index": None,
        "per_image": False,
        "softmax": True,
        "alpha": 1.0,
        "beta": 1.0,
    },
    "exact_channels": {
        "scores": SCORES,
        "target": LABELS,
        "ignore_index": None,
        "per_image": False,
        "link": "hinge",
        "alpha": 1.0,
        "beta": 1.0,
    },
    "weigh": {"counts": torch.zeros(1, 3, 2, 8).long(), "alpha": 1.0, "beta": 1.0, "wide": False},
    "reduce": {
        "losses": LOSSES,
        "counting": ALL,
        "invalid": NOTHING,
        "weight": torch.ones(3),
        "normalize": True,
        "reduction": "mean",
        "per_image": True,
        "sums": torch.ones(2, dtype=torch.float64),
        "scores": SCORES,
        "target": TARGET,
        "lse": LSE,
        "slopes": SLOPES,
        "entropy_weight": None,
        "group": None,
        "pixel_weight": None,
        "ignore_index": None,
        "link": "softmax",
        "smoothing": 0.0,
    },
    "backward": {
        "scores": SCORES,
        "target": TARGET,
        "lse": LSE,
        "slopes": SLOPES,
        "factors": FACTORS,
        "ignore_index": None,
        "link": "softmax",
        "entropy_scale": torch.ones(()),
        "entropy_weight": torch.ones(3),
        "smoothing": 0.0,
        "group": None,
        "pixel_weight": torch.ones(2, 5),
    },
}
BAD = [
    *[(name, {"scores": torch.zeros(3, 5)}) for name in ("count", "count_channels", "exact")],
    *[(name, {"target": TARGET[:, 1:]}) for name in ("count", "exact", "backward")],
    *[(name, {"target": LABELS[:1]}) for name in ("count_channels", "exact_channels")],
    *[(name, {"pixel_weight": torch.ones(2, 4)}) for name in ("count", "backward")],
    ("count_channels", {"pixel_weight": torch.ones(2, 5)}),
    ("count_channels", {"positive_weight": torch.ones(2)}),
    *[(name, {"entropy_weight": torch.ones(2)}) for name in ("count", "backward")],
    *[(name, {"bins": 0}) for name in ("count", "count_channels")],
    ("weigh", {"counts": torch.zeros(1, 3, 8).long()}),
    ("weigh", {"counts": torch.zeros(1, 3, 2, 8)}),
    ("reduce", {"reduction": "max"}),
    ("reduce", {"losses": LOSSES[:1]}),
    ("reduce", {"losses": LOSSES.float()}),
    ("reduce", {"counting": ALL.long()}),
    ("reduce", {"invalid": NOTHING[:1]}),
    ("reduce", {"weight": torch.ones(2)}),
    ("reduce", {"sums": torch.ones(1, dtype=torch.float64)}),
    ("backward", {"lse": LSE[:1]}),
    ("backward", {"slopes": SLOPES[:, :2]}),
    ("backward", {"slopes": SLOPES[..., :0]}),
    ("backward", {"slopes": torch.zeros(3, 3, 2, 8), "factors": None}),
    ("backward", {"slopes": torch.zeros(2, 3, 4)}),
    ("backward", {"factors": torch.ones(2, 3)}),
    ("backward", {"factors": torch.ones(1, 2)}),
    ("backward", {"slopes": torch.zeros(2, 3, 5), "factors": torch.ones(3, 3)}),
    ("backward", {"group": TARGET[:1, 1:]}),
]


@pytest.mark.parametrize("name", GOOD)
def test_what_fits_is_computed(name):
    getattr(OPS, name)(**GOOD[name])


@pytest.mark.parametrize(("name", "bad"), BAD)
def test_what_does_not_fit_has_a_sentence(name, bad):
    with pytest.raises(ValueError, match=rf"lovasz::{name}: expected .* got "):
        getattr(OPS, name)(**{**GOOD[name], **bad})


def pushed(gradient, **changes):
    """Status of the entry point for a gradient of these strides."""
    kernels = native.load()
    problem = make_problem(SCORES, TARGET, LSE, 8, None, False)
    for field, value in changes.items():
        setattr(problem, field, value)
    return kernels.lovasz_push(problem, SLOPES.data_ptr(), None, 0.0, gradient, 1)


def test_gradients_whose_elements_are_apart_are_written():
    interleaved = torch.empty(5, 2, 3).permute(1, 2, 0)
    for gradient in (torch.empty(2, 3, 5), torch.empty(2, 5, 3).transpose(1, 2), interleaved):
        assert pushed(address(gradient)) == 0


@pytest.mark.parametrize("strides", [(15, 5, 2), (15, 1, 2), (0, 5, 1), (3, 1, 3), (14, 5, 1)])
def test_gradients_whose_elements_meet_are_refused(strides):
    memory = torch.full((200,), 7.0)
    gradient = native.Scores(memory.data_ptr(), *strides)
    with pytest.raises(RuntimeError, match="please report"):
        check(pushed(gradient))
    assert (memory == 7).all()


@pytest.mark.parametrize(
    "field", [{"score_type": 3}, {"label_type": 8}, {"link": 4}, {"target": None}, {"bins": 0}]
)
def test_problems_that_are_none_are_refused(field):
    assert pushed(address(torch.empty(2, 3, 5)), **field) == -2
