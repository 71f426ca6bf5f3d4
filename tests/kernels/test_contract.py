"""Tensors that do not fit end in a sentence or an error code, never in memory of others."""

import pytest
import torch

from lovasz.core import native
from lovasz.kernels import cpu

OPS = torch.ops.lovasz
SCORES, TARGET = torch.zeros(2, 3, 5), torch.zeros(2, 5, dtype=torch.int64)
LABELS = torch.zeros(2, 3, 5, dtype=torch.int64)
MAPS = torch.zeros(2, 2, 5, dtype=torch.int64)
LSE = torch.zeros(2, 5, dtype=torch.float64)
SLOPES, FACTORS = torch.zeros(1, 3, 2, 8), torch.ones(1, 3)
LOSSES, ALL = torch.zeros(2, 3, dtype=torch.float64), torch.ones(2, 3, dtype=torch.bool)
REGIONS = torch.ones(2, 3, 8, dtype=torch.float64)
NOTHING = torch.zeros(2, dtype=torch.int64)
GOOD = {
    "histogram": {
        "scores": SCORES,
        "target": TARGET,
        "bins": 8,
        "ignore_index": None,
        "per_image": False,
        "link": "softmax",
        "cross_entropy": True,
        "class_weight": torch.ones(3),
        "pixel_weight": torch.ones(2, 5),
    },
    "sort": {
        "scores": SCORES,
        "target": TARGET,
        "ignore_index": None,
        "per_image": False,
        "link": "softmax",
    },
    "sort_and_extend": {
        "scores": SCORES,
        "target": TARGET,
        "ignore_index": None,
        "per_image": False,
        "link": "softmax",
        "alpha": 1.0,
        "beta": 1.0,
        "pixel_weight": torch.ones(2, 5),
    },
    "extend": {"counts": torch.zeros(1, 3, 2, 8).long(), "alpha": 1.0, "beta": 1.0, "wide": False},
    "reduce": {
        "losses": LOSSES,
        "active": ALL,
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
        "class_weight": None,
        "segment_ids": None,
        "pixel_weight": None,
        "mixture": None,
        "regions": REGIONS,
        "ignore_index": None,
        "link": "softmax",
        "smoothing": 0.0,
        "upsample": None,
        "size": None,
        "label_smoothing": 0.0,
    },
    "backward": {
        "scores": SCORES,
        "target": TARGET,
        "lse": LSE,
        "slopes": SLOPES,
        "factors": FACTORS,
        "ignore_index": None,
        "link": "softmax",
        "scale": torch.ones(()),
        "class_weight": torch.ones(3),
        "smoothing": 0.0,
        "segment_ids": None,
        "pixel_weight": torch.ones(2, 5),
        "upsample": None,
        "size": None,
        "mixture": None,
        "label_smoothing": 0.0,
        "by_regions": REGIONS[:1],
    },
}
# What the operators that read scores want with a link of multilabel.
MULTILABEL = {
    "histogram": {"link": "sigmoid", "target": LABELS, "pixel_weight": torch.ones(2, 3, 5)},
    "sort": {"link": "hinge", "target": LABELS},
    "sort_and_extend": {"link": "hinge", "target": LABELS, "pixel_weight": torch.ones(2, 3, 5)},
    "backward": {"link": "sigmoid", "target": LABELS, "pixel_weight": torch.ones(2, 3, 5)},
}
BAD = [
    *[(name, {"scores": torch.zeros(3, 5)}) for name in MULTILABEL],
    *[(name, {"target": TARGET[:, 1:]}) for name in MULTILABEL],
    *[(name, {"link": "relu"}) for name in MULTILABEL],
    *[(name, {**MULTILABEL[name], "scores": torch.zeros(3, 5)}) for name in MULTILABEL],
    *[(name, {**MULTILABEL[name], "target": LABELS[:1]}) for name in MULTILABEL],
    *[
        (name, {"pixel_weight": torch.ones(2, 4)})
        for name in ("histogram", "sort_and_extend", "backward")
    ],
    ("histogram", {**MULTILABEL["histogram"], "pixel_weight": torch.ones(2, 5)}),
    ("histogram", {**MULTILABEL["histogram"], "class_weight": torch.ones(2)}),
    *[(name, {"class_weight": torch.ones(2)}) for name in ("histogram", "backward")],
    ("histogram", {"bins": 1}),
    ("histogram", {"bins": 0, "cross_entropy": False}),
    ("histogram", {**MULTILABEL["histogram"], "bins": 1}),
    ("extend", {"counts": torch.zeros(1, 3, 8).long()}),
    ("extend", {"counts": torch.zeros(1, 3, 2, 8)}),
    ("extend", {"scale": 0}),
    ("reduce", {"reduction": "max"}),
    ("reduce", {"losses": LOSSES[:1]}),
    ("reduce", {"losses": LOSSES.float()}),
    ("reduce", {"active": ALL.long()}),
    ("reduce", {"invalid": NOTHING[:1]}),
    ("reduce", {"weight": torch.ones(2)}),
    ("reduce", {"sums": torch.ones(1, dtype=torch.float64)}),
    ("backward", {"lse": LSE[:1]}),
    ("backward", {"slopes": SLOPES[:, :2]}),
    ("backward", {"slopes": torch.zeros(3, 3, 2, 8), "factors": None}),
    ("backward", {"slopes": torch.zeros(2, 3, 4)}),
    ("backward", {"factors": torch.ones(2, 3)}),
    ("backward", {"factors": torch.ones(1, 2)}),
    ("backward", {"slopes": torch.zeros(2, 3, 5), "factors": torch.ones(3, 3)}),
    ("backward", {"segment_ids": TARGET[:1, 1:]}),
    ("backward", {"segment_ids": TARGET[:1]}),  # of two images
    ("histogram", {"segment_ids": TARGET[:1]}),
    # soft labels, and sums
    *[(name, {"target": SCORES[:, :2]}) for name in MULTILABEL],
    *[(name, {"target": MAPS, "mixture": torch.ones(2, 3)}) for name in MULTILABEL],
    *[(name, {"target": SCORES, "mixture": torch.ones(2, 3)}) for name in MULTILABEL],
    *[(name, {**MULTILABEL[name], "label_smoothing": 0.1}) for name in MULTILABEL],
    ("histogram", {**MULTILABEL["histogram"], "link": "hinge", "regions": True}),
    ("sort_and_extend", {"regions": REGIONS}),
    ("extend", {"positives": torch.ones(1, 3)}),
    ("reduce", {"regions": REGIONS[:1]}),
    ("backward", {"by_regions": REGIONS[:1].float()}),
    ("backward", {"by_regions": REGIONS}),
]


@pytest.mark.parametrize("name", GOOD)
def test_what_fits_is_computed(name):
    getattr(OPS, name)(**GOOD[name])


@pytest.mark.parametrize("name", MULTILABEL)
def test_what_fits_is_computed_with_multilabel(name):
    getattr(OPS, name)(**{**GOOD[name], **MULTILABEL[name]})


@pytest.mark.parametrize(("name", "bad"), BAD)
def test_what_does_not_fit_has_a_sentence(name, bad):
    with pytest.raises(ValueError, match=rf"lovasz::{name}: expected .* got "):
        getattr(OPS, name)(**{**GOOD[name], **bad})


def status_of(gradient, **changes):
    """Status of the entry point for a gradient of these strides."""
    inputs = cpu._Inputs(SCORES, TARGET, LSE, None, False, "softmax", 8)
    for field, value in changes.items():
        setattr(inputs.struct, field, value)
    kernels = cpu.load()
    return kernels.lovasz_backward(
        inputs.struct, SLOPES.data_ptr(), False, None, 0.0, None, gradient, 1
    )


def test_gradients_whose_elements_are_apart_are_written():
    interleaved = torch.empty(5, 2, 3).permute(1, 2, 0)
    for gradient in (torch.empty(2, 3, 5), torch.empty(2, 5, 3).transpose(1, 2), interleaved):
        assert status_of(cpu._strided(gradient)) == 0


@pytest.mark.parametrize("strides", [(15, 5, 2), (15, 1, 2), (0, 5, 1), (3, 1, 3), (14, 5, 1)])
def test_gradients_whose_elements_meet_are_refused(strides):
    memory = torch.full((200,), 7.0)
    gradient = native.Strided(memory.data_ptr(), *strides)
    with pytest.raises(RuntimeError, match="please report"):
        cpu._raise_for(status_of(gradient))
    assert (memory == 7).all()


@pytest.mark.parametrize(
    "field", [{"score_type": 3}, {"label_type": 8}, {"link": 6}, {"target": None}, {"upsample": 1}]
)
def test_inputs_that_are_none_are_refused(field):
    assert status_of(cpu._strided(torch.empty(2, 3, 5)), **field) == -2


@pytest.mark.parametrize("offsets", [[0, 3, 5], [1, 3, 5], [0, 3, 4], [0, 6, 5], [0, 0, 5]])
def test_clouds_that_leave_points_out_are_refused(offsets):
    numbers = torch.tensor(offsets)
    fields = {"images": 1, "offsets": numbers.data_ptr(), "clouds": 2}
    good = offsets[0] == 0 and offsets[1] <= offsets[2] == 5
    written, slopes = torch.empty(1, 3, 5), torch.zeros(2, 3, 2, 8)
    gradient = cpu._strided(written)
    inputs = cpu._Inputs(SCORES[:1], TARGET[:1], LSE[:1], None, False, "softmax", 8)
    for field, value in fields.items():
        setattr(inputs.struct, field, value)
    call = cpu.load().lovasz_backward
    status = call(inputs.struct, slopes.data_ptr(), False, None, 0.0, None, gradient, 1)
    assert status == (0 if good else -2)


@pytest.mark.parametrize("ids", [[0, 1, 1, 0, 1], [0, 1, 2, 0, 1], [0, 1, 1, -1, 1]])
def test_points_of_no_cloud_are_refused(ids):
    factors, slopes = torch.rand(2, 3), torch.rand(1, 3, 5)
    arguments = (SCORES[:1], TARGET[:1], LSE[:1], slopes, factors, None, "softmax")
    options = (None, None, 0.0, torch.tensor([ids]), None)
    if set(ids) == {0, 1}:
        cpu.backward(*arguments, *options)
    else:
        with pytest.raises(RuntimeError, match="please report"):
            cpu.backward(*arguments, *options)


def test_clouds_of_two_images_are_refused():
    numbers = torch.tensor([0, 5])
    fields = {"offsets": numbers.data_ptr(), "clouds": 1}
    assert status_of(cpu._strided(torch.empty(2, 3, 5)), **fields) == -2
