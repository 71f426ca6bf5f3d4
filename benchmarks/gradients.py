"""`python -m benchmarks gradients`: the two parts of a sum, with and without a window.

Networks are trained with the sum without a window, and every few steps the gradients of its parts
are taken for the same weights and the same batch: of cross-entropy, of the Lovász loss of the batch
and of that with a window that has seen all batches so far. So the numbers say what the window
changes, and not what another training does. Means are over three thirds of the training.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.speed import ROOT, about
from benchmarks.study.losses import compared
from benchmarks.study.task import Task
from benchmarks.study.tasks import TASKS, load
from benchmarks.study.variants import MOMENTUM
from lovasz import Window
from lovasz.train.config import TrainConfig
from lovasz.train.optimizer import build_optimizer, set_learning_rate

OUTPUT = ROOT / "benchmarks" / "results" / "window-gradients.json"
PARTS = ("cross-entropy", "batch", "window")
_THIRDS = 3


def measured(task: Task, lr: float, seed: int, every: int) -> list[dict[str, float]]:
    """What is known of each third of a training."""
    torch.manual_seed(seed)
    network = task.network().train()
    config = TrainConfig(lr=lr)
    optimizer = build_optimizer(config, network)
    known = compared(task)
    both, window = known["both"], partial(known["lovasz"], window=Window(MOMENTUM))
    losses = {"cross-entropy": known["cross-entropy"], "batch": known["lovasz"], "window": window}
    rows: list[list[dict[str, Tensor]]] = [[] for _ in range(_THIRDS)]
    for step, (inputs, labels) in enumerate(islice(task.batches(seed), task.steps)):
        set_learning_rate(optimizer, config, step, task.steps)
        if step % every == every - 1:
            found = {name: gradient(network, loss, inputs, labels) for name, loss in losses.items()}
            rows[_THIRDS * step // task.steps].append(found)
        else:
            window(network(inputs), labels)  # which remembers the batch
        both(network(inputs), labels).backward()
        optimizer.step()
        optimizer.zero_grad()
    return [described(third) for third in rows]


def gradient(
    network: nn.Module, loss: Callable[[Tensor, Tensor], Tensor], inputs: Tensor, labels: Tensor
) -> Tensor:
    """By all weights, as one vector."""
    found = torch.autograd.grad(loss(network(inputs), labels), list(network.parameters()))
    return torch.cat([part.flatten() for part in found])


def described(rows: list[dict[str, Tensor]]) -> dict[str, float]:
    """Mean norms, what a step's gradient has in common with the mean one, and cosines of parts."""
    found = {}
    for name in PARTS:
        vectors = torch.stack([row[name] for row in rows]).double()
        norms, mean = vectors.norm(dim=1), vectors.mean(0).norm()
        found[f"norm {name}"] = norms.mean().item()
        # 1 where all steps agree, 0 where they are noise.
        found[f"agreement {name}"] = (mean / norms.square().mean().sqrt()).item()
        found[f"spread {name}"] = (norms.std(correction=0) / norms.mean()).item()
    for first, second in (("cross-entropy", "batch"), ("cross-entropy", "window")):
        cosines = [torch.cosine_similarity(row[first], row[second], dim=0) for row in rows]
        found[f"cosine {first}, {second}"] = torch.stack(cosines).mean().item()
    return {name: round(value, 4) for name, value in found.items()}


def mean_over(seeds: list[list[dict[str, float]]]) -> list[dict[str, float]]:
    """Mean over the seeds of each number of each third."""
    thirds = zip(*seeds, strict=True)
    return [
        {name: round(math.fsum(s[name] for s in third) / len(third), 4) for name in third[0]}
        for third in thirds
    ]


def main(arguments: list[str]) -> None:
    """Measure, print, write the JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks gradients", description=__doc__)
    parser.add_argument("--task", default="digits16", choices=list(TASKS))
    parser.add_argument("--lr", type=float, default=0.003)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--every", type=int, default=5, help="steps between measurements")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    task = load(options.task)
    seeds = [measured(task, options.lr, seed, options.every) for seed in options.seeds]
    found = {
        "about": about(),
        "task": options.task,
        "lr": options.lr,
        "seeds": options.seeds,
        "momentum": MOMENTUM,
        "thirds": mean_over(seeds),
    }
    print(json.dumps(found["thirds"], indent=1))
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(found, indent=1) + "\n")
