"""What the metrics share: their options, counting, and the mean over classes."""

from __future__ import annotations

import numbers
import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from torch import Tensor

from lovasz.core.options import (
    Upsample,
    check_choice,
    check_classes,
    check_flags,
    check_upsample,
    is_integer,
    is_number,
)
from lovasz.kernels.precision import float64_device
from lovasz.losses._classes import class_mask
from lovasz.losses._ignored_masks import warn_of_ignored_masks
from lovasz.metrics.counting import clouds, confusion, score_of
from lovasz.metrics.reading import Reading, read, readable

try:
    from torchmetrics import Metric
except ImportError as error:
    raise ImportError(
        "lovasz.metrics: expected torchmetrics to be installed (pip install 'torchmetrics>=1.6'),"
        f" got: {error}"
    ) from error

Score = Literal["iou", "dice", "accuracy", "precision", "recall"]
Classes = Literal["present", "all", "foreground"] | Sequence[int] | None
Present = Literal["target", "union"] | None
Average = Literal["macro", "micro", "weighted"]
Reduction = Literal["mean", "none"]


class Counts(Metric):
    """Options and counting that the metrics share."""

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    plot_lower_bound = 0.0
    plot_upper_bound = 1.0
    per_image = False  # whether the counts are those of each image

    # For type checkers alone: torch.jit.script reads annotations, and not those of this kind.
    if TYPE_CHECKING:
        num_classes: int
        score: str
        classes: str | Sequence[int]
        present_in: str | None
        average: str
        reduction: str
        ignore_index: int | Sequence[int] | None
        multilabel: bool
        threshold: float
        from_logits: bool
        upsample: Upsample | None
        align_corners: bool
        invalid: Tensor
        counted_by: Tensor

    def __init__(
        self,
        num_classes: int,
        score: str,
        *,
        classes: Any,
        present_in: Any,
        average: str,
        reduction: str,
        ignore_index: Any,
        multilabel: bool,
        threshold: float,
        from_logits: bool,
        upsample: Any,
        align_corners: bool,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        name = type(self).__name__
        check_flags(name, multilabel=multilabel, from_logits=from_logits)
        _check_num_classes(name, num_classes, multilabel)
        check_choice(name, "score", score, get_args(Score))
        classes = classes if classes is not None else "all" if multilabel else "present"
        check_classes(name, classes)
        class_mask(name, classes, num_classes, torch.device("cpu"))
        if present_in is not None:
            check_choice(name, "present_in", present_in, ("target", "union"))
        elif classes == "present":
            present_in = "target"
        check_choice(name, "average", average, get_args(Average))
        check_choice(name, "reduction", reduction, get_args(Reduction))
        _check_threshold(name, threshold, num_classes, multilabel)
        check_upsample(name, upsample, align_corners)
        self.num_classes = num_classes
        self.score = score
        self.classes = classes
        self.present_in = present_in
        self.average = average
        self.reduction = reduction
        self.ignore_index = ignore_index
        self.multilabel = multilabel
        self.threshold = float(threshold)
        self.from_logits = from_logits
        self.upsample = upsample
        self.align_corners = align_corners
        ignored = _ignored(name, ignore_index, multilabel)
        self._reading = Reading(
            name, num_classes, ignored, multilabel, self.threshold, from_logits, upsample,
            align_corners,
        )  # fmt: skip
        # A collection shares counts between metrics whose states are equal after one update, which
        # they may be by chance, and up to torchmetrics 1.7 looks at the first state alone: how and
        # what they count comes first.
        bits = zlib.crc32(repr((self.per_image, *self._reading[1:])).encode())
        state = torch.tensor([bits >> place & 1 for place in range(32)])
        self.add_state("counted_by", state, dist_reduce_fx="max")
        # On the CPU such pixels raise; elsewhere that would wait for the device.
        self.add_state("invalid", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def set_dtype(self, dst_type: str | torch.dtype) -> Counts:
        """Counts stay integers: torchmetrics would round them too."""
        return self

    def plot(self, val: Tensor | Sequence[Tensor] | None = None, ax: Any = None) -> Any:
        """Plot the value, or one value for each class or image, or several over time.

        Args:
            val: what `compute` or `forward` has returned, or a list of these. None: `compute`.
            ax: axes of matplotlib to draw on. None: new ones.

        Returns:
            The figure, None if ``ax`` is given, and the axes.
        """
        axes: Any  # of matplotlib, which need not be there
        figure, axes = self._plot(val, ax)
        name = type(self).__name__
        axes.set_ylabel(name if name.endswith("IoU") else f"{name} ({self.score})")
        return figure, axes

    def count(
        self,
        prediction: Any,
        target: Any,
        ignore_mask: Any,
        offsets: Any = None,
        batch_index: Any = None,
        batch_size: Any = None,
    ) -> Tensor:
        """Confusion counts of each image or cloud and class, (N, C, 4) int64."""
        pixels = read(self._reading, prediction, target, ignore_mask)
        ignored = self._reading.ignored
        binary = self.multilabel or self.num_classes == 2
        if binary and len(ignored) == 1 and readable(pixels.truth):
            warn_of_ignored_masks(self._reading.name, pixels.truth, ignored[0], stacklevel=5)
        groups = clouds(self._reading.name, pixels, offsets, batch_index, batch_size)
        counts, invalid = confusion(self._reading, pixels, groups)
        self.invalid += invalid
        return counts

    def by_class(self, counts: Tensor) -> Tensor:
        """Scores of (…, C, 4) counts in float64, (…, C), NaN where a class does not count."""
        counts = counts.to(float64_device(counts.device))
        return self._scores(counts, self._chosen(counts.device))

    def averaged(self, counts: Tensor) -> Tensor:
        """Their mean over the classes, (…)."""
        if self.average == "macro":
            return self.by_class(counts).nanmean(-1)
        if self.average == "weighted":
            scores = self.by_class(counts)
            active = ~scores.isnan()
            support = (counts[..., 0] + counts[..., 2]).to(scores.device).double() * active
            total = torch.where(active, scores, 0.0) * support
            return total.sum(-1) / support.sum(-1)  # 0 / 0 is NaN: nothing counts
        counts = counts.to(float64_device(counts.device))
        pooled = (counts * self._chosen(counts.device).unsqueeze(-1)).sum(-2)
        return self._scores(pooled, None)

    def settle(self, values: Tensor) -> Tensor:
        """NaN for all if a pixel did not fit."""
        return torch.where((self.invalid > 0).to(values.device), torch.nan, values)

    def _chosen(self, device: torch.device) -> Tensor:
        """Which classes may count, (C,) bool."""
        mask = class_mask(self._reading.name, self.classes, self.num_classes, device)
        if mask is not None:
            return mask
        mask = torch.ones(self.num_classes, dtype=torch.bool, device=device)
        if self.classes == "present" and not self.multilabel:
            for label in self._reading.ignored:  # no pixel can be of them
                if 0 <= label < self.num_classes:
                    mask[label : label + 1] = False
        return mask

    def _scores(self, counts: Tensor, chosen: Tensor | None) -> Tensor:
        """Scores of (…, 4) counts, NaN where they do not count."""
        hits, false, missed, _ = counts.unbind(-1)
        # A group that has no pixel at all counts for nothing.
        pixels = {None: counts.sum(-1), "target": hits + missed, "union": hits + false + missed}
        active = pixels[self.present_in] > 0
        active = active if chosen is None else active & chosen
        scores = score_of(self.score, counts, multilabel=self.multilabel)
        return torch.where(active, scores, torch.nan)


def _check_num_classes(name: str, num_classes: Any, multilabel: bool) -> None:
    if not isinstance(num_classes, numbers.Integral) or num_classes < 1:
        raise ValueError(
            f"{name}: expected num_classes to be a positive integer, got {num_classes!r}"
        )
    if num_classes == 1 and not multilabel:
        raise ValueError(
            f"{name}: expected num_classes of 2 or more, because every pixel is of the one class,"
            " got 1; for one mask pass multilabel=True"
        )


def _check_threshold(name: str, threshold: Any, num_classes: int, multilabel: bool) -> None:
    if not is_number(threshold):
        raise TypeError(f"{name}: expected threshold to be a number, got {threshold!r}")
    if not 0 < threshold < 1:
        raise ValueError(
            f"{name}: expected threshold to be a probability between 0 and 1, also for logits,"
            f" got {threshold!r}"
        )
    if threshold != 0.5 and not multilabel and num_classes > 2:
        raise ValueError(
            f"{name}: expected threshold=0.5 where the largest of {num_classes} scores decides, got"
            f" {threshold!r}; for masks pass multilabel=True"
        )


def _ignored(name: str, ignore_index: Any, multilabel: bool) -> tuple[int, ...]:
    """The ignored labels, sorted."""
    several = isinstance(ignore_index, Sequence) and not isinstance(ignore_index, str)
    labels: list[Any] = (
        list(ignore_index) if several else [] if ignore_index is None else [ignore_index]
    )
    if not all(is_integer(label) for label in labels):
        raise TypeError(
            f"{name}: expected ignore_index to be an integer or None, or several integers, got"
            f" {ignore_index!r}"
        )
    if multilabel and not {0, 1}.isdisjoint(labels):
        raise ValueError(
            f"{name}: expected ignore_index to be neither 0 nor 1, which are labels with"
            f" multilabel=True, got {ignore_index!r}"
        )
    return tuple(sorted({int(label) for label in labels}))
