"""Checkpoints with a fitted decision that a test has chosen, and without one."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from pathlib import Path

# Of "dark", "red" and "green": large enough that many labels change.
OFFSETS = [-1.5, 0.25, 1.0]
# mIoU by argmax and by the offsets; gain with its interval.
CLEAR = [0.5, 0.5625, 0.03125, 0.015625, 0.046875]
NOISE = [0.5, 0.5625, 0.0, -math.inf, math.inf]


def with_decision(run: Path, folder: Path, decision: Any = None, **changes: list[float]) -> str:
    """The checkpoint of a run in another folder, with the decision that a run keeps in it."""
    content = torch.load(run / "checkpoint.pt", weights_only=True)
    content["decision"] = decision or {"offsets": OFFSETS, "statistics": CLEAR, **changes}
    return _saved(content, folder)


def without_decision(run: Path, folder: Path) -> str:
    """As of a run that is not finished, or of an earlier version."""
    content = torch.load(run / "checkpoint.pt", weights_only=True)
    content.pop("decision", None)
    return _saved(content, folder)


def _saved(content: dict[str, Any], folder: Path) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(content, folder / "checkpoint.pt")
    return str(folder / "checkpoint.pt")
