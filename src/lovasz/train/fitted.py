"""The fitted decision of a checkpoint: read, asked for by an option, and told in words."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch

from lovasz import Decision
from lovasz.train.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor


@dataclass(kw_only=True)
class DecisionConfig:
    """How logits become labels.

    Args:
        decision: Which class is the label of a pixel: argmax takes that of the largest logit,
            fitted adds an offset for each class before, with which training has found the highest
            mIoU on the validation part.
    """

    decision: Literal["argmax", "fitted"] = "argmax"


def read_decision(content: dict[str, Any], num_classes: int, path: Path) -> Decision | None:
    """The decision in the content of a checkpoint; None where there is none.

    Raises:
        UserError: If it does not fit the network.
    """
    kept = content.get("decision")
    if kept is None:
        return None
    decision = Decision(num_classes)
    for name, expected, finite in (
        ("offsets", f"a finite offset for each of the {num_classes} classes", True),
        ("statistics", f"{len(decision.statistics)} statistics", False),
    ):
        values = kept.get(name) if isinstance(kept, dict) else kept
        buffer = getattr(decision, name)
        if not _are_numbers(values, len(buffer), finite=finite):
            raise UserError(
                f"{path}: expected its decision to have {expected}, got {values}; the file is"
                " damaged or was changed: take another copy, or train again"
            )
        buffer.copy_(torch.tensor(values))
    return decision


def _are_numbers(values: Any, count: int, *, finite: bool) -> bool:
    """Whether this is a list of so many numbers."""
    return (
        isinstance(values, list)
        and len(values) == count
        and all(isinstance(value, int | float) for value in values)
        and (not finite or all(map(math.isfinite, values)))
    )


def offsets_of(config: DecisionConfig, decision: Decision | None, path: Path) -> Tensor | None:
    """What is added to the logits: None for argmax.

    Raises:
        UserError: If the fitted decision is asked for, and the checkpoint has none.
    """
    if config.decision == "argmax":
        return None
    if decision is None:
        raise UserError(
            f"decision: expected fitted offsets in {path}, found none: its training is not"
            " finished, or it was made by an earlier version, or from a validation part without a"
            " labelled pixel; finish the training with --resume, train again, or decide by argmax"
        )
    return decision.offsets


def points(difference: float) -> str:
    """A difference of scores in points.

    >>> points(0.0213), points(-0.004), points(-0.0004)
    ('+2.1', '−0.4', '+0.0')
    """
    rounded = round(100 * difference, 1) + 0.0  # of −0 it makes 0
    return f"{rounded:+.1f}".replace("-", "−")


def gain_words(decision: Decision) -> str:
    """What the decision gains on images of the validation part, in points of mIoU.

    >>> decision = Decision(2)
    >>> _ = decision.statistics.copy_(torch.tensor([0.5, 0.53, 0.021, -0.004, 0.046]))
    >>> gain_words(decision)
    '+2.1 points of mIoU (95 % interval −0.4 to +4.6)'
    """
    gain, low, high = map(points, (decision.gain, *decision.interval))
    if not all(map(math.isfinite, decision.interval)):
        return f"{gain} points of mIoU (too few images for an interval)"
    return f"{gain} points of mIoU (95 % interval {low} to {high})"


def described(decision: Decision | None) -> dict[str, Any] | None:
    """For JSON, which has no number for the ends of an interval that are infinite."""
    if decision is None:
        return None
    return {
        "offsets": decision.offsets.tolist(),
        "score_of_argmax": _known(decision.score_of_argmax),
        "score": _known(decision.score),
        "gain": _known(decision.gain),
        "interval": list(map(_known, decision.interval)),
        "within_noise": decision.within_noise,
    }


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
