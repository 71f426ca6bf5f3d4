"""From logits to labels by fitted offsets, at the cost of an argmax."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lovasz.core.options import Upsample, check_at_least, check_flags, check_upsample
from lovasz.core.shapes import check_floating
from lovasz.core.upsampling import LINEAR_MODES, NEAREST
from lovasz.losses._subclasses import plain
from lovasz.losses._tracing import is_traced
from lovasz.predictions import argmax, upsampled_argmax

__all__ = ["Decision"]

# Scores that are shifted at a time: what is shifted stays in the caches.
_CHUNK = 2**20
_STATISTICS = ("before", "after", "gain", "low", "high")


class Decision(nn.Module):
    r"""Labels of logits by an offset for each class, which `DecisionFit` finds.

    $$
    y_p = \arg\max_c\, (z_{pc} + t_c), \qquad \text{with multilabel} \quad
    y_{pc} = [z_{pc} + t_c > 0]
    $$

    where z are the logits, or with ``upsample`` the interpolated ones. An offset $t_c$ multiplies
    the probability of a class by $e^{t_c}$, so the offsets can as well be added to the bias of the
    layer that makes the logits. Without a fit they are 0, and the decision is argmax, or a
    probability of more than 1/2.

    Offsets and what the fit has found are buffers: they are saved with the ``state_dict``, copied
    and moved with the module, and stay in float32 whatever the dtype of the module.

    Args:
        num_classes: C, 2 or more, or with ``multilabel`` 1 or more.
        multilabel: whether every channel is decided by itself.
        from_logits: False: scores are probabilities.
        upsample: how scores of another resolution are interpolated, as in `upsampled_argmax`. None:
            by the linear mode for as many axes.
        align_corners: as in `upsampled_argmax`; not without ``upsample``.

    Attributes:
        offsets: (C,) float32, $t_c$.

    Shape:
        - logits: (N, C, *) or (P, C), any floating dtype, layout and device; C = 1 with
          ``multilabel`` also (N, *) or (P,), if ``size`` is not passed.
        - output: class indices (N, *) or (P,), and with ``multilabel`` zeros and ones of the shape
          of the logits; -1 (255 as uint8) where a score is NaN.

    Raises:
        TypeError: for arguments of a wrong type.
        ValueError: for arguments of a wrong value.

    Examples:
        >>> import torch
        >>> decision = Decision(2)
        >>> logits = torch.tensor([[1.0, 0.0], [1.0, 0.9]])  # two points
        >>> decision(logits).tolist()
        [0, 0]
        >>> _ = decision.offsets.copy_(torch.tensor([0.0, 0.5]))
        >>> decision(logits).tolist()
        [0, 1]
    """

    offsets: Tensor
    statistics: Tensor

    def __init__(
        self,
        num_classes: int,
        *,
        multilabel: bool = False,
        from_logits: bool = True,
        upsample: Upsample | None = None,
        align_corners: bool = False,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        check_flags(name, multilabel=multilabel, from_logits=from_logits)
        check_at_least(name, "num_classes", num_classes, 1 if multilabel else 2)
        check_upsample(name, upsample, align_corners)
        self.num_classes = int(num_classes)
        self.multilabel = multilabel
        self.from_logits = from_logits
        self.upsample: Upsample | None = upsample
        self.align_corners = align_corners
        self.register_buffer("offsets", torch.zeros(num_classes, dtype=torch.float32))
        self.register_buffer(
            "statistics", torch.full((len(_STATISTICS),), math.nan, dtype=torch.float32)
        )

    @property
    def score_of_argmax(self) -> float:
        """Mean score of argmax on what the decision was fitted to; NaN without a fit."""
        return self._statistic("before")

    @property
    def score(self) -> float:
        """Mean score of the decision on what it was fitted to: no less than that of argmax."""
        return self._statistic("after")

    @property
    def gain(self) -> float:
        """Gain over argmax on images that the offsets were not fitted to (two-fold)."""
        return self._statistic("gain")

    @property
    def interval(self) -> tuple[float, float]:
        """95 % confidence interval of the gain, over images."""
        return self._statistic("low"), self._statistic("high")

    @property
    def within_noise(self) -> bool:
        """Whether the gain may be due to the choice of images: the interval reaches down to 0."""
        return not self.interval[0] > 0

    def forward(
        self, logits: Tensor, size: Sequence[int] | None = None, dtype: torch.dtype = torch.int64
    ) -> Tensor:
        """Labels, without gradient.

        Args:
            logits: or probabilities, as said by ``from_logits``; see above for the shape.
            size: of the labels, one integer for each spatial axis. None: that of the logits.
            dtype: torch.int64, or torch.uint8 for up to 255 classes.
        """
        scores = self._checked(logits, dtype)
        if size is not None and tuple(size) != tuple(scores.shape[2:]):
            return self._upsampled(scores, size, dtype)
        if self.multilabel:
            return _above(scores, self._threshold(scores), dtype)
        return _largest(scores, self._shift(scores), dtype, multiply=not self.from_logits)

    def extra_repr(self) -> str:
        """The scores, and whether the gain is more than noise."""
        kind = f"{self.num_classes} {'channels' if self.multilabel else 'classes'}"
        if math.isnan(self.score):
            return f"{kind}, not fitted"
        low, high = self.interval
        noise = ", within noise" if self.within_noise else ""
        return (
            f"{kind}, score {self.score_of_argmax:.4f} -> {self.score:.4f} where fitted,"
            f" {self.gain:+.4f} ({low:+.4f} to {high:+.4f}{noise}) on other images"
        )

    def _statistic(self, name: str) -> float:
        return float(self.statistics[_STATISTICS.index(name)])

    def _checked(self, logits: Any, dtype: Any) -> Tensor:
        """Scores (N, C, *) or (P, C), or of one channel of multilabel as they are."""
        name, classes = type(self).__name__, self.num_classes
        if not isinstance(logits, Tensor):
            raise TypeError(f"{name}: expected logits to be a tensor, got {type(logits).__name__}")
        check_floating(name, "logits", logits)
        shape = tuple(logits.shape)
        one = self.multilabel and classes == 1 and len(shape) > 0
        if not one and (len(shape) < 2 or shape[1] != classes):
            raise ValueError(
                f"{name}: expected logits of shape (N, {classes}, *) or (P, {classes}), got {shape}"
            )
        if dtype not in (torch.int64, torch.uint8):
            raise TypeError(
                f"{name}: expected dtype to be torch.int64 or torch.uint8, got {dtype!r}"
            )
        if dtype == torch.uint8 and not self.multilabel and classes > 255:
            raise ValueError(
                f"{name}: expected dtype to be torch.int64 for more than 255 classes, got {dtype}"
                f" for {classes}"
            )
        scores: Tensor = plain(logits).detach()
        return scores

    def _shift(self, scores: Tensor) -> Tensor:
        """What is added to the logits, or what probabilities are multiplied by, for (N, C, *)."""
        offsets = self.offsets.to(torch.promote_types(scores.dtype, torch.float32))
        offsets = offsets if self.from_logits else offsets.exp()
        return offsets.view(-1, *[1] * (scores.dim() - 2))

    def _threshold(self, scores: Tensor) -> Tensor:
        """What scores of multilabel have to be above."""
        threshold = -self.offsets if self.from_logits else (-self.offsets).sigmoid()
        if self.num_classes == 1:
            return threshold  # of one axis: a number without one would be rounded to 16 bits
        return threshold.view(-1, *[1] * (scores.dim() - 2))

    def _upsampled(self, scores: Tensor, size: Sequence[int], dtype: torch.dtype) -> Tensor:
        """Labels at another resolution: shifted before, which is the same and less work."""
        axes = scores.dim() - 2
        upsample = self.upsample or LINEAR_MODES.get(axes, "nearest")
        options: dict[str, Any] = {"upsample": upsample, "align_corners": self.align_corners}
        if not self.multilabel:
            shift = self._shift(scores)
            shifted = scores + shift if self.from_logits else scores * shift
            return upsampled_argmax(shifted, size, dtype=dtype, **options)
        # The larger of 0 and what a score is above the threshold: nothing is stored enlarged.
        wide = scores.to(torch.promote_types(scores.dtype, torch.float32))
        margin = (wide - self._threshold(wide)).flatten(0, 1)
        two = torch.stack((torch.zeros_like(margin), margin), dim=1)
        labels = upsampled_argmax(two, size, dtype=dtype, **options)
        return labels.view(*scores.shape[:2], *size)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Decision:
        """Move with the module, the buffers keeping their dtype."""
        kept = dict(self._buffers)
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for name, buffer in kept.items():
            moved = self._buffers[name]
            if buffer is not None and moved is not None and moved.dtype != buffer.dtype:
                self._buffers[name] = buffer.to(moved.device)
        return self


def _above(scores: Tensor, threshold: Tensor, dtype: torch.dtype) -> Tensor:
    """1 above the threshold, 0 below, and -1 (255 as uint8) where a score is NaN."""
    above = (scores > threshold).to(dtype)
    # A sum takes less than a comparison. It is NaN too if there are infinite scores of both signs.
    if scores.device.type == "cpu" and not is_traced() and not bool(scores.sum().isnan()):
        return above
    return above.masked_fill_(scores.isnan(), -1 if dtype == torch.int64 else 255)


def _largest(scores: Tensor, shift: Tensor, dtype: torch.dtype, *, multiply: bool) -> Tensor:
    """The class with the largest shifted score of (N, C, *).

    Args:
        scores: (N, C, *) or (P, C).
        shift: (C, 1, ...), to add or to multiply by.
        dtype: of the labels.
        multiply: which of the two.
    """
    shifted = torch.mul if multiply else torch.add
    chunked = scores.device.type == "cpu" and scores.dim() > 2 and scores.numel() > _CHUNK
    if not chunked or is_traced():
        return argmax(shifted(scores, shift), dtype)
    images, classes = scores.shape[:2]
    flat, shift = scores.flatten(2), shift.view(-1, 1)
    length = flat.shape[2]
    labels = torch.empty((images, length), dtype=dtype)
    step = max(1, min(length, _CHUNK // classes))
    # Of the layout of the scores; written again and again.
    first = flat[:1, :, :step]
    memory = torch.empty_like(first, dtype=torch.promote_types(scores.dtype, torch.float32))
    rows = memory.is_contiguous() and memory.dtype == torch.float32
    for image in range(images):
        for start in range(0, length, step):
            part = flat[image : image + 1, :, start : start + step]
            chunk = memory
            if part.shape != memory.shape:  # the last one
                chunk = torch.empty_like(part, dtype=memory.dtype)
            shifted(part, shift, out=chunk)
            found = _argmax_of_rows(chunk, dtype) if rows else argmax(chunk, dtype)
            labels[image, start : start + step] = found
    return labels.view(images, *scores.shape[2:])


def _argmax_of_rows(scores: Tensor, dtype: torch.dtype) -> Tensor:
    """Labels of (1, C, L) in contiguous rows, which torch takes several times as long for."""
    size = (1, 1, scores.shape[2])
    labels: Tensor = torch.ops.lovasz.argmax(
        scores.view(1, -1, *size), size, NEAREST, dtype == torch.uint8
    )
    return labels
