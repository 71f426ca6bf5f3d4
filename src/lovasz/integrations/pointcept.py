"""Losses for Pointcept's criteria and a segmentor that tells them where clouds end.

They are registered when this is imported.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from importlib import import_module
from typing import Any

from pointcept.models.builder import MODELS  # type: ignore[import-not-found, unused-ignore]
from pointcept.models.losses.builder import LOSSES  # type: ignore[import-not-found, unused-ignore]
from torch import Tensor, nn

from lovasz.compat.pointcept import LovaszLoss
from lovasz.core.options import check_flags
from lovasz.integrations._registry import RegistryLoss
from lovasz.losses.cross_entropy_dice import CrossEntropyDiceLoss as _CrossEntropyDice
from lovasz.losses.modules import CrossEntropyLovaszSoftmaxLoss as _CrossEntropySoftmax
from lovasz.losses.modules import LovaszSoftmaxLoss as _Softmax

__all__ = [
    "CrossEntropyDiceLoss",
    "CrossEntropyLovaszSoftmaxLoss",
    "LovaszSoftmaxLoss",
    "PerCloudSegmentor",
    "replace_lovasz_loss",
]

# Criteria are given predictions and labels alone.
_offsets: ContextVar[Tensor | None] = ContextVar("offsets", default=None)


class PointceptLoss(RegistryLoss):
    """A loss of this package as Pointcept's criteria build and call it.

    Criteria are no module, so that their losses are not moved to a device, set to evaluation mode
    or saved with a network: class weights are moved here, and a window (``momentum``) does not
    count batches without gradient and begins anew where training is resumed.

    Args:
        loss_weight: factor of the loss, finite and not negative.
        ignore_index: label of points to leave out.
        per_cloud: True averages the losses of the clouds of a batch, whose ends the network has to
            pass on: see `PerCloudSegmentor`. False takes the batch as one cloud.
        class_weight: (C,), class weights; of the cross-entropy where there is one.
        options: of the loss of the same name in `lovasz`.

    Shape:
        - pred: (P, C).
        - target: (P,).
        - output: scalar.

    Raises:
        TypeError: for options that the loss does not have, or of a wrong type.
        ValueError: for options of a wrong value, and with ``per_cloud`` where no ends are known.
    """

    def __init__(
        self,
        *,
        loss_weight: float = 1.0,
        ignore_index: int | None = -1,
        per_cloud: bool = False,
        class_weight: Sequence[float] | None = None,
        **options: Any,
    ) -> None:
        check_flags(type(self).__name__, per_cloud=per_cloud)
        super().__init__(
            loss_weight=loss_weight,
            class_weight=class_weight,
            ignore_index=ignore_index,
            per_image=per_cloud,
            **options,
        )
        self.per_cloud = per_cloud

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Loss of predictions and labels."""
        self.loss.to(pred.device).train(pred.requires_grad)
        if not self.per_cloud:
            return self.value(pred, target)
        offsets = _offsets.get()
        if offsets is None:
            raise ValueError(
                f"{type(self).__name__}: expected a network that passes on where clouds end with"
                ' per_cloud=True, got none; make it dict(type="PerCloudSegmentor",'
                ' segmentor="DefaultSegmentorV2", ...)'
            )
        return self.value(pred, target, offsets=offsets)


@LOSSES.register_module()
class CrossEntropyLovaszSoftmaxLoss(PointceptLoss):
    """`lovasz.CrossEntropyLovaszSoftmaxLoss` for criteria; see `PointceptLoss`."""

    loss_class = _CrossEntropySoftmax


@LOSSES.register_module()
class LovaszSoftmaxLoss(PointceptLoss):
    """`lovasz.LovaszSoftmaxLoss` for criteria; see `PointceptLoss`."""

    loss_class = _Softmax


@LOSSES.register_module()
class CrossEntropyDiceLoss(PointceptLoss):
    """`lovasz.CrossEntropyDiceLoss` for criteria; see `PointceptLoss`."""

    loss_class = _CrossEntropyDice


@MODELS.register_module()
class PerCloudSegmentor:
    """A segmentor that tells its criteria where the clouds of a batch end.

    It is the other one in all but that, of a class of its own that is named ``PerCloud`` and the
    name of the other, and needs the input ``offset``, which Pointcept's batches have.

    Args:
        segmentor: name of one in the registry of models, or its class.
        options: of it.

    Raises:
        ValueError: for a name that is not registered.
    """

    def __new__(cls, segmentor: str | type[nn.Module], **options: Any) -> Any:
        """The segmentor; the registry takes classes alone."""
        base: Any = MODELS.get(segmentor) if isinstance(segmentor, str) else segmentor
        if base is None:
            raise ValueError(
                f"{cls.__name__}: expected the name of a registered segmentor, got {segmentor!r}"
            )
        return _per_cloud(base)(**options)


def replace_lovasz_loss() -> None:
    """Put `lovasz.compat.pointcept.LovaszLoss` in the place of Pointcept's own ``LovaszLoss``."""
    import_module("pointcept.models.losses")  # which registers the one that is replaced
    LOSSES.register_module(name="LovaszLoss", force=True, module=LovaszLoss)


class _PerCloud:
    """Before a segmentor in the order of its classes."""

    def forward(self, input_dict: dict[str, Any], *args: Any, **options: Any) -> Any:
        """As the segmentor's."""
        with _ends(input_dict["offset"]):
            return super().forward(input_dict, *args, **options)  # type: ignore[misc]


@functools.cache
def _per_cloud(base: type[nn.Module]) -> type[nn.Module]:
    return type(f"PerCloud{base.__name__}", (_PerCloud, base), {"__module__": __name__})


@contextlib.contextmanager
def _ends(offsets: Tensor) -> Iterator[None]:
    token = _offsets.set(offsets)
    try:
        yield
    finally:
        _offsets.reset(token)
