from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from lovasz import LovaszSoftmaxLoss
from lovasz.train.errors import UserError
from lovasz.train.losses import build_loss


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


def test_the_momentum_stands_in_one_place(train_config):
    config = train_config(loss="windowed", lovasz_args={"momentum": 0.5})
    with pytest.raises(UserError, match=r"lovasz_args: .*momentum"):
        build_loss(config, 3)


@pytest.mark.parametrize("momentum", [-0.1, 1])
def test_a_momentum_is_a_fraction(train_config, momentum):
    with pytest.raises(UserError, match="momentum: expected a fraction from 0 up to 1, got"):
        train_config(momentum=momentum)
