"""Fitting a decision: one pass over logits and labels, in memory that does not grow."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, distributed

from lovasz.core.options import (
    Classes,
    Upsample,
    check_at_least,
    check_classes,
    check_flags,
    check_ignore_index,
    check_upsample,
)
from lovasz.core.set_functions import SetFunction, jaccard
from lovasz.decisions._offsets import Pixels, fit_offsets
from lovasz.decisions._reading import Image, Reading, images_of
from lovasz.decisions._sample import Sample, group_of, of_part
from lovasz.decisions._scores import GROUPS, Gain, Goal, gain_of
from lovasz.decisions._thresholds import Thresholds, best_edges, count_part, offsets_of
from lovasz.decisions.decision import Decision
from lovasz.losses._classes import class_mask
from lovasz.losses._inputs import check_set_function
from lovasz.losses.distributed import Group, check_group, ranks_of

__all__ = ["DecisionFit"]

# So many more pixels than are kept lie around before they are sorted out.
_SPARE = 2


class DecisionFit:
    r"""Finds the `Decision` with the highest score over a data set, from its logits and labels.

    The score is the mean over the classes of 1 − Δ(fn, fp; G), with the pixels of the data set
    counted together: with the Jaccard loss for Δ, the default, it is the mean IoU that is reported.
    Argmax is the right decision for the number of right pixels, and for other scores it is not.

    Feed it batch by batch, in a loop under `torch.no_grad`, with images that the network was not
    trained on: the validation part. It goes through them once. Each class in turn gets the best of
    all offsets, until that gains nothing more; argmax is what it begins with, and the score of
    the fitted decision on what it was fitted to is no less than that of argmax.

    With classes that exclude each other it is fitted to a sample of ``max_pixels`` pixels (to all
    of them, as long as there are no more), in which a pixel stands for others with the same label
    and the same best other class. With ``multilabel`` it is fitted to counts of all pixels, by
    thresholds at logits in steps of 1/32. Both depend on the images alone, not on batches, their
    order or processes, so that the decision is the same to the bit; and they take the same memory
    for any number of images. Offsets are at most 10.

    The gain is measured on images that the offsets were not fitted to: those of either half are
    decided by offsets that were fitted to the other half. Its interval comes from leaving out one
    of 16 groups of images at a time; `Decision.within_noise` says whether it reaches down to 0.

    Without any labels (``update(logits)``) counts are expected ones: of each class a pixel is as
    much as its probability. That asks for probabilities that are right on average.

    Args:
        num_classes: C, 2 or more, or with ``multilabel`` 1 or more.
        set_function: Δ, `lovasz.jaccard` for the IoU, ``lovasz.dice(accept_nonconvex=True)``,
            ``lovasz.tversky(alpha, beta)``, or any other callable of that form.
        classes: which classes the mean goes over: "present" for those with a pixel in the labels,
            "all", "foreground", or a list. None: "present", and with ``multilabel`` "all".
        ignore_index: label of pixels to leave out, or None.
        multilabel: whether every channel has zeros and ones of its own as labels.
        from_logits: False: scores are probabilities.
        upsample: as for the losses: "bilinear" and so on for logits of another resolution than the
            labels. None: they have the same.
        align_corners: as for the losses; not without ``upsample``.
        max_pixels: how many pixels are kept, C + 4 numbers each; not used with ``multilabel``.
        process_group: "world" or a group of `torch.distributed`, whose processes feed a share of
            the images each and call `compute` together. None: this process alone.

    Raises:
        TypeError: for arguments of a wrong type.
        ValueError: for arguments of a wrong value.

    Examples:
        >>> import torch
        >>> fit = DecisionFit(2)
        >>> logits = torch.tensor([[2.0, 0.0], [2.0, 0.0], [2.0, 1.5], [0.0, 2.0]])  # four points
        >>> fit.update(logits, torch.tensor([0, 0, 1, 1]))
        >>> decision = fit.compute()
        >>> decision(logits).tolist()  # of argmax: 0, 0, 0, 1
        [0, 0, 1, 1]

    References:
        Nowozin, *Optimal decisions from probabilistic models: the intersection-over-union case*,
        CVPR 2014; Lipton, Elkan, Narayanaswamy, *Optimal thresholding of classifiers to maximize F1
        measure*, ECML 2014, arXiv 1402.1892.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        set_function: SetFunction = jaccard,
        classes: Classes | None = None,
        ignore_index: int | None = None,
        multilabel: bool = False,
        from_logits: bool = True,
        upsample: Upsample | None = None,
        align_corners: bool = False,
        max_pixels: int = 2**17,
        process_group: Group = None,
    ) -> None:
        name = type(self).__name__
        check_flags(name, multilabel=multilabel, from_logits=from_logits)
        check_at_least(name, "num_classes", num_classes, 1 if multilabel else 2)
        check_set_function(name, set_function)
        classes = classes if classes is not None else "all" if multilabel else "present"
        check_classes(name, classes)
        check_ignore_index(name, ignore_index)
        if multilabel and ignore_index in (0, 1):
            raise ValueError(
                f"{name}: expected ignore_index to be neither 0 nor 1, which are labels with"
                f" multilabel=True, got {ignore_index}"
            )
        check_upsample(name, upsample, align_corners)
        check_at_least(name, "max_pixels", max_pixels, 1)
        check_group(name, process_group, per_image=False)
        chosen = class_mask(name, classes, num_classes, torch.device("cpu"))
        self.goal = Goal(set_function, chosen, classes == "present")
        self.reading = Reading(
            name, num_classes, multilabel, from_logits, ignore_index, upsample, align_corners
        )
        self.max_pixels = max_pixels
        self.process_group: Group = process_group
        self.reset()

    def reset(self) -> None:
        """Forget all images."""
        self._labelled: bool | None = None
        self._seen = self._nothing()

    def update(self, logits: Tensor, target: Any = None, *, ignore_mask: Any = None) -> None:
        """Add the images of a batch.

        Args:
            logits: (N, C, *) or (P, C) for the points of one image, any floating dtype and layout;
                with one channel of ``multilabel`` also (N, *) or (P,).
            target: labels, in any form that the losses take but soft ones: class indices (N, *) or
                (P,), or with ``multilabel`` zeros and ones of the shape of the logits. None: there
                are no labels, in any batch.
            ignore_mask: True for pixels to leave out, of the shape of the target; or None.

        Raises:
            TypeError: for arguments of a wrong type or dtype.
            ValueError: for shapes and labels that do not fit, NaN among the logits, and labels in
                some batches alone.
        """
        with torch.no_grad():
            images = list(self._read(logits, target, ignore_mask))
            for image in images:
                self._add([image])
        self._labelled = target is not None

    def update_parts(self, parts: Iterable[tuple[Tensor, Any]]) -> None:
        """Add one image whose logits come in parts, for example window by window.

        That is for images whose logits need too much memory to be there at once. The pixels of all
        parts are those of one image: they are in the same half, and in the same group. Parts of an
        image must have the same order and the same sizes each time, for the same decision.

        Args:
            parts: pairs of logits (1, C, *) or (P, C) and their labels (1, *) or (P,), as for
                `update`, or None in the place of the labels; taken one after the other. If there
                is an error in one of them, none of the image counts.

        Raises:
            TypeError: as `update`.
            ValueError: as `update`, and for a part of several images.
        """
        before = self._labelled

        def images() -> Iterable[Image]:
            for logits, target in parts:
                found = list(self._read(logits, target, None))
                if len(found) != 1:
                    raise ValueError(
                        f"{self.reading.name}: expected {self.reading.scores_name} of one image in"
                        f" each part, got {len(found)}"
                    )
                self._labelled = target is not None
                yield found[0]

        try:
            with torch.no_grad():
                self._add(images())
        except BaseException:
            self._labelled = before
            raise

    def compute(self) -> Decision:
        """The decision that is best on all images so far, on the CPU.

        Raises:
            ValueError: without any pixel that is not ignored.
        """
        seen, labelled = self._gathered()
        reading = self.reading
        assert reading.num_classes is not None
        decision = Decision(
            reading.num_classes,
            multilabel=reading.multilabel,
            from_logits=reading.from_logits,
            upsample=reading.upsample,
            align_corners=reading.align_corners,
        )
        if int(seen.counts.sum()) == 0:
            raise ValueError(
                f"{reading.name}: expected pixels that are not ignored before compute, got none in"
                f" {seen.images} images"
            )
        fitted = _by_thresholds if isinstance(seen, Thresholds) else _by_offsets
        offsets, scores, gain = fitted(seen, self.goal, labelled)  # type: ignore[arg-type]
        decision.offsets.copy_(offsets)
        decision.statistics.copy_(torch.tensor([*scores, *gain]))
        return decision

    def _nothing(self) -> Sample | Thresholds:
        """Of no image."""
        classes = self.reading.num_classes
        assert classes is not None
        return Thresholds.empty(classes) if self.reading.multilabel else Sample.empty(classes)

    def _read(self, logits: Tensor, target: Any, ignore_mask: Any) -> Iterable[Image]:
        """Images of logits and labels, if there are labels as before."""
        labelled = target is not None
        if self._labelled not in (None, labelled):
            raise ValueError(
                f"{self.reading.name}: expected target in all batches or in none, got"
                f" {'one after batches without' if labelled else 'none after batches with one'}"
            )
        return images_of(self.reading, logits, target, ignore_mask)

    def _add(self, parts: Iterable[Image]) -> None:
        """Add one image, of whose pixels each part has some."""
        whole: Sample | Thresholds | None = None
        first, content = 0, torch.zeros((), dtype=torch.int64)
        for part in parts:
            found, added = self._counted(part, first)
            whole = found if whole is None else self._joined(whole, found)
            content, first = content + added.cpu(), first + part.kept.numel()
        if whole is None:
            whole = self._nothing()
        self._seen = self._joined(self._seen, whole.in_group(group_of(content)))

    def _counted(self, part: Image, first: int) -> tuple[Sample | Thresholds, Tensor]:
        """Of an image or a part of it, and what is added to the sum that says its group."""
        if self.reading.multilabel:
            return count_part(part.logits, part.labels, part.kept, first)
        places = part.kept.nonzero().flatten()
        labels = None if part.labels is None else part.labels[places]
        sample, content = of_part(part.logits[:, places], labels, places, first)
        if len(sample.key) > self.max_pixels:
            sample = sample.cut(self.max_pixels)
        return sample, content

    def _joined(self, seen: Any, more: Any) -> Sample | Thresholds:
        """Both, without what there is no room for."""
        both: Sample | Thresholds = seen.joined(more)
        if isinstance(both, Sample) and len(both.key) > _SPARE * self.max_pixels:
            both = both.cut(self.max_pixels)
        return both

    def _gathered(self) -> tuple[Sample | Thresholds, bool]:
        """What all processes have seen, and whether there were labels."""
        seen, labelled = self._seen, self._labelled
        ranks = ranks_of(self.process_group)
        if ranks is not None:
            parts: list[Any] = [None] * ranks.size
            distributed.all_gather_object(parts, (seen, labelled), group=ranks.group)
            known = {found for _, found in parts if found is not None}
            if len(known) > 1:
                raise ValueError(
                    f"{self.reading.name}: expected target in the batches of all processes or of"
                    " none, got it in some"
                )
            seen, labelled = parts[0][0], bool(known and known.pop())
            for part, _ in parts[1:]:
                seen = seen.joined(part)
        if isinstance(seen, Sample):
            seen = seen.cut(self.max_pixels)
        return seen, bool(labelled)


Fitted = tuple[Tensor, list[float], Gain]


def _by_offsets(sample: Sample, goal: Goal, labelled: bool) -> Fitted:
    """Offsets, scores of argmax and with them, and the gain on other images."""
    labels = sample.labels if labelled else None
    scores = sample.scores.t().contiguous()
    pixels = Pixels.of(scores, labels, sample.weight(), sample.group)
    offsets = fit_offsets(pixels, goal)
    argmax = pixels.decided(torch.zeros_like(offsets))
    counts = [pixels.counts(found) for found in (argmax, pixels.decided(offsets))]
    crossed, half = argmax.clone(), pixels.group % 2 == 0
    for mine in (half, ~half):
        others = fit_offsets(pixels.part(~mine), goal)
        crossed[mine] = pixels.part(mine).decided(others)
    tables = [pixels.counts_by_group(found) for found in (argmax, crossed)]
    return offsets, [float(goal(table)) for table in counts], gain_of(goal, *tables)


def _by_thresholds(seen: Thresholds, goal: Goal, labelled: bool) -> Fitted:
    """The same for every channel by itself."""
    by_edge = seen.by_edge(labelled=labelled)  # (G, C, E, 3)
    channels = torch.arange(by_edge.shape[1])

    def counts(groups: Tensor, edges: Tensor) -> Tensor:
        return by_edge[groups][:, channels, edges]

    everything = torch.arange(GROUPS)
    edges = best_edges(by_edge.sum(0), goal)
    half = torch.full_like(edges, by_edge.shape[2] // 2)  # a probability of 1/2
    scores = [float(goal(counts(everything, at).sum(0))) for at in (half, edges)]
    crossed = counts(everything, half).clone()
    for mine in (everything[::2], everything[1::2]):
        others = everything[(everything % 2) != mine[0] % 2]
        crossed[mine] = counts(mine, best_edges(by_edge[others].sum(0), goal))
    return offsets_of(edges), scores, gain_of(goal, counts(everything, half), crossed)
