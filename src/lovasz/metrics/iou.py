"""The three metrics."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lovasz.core.options import is_number
from lovasz.metrics.base import IoU

__all__ = ["ClassIoU", "DatasetIoU", "ImageIoU"]


class DatasetIoU(IoU):
    r"""Mean IoU over the data set, mIoU_D: the usual one.

    $$
    \mathrm{IoU}_c = \frac{\sum_i TP_{ic}}{\sum_i (TP_{ic} + FP_{ic} + FN_{ic})}, \qquad
    \mathrm{mIoU}_D = \frac{1}{|C|} \sum_{c \in C} \mathrm{IoU}_c,
    $$

    where C are the classes that count in the data set taken as one image. The state is (C, 3)
    integers; the value does not depend on the order or the split of the images.

    Args:
        num_classes: C, from 1.
        classes: "present": those with a pixel in the truth of the data set; "all", or a list of
            class indices, as for `lovasz_softmax`.
        ignore_index: label of pixels to leave out, any integer, or None.
        reduction: "mean", or "none" for the IoU of each class.
        upsample: for logits of another resolution than the labels, as for `lovasz_softmax`: each
            pixel is of the class that `upsampled_argmax` gives it, and the enlarged logits are
            never stored. None: the sizes have to agree. Predictions that are labels already are
            not interpolated.
        align_corners: of ``upsample``, as for `lovasz_softmax`.
        **kwargs: Options of `torchmetrics.Metric`.

    Shape:
        - output of `compute`: float64, a scalar, or for "none" (C,) with NaN for classes that do
          not count. NaN where nothing counts, or (on devices other than the CPU) after a label
          out of range or NaN logits.

    Raises:
        TypeError: for arguments of a wrong type or dtype.
        ValueError: for shapes and values that do not fit; on the CPU also for labels out of range
            and NaN logits.

    Examples:
        >>> import torch
        >>> metric = DatasetIoU(3, ignore_index=255)
        >>> metric.update(torch.tensor([[0, 0, 1, 1]]), torch.tensor([[0, 1, 1, 255]]))
        >>> metric.compute().item()  # 1 of 2 pixels of each class
        0.5

    References:
        Wang et al., NeurIPS 2023, arXiv 2310.19252, section 2.
    """

    counts: Tensor

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
        super().__init__(
            num_classes,
            classes=classes,
            ignore_index=ignore_index,
            reduction=reduction,
            upsample=upsample,
            align_corners=align_corners,
            **kwargs,
        )
        zeros = torch.zeros(num_classes, 3, dtype=torch.int64)
        self.add_state("counts", zeros, dist_reduce_fx="sum")

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Add images: logits (N, C, *) or (P, C), or labels (N, *) or (P,); target as a loss's.

        With ``upsample`` the target of logits may have other spatial sizes than they.
        """
        self.counts += self.count(prediction, target).sum(0)

    def compute(self) -> Tensor:
        """The mean, or the IoU of each class."""
        iou = self.settle(self.iou(self.counts))
        return iou if self.reduction == "none" else iou.nanmean()


class _PerImage(IoU):
    """Keeps the counts of every image."""

    counts: list[Tensor] | Tensor

    def __init__(
        self,
        num_classes: int,
        *,
        classes: str | Sequence[int] = "present",
        ignore_index: int | None = None,
        reduction: str = "mean",
        worst: float | Sequence[float] = 100,
        upsample: str | None = None,
        align_corners: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            num_classes,
            classes=classes,
            ignore_index=ignore_index,
            reduction=reduction,
            upsample=upsample,
            align_corners=align_corners,
            **kwargs,
        )
        self.worst = worst
        self._shares = _shares(self._name, worst)
        self.add_state("counts", [], dist_reduce_fx="cat")

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Add images: logits (N, C, *) or (P, C), or labels (N, *) or (P,); target as a loss's.

        With ``upsample`` the target of logits may have other spatial sizes than they.
        """
        assert isinstance(self.counts, list)  # a tensor only between sync and unsync
        self.counts.append(self.count(prediction, target))

    def sync(self, *args: Any, **kwargs: Any) -> None:
        """As torchmetrics does it; a rank without images takes part with none."""
        if isinstance(self.counts, list) and not self.counts:
            self.counts = [self._nothing()]
        super().sync(*args, **kwargs)

    def _images(self) -> Tensor:
        """IoU of each image and class, (I, C), NaN where a class does not count."""
        if isinstance(self.counts, Tensor):
            return self.iou(self.counts)
        return self.iou(torch.cat([self._nothing(), *self.counts]))

    def _nothing(self) -> Tensor:
        return torch.zeros(0, self.num_classes, 3, dtype=torch.int64, device=self.device)


class ImageIoU(_PerImage):
    r"""Mean over images of their IoU, mIoU_I, or over the worst of them.

    $$
    \mathrm{IoU}_i = \frac{1}{|C_i|} \sum_{c \in C_i} \mathrm{IoU}_{ic}, \qquad
    \mathrm{mIoU}_I^q = \frac{1}{n} \sum_{k=1}^{n} \mathrm{IoU}_{(k)}, \qquad
    n = \max(1, \lfloor q I / 100 \rfloor),
    $$

    where $\mathrm{IoU}_{(1)} \le \mathrm{IoU}_{(2)} \le \ldots$ are those of the I images in which
    a class counts. With q = 100 it is the mean over all. Large objects do not outweigh small ones
    in another image. The state is 24 C bytes per image, 2.3 MB for 5,000 images with 19 classes;
    ranks may hold any numbers of images, and the mean does not depend on the split.

    Args:
        num_classes: C, from 1.
        classes: as for `lovasz_softmax`. For binary masks ``[1]``: an image without foreground
            scores 1 if none is found in it, otherwise 0.
        ignore_index: label of pixels to leave out, any integer, or None. Images of which nothing
            is left do not count.
        reduction: "mean", or "none" for the IoU of each image.
        worst: q, in (0, 100] percent; of several the mean over q, ``range(10, 101, 10)`` being
            the paper's.
        upsample: as for `DatasetIoU`.
        align_corners: likewise.
        **kwargs: Options of `torchmetrics.Metric`.

    Shape:
        - output of `compute`: float64, a scalar, or for "none" (I,) in the order of the updates,
          on several ranks those of rank 0 first, with NaN for images that do not count. NaN where
          nothing counts, or (on devices other than the CPU) after a label out of range or NaN
          logits.

    Raises:
        TypeError: for arguments of a wrong type or dtype.
        ValueError: for shapes and values that do not fit; on the CPU also for labels out of range
            and NaN logits.

    Examples:
        >>> import torch
        >>> metric = ImageIoU(2)
        >>> metric.update(torch.tensor([[0, 0], [1, 1]]), torch.tensor([[0, 0], [0, 1]]))
        >>> metric.compute().item()  # 1 and (0 + 1/2) / 2
        0.625

    References:
        Wang et al., NeurIPS 2023, arXiv 2310.19252, section 2 (per image) and its worst-case
        metrics.
    """

    def compute(self) -> Tensor:
        """The mean over the images, or over the worst, or the IoU of each image."""
        by_image = self.settle(self._images().nanmean(1))
        if self.reduction == "none":
            return by_image
        return _lowest(by_image.unsqueeze(1), self._shares).squeeze(0)


class ClassIoU(_PerImage):
    r"""Mean over classes of the mean IoU over their images, mIoU_C, or over their worst images.

    $$
    \mathrm{IoU}_c^q = \frac{1}{n_c} \sum_{k=1}^{n_c} \mathrm{IoU}_{(k)c}, \qquad
    n_c = \max(1, \lfloor q |I_c| / 100 \rfloor), \qquad
    \mathrm{mIoU}_C^q = \frac{1}{|C|} \sum_{c \in C} \mathrm{IoU}_c^q,
    $$

    where $\mathrm{IoU}_{(1)c} \le \mathrm{IoU}_{(2)c} \le \ldots$ are those of the images $I_c$ in
    which class c counts, and C are the classes that count in an image. Unlike the mean over images
    it gives a class that few images have the same say as the others. State, order and ranks are as
    for `ImageIoU`.

    Args:
        num_classes: C, from 1.
        classes: as for `lovasz_softmax`.
        ignore_index: label of pixels to leave out, any integer, or None.
        reduction: "mean", or "none" for the value of each class.
        worst: q, in (0, 100] percent; of several the mean over q.
        upsample: as for `DatasetIoU`.
        align_corners: likewise.
        **kwargs: Options of `torchmetrics.Metric`.

    Shape:
        - output of `compute`: float64, a scalar, or for "none" (C,) with NaN for classes that do
          not count. NaN where nothing counts, or (on devices other than the CPU) after a label
          out of range or NaN logits.

    Raises:
        TypeError: for arguments of a wrong type or dtype.
        ValueError: for shapes and values that do not fit; on the CPU also for labels out of range
            and NaN logits.

    Examples:
        >>> import torch
        >>> metric = ClassIoU(2)
        >>> metric.update(torch.tensor([[0, 0], [1, 1]]), torch.tensor([[0, 0], [0, 1]]))
        >>> metric.compute().item()  # class 0: (1 + 0) / 2, class 1: 1/2 in its one image
        0.5

    References:
        Wang et al., NeurIPS 2023, arXiv 2310.19252, section 2 (per class) and its worst-case
        metrics.
    """

    def compute(self) -> Tensor:
        """The mean over the classes, or the value of each class."""
        by_class = self.settle(_lowest(self._images(), self._shares))
        return by_class if self.reduction == "none" else by_class.nanmean()


def _lowest(values: Tensor, shares: Sequence[float]) -> Tensor:
    """Mean of the lowest q percent of each column of (I, K), averaged over q; NaN is left out."""
    # Sorted values are added in the same order however the images were split.
    ordered = values.sort(dim=0).values  # NaN last
    count = values.isfinite().sum(0)
    rank = torch.arange(len(values), device=values.device).unsqueeze(1)
    means = []
    for share in shares:
        n = (share * count.double() / 100).floor().clamp(min=1)
        total = torch.where((rank < n) & (rank < count), ordered, 0.0).sum(0)
        means.append(torch.where(count > 0, total / n, torch.nan))
    return torch.stack(means).mean(0)


def _shares(name: str, worst: Any) -> list[float]:
    """Percentages as a list of floats."""
    given = list(worst) if isinstance(worst, Sequence) else [worst]
    for share in given:
        if not is_number(share):
            raise TypeError(f"{name}: expected worst to hold numbers, got {worst!r}")
    if not given or not all(math.isfinite(share) and 0 < share <= 100 for share in given):
        raise ValueError(f"{name}: expected worst to be in (0, 100] percent, got {worst!r}")
    return [float(share) for share in given]
