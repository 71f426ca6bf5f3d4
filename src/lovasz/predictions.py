"""From logits to labels: the class with the largest logit, also at another resolution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lovasz.core.options import Upsample, check_choice, check_upsample, is_integer
from lovasz.core.shapes import check_floating
from lovasz.core.upsampling import AXES, check_sizes, kernel_mode
from lovasz.kernels import reference
from lovasz.losses._tracing import is_traced
from lovasz.losses._upsampling import three_sizes, with_three_axes

__all__ = ["upsampled_argmax"]

_MOST_CLASSES = {torch.int64: 2**31 - 1, torch.uint8: 255}


def upsampled_argmax(
    logits: Tensor,
    size: Sequence[int],
    *,
    upsample: Upsample = "bilinear",
    align_corners: bool = False,
    dtype: torch.dtype = torch.int64,
) -> Tensor:
    r"""Labels of logits that are interpolated to another resolution.

    $$
    y_p = \arg\max_c\, (U z_c)_p
    $$

    where U is the interpolation to ``size``: the labels of
    ``torch.nn.functional.interpolate(logits, size, mode=upsample).argmax(1)``, without the enlarged
    logits, which are often what a validation of full images has no memory for. For the losses and
    the metrics themselves see their argument ``upsample``.

    Args:
        logits: (N, C, *) with 1 to 3 spatial axes, any floating dtype, layout and device. 16 bits
            are interpolated in float32.
        size: one integer from 1 for each spatial axis: the sizes of the labels, larger or smaller.
        upsample: "linear" for one spatial axis, "bilinear" for two, "trilinear" for three, or
            "nearest" for any, as torch defines them.
        align_corners: of the linear modes, as torch has it: whether the centres of the outermost
            logits and labels coincide, instead of their edges.
        dtype: torch.int64, or torch.uint8 for up to 255 classes, an eighth of the memory.

    Returns:
        (N, *size) class indices. The first of equal classes on the CPU; -1 (255 as uint8) where
        an interpolated logit is NaN. Logits of that size already are not interpolated, so that an
        infinite one does not make its neighbours NaN.

    Raises:
        TypeError: for arguments of a wrong type or dtype.
        ValueError: for shapes and values that do not fit.

    Examples:
        >>> import torch
        >>> logits = torch.tensor([[[[0.0, 8.0]], [[3.0, 3.0]]]])  # two classes, two pixels
        >>> upsampled_argmax(logits, (1, 4)).tolist()
        [[[1, 1, 0, 0]]]

    References:
        `torch.nn.functional.interpolate`.
    """
    name = "upsampled_argmax"
    _check_logits(name, logits)
    check_choice(name, "upsample", upsample, tuple(AXES))
    check_upsample(name, upsample, align_corners)
    how = Deciding(dtype, upsample=upsample, align_corners=align_corners)
    return how.labels(name, logits, size)


class Deciding(NamedTuple):
    """How scores (N, C, *) or (P, C) become labels; what is not said is as in `Decision`."""

    dtype: torch.dtype = torch.int64
    multilabel: bool = False
    lines: Tensor | None = None  # (2, C) float32: factors of the scores, and what is added then
    upsample: Upsample = "nearest"
    align_corners: bool = False

    def labels(self, name: str, scores: Tensor, size: Sequence[int] | None = None) -> Tensor:
        """(N, *) or (P,), with multilabel the shape of the scores, or of `size`.

        Args:
            name: of the function, for sentences about a wrong size or dtype.
            scores: checked.
            size: of the labels; None: that of the scores.
        """
        _check_dtype(name, scores, self)
        scores, source = scores.detach(), tuple(scores.shape[2:])
        if size is None or _checked_size(name, scores, size, self.upsample) == source:
            return self._as_given(scores)
        mode = kernel_mode(self.upsample, self.align_corners)
        how = (three_sizes(tuple(size)), mode, *self._options())
        labels: Tensor = torch.ops.lovasz.argmax(with_three_axes(scores), *how)
        return labels.reshape(*labels.shape[:-1], *size)

    def _as_given(self, scores: Tensor) -> Tensor:
        """Without interpolation; compilers see what it is."""
        flat = scores.flatten(2) if scores.dim() > 2 else scores.t().unsqueeze(0)
        plain = scores.device.type != "cpu" or is_traced()
        operator = reference.argmax if plain else torch.ops.lovasz.argmax
        labels: Tensor = operator(flat, None, None, *self._options())
        if not self.multilabel:
            return labels.reshape(*scores.shape[:1], *scores.shape[2:])
        return labels.reshape(scores.shape) if scores.dim() > 2 else labels.squeeze(0).t()

    def _options(self) -> tuple[bool, Tensor | None, bool]:
        """The last arguments of the operator."""
        return self.dtype == torch.uint8, self.lines, self.multilabel


def _check_logits(name: str, logits: Any) -> None:
    if not isinstance(logits, Tensor):
        raise TypeError(f"{name}: expected logits to be a tensor, got {type(logits).__name__}")
    check_floating(name, "logits", logits)
    if logits.dim() < 3 or logits.shape[1] == 0:
        raise ValueError(
            f"{name}: expected logits of shape (N, C, *) with at least one class and one spatial"
            f" axis, got {tuple(logits.shape)}"
        )


def _checked_size(name: str, logits: Tensor, size: Any, upsample: Upsample) -> tuple[int, ...]:
    """One integer for each spatial axis."""
    if not isinstance(size, Sequence) or not all(is_integer(length) for length in size):
        raise TypeError(
            f"{name}: expected size to be a sequence of integers, one for each spatial axis of the"
            f" logits, got {size!r}"
        )
    shape = tuple(logits.shape)
    if len(size) != len(shape) - 2:
        raise ValueError(
            f"{name}: expected size of {len(shape) - 2} integers, one for each spatial axis of"
            f" logits {shape}, got {tuple(size)}"
        )
    if min(size) < 1:
        raise ValueError(f"{name}: expected size of integers from 1, got {tuple(size)}")
    check_sizes(name, "logits", upsample, shape[2:], tuple(size), "size")
    return tuple(size)


def _check_dtype(name: str, logits: Tensor, how: Deciding) -> None:
    """One that holds all classes and the label for none."""
    dtype: Any = how.dtype
    if dtype not in _MOST_CLASSES:
        raise TypeError(f"{name}: expected dtype to be torch.int64 or torch.uint8, got {dtype!r}")
    if not how.multilabel and logits.shape[1] > _MOST_CLASSES[dtype]:
        raise ValueError(
            f"{name}: expected dtype to be torch.int64 for more than 255 classes, got {dtype}"
            f" for {logits.shape[1]}"
        )
