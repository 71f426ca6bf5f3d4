"""Losses and a head for mmsegmentation's registry of models, registered when this is imported.

``custom_imports = dict(imports=["lovasz.integrations.mmseg"])`` in a configuration does that.
"""

from __future__ import annotations

from typing import Any

from mmseg.registry import MODELS  # type: ignore[import-not-found, unused-ignore]
from torch import nn

from lovasz.compat.mmseg import LovaszLoss
from lovasz.integrations._mmseg_head import make_head
from lovasz.integrations._openmmlab import (
    LOSSES,
    BinaryCrossEntropyDiceLoss,
    BinaryCrossEntropyLovaszHingeLoss,
    BinaryCrossEntropyLovaszSigmoidLoss,
    CrossEntropyDiceLoss,
    CrossEntropyLovaszSoftmaxLoss,
    LovaszHingeLoss,
    LovaszSigmoidLoss,
    LovaszSoftmaxLoss,
)

__all__ = [
    "BinaryCrossEntropyDiceLoss",
    "BinaryCrossEntropyLovaszHingeLoss",
    "BinaryCrossEntropyLovaszSigmoidLoss",
    "CrossEntropyDiceLoss",
    "CrossEntropyLovaszSoftmaxLoss",
    "LovaszHingeLoss",
    "LovaszSigmoidLoss",
    "LovaszSoftmaxLoss",
    "low_resolution_head",
    "replace_lovasz_loss",
]


def low_resolution_head(head: str | type[nn.Module], **options: Any) -> nn.Module:
    """A decode head whose losses read its logits at their own resolution.

    Registered as ``LowResolutionHead``. What mmsegmentation's heads do before the loss, enlarging
    the logits to the size of the labels, the losses do while they read them: the values and the
    gradients are the same, and the enlarged logits are never stored.

    Args:
        head: name of a head in the registry, or its class. It has to leave the loss of its logits
            to ``BaseDecodeHead``, as nearly all do.
        options: of that head. The losses in ``loss_decode`` have to be of this module, and there
            is no ``sampler``, which would need the enlarged logits.

    Returns:
        The head, of a class of its own that is named ``LowResolution`` and the name of the other.

    Raises:
        ValueError: for heads, losses or options that need the enlarged logits.
    """
    return make_head(MODELS.get(head) if isinstance(head, str) else head, options)


def replace_lovasz_loss() -> None:
    """Put `lovasz.compat.mmseg.LovaszLoss` in the place of mmsegmentation's own ``LovaszLoss``."""
    MODELS.register_module(name="LovaszLoss", force=True, module=LovaszLoss)


for _loss in LOSSES:
    MODELS.register_module(module=_loss)
MODELS.register_module(name="LowResolutionHead", module=low_resolution_head)
