"""The loss with MONAI's conventions: each combination is a loss of this package, written out."""

import pytest
import torch
from torch.nn import functional as F

import lovasz
from lovasz.compat.monai import LovaszLoss
from tests.gradients import value_and_gradient

C, IGNORE = 4, 255
SHAPE = (3, C, 5, 4, 3)


def classes(ignored=False):
    target = torch.randint(C - 1, (3, 1, 5, 4, 3))
    if ignored:
        target[0, :, 0] = IGNORE
    return torch.randn(SHAPE, dtype=torch.float64), target


def one_hot(target):
    """(N, C, *), and nothing for ignored pixels."""
    return F.one_hot(target.squeeze(1).clamp(max=C), C + 1)[..., :C].movedim(-1, 1)


def assert_same(scores, ours, other):
    for one, two in zip(
        value_and_gradient(ours, scores), value_and_gradient(other, scores), strict=True
    ):
        torch.testing.assert_close(one, two, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("method", ["sort", "histogram"])
@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize("background", [False, True])
@pytest.mark.parametrize("weight", [None, [1.0, 2.0, 0.5, 4.0]])
def test_softmax(weight, background, batch, method):
    scores, target = classes()
    weight = weight[1:] if weight and not background else weight
    padded = [0.0, *weight] if weight and not background else weight
    criterion = LovaszLoss(
        include_background=background,
        softmax=True,
        to_onehot_y=True,
        batch=batch,
        weight=weight,
        method=method,
    )
    assert_same(
        scores,
        lambda x: criterion(x, target.float()),
        lambda x: lovasz.lovasz_softmax(
            x,
            target.squeeze(1),
            classes="all" if background else "foreground",
            per_image=not batch,
            weight=padded,
            normalize_weight=False,
            method=method,
        ),
    )
    criterion.to_onehot_y = False
    for labels in (one_hot(target), one_hot(target).double()):
        value = criterion(scores, labels)
        criterion.to_onehot_y = True
        torch.testing.assert_close(value, criterion(scores, target), rtol=1e-6, atol=1e-9)
        criterion.to_onehot_y = False


@pytest.mark.parametrize("activation", ["sigmoid", "other_act", "none"])
@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize("background", [False, True])
def test_channels(background, batch, activation):
    scores, _ = classes()
    target = torch.randint(2, SHAPE)
    chosen = {"sigmoid": {"sigmoid": True}, "other_act": {"other_act": torch.sigmoid}, "none": {}}
    criterion = LovaszLoss(
        include_background=background, batch=batch, method="sort", **chosen[activation]
    )
    first = 0 if background else 1
    assert_same(
        scores,
        lambda x: criterion(x.sigmoid() if activation == "none" else x, target),
        lambda x: lovasz.lovasz_sigmoid(
            x[:, first:], target[:, first:], multilabel=True, per_image=not batch, method="sort"
        ),
    )


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
@pytest.mark.parametrize("kind", ["indices", "one-hot", "channel"])
def test_ignored_pixels(kind, activation):
    scores, target = classes(ignored=True)
    mask, known = target == IGNORE, target.where(target != IGNORE, 0)
    criterion = LovaszLoss(
        to_onehot_y=kind == "indices", ignore_index=IGNORE, method="sort", **{activation: True}
    )
    labels = target if kind == "indices" else one_hot(target)
    if kind == "channel":  # the last one, which no pixel has otherwise
        criterion.ignore_index = C - 1
        labels = torch.where(mask, torch.eye(C).long()[C - 1].view(1, C, 1, 1, 1), one_hot(known))
    options = {"per_image": True, "method": "sort", "normalize_weight": False}

    def other(x):
        if activation == "softmax":
            mask_ = mask.squeeze(1)
            return lovasz.lovasz_softmax(
                x, known.squeeze(1), ignore_mask=mask_, classes="all", **options
            )
        mask_ = mask.expand(SHAPE)
        return lovasz.lovasz_sigmoid(
            x, one_hot(known), multilabel=True, ignore_mask=mask_, **options
        )

    assert_same(scores, lambda x: criterion(x, labels), other)


def test_one_channel():
    scores, target = classes()
    scores, target = scores[:, :1], target.clamp(max=1)
    target[0, 0, 0] = IGNORE
    criterion = LovaszLoss(sigmoid=True, ignore_index=IGNORE, weight=3.0)
    assert_same(
        scores,
        lambda x: criterion(x, target.float()),
        lambda x: 3 * lovasz.lovasz_sigmoid(x, target, per_image=True, ignore_index=IGNORE),
    )


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize("background", [False, True])
def test_reductions(background, batch, activation):
    scores, target = classes()
    options = {
        "include_background": background,
        activation: True,
        "to_onehot_y": True,
        "batch": batch,
        "weight": 2.0,
    }
    each = LovaszLoss(reduction="none", **options)(scores, target)
    count = C if background else C - 1
    assert each.shape == ((count, 1, 1, 1) if batch else (3, count, 1, 1, 1))
    assert each.all()
    total = LovaszLoss(reduction="sum", **options)
    assert_same(
        scores,
        lambda x: total(x, target),
        lambda x: LovaszLoss(reduction="none", **options)(x, target).sum(),
    )
    mean = LovaszLoss(**options)(scores, target)
    torch.testing.assert_close(mean, each.mean())


def test_weights_move_and_are_saved_with_the_module():
    criterion = LovaszLoss(softmax=True, weight=[1.0, 2.0, 3.0, 4.0])
    assert list(criterion.state_dict()) == ["class_weight"]
    assert criterion.to("meta").class_weight.is_meta


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_no_label_is_found_elsewhere_than_on_the_cpu_without_an_error_there(activation):
    scores, target = classes()
    target[0, 0, 0, 0] = C
    criterion = LovaszLoss(to_onehot_y=True, **{activation: True})
    with pytest.raises(ValueError, match="expected every label to be"):
        criterion(scores, target)
    assert criterion(scores.to("meta"), target.to("meta")).is_meta


X, Y = torch.zeros(2, C, 2, 2), torch.zeros(2, 1, 2, 2)
WRONG = [
    (lambda: LovaszLoss(softmax=True, sigmoid=True), ValueError, "one of sigmoid, softmax and oth"),
    (lambda: LovaszLoss(other_act=3), TypeError, "other_act to be None or a function, got 3"),
    (lambda: LovaszLoss(reduction="max"), ValueError, "reduction to be one of"),
    (lambda: LovaszLoss(batch=1), TypeError, "expected batch to be True or False"),
    (lambda: LovaszLoss(weight=[-1.0]), ValueError, "weight to be finite and not negative"),
    (lambda: LovaszLoss(softmax=True)(X, Y), ValueError, "pass to_onehot_y=True"),
    (lambda: LovaszLoss(softmax=True)(X, Y[:, 0]), ValueError, "unsqueeze.1. with to_onehot_y=Tr"),
    (lambda: LovaszLoss(softmax=True, to_onehot_y=True)(X, X), ValueError, "to_onehot_y=False"),
    (
        lambda: LovaszLoss(softmax=True)(X[:, :1], Y),
        ValueError,
        "softmax=False, .* for one ch",
    ),
    (lambda: LovaszLoss(include_background=False)(Y, Y), ValueError, "for one channel, got soft"),
    (
        lambda: LovaszLoss()(X[0, 0], Y[0, 0]),
        ValueError,
        r"of shape \(N, C, \*\), got \(2, 2",
    ),
    (lambda: LovaszLoss()(X + 2, X), ValueError, r"expected probabilities in \[0, 1\]"),
    (lambda: LovaszLoss()([0], X), TypeError, "expected input to be a tensor, got list"),
    (
        lambda: LovaszLoss(include_background=False, sigmoid=True, weight=[1.0] * C)(X, X),
        ValueError,
        "expected weight of 3 classes without the background, got 4",
    ),
]


@pytest.mark.parametrize(("call", "error", "words"), WRONG)
def test_wrong_arguments(call, error, words):
    with pytest.raises(error, match=words):
        call()
