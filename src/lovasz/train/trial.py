"""Network and loss are tried together before a run, so that what does not fit is known at once."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from lovasz.train.errors import UserError
from lovasz.train.losses import balance, build_loss, loss_of
from lovasz.train.model import try_network

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import nn

    from lovasz.train.config import TrainConfig
    from lovasz.train.data import DataSet


def fitting_loss(config: TrainConfig, network: nn.Module, data: DataSet) -> nn.Module:
    """The loss that the configuration names, for all that the network returns in training mode.

    Both are tried on blank images. That changes neither the network nor random numbers: in
    training mode networks have statistics that follow the images, and draw what they drop.

    Args:
        config: As for `build_loss`.
        network: From `build_model`, on the processor.
        data: Classes, channels, and the counts of labels where classes are weighted by them.

    Raises:
        UserError: If network and loss do not fit each other or the options.
    """
    classes, channels, weight = len(data.classes), data.statistics.channels, balance(config, data)
    with _in_training(network):
        found = try_network(network, config, classes, channels, training=True)
        labels = torch.zeros(len(found[0]), config.crop, config.crop, dtype=torch.long)
        # One that is not used again, so that none remembers the trial.
        trial = build_loss(config, classes, weight, len(found), alone=True)
        try:
            loss = loss_of(trial, found, labels)
        except (TypeError, ValueError) as error:
            raise UserError(f"model: the loss of what {config.model} returns: {error}") from error
        if not loss.requires_grad:
            raise UserError(
                f"model: expected {config.model} to have parameters that its logits depend on in"
                " training mode, got logits without a gradient"
            )
    return build_loss(config, classes, weight, len(found))


@contextmanager
def _in_training(network: nn.Module) -> Iterator[None]:
    """Training mode, after which statistics and random numbers are those of before."""
    buffers = [(module, dict(module._buffers)) for module in network.modules()]
    tensors = [tensor for _, named in buffers for tensor in named.values() if tensor is not None]
    values = [tensor.clone() for tensor in tensors]
    network.train()
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        network.eval()
        for module, named in buffers:  # one may also have been replaced or added
            module._buffers.clear()
            module._buffers.update(named)
        with torch.no_grad():
            for tensor, value in zip(tensors, values, strict=True):
                tensor.copy_(value)
