"""How much each of two losses counts, epoch by epoch."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable
from typing import Any, NamedTuple

from lovasz.core.options import is_number

__all__ = ["LossSchedule", "LossWeights"]


class LossWeights(NamedTuple):
    """The factors of the two losses at some epoch, by the names that the combined loss has.

    Attributes:
        cross_entropy_weight: factor of the cross-entropy.
        lovasz_weight: factor of the Lovász-Softmax loss.
    """

    cross_entropy_weight: float
    lovasz_weight: float


class LossSchedule:
    r"""From cross-entropy over both losses to Lovász-Softmax, or any other way, by straight lines.

    $$L(t) = \lambda_{CE}(t)\, \mathrm{CE} + \lambda_{Lovász}(t)\, L_{Lovász}$$

    with factors that are linear in the epoch t between the given points, and constant before the
    first and after the last. It has no state: the factors depend on the epoch alone, so there is
    nothing to save for a run that is resumed. Call it with an epoch, a whole one or a fraction.

    Args:
        points: (epoch, factor of the cross-entropy, factor of the Lovász-Softmax loss), one or
            more, the epochs rising; factors finite, not negative, and not both 0.

    Raises:
        TypeError: for points that are not three numbers.
        ValueError: for no points, epochs that do not rise, and factors out of range.

    Examples:
        Ten epochs of cross-entropy, five in which the other loss comes in, both until epoch 30,
        and five more to end with Lovász-Softmax alone:

        >>> schedule = LossSchedule([(10, 1, 0), (15, 1, 1), (30, 1, 1), (35, 0, 1)])
        >>> schedule(12.5)
        LossWeights(cross_entropy_weight=1.0, lovasz_weight=0.5)

        In a loop, with the function or with the module:

        >>> import torch
        >>> from lovasz import CrossEntropyLovaszSoftmaxLoss, cross_entropy_lovasz_softmax
        >>> logits, target = torch.zeros(1, 2, 4), torch.zeros(1, 4, dtype=torch.long)
        >>> loss = cross_entropy_lovasz_softmax(logits, target, **schedule(12.5)._asdict())
        >>> criterion = CrossEntropyLovaszSoftmaxLoss()
        >>> criterion.cross_entropy_weight, criterion.lovasz_weight = schedule(12.5)
        >>> torch.testing.assert_close(criterion(logits, target), loss)

        Under ``torch.compile`` set them once an epoch: each new factor may compile anew.

    References:
        The authors of the loss train with cross-entropy first, or with both, and finetune:
        https://github.com/bermanmaxim/LovaszSoftmax.
    """

    def __init__(self, points: Iterable[tuple[float, float, float]]) -> None:
        self.points = [_checked(point) for point in points]
        if not self.points:
            raise ValueError("LossSchedule: expected one or more points, got none")
        self._epochs = [epoch for epoch, _, _ in self.points]
        for before, after in zip(self._epochs, self._epochs[1:], strict=False):
            if after <= before:
                raise ValueError(f"LossSchedule: expected rising epochs, got {self._epochs}")

    def __call__(self, epoch: float) -> LossWeights:
        """The factors at an epoch."""
        if not is_number(epoch) or not math.isfinite(epoch):
            raise ValueError(f"LossSchedule: expected epoch to be a finite number, got {epoch!r}")
        after = bisect_right(self._epochs, epoch)
        start, *first = self.points[max(0, after - 1)]
        end, *second = self.points[min(after, len(self.points) - 1)]
        # Between two points, or at both ends of one.
        t = (epoch - start) / (end - start) if start < end else 0.0
        return LossWeights(*((1 - t) * a + t * b for a, b in zip(first, second, strict=True)))

    def __repr__(self) -> str:
        return f"LossSchedule({self.points})"


def _checked(point: Any) -> tuple[float, float, float]:
    """Three numbers, of which two are factors."""
    try:
        values = tuple(point)
    except TypeError:
        values = ()
    if len(values) != 3 or not all(is_number(value) for value in values):
        raise TypeError(
            "LossSchedule: expected points of three numbers (epoch, cross-entropy, Lovász),"
            f" got {point!r}"
        )
    epoch, first, second = (float(value) for value in values)
    finite = all(math.isfinite(value) for value in (epoch, first, second))
    if not finite or min(first, second) < 0 or max(first, second) == 0:
        raise ValueError(
            "LossSchedule: expected a finite epoch, and finite factors that are not negative and"
            f" not both 0, got {point!r}"
        )
    return epoch, first, second
