"""One training run, from the configuration to the evaluated network: read from top to bottom."""

from __future__ import annotations

import csv
import io
import time
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from lovasz.train import checkpoint
from lovasz.train.data.batches import steps_per_epoch, training_batches
from lovasz.train.divergence import FiniteCheck
from lovasz.train.errors import DivergedError, UserError, WriteError
from lovasz.train.evaluate import Interrupted, evaluate_each, pictures_each
from lovasz.train.events import Events
from lovasz.train.fitted import described, read_decision
from lovasz.train.fitting import make_fit
from lovasz.train.losses import loss_of, set_epoch
from lovasz.train.model import network_for
from lovasz.train.optimizer import build_optimizer, set_learning_rate
from lovasz.train.processes import agreement, make_fabric, share_statistics
from lovasz.train.saved import describe
from lovasz.train.trial import fitting_loss
from lovasz.train.writing import replacing, write_json, write_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lightning_fabric import Fabric
    from torch import Tensor, nn

    from lovasz import Decision
    from lovasz.train.config import TrainConfig
    from lovasz.train.data import DataSet
    from lovasz.train.evaluate import Scores

    # Called after every step: steps done, steps in all, mean loss of the epoch, last mIoU.
    Watch = Callable[[int, int, Tensor, float | None], None]


class After(IntEnum):
    """What comes after a step; of several processes the highest decides."""

    NEXT_STEP = 0
    CHECKPOINT = 1
    STOP = 2
    DIVERGED = 3


def train(config: TrainConfig, data: DataSet, watch: Watch, stop: Callable[[], bool]) -> None:
    """Train to the end, or from where the checkpoint in `config.out` stands, and evaluate.

    After the last epoch a decision is fitted to the logits of the validation part.

    Writes checkpoint.pt, log.jsonl and TensorBoard events, and val.json after the last epoch. Of
    several processes the first one writes; they train as one would with the whole batch.

    Raises:
        Interrupted: If `stop` says so; the checkpoint then stands at the last step.
        DivergedError: If the loss or the network is not finite; nothing is written of that.
        UserError: If the data cannot be read, or a file not be written.
    """
    out = Path(config.out)
    out.mkdir(parents=True, exist_ok=True)
    per_epoch = steps_per_epoch(data.parts["train"], config.batch_size)
    total = per_epoch * config.epochs

    fabric = make_fabric(config)
    torch.manual_seed(config.seed)  # for the initial weights, and dropout in networks that have it
    network, criterion = _network_and_loss(config, data, fabric)
    model, optimizer = fabric.setup(network, build_optimizer(config, network))
    finite = FiniteCheck(config, network, total, fabric)
    state = checkpoint.State(network, optimizer, criterion, fabric.strategy.precision)
    at = checkpoint.load(out, state)
    finite.step = at.epoch * per_epoch + at.step
    run = _Saving(config, describe(config, data), at, state, finite, fabric)
    if at.epoch == config.epochs:
        return
    # On the device, so that no step waits for the one before only to show a number.
    loss_sum = torch.tensor(at.loss_sum, device=fabric.device)

    try:
        while at.epoch < config.epochs:
            model.train()
            for images, labels in _batches(data, config, at, fabric):
                done = at.epoch * per_epoch + at.step
                set_learning_rate(optimizer, config, done, total)
                set_epoch(criterion, config, done / per_epoch)
                result = model(data.statistics.normalise(images.to(fabric.device)))
                loss = loss_of(criterion, result, labels.to(fabric.device).long())
                fabric.backward(loss)
                optimizer.step()
                optimizer.zero_grad()
                at.step += 1
                finite.observe(loss, done + 1)
                loss_sum += loss.detach()
                watch(done + 1, total, loss_sum / at.step, at.miou)
                run.after_step(stop, loss_sum)

            run.check()
            last = at.epoch + 1 == config.epochs
            scores, run.decision = _validate(fabric, model, data, config, stop, decide=last)
            at.end_epoch(loss_sum.item() / at.step, scores, optimizer.param_groups[0]["lr"])
            loss_sum.zero_()
            run.record(scores)
            run.save(loss_sum)  # after val.json, so that a finished checkpoint always has one
    except (DivergedError, WriteError):
        raise
    except Interrupted:
        run.save(loss_sum)
        raise
    except UserError:  # of a file that cannot be read; several processes do not all meet it
        if fabric.world_size == 1:
            run.save(loss_sum)
        raise


class _Saving:
    """What a run writes while it is going on, and when."""

    def __init__(
        self,
        config: TrainConfig,
        about: dict[str, Any],
        at: checkpoint.Progress,
        state: checkpoint.State,
        finite: FiniteCheck,
        fabric: Fabric,
    ) -> None:
        self.config, self.about = config, about
        self.at, self.state, self.finite = at, state, finite
        self.out = Path(config.out)
        self.highest = agreement(fabric)
        self.wait_for_all = fabric.barrier
        self.first = fabric.is_global_zero
        self.events: Events | None = None
        self.decision: Decision | None = None  # of the last epoch, if a pixel has a label
        self.resumed_after = at.epoch
        if self.first:
            checkpoint.write_log(self.out, at.log)  # one that knows more than the checkpoint is cut
        self.saved, self.saved_step = time.monotonic(), finite.step
        self.started = time.perf_counter() - at.seconds

    def after_step(self, stop: Callable[[], bool], loss_sum: Tensor) -> None:
        """Go on, write a checkpoint, or raise what ends the run."""
        after = After.NEXT_STEP
        limit = 60 * self.config.checkpoint_minutes
        if limit and time.monotonic() - self.saved > limit:
            after = After.CHECKPOINT
        if stop():
            after = After.STOP
        if self.finite.found:
            after = After.DIVERGED
        after = After(self.highest(after))
        if after is After.DIVERGED:
            raise self._diverged()
        if after is After.STOP:
            raise Interrupted
        if after is After.CHECKPOINT:
            self.save(loss_sum)

    def check(self) -> None:
        """Before anything is made of the network.

        Raises:
            DivergedError: If it or a loss is not finite.
        """
        self.finite.before_use()
        if self.highest(int(bool(self.finite.found))):
            raise self._diverged()

    def save(self, loss_sum: Tensor) -> None:
        """Write the checkpoint."""
        self.check()
        self.at.seconds = time.perf_counter() - self.started
        self.at.loss_sum = loss_sum.item()
        if self.first:
            checkpoint.save(self.out, self.at, self.state, self.about, self.decision)
        self.wait_for_all()  # nobody reads it before it is there
        self.saved, self.saved_step = time.monotonic(), self.finite.step

    def record(self, scores: Scores) -> None:
        """Write the row of an epoch, and the scores of the last one."""
        if not self.first:
            return
        checkpoint.write_log(self.out, self.at.log)
        self.events = self.events or Events(self.out, self.resumed_after)
        self.events.add(self.at.epoch, self.at.log[-1])
        if self.at.epoch == self.config.epochs:
            found = {**scores.as_dict(), "decision": described(self.decision)}
            write_json(self.out / "val.json", found)

    def _diverged(self) -> DivergedError:
        path = self.out / "checkpoint.pt"
        kept = f"; {path} holds step {self.saved_step}" if self.saved_step else ""
        return DivergedError(self.finite.sentence() + kept)


def test(config: TrainConfig, data: DataSet, stop: Callable[[], bool]) -> None:
    """Evaluate the trained network in `config.out` on the part that results are reported on.

    By argmax, and by the decision in its checkpoint if that has one.

    Writes result.json, confusion.csv and pictures.npz.

    Raises:
        Interrupted: If `stop` says so.
    """
    out = Path(config.out)
    fabric = make_fabric(config)
    model = network_for(config, data)
    state = checkpoint.read(out / "checkpoint.pt")
    model.load_state_dict(state["model"])
    model = fabric.setup(model)
    part = data.parts[data.evaluated]
    decision = read_decision(state, len(data.classes), out / "checkpoint.pt")
    offsets = [None] if decision is None else [None, decision.offsets]
    scores, *decided = evaluate_each(
        fabric, model, data, offsets, part=data.evaluated, config=config, stop=stop
    )
    if not fabric.is_global_zero:
        return
    shown, *others = pictures_each(fabric, model, part, config.crop, data.statistics, offsets)
    for arrays in others:
        shown |= {f"decided{k}": arrays[f"prediction{k}"] for k in range(len(arrays) // 3)}
    with replacing(out / "pictures.npz") as file:
        np.savez_compressed(file, **shown)  # type: ignore[arg-type]
    write_text(out / "confusion.csv", confusion_table(data.classes, scores.confusion.tolist()))
    result = {"part": data.evaluated, "images": len(part), **scores.as_dict()}
    result["decision"] = described(decision)
    result["decided"] = decided[0].as_dict() if decided else None
    result["seconds"] = state["progress"]["seconds"]
    result["device"] = fabric.device.type
    write_json(out / "result.json", result)  # the last file: where it stands the run is complete


def _validate(
    fabric: Fabric,
    model: nn.Module,
    data: DataSet,
    config: TrainConfig,
    stop: Callable[[], bool],
    *,
    decide: bool,
) -> tuple[Scores, Decision | None]:
    """Scores on the validation part, and if asked for the decision that fits it.

    There is none of a single class, and none where no pixel has a label.
    """
    classes = len(data.classes)
    fit = make_fit(classes, fabric) if decide and classes > 1 else None
    (scores,) = evaluate_each(
        fabric, model, data, [None], part="val", config=config, stop=stop, fit=fit
    )
    return scores, fit.compute() if fit is not None and scores.confusion.any() else None


def _network_and_loss(
    config: TrainConfig, data: DataSet, fabric: Fabric
) -> tuple[nn.Module, nn.Module]:
    network = network_for(config, data)
    criterion = fitting_loss(config, network, data).to(fabric.device)
    return share_statistics(network, fabric), criterion


def confusion_table(classes: list[str], confusion: list[list[int]]) -> str:
    """The confusion matrix as CSV."""
    text = io.StringIO()
    rows = csv.writer(text)
    rows.writerow(["truth \\ prediction", *classes])
    rows.writerows([name, *counts] for name, counts in zip(classes, confusion, strict=True))
    return text.getvalue()


def _batches(
    data: DataSet, config: TrainConfig, at: checkpoint.Progress, fabric: Fabric
) -> Iterator[tuple[Tensor, Tensor]]:
    """The rest of an epoch, with what the configuration asks for from the data set.

    Raises:
        UserError: If a file cannot be read, or a process that loads data was ended.
    """
    table = data.label_counts.present if config.sampler == "equibatch" else None
    batches = training_batches(
        data.parts["train"],
        config,
        at.epoch,
        at.step,
        table=table,
        upright=data.upright,
        rank=fabric.global_rank,
        size=fabric.world_size,
    )
    while True:
        try:
            batch = next(batches, None)
        except (RuntimeError, ConnectionError, EOFError) as error:
            # torch has no kind of its own for it, and fails otherwise in the moment of its end
            if isinstance(error, RuntimeError) and "DataLoader worker" not in str(error):
                raise
            raise UserError(
                "workers: a process that loads data was ended from outside (out of memory?);"
                " --resume continues, with fewer --workers if need be"
            ) from error
        if batch is None:
            return
        yield batch
