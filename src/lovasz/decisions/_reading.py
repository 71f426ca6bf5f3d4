"""From logits and labels in any accepted form to those of one image after the other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lovasz.core.options import Options, Upsample
from lovasz.kernels.upsampling import at_target
from lovasz.losses._first_calls import LOOKED_AT
from lovasz.losses._inputs import prepare
from lovasz.losses._subclasses import plain

# Their scores may be probabilities, which they are told by an argument.
LOOKED_AT.update(("DecisionFit", "image_decision"))
# Numbers that differences of logits may be taken of.
_LARGEST = 1e30


class Reading(NamedTuple):
    """How scores are read."""

    name: str  # of the function, for sentences about wrong arguments
    num_classes: int | None  # None: as many as there are
    multilabel: bool
    from_logits: bool
    ignore_index: int | None = None
    upsample: Upsample | None = None
    align_corners: bool = False

    @property
    def scores_name(self) -> str:
        """What the scores are called."""
        return "logits" if self.from_logits else "probabilities"


class Image(NamedTuple):
    """One image, or points."""

    logits: Tensor  # (C, L) float32
    labels: Tensor | None  # (L,) int64, or of multilabel (C, L)
    kept: Tensor  # (L,) bool, or (C, L): which are not ignored


def images_of(reading: Reading, scores: Any, target: Any, ignore_mask: Any) -> Iterator[Image]:
    """Check scores and labels, and go through their images.

    Args:
        reading: how.
        scores: (N, C, *) or (P, C), and of one channel of multilabel also (N, *) and (P,).
        target: as the losses have it, but for soft labels; or None.
        ignore_mask: as the losses have it, or None.
    """
    name, scores = reading.name, plain(scores)
    if isinstance(scores, Tensor):
        scores = scores.detach()
        _check_classes(reading, tuple(scores.shape))
    labelled = target is not None
    target = plain(target) if labelled else _no_labels(reading, scores)
    if isinstance(target, list | tuple):
        raise TypeError(f"{name}: expected target to be a tensor, got {type(target).__name__}")
    options = Options(
        ignore_index=reading.ignore_index if labelled else None,
        ignore_mask=ignore_mask,
        upsample=reading.upsample if labelled else None,
        align_corners=labelled and reading.align_corners,
        multilabel=_has_channels(reading, scores),
    )
    link = "sigmoid" if reading.multilabel else "softmax"
    inputs = prepare(name, reading.scores_name, link, scores, target, options)
    labels = inputs.target
    hard = not labels.is_floating_point()
    if not hard and not (reading.multilabel and bool(((labels == 0) | (labels == 1)).all())):
        wanted = "zeros and ones" if reading.multilabel else "class indices"
        raise TypeError(f"{name}: expected target of {wanted}, got soft labels")
    labels = labels.to(torch.int64) if labelled else labels
    kept = torch.ones_like(labels, dtype=torch.bool)
    if inputs.ignore_index is not None:
        kept = labels != inputs.ignore_index
    if inputs.pixel_weight is not None:
        kept = kept & (inputs.pixel_weight > 0)
    if labelled:
        _check_labels(reading, inputs.scores.shape[1], labels, kept)
    for index in range(len(labels)):
        of_image = at_target(inputs.scores[index : index + 1], inputs.upsample, inputs.size)[0]
        yield Image(
            _as_logits(reading, of_image, kept[index]),
            labels[index] if labelled else None,
            kept[index],
        )


def _check_classes(reading: Reading, shape: tuple[int, ...]) -> None:
    """As many as were announced, on axis 1."""
    classes = reading.num_classes
    if classes is None or (classes == 1 and (len(shape) < 2 or shape[1] != 1)):
        return
    if len(shape) < 2 or shape[1] != classes:
        raise ValueError(
            f"{reading.name}: expected {reading.scores_name} of shape (N, {classes}, *) or"
            f" (P, {classes}), got {shape}"
        )


def _has_channels(reading: Reading, scores: Any) -> bool | None:
    """Whether axis 1 holds channels, for the layout of multilabel scores."""
    if not reading.multilabel or not isinstance(scores, Tensor):
        return None
    several = reading.num_classes is None or reading.num_classes > 1
    return several or (scores.dim() > 1 and scores.shape[1] == 1)


def _no_labels(reading: Reading, scores: Any) -> Any:
    """Something in the place of labels where there are none."""
    if not isinstance(scores, Tensor):
        return torch.zeros(0)
    shape = scores.shape if reading.multilabel else (*scores.shape[:1], *scores.shape[2:])
    return torch.zeros(shape, dtype=torch.uint8, device=scores.device)


def _check_labels(reading: Reading, classes: int, labels: Tensor, kept: Tensor) -> None:
    """Those that count are of a class."""
    last = 1 if reading.multilabel else classes - 1
    wrong = kept & ((labels < 0) | (labels > last))
    if bool(wrong.any()):
        raise ValueError(
            f"{reading.name}: expected every label of target to be from 0 to {last} or equal to"
            f" ignore_index={reading.ignore_index}, got {int(labels[wrong][0])}"
            f" (and {int(wrong.sum()) - 1} more outside)"
        )


def _as_logits(reading: Reading, scores: Tensor, kept: Tensor) -> Tensor:
    """Scores (C, L) that are numbers, as logits in float32."""
    scores = scores.to(torch.float32)
    # Of NaN neither is true.
    least, most = (-_LARGEST, _LARGEST) if reading.from_logits else (0, 1)
    usual = scores.numel() == 0 or bool((least <= scores.amin()) & (scores.amax() <= most))
    if usual and reading.from_logits:
        return scores
    if not usual:
        _check_used(reading, scores, kept)
    if not reading.from_logits:
        scores = scores.logit() if reading.multilabel else scores.log()
    return scores.nan_to_num(nan=0.0, posinf=_LARGEST, neginf=-_LARGEST)


def _check_used(reading: Reading, scores: Tensor, kept: Tensor) -> None:
    """Those that count are numbers, and probabilities where they are said to be."""
    used = scores[kept] if reading.multilabel else scores[:, kept]
    if bool(used.isnan().any()):
        raise ValueError(
            f"{reading.name}: expected {reading.scores_name} without NaN, got"
            f" {int(used.isnan().sum())} of {used.numel()} that are NaN"
        )
    if not reading.from_logits:
        outside = (used < 0) | (used > 1)
        if bool(outside.any()):
            raise ValueError(
                f"{reading.name}: expected probabilities in [0, 1] with from_logits=False, got"
                f" {float(used[outside][0]):g}; of logits leave from_logits=False out"
            )
