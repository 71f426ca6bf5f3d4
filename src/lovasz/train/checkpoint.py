"""Save and restore everything that the rest of a training run depends on."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any

import torch

from lovasz.train.errors import UserError
from lovasz.train.writing import replacing, write_text

if TYPE_CHECKING:
    from pathlib import Path

    from lightning_fabric.plugins import Precision
    from torch import nn
    from torch.optim import Optimizer

    from lovasz import Decision
    from lovasz.train.evaluate import Scores


@dataclass
class Progress:
    """How far a run is.

    Attributes:
        epoch: Complete epochs, that is trained and evaluated.
        step: Steps taken in the epoch after those.
        loss_sum: Sum of the losses of these steps.
        seconds: Time spent on the run so far, over all its interruptions.
        log: The rows of log.jsonl, one for each complete epoch.
    """

    epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    seconds: float = 0.0
    log: list[dict[str, Any]] = field(default_factory=list)

    @property
    def miou(self) -> float | None:
        """The last mIoU on the validation part."""
        return self.log[-1]["miou"] if self.log else None

    def end_epoch(self, loss: float, scores: Scores, lr: float) -> None:
        """Add a row to the log and start the next epoch."""
        self.epoch += 1
        self.step = 0
        self.log.append(
            {
                "epoch": self.epoch,
                "loss": loss if math.isfinite(loss) else None,  # JSON knows no NaN
                "miou": scores.miou,
                "accuracy": scores.accuracy,
                "lr": lr,
            }
        )


@dataclass(frozen=True)
class State:
    """All that training changes.

    The loss is in it because it may remember earlier batches, the number format because float16
    has a scaler that adapts.
    """

    model: nn.Module
    optimizer: Optimizer
    criterion: nn.Module
    precision: Precision

    def members(self) -> dict[str, Any]:
        """Name and object of all that has a state."""
        return {f.name: getattr(self, f.name) for f in fields(self)}


def save(
    out: Path,
    progress: Progress,
    state: State,
    about: dict[str, Any],
    decision: Decision | None = None,
) -> None:
    """Write checkpoint.pt; whatever happens in between leaves the one before.

    Args:
        out: Folder of the run.
        progress: How far it is.
        state: What training has changed.
        about: What `saved.describe` says of its network and data.
        decision: What was fitted to the validation part after the last epoch.

    Raises:
        WriteError: If it cannot be written.
    """
    content = {name: member.state_dict() for name, member in state.members().items()}
    content |= about
    content["progress"] = asdict(progress)
    content["random"] = torch.get_rng_state()
    content["random_cuda"] = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    if decision is not None:
        content["decision"] = {name: b.tolist() for name, b in decision.state_dict().items()}
    with replacing(out / "checkpoint.pt") as file:
        torch.save(content, file)


def load(out: Path, state: State) -> Progress:
    """Restore the state and torch's random numbers, if there is a checkpoint."""
    progress = Progress()
    if (out / "checkpoint.pt").exists():
        content = read(out / "checkpoint.pt")
        for name, member in state.members().items():
            if name in content:  # earlier versions had no precision
                member.load_state_dict(content[name])
        torch.set_rng_state(content["random"])
        if content["random_cuda"] and torch.cuda.is_available():
            torch.cuda.set_rng_state_all(content["random_cuda"])
        progress = Progress(**content["progress"])
    return progress


def write_log(out: Path, rows: list[dict[str, Any]]) -> None:
    """Write log.jsonl, whole: it is short, and so it always fits the checkpoint."""
    text = "".join(json.dumps(row) + "\n" for row in rows)
    write_text(out / "log.jsonl", text, durable=False)  # a resumed run writes it anew


def read(path: Path) -> dict[str, Any]:
    """The content of a checkpoint, on the processor.

    Raises:
        UserError: If the file cannot be read.
    """
    try:
        # weights_only: a checkpoint that somebody sent cannot run code.
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for damaged files
        raise UserError(f"{path}: expected a checkpoint, cannot read it") from error
    return state
