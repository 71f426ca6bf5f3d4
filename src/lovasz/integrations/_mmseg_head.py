"""mmsegmentation's decode heads, without the interpolation before the loss."""

from __future__ import annotations

import functools
from typing import Any

import torch
from mmseg.models.decode_heads.decode_head import (  # type: ignore[import-not-found, unused-ignore]
    BaseDecodeHead,
)
from torch import Tensor, nn

from lovasz.integrations._openmmlab import OpenMMLabLoss
from lovasz.predictions import upsampled_argmax

_NAME = "LowResolutionHead"


class LowResolution(BaseDecodeHead):  # type: ignore[misc, unused-ignore]
    """Stands between a head and ``BaseDecodeHead``, whose method it replaces."""

    def loss_by_feat(self, seg_logits: Tensor, batch_data_samples: Any) -> dict[str, Tensor]:
        """Losses by name, and the accuracy in percent if there are classes.

        Args:
            seg_logits: (N, C, h, w), of any resolution.
            batch_data_samples: N of them, each with labels (1, H, W).
        """
        target = self._stack_batch_gt(batch_data_samples).squeeze(1)
        losses: dict[str, Tensor] = {}
        for loss in _losses(self):
            value = loss(seg_logits, target, ignore_index=self.ignore_index)
            name = loss.loss_name
            losses[name] = losses[name] + value if name in losses else value
        if self.out_channels > 1:
            losses["acc_seg"] = self._accuracy(seg_logits.detach(), target)
        return losses

    def _accuracy(self, logits: Tensor, target: Tensor) -> Tensor:
        """Percent of the pixels that count; 0 where none does."""
        corners = self.align_corners
        correct = upsampled_argmax(logits, target.shape[1:], align_corners=corners) == target
        valid = (
            torch.ones_like(correct) if self.ignore_index is None else target != self.ignore_index
        )
        return 100 * (correct & valid).sum() / valid.sum().clamp(min=1)


def make_head(head: Any, options: dict[str, Any]) -> nn.Module:
    """A head of that class, with the other loss."""
    if not isinstance(head, type) or not issubclass(head, BaseDecodeHead) or not _passes_on(head):
        raise ValueError(
            f"{_NAME}: expected a head that leaves the loss of its logits to BaseDecodeHead, got"
            f" {getattr(head, '__name__', head)}, which has a loss_by_feat of its own"
        )
    made: nn.Module = _low_resolution(head)(**options)
    if made.sampler is not None:
        raise ValueError(
            f"{_NAME}: expected sampler=None, because samplers need enlarged logits, got"
            f" {type(made.sampler).__name__}"
        )
    for loss in _losses(made):
        if not isinstance(loss, OpenMMLabLoss):
            raise ValueError(
                f"{_NAME}: expected losses of lovasz.integrations.mmseg in loss_decode, which read"
                f" logits of low resolution, got {type(loss).__name__}"
            )
        loss.upsample(bool(made.align_corners))
    return made


@functools.cache
def _low_resolution(head: type[nn.Module]) -> type[nn.Module]:
    # The head first, so that what it calls by super() is the method of LowResolution.
    return type(f"LowResolution{head.__name__}", (head, LowResolution), {"__module__": __name__})


def _passes_on(head: type[nn.Module]) -> bool:
    """Whether every ``loss_by_feat`` between the head and ``BaseDecodeHead`` calls the next one."""
    own = [vars(kind)["loss_by_feat"] for kind in head.__mro__ if "loss_by_feat" in vars(kind)]
    # super() without arguments reads __class__.
    return all("__class__" in method.__code__.co_freevars for method in own[:-1])


def _losses(head: Any) -> list[Any]:
    losses = head.loss_decode
    return list(losses) if isinstance(losses, nn.ModuleList) else [losses]
