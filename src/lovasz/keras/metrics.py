"""The mean IoU of a data set as a metric of Keras."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from lovasz.core.options import (
    Classes,
    check_at_least,
    check_classes,
    check_flags,
    check_ignore_index,
    is_number,
)
from lovasz.core.shapes import FLOATING
from lovasz.keras.base import registered
from lovasz.keras.functions import functions
from lovasz.keras.labels import Pixels, beyond, classes_of, masks_of
from lovasz.keras.options import in_words_of_keras

__all__ = ["DatasetIoU"]

# Counts are two numbers of 32 bits, of which the second counts so many pixels, because not every
# backend has 64 bits: 2**51 pixels of a class are counted exactly.
_WORD = 2**20


@registered
class DatasetIoU(keras.metrics.Metric):
    r"""Mean IoU over the data set, mIoU_D: of all pixels together, and not a mean over batches.

    $$
    \mathrm{IoU}_c = \frac{\sum_i TP_{ic}}{\sum_i (TP_{ic} + FP_{ic} + FN_{ic})}, \qquad
    \mathrm{mIoU}_D = \frac{1}{|C|} \sum_{c \in C} \mathrm{IoU}_c,
    $$

    where C are the classes that count. It is ``lovasz.metrics.DatasetIoU`` for Keras.

    ``y_true`` has the forms that the losses take. ``y_pred`` are scores (N, \*, C), of which the
    largest decides; for two classes also one score (N, \*, 1), compared with the threshold; or
    predicted classes (N, \*), of an integer dtype. With ``multilabel`` both are (N, \*, C).

    Args:
        num_classes: number of classes, 2 or more; with ``multilabel`` of masks.
        classes: which count. "present": those with a pixel in the data set; "all"; "foreground";
            or a list. None: "present", and "all" with ``multilabel``. Of one that counts, and
            that is nowhere and found nowhere, the IoU is 1.
        ignore_class: label of pixels that are left out.
        multilabel: whether the last axis holds masks that may overlap, with labels 0 and 1.
        threshold: probability from which on a mask, or class 1 of two, is predicted.
        from_logits: whether scores that are compared with the threshold are logits. For the largest
            score it makes no difference.
        axis: of the classes in ``y_pred``.
        class_names: a name for each class, to report their IoUs beside the mean: `result` is then a
            dict with ``"<name>"`` for the mean and ``"<name>_<class>"`` for each class.
        name: of the metric.
        dtype: of the result.

    Raises:
        TypeError: for arguments of a wrong type or dtype.
        ValueError: for shapes and values that do not fit; on the CPU outside of compiled code also
            for labels out of range and scores that are NaN, which make the result NaN elsewhere.

    Examples:
        >>> import numpy as np
        >>> from lovasz.keras import DatasetIoU
        >>> metric = DatasetIoU(num_classes=3, ignore_class=255)
        >>> metric.update_state(np.array([[0, 1, 1, 255]]), np.array([[0, 0, 1, 1]]))
        >>> float(metric.result())  # 1 of 2 pixels of each class
        0.5

    References:
        Wang et al., *Revisiting evaluation metrics for semantic segmentation*, NeurIPS 2023,
        arXiv 2310.19252, section 2.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        classes: Classes | None = None,
        ignore_class: int | None = None,
        multilabel: bool = False,
        threshold: float = 0.5,
        from_logits: bool = False,
        axis: int = -1,
        class_names: Sequence[str] | None = None,
        name: str = "dataset_iou",
        dtype: Any = None,
    ) -> None:
        super().__init__(name=name, dtype=dtype)
        check_flags("DatasetIoU", multilabel=multilabel, from_logits=from_logits)
        check_at_least("DatasetIoU", "num_classes", num_classes, 1 if multilabel else 2)
        if classes is None:
            classes = "all" if multilabel else "present"
        try:
            check_classes("DatasetIoU", classes)
            check_ignore_index("DatasetIoU", ignore_class)
        except (TypeError, ValueError) as error:
            raise type(error)(in_words_of_keras(error)) from None
        if not is_number(threshold) or not 0 < threshold < 1:
            raise ValueError(
                "DatasetIoU: expected threshold to be a probability between 0 and 1, also for"
                f" logits, got {threshold!r}"
            )
        if class_names is not None and len(class_names) != num_classes:
            raise ValueError(
                f"DatasetIoU: expected class_names to have {num_classes} names, got"
                f" {list(class_names)}"
            )
        self.num_classes = int(num_classes)
        self.classes = classes if isinstance(classes, str) else tuple(classes)
        self.ignore_class = ignore_class
        self.multilabel = multilabel
        self.threshold = float(threshold)
        self.from_logits = from_logits
        self.axis = axis
        self.class_names = None if class_names is None else tuple(class_names)
        self._chosen()  # told here if there are not so many classes
        # Hits, predicted, labelled and all pixels of each class.
        options = {"initializer": "zeros", "dtype": "int32"}
        self.low = self.add_variable(shape=(4, self.num_classes), name="low", **options)
        self.high = self.add_variable(shape=(4, self.num_classes), name="high", **options)
        self.invalid = self.add_variable(shape=(), name="invalid", **options)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Count the pixels of a batch.

        Args:
            y_true: labels.
            y_pred: scores or predicted classes.
            sample_weight: None; pixels are counted, and not weighted.
        """
        if sample_weight is not None:
            raise ValueError(
                "DatasetIoU: expected sample_weight=None, because pixels are counted (name the"
                " metric under metrics= and not under weighted_metrics=), got a weight"
            )
        counts, wrong = self._count(y_true, ops.convert_to_tensor(y_pred))
        low = self.low + counts
        carry = low // _WORD
        self.low.assign(low - carry * _WORD)
        self.high.assign(self.high + carry)
        self.invalid.assign(ops.minimum(self.invalid + wrong, _WORD))

    def by_class(self) -> Any:
        """IoU of each class, (C,); NaN for those that do not count."""
        low, high = (ops.cast(word, self.dtype) for word in self._words())
        hits, union, labelled, pixels = ops.unstack(high * _WORD + low, 4)
        iou = ops.where(union > 0, hits / ops.maximum(union, 1), 1.0)
        counting = (labelled if self.classes == "present" else pixels) > 0
        counting = counting & self._chosen()
        counting = counting & (ops.convert_to_tensor(self.invalid) == 0)
        return ops.where(counting, iou, float("nan"))

    def result(self) -> Any:
        """The mean over the classes that count, or with names a dict with their IoUs too."""
        by_class = self.by_class()
        counting = ~ops.isnan(by_class)
        total = ops.sum(ops.where(counting, by_class, 0.0))
        mean = total / ops.sum(ops.cast(counting, by_class.dtype))  # 0 / 0: nothing counts
        if self.class_names is None:
            return mean
        each = {
            f"{self.name}_{name}": by_class[index] for index, name in enumerate(self.class_names)
        }
        return {self.name: mean, **each}

    def get_config(self) -> dict[str, Any]:
        """What the metric is made from."""
        names = ["num_classes", "classes", "ignore_class", "multilabel", "threshold", "from_logits"]
        names += ["axis", "class_names"]
        own = {name: getattr(self, name) for name in names}
        lists = {name: list(value) for name, value in own.items() if isinstance(value, tuple)}
        return {**super().get_config(), **own, **lists}

    def _chosen(self) -> Any:
        """Which classes may count, (C,) bool."""
        first = 1 if self.classes == "foreground" else 0
        listed: Sequence[int] = range(first, self.num_classes)
        if not isinstance(self.classes, str):
            listed = self.classes
        if max(listed, default=0) >= self.num_classes:
            raise ValueError(
                f"DatasetIoU: expected classes to hold indices from 0 to {self.num_classes - 1},"
                f" got {list(listed)}"
            )
        return ops.convert_to_tensor([index in listed for index in range(self.num_classes)])

    def _words(self) -> tuple[Any, Any]:
        """Low and high words of hits, unions, labelled and all pixels, (4, C)."""

        def with_unions(word: Any) -> Any:
            hits, predicted, labelled, pixels = ops.unstack(ops.convert_to_tensor(word), 4)
            return ops.stack((hits, predicted + labelled - hits, labelled, pixels))

        return with_unions(self.low), with_unions(self.high)

    def _count(self, y_true: Any, y_pred: Any) -> tuple[Any, Any]:
        """Pixels as `low` and `high` hold them, (4, C) int32, and how many could not be counted."""
        predicted, labels, wrong = self._decided(y_true, y_pred)
        last = 1 if self.multilabel else self.num_classes - 1
        valid = ops.ones_like(labels, dtype="bool")
        if self.ignore_class is not None:
            valid = labels != self.ignore_class
        wrong = valid & (wrong | (labels < 0) | (labels > last) | (predicted > last))
        if functions.readable(wrong) and bool(ops.any(wrong)):
            self._complain(labels, predicted, wrong)
        used = valid & ~wrong
        if self.multilabel:
            found, true = used & (predicted == 1), used & (labels == 1)
            axes, kinds = tuple(range(len(labels.shape) - 1)), (found & true, found, true, used)
            sums = [ops.sum(ops.cast(kind, "int32"), axes) for kind in kinds]
        else:
            hit = used & (predicted == labels)
            sums = [
                self._histogram(ops.where(chosen, classes, self.num_classes))
                for chosen, classes in ((hit, labels), (used, predicted), (used, labels))
            ]
            sums.append(ops.broadcast_to(ops.sum(sums[2]), (self.num_classes,)))
        return ops.stack(sums), ops.sum(ops.cast(wrong, "int32"))

    def _decided(self, y_true: Any, y_pred: Any) -> tuple[Any, Any, Any]:
        """Predictions and labels of one shape and dtype, and where predictions are none."""
        scored = keras.backend.standardize_dtype(y_pred.dtype) in FLOATING
        none = (None, None)
        if self.multilabel:
            pixels = masks_of("DatasetIoU", y_true, y_pred, none, multilabel=True)
            self._check_number(pixels.scores.shape[-1])
        elif not scored or (self.num_classes == 2 and y_pred.shape[self.axis] == 1):
            pixels = masks_of("DatasetIoU", y_true, y_pred, none, multilabel=False)
        else:
            axis = (self.axis, self.ignore_class)
            pixels = classes_of("DatasetIoU", y_true, y_pred, none, *axis)
            self._check_number(pixels.scores.shape[self.axis])
            predicted = ops.argmax(pixels.scores, self.axis)
            wrong = ops.any(ops.isnan(pixels.scores), self.axis)
            return (
                ops.cast(predicted, functions.LABELS),
                ops.cast(pixels.labels, functions.LABELS),
                wrong,
            )
        predicted, labels = pixels.scores, ops.cast(pixels.labels, functions.LABELS)
        wrong = ops.zeros_like(labels, dtype="bool")
        if scored:
            wrong = self._unfit(pixels, labels)
            predicted = pixels.scores >= self._limit()
        return ops.cast(predicted, functions.LABELS), labels, wrong

    def _limit(self) -> float:
        """The score from which on a mask is predicted."""
        if not self.from_logits:
            return self.threshold
        return float(ops.log(self.threshold / (1 - self.threshold)))

    def _unfit(self, pixels: Pixels, labels: Any) -> Any:
        """Scores that cannot be compared with a threshold."""
        wrong = ops.isnan(pixels.scores)
        if self.from_logits:
            return wrong
        valid = labels != self.ignore_class if self.ignore_class is not None else ~wrong
        return wrong | beyond("DatasetIoU", pixels.scores, valid)

    def _histogram(self, classes: Any) -> Any:
        """How often each class is there; ``num_classes`` stands for none."""
        flat = ops.cast(ops.reshape(classes, (-1,)), "int32")
        number = self.num_classes + 1
        return ops.segment_sum(ops.ones_like(flat), flat, num_segments=number)[:-1]

    def _check_number(self, got: int) -> None:
        if got != self.num_classes:
            raise ValueError(
                f"DatasetIoU: expected y_pred with scores of {self.num_classes} classes, got {got}"
            )

    def _complain(self, labels: Any, predicted: Any, wrong: Any) -> None:
        """Raise for the first pixel that cannot be counted."""
        last = 1 if self.multilabel else self.num_classes - 1
        wrong, labels = ops.convert_to_numpy(wrong), ops.convert_to_numpy(labels)
        label, found = int(labels[wrong][0]), int(ops.convert_to_numpy(predicted)[wrong][0])
        more = f"(and {int(wrong.sum()) - 1} more that cannot be counted)"
        if not 0 <= label <= last:
            raise ValueError(
                f"DatasetIoU: expected every label to be in [0, {last}] or equal to"
                f" ignore_class={self.ignore_class}, got {label} {more}"
            )
        if found > last:
            raise ValueError(
                f"DatasetIoU: expected every predicted class to be in [0, {last}], got {found}"
                f" {more}"
            )
        raise ValueError(f"DatasetIoU: expected y_pred without NaN, got NaN {more}")
