"""The scores whose kind is the IoU, with the names by which they are reported."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lovasz.core.options import Upsample
from lovasz.metrics.base import Average, Classes, Present, Reduction
from lovasz.metrics.scores import ClassScore, DatasetScore, ImageScore

__all__ = ["ClassIoU", "DatasetIoU", "ImageIoU"]


class DatasetIoU(DatasetScore):
    r"""Mean IoU over the data set, mIoU_D: the usual one.

    $$
    \mathrm{IoU}_c = \frac{\sum_i TP_{ic}}{\sum_i (TP_{ic} + FP_{ic} + FN_{ic})}, \qquad
    \mathrm{mIoU}_D = \frac{1}{|C|} \sum_{c \in C} \mathrm{IoU}_c,
    $$

    where C are the classes that count in the data set taken as one image: `DatasetScore` of "iou",
    whose arguments, result and errors it has. ``present_in="union"`` gives the mIoU of
    mmsegmentation and torchmetrics.

    Examples:
        >>> import torch
        >>> metric = DatasetIoU(3, ignore_index=255)
        >>> metric.update(torch.tensor([[0, 0, 1, 1]]), torch.tensor([[0, 1, 1, 255]]))
        >>> metric.compute().item()  # 1 of 2 pixels of each class
        0.5

    References:
        Wang et al., NeurIPS 2023, arXiv 2310.19252, section 2.
    """

    def __init__(
        self,
        num_classes: int,
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
            "iou",
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


class ImageIoU(ImageScore):
    r"""Mean over images of their IoU, mIoU_I, or over the worst of them.

    $$
    \mathrm{IoU}_i = \frac{1}{|C_i|} \sum_{c \in C_i} \mathrm{IoU}_{ic}, \qquad
    \mathrm{mIoU}_I^q = \frac{1}{n} \sum_{k=1}^{n} \mathrm{IoU}_{(k)}, \qquad
    n = \max(1, \lfloor q I / 100 \rfloor),
    $$

    where $\mathrm{IoU}_{(1)} \le \mathrm{IoU}_{(2)} \le \ldots$ are those of the I images in which
    a class counts: `ImageScore` of "iou", whose arguments, result and errors it has.

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

    def __init__(
        self,
        num_classes: int,
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
            "iou",
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


class ClassIoU(ClassScore):
    r"""Mean over classes of the mean IoU over their images, mIoU_C, or over their worst images.

    $$
    \mathrm{IoU}_c^q = \frac{1}{n_c} \sum_{k=1}^{n_c} \mathrm{IoU}_{(k)c}, \qquad
    n_c = \max(1, \lfloor q |I_c| / 100 \rfloor), \qquad
    \mathrm{mIoU}_C^q = \frac{1}{|C|} \sum_{c \in C} \mathrm{IoU}_c^q,
    $$

    where $\mathrm{IoU}_{(1)c} \le \mathrm{IoU}_{(2)c} \le \ldots$ are those of the images $I_c$ in
    which class c counts, and C are the classes that count in an image: `ClassScore` of "iou", whose
    arguments, result and errors it has.

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

    def __init__(
        self,
        num_classes: int,
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
            "iou",
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
