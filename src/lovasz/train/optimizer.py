"""The optimiser, and its learning rate at each step."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer

    from lovasz.train.config import TrainConfig


def build_optimizer(config: TrainConfig, network: nn.Module) -> Optimizer:
    """The optimiser that the configuration names."""
    if config.optimizer == "sgd":
        return torch.optim.SGD(
            network.parameters(),
            config.lr,
            momentum=0.9,
            nesterov=True,
            weight_decay=config.weight_decay,
        )
    return torch.optim.AdamW(network.parameters(), config.lr, weight_decay=config.weight_decay)


def set_learning_rate(optimizer: Optimizer, config: TrainConfig, step: int, total: int) -> None:
    """Give the optimiser the learning rate of a step."""
    # No scheduler of torch: it warns where float16 has to skip the first step, and has a state
    # although the step says all.
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(config, step, total)


def learning_rate(config: TrainConfig, step: int, total: int) -> float:
    """The learning rate after so many of all steps."""
    return config.lr * _factor(config, step, total)


def _factor(config: TrainConfig, step: int, total: int) -> float:
    """The learning rate as a fraction of the highest one."""
    warmup = round(config.warmup * total)
    if step < warmup:
        return (step + 1) / warmup
    t = (step - warmup) / max(1, total - warmup)
    if config.schedule == "poly":
        return float((1 - t) ** 0.9)
    return (1 + math.cos(math.pi * t)) / 2 if config.schedule == "cosine" else 1.0
