r"""IoU of predictions and its relatives: over the data set, per image, per class, and the worst.

With the words of the losses: an IoU is one minus the Lovász-Softmax loss of the hard decision,
over the same groups of pixels and the same classes. The metrics are those of `torchmetrics`: they
are fed batch by batch, summed or gathered over the ranks of a process group, and go into a
`MetricCollection`, where metrics that count alike share their counts.

For image i and class c let $TP_{ic}, FP_{ic}, FN_{ic}$ be the right, the false and the missed
pixels among those that are not ignored, and

$$
\mathrm{IoU}_{ic} = \frac{TP_{ic}}{TP_{ic} + FP_{ic} + FN_{ic}},
\qquad \frac{0}{0} := 1 \text{ (nothing to find, and nothing found).}
$$

With ``classes="present"``, the default for class indices, a class counts in the images whose truth
has it; with "all", the default for masks, or a list, the chosen classes count in every image that
has a pixel which is not ignored; ``present_in`` makes them count where they are in the truth, or in
truth or prediction. Let $I_c$ be the images in which class c counts and $C_i$ the classes that
count in image i.

References:
    Wang, Berman, Rannen-Triki, Torr, Tuia, Tuytelaars, Van Gool, Yu, Blaschko, *Revisiting
    evaluation metrics for semantic segmentation: optimization and evaluation of fine-grained
    intersection over union*, NeurIPS 2023, arXiv 2310.19252.
"""

from lovasz.metrics.iou import ClassIoU, DatasetIoU, ImageIoU
from lovasz.metrics.scores import ClassScore, DatasetScore, ImageScore

__all__ = ["ClassIoU", "ClassScore", "DatasetIoU", "DatasetScore", "ImageIoU", "ImageScore"]
