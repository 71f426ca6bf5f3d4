"""What networks return, read as logits: a tensor, several of them, or a container of either."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from lovasz.train.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

MAIN = ("out", "logits", "seg_logits", "pred")  # names of the main output, by which it is found
# What stands beside logits by name in the outputs of transformers and is none.
_INNER = {"hidden_states", "attentions", "loss"}


def outputs(result: Any) -> list[Tensor]:
    """The logits (N, C, h, w) of what a network has returned, the main ones first.

    It may be

    - a tensor (N, C, h, w);
    - MONAI's stacked deep supervision, a tensor (N, K, C, h, w) of K outputs;
    - a list or tuple of outputs, of which None is left out;
    - a dictionary whose main output is `out` or `logits`, as in torchvision, and whose other logits
      of as many classes are further outputs;
    - an object with `logits` or `out`, as in transformers, likewise;

    and outputs may be nested.

    Raises:
        UserError: If something in it is none of these.
    """
    found = _read(result)
    if not found:
        raise UserError(f"{_EXPECTED}, got {described(result)}")
    return found


_EXPECTED = (
    "model: expected the network to return logits (N, C, h, w), a list of them, or a dictionary"
    " or object with out or logits"
)


def _read(result: Any) -> list[Tensor]:
    """As `outputs`, empty if nothing is in it."""
    if result is None:
        return []
    if isinstance(result, Tensor):
        if result.dim() == 5:
            return list(result.unbind(1))
        if result.dim() == 4 and result.is_floating_point():
            return [result]
    elif (named := _named(result)) is not None:
        main = next((name for name in MAIN if named.get(name) is not None), None)
        if main is not None:
            first = _read(named[main])
            rest = [value for name, value in named.items() if name not in {main, *_INNER}]
            return first + [logits for value in rest for logits in _alike(value, first)]
    elif isinstance(result, (list, tuple)):
        return [logits for value in result for logits in _read(value)]
    raise UserError(f"{_EXPECTED}, got {described(result)}")


def _alike(value: Any, first: Sequence[Tensor]) -> list[Tensor]:
    """The outputs in an entry beside the main one, which may also hold features or numbers."""
    try:
        found = _read(value)
    except UserError:
        return []
    classes = first[0].shape[1] if first else -1
    return [logits for logits in found if logits.shape[1] == classes]


def _named(result: Any) -> dict[str, Any] | None:
    """The entries of a dictionary, or of an object that has one of the names of logits."""
    if isinstance(result, Mapping):
        return {str(name): value for name, value in result.items()}
    if not any(hasattr(result, name) for name in MAIN):
        return None
    if hasattr(result, "_asdict"):  # of a named tuple
        return dict(result._asdict())
    if is_dataclass(result):
        return {field.name: getattr(result, field.name) for field in fields(result)}
    entries = dict(getattr(result, "__dict__", {}))
    # One that is computed, or that has a slot.
    return {**entries, **{name: getattr(result, name) for name in MAIN if hasattr(result, name)}}


def described(result: Any) -> str:
    """What was returned, in words.

    >>> import torch
    >>> described({"masks": torch.zeros(2, 4), "scores": [torch.zeros(3), 1.5]})
    'dict of masks: (2, 4) and scores: list of (3,) and float'
    """
    if isinstance(result, Tensor):
        kind = "" if result.is_floating_point() else f" {str(result.dtype).removeprefix('torch.')}"
        return f"{tuple(result.shape)}{kind}"
    kind = type(result).__name__
    if isinstance(result, Mapping):
        parts = [f"{name}: {described(value)}" for name, value in result.items()]
    elif isinstance(result, (list, tuple)):
        parts = [described(value) for value in result]
    else:
        return "None" if result is None else kind
    if not parts:
        return f"an empty {kind}"
    shown = [*parts[:4], f"{len(parts) - 4} more"] if len(parts) > 5 else parts
    listed = ", ".join(shown[:-1]) + " and " + shown[-1] if len(shown) > 1 else shown[0]
    return f"{kind} of {listed}"
