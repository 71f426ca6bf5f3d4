"""The call of every loss without a Lovász loss."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar, get_args

from torch import Tensor

from lovasz.core.links import function_of
from lovasz.core.options import Activation, Options, check_choice
from lovasz.losses._loss import loss

Made = TypeVar("Made")
ACTIVATIONS: tuple[str, ...] = get_args(Activation)


def by_sums(
    name: str,
    activation: str,
    logits: Tensor,
    target: Tensor | Sequence[Tensor],
    options: Options,
) -> Tensor:
    """The loss, of which sentences about labels say this function's name."""
    link = link_of(name, activation, options.multilabel)
    scores_name = "probabilities" if activation == "none" else "logits"
    try:
        return loss(name, link, logits, target, options, scores_name)
    except ValueError as error:
        other = function_of(link, options.cross_entropy is not None)
        raise ValueError(renamed(error, other, name)) from None


def made(name: str, kind: Callable[..., Made], *options: Any) -> Made:
    """A loss of a class by its sums, of which wrong options are those of a function or module."""
    try:
        return kind(*options)
    except (TypeError, ValueError) as error:
        raise type(error)(renamed(error, kind.__name__, name)) from None


def renamed(error: Exception, other: str, name: str) -> str:
    """The sentence of an error, said by another function."""
    sentence = str(error)
    return f"{name}{sentence[len(other) :]}" if sentence.startswith(f"{other}:") else sentence


def link_of(name: str, activation: str, multilabel: bool | None) -> str:
    """The link of an activation, see ``core.links``."""
    check_choice(name, "activation", activation, ACTIVATIONS)
    if activation == "softmax" and multilabel is not None:
        raise ValueError(
            f'{name}: expected multilabel with activation "sigmoid" or "none" alone, got'
            f" multilabel={multilabel!r} with the softmax"
        )
    if activation == "none":
        return "probabilities" if multilabel is None else "channel_probabilities"
    return activation
