"""From logits to labels by fitted offsets, at the cost of an argmax."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lovasz.core.options import Upsample, check_at_least, check_flags, check_upsample
from lovasz.core.shapes import check_floating
from lovasz.core.upsampling import LINEAR_MODES
from lovasz.losses._subclasses import plain
from lovasz.predictions import Deciding

__all__ = ["Decision"]

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
          ``multilabel`` also (N, *) or (P,).
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
        scores = self._checked(logits)
        one = scores.dim() < 2 or scores.shape[1] != self.num_classes  # without an axis for it
        scores = scores.unsqueeze(1) if one else scores
        upsample: Any = self.upsample or LINEAR_MODES.get(scores.dim() - 2, "nearest")
        how = Deciding(dtype, self.multilabel, self._lines(), upsample, self.align_corners)
        labels = how.labels(type(self).__name__, scores, size)
        return labels.squeeze(1) if one else labels

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

    def _checked(self, logits: Any) -> Tensor:
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
        scores: Tensor = plain(logits).detach()
        return scores

    def _lines(self) -> Tensor:
        """Factors and offsets of the scores, (2, C): those of the logits, or of what they give."""
        offsets = self.offsets
        if self.from_logits:
            return torch.stack((torch.ones_like(offsets), offsets))
        if self.multilabel:  # above what the sigmoid of the threshold is
            return torch.stack((torch.ones_like(offsets), -(-offsets).sigmoid()))
        return torch.stack((offsets.exp(), torch.zeros_like(offsets)))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Decision:
        """Move with the module, the buffers keeping their dtype."""
        kept = dict(self._buffers)
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for name, buffer in kept.items():
            moved = self._buffers[name]
            if buffer is not None and moved is not None and moved.dtype != buffer.dtype:
                self._buffers[name] = buffer.to(moved.device)
        return self
