"""Losses for mmdetection3d's registry of models, registered when this is imported.

``custom_imports = dict(imports=["lovasz.integrations.mmdet3d"])`` in a configuration does that.
"""

from __future__ import annotations

from mmdet3d.registry import MODELS  # type: ignore[import-not-found, unused-ignore]

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
]

for _loss in LOSSES:
    MODELS.register_module(module=_loss)
