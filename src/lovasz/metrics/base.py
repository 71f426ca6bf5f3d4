"""What the metrics share: reading predictions and labels, and counting pixels."""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lovasz.core.options import check_choice, check_classes, check_ignore_index, check_upsample
from lovasz.core.shapes import INTEGRAL, dtype_name, multiclass
from lovasz.kernels.precision import float64_device
from lovasz.losses._classes import class_mask
from lovasz.losses._inputs import check_tensors
from lovasz.predictions import argmax, upsampled_argmax

try:
    from torchmetrics import Metric
except ImportError as error:
    raise ImportError(
        "lovasz.metrics: expected torchmetrics to be installed (pip install 'torchmetrics>=1.6'),"
        f" got: {error}"
    ) from error


class IoU(Metric):
    """Options and counting that the metrics share."""

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    plot_lower_bound = 0.0
    plot_upper_bound = 1.0

    num_classes: int
    classes: str | Sequence[int]
    ignore_index: int | None
    reduction: str
    upsample: str | None
    align_corners: bool
    invalid: Tensor

    def __init__(
        self,
        num_classes: int,
        *,
        classes: str | Sequence[int] = "present",
        ignore_index: int | None = None,
        reduction: str = "mean",
        upsample: str | None = None,
        align_corners: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._name = type(self).__name__
        if not isinstance(num_classes, numbers.Integral) or num_classes < 1:
            raise ValueError(
                f"{self._name}: expected num_classes to be a positive integer, got {num_classes!r}"
            )
        check_classes(self._name, classes)
        class_mask(self._name, classes, num_classes, torch.device("cpu"))
        check_ignore_index(self._name, ignore_index)
        check_choice(self._name, "reduction", reduction, ("mean", "none"))
        check_upsample(self._name, upsample, align_corners)
        self.num_classes = num_classes
        self.classes = classes
        self.ignore_index = ignore_index
        self.reduction = reduction
        self.upsample = upsample
        self.align_corners = align_corners
        # On the CPU such pixels raise; elsewhere that would wait for the device.
        self.add_state("invalid", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def set_dtype(self, dst_type: str | torch.dtype) -> IoU:
        """Counts stay integers: torchmetrics would round them too."""
        return self

    def count(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Hits, unions and true pixels of each image and class, (N, C, 3) int64."""
        labels, truth = self._read(prediction, target)
        kept = torch.ones_like(truth, dtype=torch.bool)
        if self.ignore_index is not None:
            kept = truth != self.ignore_index
        right = (truth >= 0) & (truth < self.num_classes)
        decided = (labels >= 0) & (labels < self.num_classes)
        bad = kept & ~(right & decided)
        if bad.device.type == "cpu" and bool(bad.any()):
            self._complain(truth[kept & ~right], labels[kept & ~decided])
        self.invalid += bad.sum()
        tables = [
            _histogram(torch.where(chosen, where, self.num_classes), self.num_classes)
            for chosen, where in (
                (kept & right & decided & (labels == truth), truth),
                (kept & right & decided, labels),
                (kept & right & decided, truth),
            )
        ]
        hits, found, true = tables
        return torch.stack((hits, found + true - hits, true), dim=-1)

    def _read(self, prediction: Any, target: Any) -> tuple[Tensor, Tensor]:
        """Predicted labels, -1 where logits decide nothing, and truth, both (N, L) int64."""
        if isinstance(prediction, Tensor) and not prediction.is_floating_point():
            labels, truth = _check_labels(self._name, prediction, target)
            return labels.long(), truth.long()
        check_tensors(self._name, "prediction", prediction, target)
        layout = multiclass(
            self._name, "prediction", prediction, target, upsample=self.upsample, has_upsample=True
        )
        if prediction.shape[1] != self.num_classes:
            raise ValueError(
                f"{self._name}: expected logits with num_classes={self.num_classes} on axis 1, got"
                f" shape {tuple(prediction.shape)}"
            )
        if not layout.upsampled:
            return _rows(argmax(prediction)), _rows(target.long())
        assert self.upsample is not None  # or the sizes would have to agree
        labels = upsampled_argmax(
            prediction, target.shape[1:], upsample=self.upsample, align_corners=self.align_corners
        )
        return _rows(labels), _rows(target.long())

    def _complain(self, truth: Tensor, labels: Tensor) -> None:
        """Raise for the first pixel that does not fit."""
        wanted = f"in [0, {self.num_classes - 1}]"
        if truth.numel():
            raise ValueError(
                f"{self._name}: expected every label to be {wanted} or equal to"
                f" ignore_index={self.ignore_index}, got {truth[0].item()}"
                f" (and {truth.numel() - 1} more outside)"
            )
        raise ValueError(
            f"{self._name}: expected every predicted label to be {wanted}, and no NaN among logits"
            f" (which counts as -1), got {labels[0].item()} (and {labels.numel() - 1} more)"
        )

    def iou(self, counts: Tensor) -> Tensor:
        """IoU of (…, C, 3) counts in float64, NaN where a class does not count."""
        counts = counts.to(float64_device(counts.device))
        hits, union, true = counts.unbind(-1)
        mask = class_mask(self._name, self.classes, self.num_classes, counts.device)
        # A group that has no pixel at all counts for nothing.
        pixels = true if self.classes == "present" else true.sum(-1, keepdim=True)
        active = pixels > 0 if mask is None else (pixels > 0) & mask
        iou = torch.where(union > 0, hits.double() / union.clamp(min=1).double(), 1.0)
        return torch.where(active, iou, torch.nan)

    def settle(self, values: Tensor) -> Tensor:
        """NaN for all if a pixel did not fit."""
        return torch.where((self.invalid > 0).to(values.device), torch.nan, values)


def _check_labels(name: str, prediction: Tensor, target: Any) -> tuple[Tensor, Tensor]:
    """Labels (N, *) or (P,) and truth of the same shape, flattened."""
    if not isinstance(target, Tensor):
        raise TypeError(f"{name}: expected target to be a tensor, got {type(target).__name__}")
    for argument, labels in (("prediction", prediction), ("target", target)):
        if dtype_name(labels) not in INTEGRAL:
            kind = "logits or class indices" if argument == "prediction" else "class indices"
            raise TypeError(f"{name}: expected {argument} to hold {kind}, got {labels.dtype}")
    if prediction.dim() == 0 or prediction.shape != target.shape:
        raise ValueError(
            f"{name}: expected labels (N, *) or (P,) of the shape of target {tuple(target.shape)},"
            f" got prediction {tuple(prediction.shape)}"
        )
    if prediction.device != target.device:
        raise ValueError(
            f"{name}: expected target on the device of prediction, {prediction.device},"
            f" got {target.device}"
        )
    return _rows(prediction), _rows(target)


def _rows(labels: Tensor) -> Tensor:
    """(N, *) as (N, L); points (P,) are one image."""
    return labels.unsqueeze(0) if labels.dim() == 1 else labels.flatten(1)


def _histogram(labels: Tensor, num_classes: int) -> Tensor:
    """How often each class is in each row of (N, L); ``num_classes`` stands for none."""
    table = labels.new_zeros(len(labels), num_classes + 1)
    return table.scatter_add_(1, labels, torch.ones_like(labels))[:, :num_classes]
