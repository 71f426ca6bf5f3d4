"""Masks of 0 and 255 where 255 is ignored: one warning, and none for other labels."""

import warnings

import pytest
import torch

import lovasz
from lovasz.losses import _first_calls, _ignored_masks
from lovasz.metrics import ClassIoU, DatasetIoU, ImageIoU

BINARY = [
    "lovasz_sigmoid",
    "lovasz_sigmoid_from_probabilities",
    "lovasz_hinge",
    "binary_cross_entropy_lovasz_sigmoid",
    "binary_cross_entropy_lovasz_hinge",
    "binary_cross_entropy_dice",
]
TWO_CLASSES = ["lovasz_softmax", "cross_entropy_lovasz_softmax", "cross_entropy_dice"]
NAMES = [*BINARY, *TWO_CLASSES]


@pytest.fixture(autouse=True)
def _nothing_seen(monkeypatch):
    for module in (_first_calls, _ignored_masks):
        monkeypatch.setattr(module, "_looks", module.Counter())
    monkeypatch.setattr(_ignored_masks, "_found", _ignored_masks.Counter())
    for names in (_first_calls.LOOKED_AT, _ignored_masks.SETTLED):
        names.clear()
    yield
    for names in (_first_calls.LOOKED_AT, _ignored_masks.SETTLED):
        names.clear()


def mask(*values, dtype=torch.uint8):
    """Two masks of 4 x 5 pixels with these values, every one of them."""
    return torch.tensor(values).repeat(40)[:40].view(2, 4, 5).to(dtype)


def call(name, target, ignore_index=255, channels=1):
    scores = torch.randn(2, channels, 4, 5)
    if name in TWO_CLASSES:
        scores = torch.randn(2, 2, 4, 5)
    elif name == "lovasz_sigmoid_from_probabilities":
        scores = scores.sigmoid()
    if name not in TWO_CLASSES:
        target = target.unsqueeze(1).expand(-1, channels, -1, -1)
    options = {"multilabel": True} if channels > 1 else {}
    return getattr(lovasz, name)(scores, target, ignore_index=ignore_index, **options)


def told(calls):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for one in calls:
            one()
    return caught


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.int32, torch.float32], ids=str)
def test_one_warning_of_masks_of_0_and_255(name, dtype):
    masks = mask(0, 255, dtype=dtype)
    caught = told([lambda: call(name, masks)] * 20)
    (text,) = [str(one.message) for one in caught]
    assert text.startswith(f"{name}: expected some labels of 1, got nothing but 0 and the ignored")
    assert "ignored 255 in the first 4 calls" in text
    assert "pass target // 255 (or target > 0)" in text
    # What it says to pass is what the function takes.
    call(name, masks // 255)


@pytest.mark.parametrize("name", ["LovaszSigmoidLoss", "LovaszHingeLoss", "LovaszSoftmaxLoss"])
def test_modules_warn_too(name):
    criterion = getattr(lovasz, name)(ignore_index=255)
    scores = torch.randn(2, 2 if name == "LovaszSoftmaxLoss" else 1, 4, 5)
    masks = mask(0, 255) if name == "LovaszSoftmaxLoss" else mask(0, 255).unsqueeze(1)
    assert len(told([lambda: criterion(scores, masks)] * 20)) == 1


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [2, 128, 254])
def test_other_ignored_values(name, value):
    (one,) = told([lambda: call(name, mask(0, value), value)] * 20)
    assert f"target // {value} (or target > 0)" in str(one.message)


def test_channels_of_masks_warn_too():
    assert len(told([lambda: call("lovasz_sigmoid", mask(0, 255), channels=3)] * 20)) == 1


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("batches", "ignore_index"),
    [
        ([(0, 255)] * 3 + [(0, 1, 255)] + [(0, 255)] * 20, 255),  # an object in the fourth
        ([(0, 1)] * 20, 255),
        ([(0,)] * 20, 255),  # no object and nothing ignored
        ([(255,)] * 20, 255),  # nothing labelled
        ([(0,)] * 14 + [(0, 255)] * 20, 255),  # too late to tell
        ([(0, 1)] * 20, None),
        ([(1, 255)] * 20, 255),
    ],
)
def test_none_of_other_labels(name, batches, ignore_index):
    assert told([lambda m=m: call(name, mask(*m), ignore_index) for m in batches]) == []


def test_none_of_more_classes():
    """With several classes a crop of one class and ignored pixels is nothing special."""
    scores = torch.randn(2, 3, 4, 5)
    calls = [lambda: lovasz.lovasz_softmax(scores, mask(0, 255), ignore_index=255)] * 20
    assert told(calls) == []


@pytest.mark.parametrize("kind", [DatasetIoU, ImageIoU, ClassIoU])
@pytest.mark.parametrize("multilabel", [True, False])
def test_metrics_warn_too(kind, multilabel):
    metric = kind(1 if multilabel else 2, ignore_index=255, multilabel=multilabel)
    prediction = torch.randn(2, 1, 4, 5) if multilabel else torch.randn(2, 2, 4, 5)
    masks = mask(0, 255).unsqueeze(1) if multilabel else mask(0, 255)
    (one,) = told([lambda: metric.update(prediction, masks)] * 20)
    assert str(one.message).startswith(f"{kind.__name__}: expected some labels of 1, got nothing")
    _ignored_masks.SETTLED.clear()
    assert told([lambda: metric.update(prediction, masks // 255)] * 20) == []


def test_nothing_is_looked_at_on_other_devices_or_while_tracing():
    scores = torch.zeros(2, 1, 4, 5, device="meta")
    for _ in range(20):
        _first_calls.look("f", "sigmoid", scores, scores, None, 255)
    assert not _ignored_masks.SETTLED
    assert not _ignored_masks._looks

    def loss(x, y):
        return lovasz.lovasz_sigmoid(x, y, ignore_index=255)

    masks = mask(0, 255).unsqueeze(1)
    grad = torch.func.grad(loss)
    assert told([lambda: grad(torch.randn(2, 1, 4, 5), masks)] * 20) == []
