"""Sentences about labels and probabilities that no loss can be computed from."""

from __future__ import annotations

from lovasz.core.links import MULTICLASS, function_of

# Probabilities may leave [0, 1] by the rounding of a 16-bit softmax.
PROBABILITY_TOLERANCE = 1e-2


def wrong_labels(
    link: str,
    cross_entropy: bool,
    classes: int,
    ignore_index: int | None,
    got: object,
    more: int,
) -> str:
    """A label is neither a class nor ignored, and so many more are not."""
    allowed = f"in [0, {classes - 1}]" if link in MULTICLASS else "0 or 1"
    return (
        f"{function_of(link, cross_entropy)}: expected every label to be {allowed} or equal to"
        f" ignore_index={ignore_index}, got {got} (and {more} more outside)"
    )


def no_probability(link: str, got: float) -> str:
    """A score is no probability."""
    name = function_of(link)
    return (
        f"{name}: expected probabilities in [0, 1] (use"
        f" {name.removesuffix('_from_probabilities')} for logits), got {got:g}"
    )
