"""One training run, from the configuration to the evaluated network: read from top to bottom."""

from __future__ import annotations

import csv
import json
import math
import os
import time
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.tensorboard import SummaryWriter

from lovasz.train import checkpoint
from lovasz.train.data.batches import steps_per_epoch, training_batches
from lovasz.train.evaluate import Interrupted, evaluate, pictures
from lovasz.train.losses import balance, build_loss, set_epoch
from lovasz.train.model import build_model
from lovasz.train.processes import agreed, make_fabric, share_statistics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lightning_fabric import Fabric
    from torch import Tensor, nn
    from torch.optim import Optimizer

    from lovasz.train.config import TrainConfig
    from lovasz.train.data import DataSet
    from lovasz.train.evaluate import Scores

    # Called after every step: steps done, steps in all, mean loss of the epoch, last mIoU.
    Watch = Callable[[int, int, Tensor, float | None], None]


def train(config: TrainConfig, data: DataSet, watch: Watch, stop: Callable[[], bool]) -> None:
    """Train to the end, or from where the checkpoint in `config.out` stands, and evaluate.

    Writes checkpoint.pt, log.jsonl and TensorBoard events, and val.json after the last epoch. Of
    several processes the first one writes; they train as one would with the whole batch.

    Raises:
        Interrupted: If `stop` says so; the checkpoint then stands at the last step.
    """
    out = Path(config.out)
    out.mkdir(parents=True, exist_ok=True)
    per_epoch = steps_per_epoch(data.parts["train"], config.batch_size)
    total = per_epoch * config.epochs

    fabric = make_fabric(config)
    torch.manual_seed(config.seed)  # for the initial weights, and dropout in networks that have it
    network = share_statistics(_network(config, data), fabric)
    model, optimizer = fabric.setup(network, _optimizer(config, network))
    scheduler = LambdaLR(optimizer, lambda step: _lr_factor(config, step, total))
    criterion = build_loss(config, len(data.classes), balance(config, data)).to(fabric.device)
    state = checkpoint.State(network, optimizer, scheduler, criterion)
    at = checkpoint.load(out, state)
    stop = agreed(stop, fabric)
    first = fabric.is_global_zero
    if first:
        checkpoint.write_log(out, at.log)  # one that knows more than the checkpoint is cut
    if at.epoch == config.epochs:
        return
    started = time.perf_counter() - at.seconds
    # On the device, so that no step waits for the one before only to show a number.
    loss_sum = torch.tensor(at.loss_sum, device=fabric.device)

    def save() -> None:
        at.seconds, at.loss_sum = time.perf_counter() - started, loss_sum.item()
        if first:
            checkpoint.save(out, at, state)
        fabric.barrier()  # nobody reads it before it is there

    with SummaryWriter(str(out), purge_step=at.epoch) if first else nullcontext() as board:
        try:
            while at.epoch < config.epochs:
                model.train()
                for images, labels in _batches(data, config, at, fabric):
                    set_epoch(criterion, config, at.epoch + at.step / per_epoch)
                    logits = model(data.statistics.normalise(images.to(fabric.device)))
                    loss = criterion(logits.float(), labels.to(fabric.device).long())
                    fabric.backward(loss)
                    optimizer.step()
                    optimizer.zero_grad()
                    scheduler.step()
                    at.step += 1
                    loss_sum += loss.detach()
                    watch(at.epoch * per_epoch + at.step, total, loss_sum / at.step, at.miou)
                    if stop():
                        raise Interrupted

                scores = evaluate(fabric, model, data, part="val", config=config, stop=stop)
                at.end_epoch(loss_sum.item() / at.step, scores, optimizer.param_groups[0]["lr"])
                loss_sum.zero_()
                if board is not None:
                    _record(out, board, at, scores if at.epoch == config.epochs else None)
                save()  # after val.json, so that a finished checkpoint always has one
        except Interrupted:
            save()
            raise


def test(config: TrainConfig, data: DataSet, stop: Callable[[], bool]) -> None:
    """Evaluate the trained network in `config.out` on the part that results are reported on.

    Writes result.json, confusion.csv and pictures.npz.

    Raises:
        Interrupted: If `stop` says so.
    """
    out = Path(config.out)
    fabric = make_fabric(config)
    model = _network(config, data)
    state = checkpoint.read(out / "checkpoint.pt")
    model.load_state_dict(state["model"])
    model = fabric.setup(model)
    part = data.parts[data.evaluated]
    scores = evaluate(fabric, model, data, part=data.evaluated, config=config, stop=stop)
    if not fabric.is_global_zero:
        return
    shown = pictures(fabric, model, part, config.crop, data.statistics)
    np.savez_compressed(out / "pictures.npz", **shown)  # type: ignore[arg-type]
    with (out / "confusion.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["truth \\ prediction", *data.classes])
        for name, counts in zip(data.classes, scores.confusion.tolist(), strict=True):
            rows.writerow([name, *counts])
    result = {"part": data.evaluated, "images": len(part), **scores.as_dict()}
    result["seconds"] = state["progress"]["seconds"]
    result["device"] = fabric.device.type
    _write_json(out / "result.json", result)  # the last file: where it stands the run is complete


def _network(config: TrainConfig, data: DataSet) -> nn.Module:
    return build_model(config, len(data.classes), data.statistics.channels)


def _batches(
    data: DataSet, config: TrainConfig, at: checkpoint.Progress, fabric: Fabric
) -> Iterator[tuple[Tensor, Tensor]]:
    """The rest of an epoch, with what the configuration asks for from the data set."""
    table = data.label_counts.present if config.sampler == "equibatch" else None
    return training_batches(
        data.parts["train"],
        config,
        at.epoch,
        at.step,
        table=table,
        upright=data.upright,
        rank=fabric.global_rank,
        size=fabric.world_size,
    )


def _record(out: Path, board: SummaryWriter, at: checkpoint.Progress, final: Scores | None) -> None:
    """Write the row of an epoch, and the scores of the last one."""
    checkpoint.write_log(out, at.log)
    for name, value in at.log[-1].items():
        board.add_scalar(name, math.nan if value is None else value, at.epoch)
    if final is not None:
        _write_json(out / "val.json", final.as_dict())


def _optimizer(config: TrainConfig, network: nn.Module) -> Optimizer:
    if config.optimizer == "sgd":
        return torch.optim.SGD(
            network.parameters(),
            config.lr,
            momentum=0.9,
            nesterov=True,
            weight_decay=config.weight_decay,
        )
    return torch.optim.AdamW(network.parameters(), config.lr, weight_decay=config.weight_decay)


def _lr_factor(config: TrainConfig, step: int, total: int) -> float:
    """The learning rate of a step as a fraction of the highest one."""
    warmup = round(config.warmup * total)
    if step < warmup:
        return (step + 1) / warmup
    t = (step - warmup) / max(1, total - warmup)
    if config.schedule == "poly":
        return float((1 - t) ** 0.9)
    return (1 + math.cos(math.pi * t)) / 2 if config.schedule == "cosine" else 1.0


def _write_json(path: Path, content: dict[str, Any]) -> None:
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(content, allow_nan=False), encoding="utf-8")
    os.replace(temporary, path)
