"""One training of the study, which depends on its setting alone."""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass
from itertools import islice

import torch
from torch import nn

from benchmarks.study.losses import Loss, compared
from benchmarks.study.scores import scores_of
from benchmarks.study.task import Task
from benchmarks.study.tasks import load
from benchmarks.study.variants import variants
from lovasz.train.config import TrainConfig
from lovasz.train.optimizer import build_optimizer, set_learning_rate


@dataclass(frozen=True)
class Setting:
    """One training: what it is known by in the file of results."""

    task: str
    loss: str
    lr: float
    seed: int
    steps: int


def run(setting: Setting) -> dict:
    """Train and evaluate; the row of the file.

    A training whose loss is not finite has no scores; its rate is never chosen.
    """
    started = time.process_time()
    torch.set_num_threads(1)
    task = load(setting.task)
    torch.manual_seed(setting.seed)
    network = task.network()
    loss = {**compared(task), **variants(task)}[setting.loss]
    finite = train(network, task, loss, setting)
    scores = scores_of(network.eval(), task) if finite else {"val": None}
    return {**asdict(setting), **scores, "seconds": round(time.process_time() - started, 1)}


def train(network: nn.Module, task: Task, loss: Loss, setting: Setting) -> bool:
    """AdamW with the schedule of the trainer; whether the loss was finite all along.

    For one seed all losses have the same first weights and see the same batches.
    """
    config = TrainConfig(lr=setting.lr)
    optimizer = build_optimizer(config, network)
    network.train()
    for step, (inputs, labels) in enumerate(islice(task.batches(setting.seed), setting.steps)):
        set_learning_rate(optimizer, config, step, setting.steps)
        value = loss(network(inputs), labels)
        if not math.isfinite(value.item()):
            return False
        value.backward()
        optimizer.step()
        optimizer.zero_grad()
    return True
