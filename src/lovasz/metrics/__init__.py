r"""Intersection over union of predictions: over the data set, per image, per class, and the worst.

With the words of the losses: a metric is one minus the Lovász-Softmax loss of the hard decision,
over the same groups of pixels and the same classes. The metrics are those of `torchmetrics`: they
are fed batch by batch, summed or gathered over the ranks of a process group, and go into a
`MetricCollection`, where metrics of one kind share their counts.

For image i and class c let $TP_{ic}, FP_{ic}, FN_{ic}$ be the right, the false and the missed
pixels among those that are not ignored, and

$$
\mathrm{IoU}_{ic} = \frac{TP_{ic}}{TP_{ic} + FP_{ic} + FN_{ic}},
\qquad \frac{0}{0} := 1 \text{ (nothing to find, and nothing found).}
$$

With ``classes="present"`` a class counts in the images whose truth has it; with "all", or a list,
the chosen classes count in every image that has a pixel which is not ignored. Let $I_c$ be the
images in which class c counts and $C_i$ the classes that count in image i.

References:
    Wang, Berman, Rannen-Triki, Torr, Tuia, Tuytelaars, Van Gool, Yu, Blaschko, *Revisiting
    evaluation metrics for semantic segmentation: optimization and evaluation of fine-grained
    intersection over union*, NeurIPS 2023, arXiv 2310.19252.
"""

from lovasz.metrics.iou import ClassIoU, DatasetIoU, ImageIoU
from lovasz.metrics.scores import ClassScore, DatasetScore, ImageScore

__all__ = ["ClassIoU", "ClassScore", "DatasetIoU", "DatasetScore", "ImageIoU", "ImageScore"]
