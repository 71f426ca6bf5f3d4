"""Trainers for nnU-Net, which finds them by name in the folder ``nnunet_trainers`` beside this."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import (  # type: ignore[import-not-found, unused-ignore]
    nnUNetTrainer,
)
from torch import Tensor, nn

from lovasz.losses._module import Loss
from lovasz.losses.cross_entropy_dice import BinaryCrossEntropyDiceLoss, CrossEntropyDiceLoss
from lovasz.losses.deep_supervision import DeepSupervision
from lovasz.losses.modules import BinaryCrossEntropyLovaszSigmoidLoss, CrossEntropyLovaszSoftmaxLoss

__all__ = ["nnUNetTrainerDiceCEFused", "nnUNetTrainerLovaszCE"]

# The label of ignored pixels of regions, which nnU-Net has in a channel of their own.
_IGNORED = 255


class _Trainer(nnUNetTrainer):  # type: ignore[misc, unused-ignore]
    """nnU-Net's trainer with another loss: everything else is its own."""

    loss_options: ClassVar[dict[str, Any]] = {}

    def _build_loss(self) -> nn.Module:
        """The loss of the network's output, or of all its outputs with deep supervision."""
        labels = self.label_manager
        loss = self._of_regions() if labels.has_regions else self._of_classes()
        # In the place of 1 − Dice nnU-Net has −Dice.
        shift = getattr(loss, "dice_weight", 0.0)
        supervised: nn.Module = loss
        if self.enable_deep_supervision:
            weights = _halved(len(self._get_deep_supervision_scales()))
            supervised = DeepSupervision(loss, weights, labels="given")
        ignored = labels.has_regions and labels.has_ignore_label
        return _Labels(supervised, labels.has_regions, ignored, shift).to(self.device)

    def _options(self) -> dict[str, Any]:
        """One loss for the batch, of all processes, or one for each image."""
        batch = self.configuration_manager.batch_dice
        world = "world" if batch and self.is_ddp else None
        return {"per_image": not batch, "process_group": world, **self.loss_options}

    def _ignore_index(self) -> int | None:
        """The label that is left out."""
        labels = self.label_manager
        if labels.has_regions:
            return _IGNORED if labels.has_ignore_label else None
        index: int | None = labels.ignore_label
        return index

    def _of_classes(self) -> Loss:
        raise NotImplementedError

    def _of_regions(self) -> Loss:
        raise NotImplementedError


class nnUNetTrainerLovaszCE(_Trainer):  # noqa: N801 (nnU-Net's way to write such names)
    """Cross-entropy and Lovász-Softmax; for regions the binary cross-entropy and Lovász sigmoid.

    As nnU-Net's Dice, the Lovász loss is that of the batch, of all processes, where the plans have
    ``batch_dice``, and elsewhere the mean over images.

    Attributes:
        loss_options: further options of `lovasz.CrossEntropyLovaszSoftmaxLoss`, or for regions of
            `lovasz.BinaryCrossEntropyLovaszSigmoidLoss`; for a class that is derived from this one.
    """

    def _of_classes(self) -> Loss:
        ignore_index = self._ignore_index()
        return CrossEntropyLovaszSoftmaxLoss(ignore_index=ignore_index, **self._options())

    def _of_regions(self) -> Loss:
        return BinaryCrossEntropyLovaszSigmoidLoss(
            multilabel=True, ignore_index=self._ignore_index(), **self._options()
        )


class nnUNetTrainerDiceCEFused(_Trainer):  # noqa: N801
    """nnU-Net's own loss, Dice and cross-entropy, from two passes over the logits.

    Values and gradients are those of ``DC_and_CE_loss`` and ``DC_and_BCE_loss``, but that images
    without any label are left out of a mean over images.

    Attributes:
        loss_options: further options of `lovasz.CrossEntropyDiceLoss`, or for regions of
            `lovasz.BinaryCrossEntropyDiceLoss`; for a class that is derived from this one.
    """

    def _of_classes(self) -> Loss:
        options = {"classes": "foreground", **self._options()}
        return CrossEntropyDiceLoss(ignore_index=self._ignore_index(), **options)

    def _of_regions(self) -> Loss:
        ignore_index, options = self._ignore_index(), self._options()
        if ignore_index is not None:
            # nnU-Net divides by the pixels then, where otherwise by those of all regions.
            regions = self.label_manager.num_segmentation_heads
            options = {"cross_entropy_weight": float(regions), **options}
        return BinaryCrossEntropyDiceLoss(multilabel=True, ignore_index=ignore_index, **options)


class _Labels(nn.Module):
    """A loss that is called as nnU-Net calls one, with labels as it has them.

    Args:
        loss: of one output, or of a list.
        regions: whether labels are (N, R, *), and not (N, 1, *).
        ignored: whether a further channel of regions says what is ignored.
        shift: what is taken from the value.
    """

    def __init__(self, loss: nn.Module, regions: bool, ignored: bool, shift: float) -> None:
        super().__init__()
        self.loss = loss
        self.regions = regions
        self.ignored = ignored
        self.shift = shift

    def forward(
        self, output: Tensor | Sequence[Tensor], target: Tensor | Sequence[Tensor]
    ) -> Tensor:
        """Loss of outputs and labels, both tensors or both lists."""
        # nnU-Net validates with the loss in training mode, where a window would count batches.
        self.loss.train(torch.is_grad_enabled())
        if isinstance(target, Tensor):
            value: Tensor = self.loss(output, self._labels(target))
        else:
            value = self.loss(output, [self._labels(one) for one in target])
        return value - self.shift

    def _labels(self, target: Tensor) -> Tensor:
        if not self.regions:
            labels = target[:, 0]
            return labels.long() if labels.is_floating_point() else labels
        if not self.ignored:
            return target.bool()
        return target[:, :-1].to(torch.uint8).masked_fill(target[:, -1:].bool(), _IGNORED)


def _halved(scales: int) -> list[float]:
    """nnU-Net's weights: halved from scale to scale, the last one 0, with the sum 1.

    A scale of weight 0 has a gradient of 0 here, so that DDP finds no parameter without one.
    """
    weights = [0.5**k for k in range(scales)]
    if scales > 1:
        weights[-1] = 0.0
    return [weight / sum(weights) for weight in weights]
