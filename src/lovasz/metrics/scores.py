r"""Scores over the data set, per image and per class, of any kind that confusion counts give."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lovasz.core.options import Upsample, is_number
from lovasz.metrics.base import Average, Classes, Counts, Present, Reduction, Score

__all__ = ["ClassScore", "DatasetScore", "ImageScore"]


class DatasetScore(Counts):
    r"""A score over the data set, taken as one image.

    Of $TP, FP, FN, TN$, the true and false positives and negatives of a class among all pixels
    that are not ignored, ``score`` is

    | score | of a class | names |
    |---|---|---|
    | "iou" | $TP / (TP + FP + FN)$ | Jaccard index |
    | "dice" | $2\,TP / (2\,TP + FP + FN)$ | F1 score |
    | "precision" | $TP / (TP + FP)$ | positive predictive value |
    | "recall" | $TP / (TP + FN)$ | sensitivity, class accuracy |
    | "accuracy" | $TP / (TP + FN)$, with ``multilabel`` $(TP + TN) / (TP + FP + FN + TN)$ | |

    and where that is 0 / 0: 1 if $TP + FP + FN = 0$, nothing to find and nothing found, otherwise
    0. The mean goes over the classes that count; pixel accuracy is "accuracy" with
    ``average="micro"``. The state is (C, 4) integers; the value does not depend on the order or
    the split of the images.

    Args:
        num_classes: C, from 2; with ``multilabel`` the number of masks, from 1.
        score: "iou", "dice", "accuracy", "precision" or "recall".
        classes: which classes may count: "all", "foreground" (all but class 0), or a list of
            class indices; "present" is "all" with ``present_in="target"``. None, as in the losses:
            "present", or with ``multilabel`` "all".
        present_in: which of them count: "target", those with a pixel in the truth; "union", those
            with a pixel in truth or prediction, as in mmsegmentation and torchmetrics; None, all.
            Ignored classes do not count with ``classes="present"``.
        average: "macro", the mean over classes; "micro", the score of the sums of their counts;
            "weighted", the mean weighted by the pixels of the class in the truth, which for "iou"
            is the frequency-weighted IoU.
        ignore_index: label of pixels to leave out, any integer, or several, or None.
        reduction: "mean", or "none" for the score of each class.
        multilabel: True for masks that may overlap, and for one mask: scores, predictions and
            targets are (N, C, *) or (P, C), those of one mask also (N, *) or (P,).
        threshold: of masks, and of one channel for two classes: the probability above which a
            pixel is positive, between 0 and 1.
        from_logits: True: floating predictions are logits, which a sigmoid would make
            probabilities; False: they are probabilities, in [0, 1]. It is never guessed.
        upsample: for scores of another resolution than the labels, as for `lovasz_softmax`: the
            decision is that of the interpolated scores, which are never stored. None: the sizes
            have to agree. Predictions that are labels already are not interpolated.
        align_corners: of ``upsample``, as for `lovasz_softmax`.
        **kwargs: Options of `torchmetrics.Metric`.

    Shape:
        - output of `compute`: float64, a scalar, or for "none" (C,) with NaN for classes that do
          not count. NaN where nothing counts, or (on devices other than the CPU) after a label
          out of range or NaN among the scores.

    Raises:
        TypeError: for arguments of a wrong type or dtype.
        ValueError: for shapes and values that do not fit; on the CPU also for labels out of range
            and NaN among the scores.

    Examples:
        >>> import torch
        >>> truth, labels = torch.tensor([[0, 1, 1, 255]]), torch.tensor([[0, 0, 1, 1]])
        >>> metric = DatasetScore(2, "dice", ignore_index=255, reduction="none")
        >>> metric(labels, truth).tolist()  # 1 of 2 pixels of each class
        [0.6666666666666666, 0.6666666666666666]
        >>> pixel_accuracy = DatasetScore(2, "accuracy", average="micro", ignore_index=255)
        >>> pixel_accuracy(labels, truth).item()
        0.6666666666666666
        >>> mask = DatasetScore(1, "iou", multilabel=True)
        >>> mask(torch.tensor([[2.0, -1.0, 0.5]]), torch.tensor([[1, 1, 0]])).item()
        0.3333333333333333

    References:
        Long, Shelhamer, Darrell, *Fully convolutional networks for semantic segmentation*,
        CVPR 2015, section 5, for accuracies and frequency-weighted IoU. Wang et al.,
        NeurIPS 2023, arXiv 2310.19252, section 2.
    """

    plot_legend_name = "Class"

    if TYPE_CHECKING:
        counts: Tensor

    def __init__(
        self,
        num_classes: int,
        score: Score,
        *,
        classes: Classes = None,
        present_in: Present = None,
        average: Average = "macro",
        ignore_index: int | Sequence[int] | None = None,
        reduction: Reduction = "mean",
        multilabel: bool = False,
        threshold: float = 0.5,
        from_logits: bool = True,
        upsample: Upsample | None = None,
        align_corners: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            num_classes,
            score,
            classes=classes,
            present_in=present_in,
            average=average,
            ignore_index=ignore_index,
            reduction=reduction,
            multilabel=multilabel,
            threshold=threshold,
            from_logits=from_logits,
            upsample=upsample,
            align_corners=align_corners,
            **kwargs,
        )
        if reduction == "none" and average != "macro":
            raise ValueError(
                f"{type(self).__name__}: expected average='macro' with reduction='none', which"
                f" gives the score of each class, got {average!r}"
            )
        zeros = torch.zeros(num_classes, 4, dtype=torch.int64)
        self.add_state("counts", zeros, dist_reduce_fx="sum")

    def update(
        self, prediction: Tensor, target: Tensor, *, ignore_mask: Tensor | None = None
    ) -> None:
        """Add images.

        Args:
            prediction: scores (N, C, *) or (P, C), or labels (N, *) or (P,); for two classes also
                scores (N, 1, *) of class 1. With ``multilabel`` scores or masks (N, C, *).
            target: labels (N, *) or (P,), or one-hot. With ``multilabel`` masks of zeros and ones.
                With ``upsample`` its spatial sizes may be others than those of scores.
            ignore_mask: (N, *) or (P,), bool: True for further pixels to leave out.
        """
        self.counts += self.count(prediction, target, ignore_mask).sum(0)

    def compute(self) -> Tensor:
        """The mean, or the score of each class."""
        if self.reduction == "none":
            return self.settle(self.by_class(self.counts))
        return self.settle(self.averaged(self.counts))


class _PerImage(Counts):
    """Keeps the counts of every image."""

    per_image = True

    if TYPE_CHECKING:
        counts: list[Tensor] | Tensor
        worst: float | Sequence[float]

    def __init__(
        self, num_classes: int, score: str, *, worst: Any, average: str = "macro", **options: Any
    ) -> None:
        super().__init__(num_classes, score, average=average, **options)
        self.worst = worst
        self._shares = _shares(type(self).__name__, worst)
        self.add_state("counts", [], dist_reduce_fx="cat")

    def update(
        self,
        prediction: Tensor,
        target: Tensor,
        *,
        ignore_mask: Tensor | None = None,
        offsets: Tensor | None = None,
        batch_index: Tensor | None = None,
        batch_size: int | None = None,
    ) -> None:
        """Add images, or clouds of points.

        Args:
            prediction: as for `DatasetScore`. Points (P,) or (P, C) are one image unless the next
                arguments say which of several clouds they are of; each call adds new ones.
            target: likewise.
            ignore_mask: likewise.
            offsets: (B,) int32 or int64, where each of B clouds ends, as for `lovasz_softmax`.
            batch_index: (P,) int32 or int64, the number of the cloud of each point, in any order.
            batch_size: number of clouds, with ``batch_index``; on the CPU it is found if None.
        """
        assert isinstance(self.counts, list)  # a tensor only between sync and unsync
        counts = self.count(prediction, target, ignore_mask, offsets, batch_index, batch_size)
        self.counts.append(counts)

    def sync(self, *args: Any, **kwargs: Any) -> None:
        """As torchmetrics does it; a rank without images takes part with none."""
        if isinstance(self.counts, list) and not self.counts:
            self.counts = [self._nothing(self.device)]
        super().sync(*args, **kwargs)

    def _images(self) -> Tensor:
        """Counts of each image and class, (I, C, 4)."""
        if isinstance(self.counts, Tensor):
            return self.counts
        return torch.cat(self.counts or [self._nothing(self.device)])

    def _nothing(self, device: torch.device) -> Tensor:
        return torch.zeros(0, self.num_classes, 4, dtype=torch.int64, device=device)


class ImageScore(_PerImage):
    r"""Mean over images of their score, or over the worst of them.

    With $s_i$ the score of image i, for "macro" $\frac{1}{|C_i|} \sum_{c \in C_i} s_{ic}$,

    $$
    s_I^q = \frac{1}{n} \sum_{k=1}^{n} s_{(k)}, \qquad n = \max(1, \lfloor q I / 100 \rfloor),
    $$

    where $s_{(1)} \le s_{(2)} \le \ldots$ are those of the I images in which a class counts. With
    q = 100 it is the mean over all. Large objects do not outweigh small ones in another image. The
    state is 32 C bytes per image, 3.0 MB for 5,000 images with 19 classes; ranks may hold any
    numbers of images, and the mean does not depend on the split.

    Args:
        num_classes: as for `DatasetScore`.
        score: likewise.
        classes: likewise, by image. With "foreground", a list, or ``multilabel`` an image without
            a pixel of a class scores 1 for it if none is found, otherwise 0.
        present_in: likewise, by image.
        average: likewise, over the classes of an image.
        ignore_index: likewise. Images of which nothing is left do not count.
        reduction: "mean", or "none" for the score of each image.
        worst: q, in (0, 100] percent; of several the mean over q, ``range(10, 101, 10)`` being
            the paper's.
        multilabel: as for `DatasetScore`.
        threshold: likewise.
        from_logits: likewise.
        upsample: likewise.
        align_corners: likewise.
        **kwargs: Options of `torchmetrics.Metric`.

    Shape:
        - output of `compute`: float64, a scalar, or for "none" (I,) in the order of the updates,
          on several ranks those of rank 0 first, with NaN for images that do not count. NaN where
          nothing counts, or (on devices other than the CPU) after a label out of range or NaN
          among the scores.

    Raises:
        TypeError: for arguments of a wrong type or dtype.
        ValueError: for shapes and values that do not fit; on the CPU also for labels out of range
            and NaN among the scores.

    Examples:
        >>> import torch
        >>> metric = ImageScore(2, "dice")
        >>> metric.update(torch.tensor([[0, 0], [1, 1]]), torch.tensor([[0, 0], [0, 1]]))
        >>> round(metric.compute().item(), 4)  # 1 and (0 + 2/3) / 2
        0.6667
        >>> points = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 0, 0, 1])
        >>> metric.update(*points, batch_index=torch.tensor([0, 0, 1, 1]))  # the same as clouds
        >>> round(metric.compute().item(), 4)
        0.6667

    References:
        Wang et al., NeurIPS 2023, arXiv 2310.19252, section 2 (per image) and its worst-case
        metrics.
    """

    plot_legend_name = "Image"

    def __init__(
        self,
        num_classes: int,
        score: Score,
        *,
        classes: Classes = None,
        present_in: Present = None,
        average: Average = "macro",
        ignore_index: int | Sequence[int] | None = None,
        reduction: Reduction = "mean",
        worst: float | Sequence[float] = 100,
        multilabel: bool = False,
        threshold: float = 0.5,
        from_logits: bool = True,
        upsample: Upsample | None = None,
        align_corners: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            num_classes,
            score,
            classes=classes,
            present_in=present_in,
            average=average,
            ignore_index=ignore_index,
            reduction=reduction,
            worst=worst,
            multilabel=multilabel,
            threshold=threshold,
            from_logits=from_logits,
            upsample=upsample,
            align_corners=align_corners,
            **kwargs,
        )

    def compute(self) -> Tensor:
        """The mean over the images, or over the worst, or the score of each image."""
        by_image = self.settle(self.averaged(self._images()))
        if self.reduction == "none":
            return by_image
        return _lowest(by_image.unsqueeze(1), self._shares).squeeze(0)


class ClassScore(_PerImage):
    r"""Mean over classes of the mean score over their images, or over their worst images.

    $$
    s_c^q = \frac{1}{n_c} \sum_{k=1}^{n_c} s_{(k)c}, \qquad
    n_c = \max(1, \lfloor q |I_c| / 100 \rfloor), \qquad
    s_C^q = \frac{1}{|C|} \sum_{c \in C} s_c^q,
    $$

    where $s_{(1)c} \le s_{(2)c} \le \ldots$ are those of the images $I_c$ in which class c counts,
    and C are the classes that count in an image. Unlike the mean over images it gives a class that
    few images have the same say as the others. State, order and ranks are as for `ImageScore`.

    Args:
        num_classes: as for `DatasetScore`.
        score: likewise.
        classes: as for `ImageScore`.
        present_in: likewise.
        ignore_index: as for `DatasetScore`.
        reduction: "mean", or "none" for the value of each class.
        worst: q, in (0, 100] percent; of several the mean over q.
        multilabel: as for `DatasetScore`.
        threshold: likewise.
        from_logits: likewise.
        upsample: likewise.
        align_corners: likewise.
        **kwargs: Options of `torchmetrics.Metric`.

    Shape:
        - output of `compute`: float64, a scalar, or for "none" (C,) with NaN for classes that do
          not count. NaN where nothing counts, or (on devices other than the CPU) after a label
          out of range or NaN among the scores.

    Raises:
        TypeError: for arguments of a wrong type or dtype.
        ValueError: for shapes and values that do not fit; on the CPU also for labels out of range
            and NaN among the scores.

    Examples:
        >>> import torch
        >>> metric = ClassScore(2, "recall", reduction="none")
        >>> metric.update(torch.tensor([[0, 0], [1, 1]]), torch.tensor([[0, 0], [0, 1]]))
        >>> metric.compute().tolist()  # class 0: (1 + 0) / 2, class 1: 1 in its one image
        [0.5, 1.0]

    References:
        Wang et al., NeurIPS 2023, arXiv 2310.19252, section 2 (per class) and its worst-case
        metrics.
    """

    plot_legend_name = "Class"

    def __init__(
        self,
        num_classes: int,
        score: Score,
        *,
        classes: Classes = None,
        present_in: Present = None,
        ignore_index: int | Sequence[int] | None = None,
        reduction: Reduction = "mean",
        worst: float | Sequence[float] = 100,
        multilabel: bool = False,
        threshold: float = 0.5,
        from_logits: bool = True,
        upsample: Upsample | None = None,
        align_corners: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            num_classes,
            score,
            classes=classes,
            present_in=present_in,
            ignore_index=ignore_index,
            reduction=reduction,
            worst=worst,
            multilabel=multilabel,
            threshold=threshold,
            from_logits=from_logits,
            upsample=upsample,
            align_corners=align_corners,
            **kwargs,
        )

    def compute(self) -> Tensor:
        """The mean over the classes, or the value of each class."""
        by_class = self.settle(_lowest(self.by_class(self._images()), self._shares))
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
