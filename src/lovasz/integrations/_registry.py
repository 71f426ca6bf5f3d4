"""What the losses that a registry builds share: a factor, class weights, and who says what."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from torch import Tensor, nn

from lovasz.core.options import is_number
from lovasz.losses._classes import ClassWeights
from lovasz.losses._module import Loss


class RegistryLoss(nn.Module):
    """A loss of this package with a factor, as registries build it from keywords.

    Args:
        loss_weight: factor of the loss, finite and not negative.
        class_weight: (C,), class weights; of the cross-entropy where there is one. For binary
            cross-entropy the weights of the ones, ``pos_weight``.
        options: of the loss, by the names that it has.

    Raises:
        TypeError: for options that the loss does not have, or of a wrong type.
        ValueError: for options of a wrong value.
    """

    loss_class: ClassVar[type[Loss]]
    weight_option: ClassVar[str] = "weight"

    def __init__(
        self,
        *,
        loss_weight: float = 1.0,
        class_weight: ClassWeights | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        if not is_number(loss_weight):
            raise TypeError(f"{name}: expected loss_weight to be a number, got {loss_weight!r}")
        if not 0 <= float(loss_weight) < math.inf:
            raise ValueError(
                f"{name}: expected loss_weight to be finite and not negative, got {loss_weight!r}"
            )
        if class_weight is not None:
            if options.get(self.weight_option) is not None:
                raise TypeError(
                    f"{name}: expected class_weight or {self.weight_option}, which are the same,"
                    " got both"
                )
            options[self.weight_option] = class_weight
        self.loss_weight = float(loss_weight)
        self.loss: Any = self.loss_class(**options)  # with options that are attributes

    def value(self, logits: Tensor, target: Tensor, **tensors: Any) -> Tensor:
        """Loss of logits and labels, times its factor; further tensors as for the function."""
        name = type(self).__name__
        clouds = (tensors.get("offsets"), tensors.get("batch_index"))
        if getattr(self.loss, "per_image", False) and logits.dim() == 2 and clouds == (None, None):
            raise ValueError(
                f"{name}: expected offsets or batch_index with a loss for each cloud of points, of"
                f" which logits {tuple(logits.shape)} say nothing, got neither"
            )
        value: Tensor = self.loss(logits, target, **tensors)
        return self.loss_weight * value
