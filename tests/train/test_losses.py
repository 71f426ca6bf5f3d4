from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from lovasz import CrossEntropyLovaszSoftmaxLoss, LovaszSoftmaxLoss
from lovasz.train.errors import UserError
from lovasz.train.losses import build_loss, check_options, set_epoch


@pytest.fixture
def batches():
    torch.manual_seed(8)
    return [(torch.randn(2, 3, 4, 4), torch.randint(0, 3, (2, 4, 4))) for _ in range(3)]


@pytest.mark.parametrize(
    ("name", "momentum", "cross_entropy"),
    [
        ("lovasz-softmax", None, 0),
        ("both", None, 1),
        ("windowed", 0.7, 0),
        ("both-windowed", 0.7, 1),
    ],
)
def test_losses_by_name(train_config, batches, name, momentum, cross_entropy):
    loss = build_loss(train_config(loss=name, momentum=0.7), 3)
    lovasz = LovaszSoftmaxLoss(momentum=momentum)
    for logits, target in batches:
        expected = lovasz(logits, target) + cross_entropy * F.cross_entropy(logits, target)
        assert loss(logits, target).item() == pytest.approx(expected.item(), abs=1e-6)


@pytest.mark.parametrize("name", ["cross-entropy", "lovasz-softmax", "both", "both-windowed"])
def test_every_loss_takes_logits_of_a_lower_resolution(train_config, name):
    loss, usual = (build_loss(train_config(loss=name), 3) for _ in range(2))
    for size in ((3, 4), (5, 2), (7, 9)):
        logits, target = torch.randn(2, 3, *size), torch.randint(0, 3, (2, 7, 9))
        pair = []
        for criterion, enlarge in ((loss, False), (usual, True)):
            leaf = logits.clone().requires_grad_()
            scores = F.interpolate(leaf, (7, 9), mode="bilinear") if enlarge else leaf
            value = criterion(scores, target)
            pair.append((value, *torch.autograd.grad(value, leaf)))
        torch.testing.assert_close(pair[0], pair[1], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("option", [{"upsample": None}, {"align_corners": True}])
@pytest.mark.parametrize("name", ["lovasz-softmax", "both"])
def test_the_interpolation_is_that_of_the_evaluation(train_config, name, option):
    with pytest.raises(UserError, match=f"lovasz_args: .*multiple values.* '{next(iter(option))}'"):
        build_loss(train_config(loss=name, lovasz_args=option), 3)


def test_the_momentum_stands_in_one_place(train_config):
    config = train_config(loss="windowed", lovasz_args={"momentum": 0.5})
    with pytest.raises(UserError, match=r"lovasz_args: .*momentum"):
        build_loss(config, 3)


@pytest.mark.parametrize("momentum", [-0.1, 1])
def test_a_momentum_is_a_fraction(train_config, momentum):
    with pytest.raises(UserError, match="momentum: expected a fraction from 0 up to 1, got"):
        train_config(momentum=momentum)


@pytest.mark.parametrize("loss", ["both", "both-windowed"])
def test_a_sum_is_computed_in_the_same_passes(train_config, loss):
    criterion = build_loss(train_config(loss=loss), 3)
    assert isinstance(criterion, CrossEntropyLovaszSoftmaxLoss)
    assert (criterion.window is None) == (loss == "both")


def test_a_sum_has_the_options_of_lovasz_softmax(train_config, batches):
    options = {
        "classes": "all",
        "weight": [1.0, 2.0, 0.5],
        "normalize_weight": False,
        "per_image": True,
        "bins": 64,
        "method": "histogram",
        "reduction": "mean",
        "process_group": None,
        "label_smoothing": 0.1,
    }
    loss = build_loss(train_config(loss="both", lovasz_args=options), 3)
    lovasz = LovaszSoftmaxLoss(**options)
    for logits, target in batches:
        expected = lovasz(logits, target) + F.cross_entropy(logits, target)
        assert loss(logits, target).item() == pytest.approx(expected.item(), abs=1e-6)


@pytest.mark.parametrize("loss", ["both", "both-windowed"])
@pytest.mark.parametrize(
    ("lovasz_args", "sentence"),
    [
        ({"method": "sort"}, "expected method histogram for the loss both.*, got sort"),
        ({"reduction": "sum"}, "expected reduction mean for the loss both.*, got sum"),
        ({"cross_entropy_weight": 2.0}, "unexpected keyword argument"),
        ({"lovasz_label_smoothing": 0.1}, "unexpected keyword argument"),
        ({"ignore_index": 0}, "multiple values"),
    ],
)
def test_a_sum_refuses_options_that_it_has_not(train_config, loss, lovasz_args, sentence):
    if loss == "both-windowed" and lovasz_args == {"method": "sort"}:
        sentence = "expected method='histogram'"  # what the window says
    with pytest.raises(UserError, match=f"lovasz_args: .*{sentence}"):
        build_loss(train_config(loss=loss, lovasz_args=lovasz_args), 3)


def test_exact_and_summed_losses_are_there_for_lovasz_softmax(train_config, batches):
    options = {"method": "sort", "reduction": "sum"}
    loss = build_loss(train_config(loss="lovasz-softmax", lovasz_args=options), 3)
    assert torch.equal(loss(*batches[0]), LovaszSoftmaxLoss(**options)(*batches[0]))


def test_arguments_that_no_loss_has_are_refused(train_config):
    config = train_config(loss="cross-entropy", lovasz_args={"bins": 64})
    with pytest.raises(UserError, match="lovasz_args: expected a loss with Lovász-Softmax, got"):
        check_options(config, [config.loss])
    check_options(config, ["cross-entropy", "windowed"])


def test_the_factors_follow_the_schedule(train_config, batches):
    points = [
        {"epoch": 1, "cross_entropy": 1, "lovasz": 0},
        {"epoch": 3, "cross_entropy": 0.5, "lovasz": 2},
    ]
    config = train_config(loss="both", loss_schedule=points)
    criterion = build_loss(config, 3)
    set_epoch(criterion, config, 2)
    logits, target = batches[0]
    expected = 0.75 * F.cross_entropy(logits, target) + LovaszSoftmaxLoss()(logits, target)
    torch.testing.assert_close(criterion(logits, target), expected)


@pytest.mark.parametrize("loss", ["cross-entropy", "lovasz-softmax"])
def test_one_loss_alone_has_no_factors(train_config, batches, loss):
    points = [{"epoch": 0, "cross_entropy": 3, "lovasz": 2}]
    config = train_config(loss=loss, loss_schedule=points)
    criterion = build_loss(config, 3)
    before = criterion(*batches[0])
    set_epoch(criterion, config, 1)
    assert torch.equal(criterion(*batches[0]), before)
