"""What operators that read memory through pointers ask of their tensors: shape, dtype and device.

The functions of ``lovasz`` pass what fits. These checks are for whoever calls ``torch.ops.lovasz``
directly: kernels that trusted the shapes would read memory that belongs to others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from lovasz.core.links import LOGITS, MULTICLASS, MULTILABEL, UNBOUNDED
from lovasz.core.options import check_bins
from lovasz.core.regions import SUMS
from lovasz.core.upsampling import KERNEL_MODES

#: name of an argument, what it is, and the shape and dtype that it has to have; None for any dtype
_Wanted = tuple[str, "Tensor | None", tuple[int, ...], "torch.dtype | None"]


def checked(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """An implementation of an operator, called with what fits alone."""
    check = _CHECKS[name]

    def kernel(*arguments: Any, **options: Any) -> Any:
        check(*arguments, **options)
        return function(*arguments, **options)

    return kernel


def checked_reduction(function: Callable[..., Any]) -> Callable[..., Any]:
    """``lovasz::reduce`` by a function as ``reference.reduce``."""

    def kernel(
        losses: Tensor,
        active: Tensor,
        invalid: Tensor,
        weight: Tensor | None,
        normalize: bool,
        reduction: str,
        per_image: bool,
        sums: Tensor | None,
        scores: Tensor,
        target: Tensor,
        lse: Tensor,
        slopes: Tensor,
        class_weight: Tensor | None,
        segment_ids: Tensor | None,
        pixel_weight: Tensor | None,
        mixture: Tensor | None,
        regions: Tensor | None,
        *_: Any,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """The value, its derivatives by the losses, the mean cross-entropy with its own, the sums.

        What follows the scores is kept for the gradient, see ``autograd``.
        """
        _check_reduce(losses, active, invalid, weight, reduction, sums, regions)
        options = (normalize, reduction == "mean", per_image, scores.dtype == torch.float64)
        total, factors, *rest = function(losses, active, invalid, weight, *options, sums)
        value = (losses * factors).to(factors.dtype) if reduction == "none" else total
        if regions is None:
            return value, factors, *rest, losses.new_empty((0,))
        return value, factors, *rest, regions.masked_fill(invalid.view(-1, 1, 1) > 0, torch.nan)

    return kernel


def _check_histogram(
    scores: Tensor,
    target: Tensor,
    bins: int,
    ignore_index: int | None,
    per_image: bool,
    link: str,
    cross_entropy: bool = False,
    class_weight: Tensor | None = None,
    smoothing: float = 0.0,
    pixel_weight: Tensor | None = None,
    segment_ids: Tensor | None = None,
    segments: int = 1,
    upsample: str | None = None,
    size: Sequence[int] | None = None,
    mixture: Tensor | None = None,
    label_smoothing: float = 0.0,
    regions: bool = False,
) -> None:
    """Arguments of ``lovasz::histogram``; 0 bins where sums alone are asked for."""
    if not 2 <= bins <= 2**20 and not (bins == 0 and (cross_entropy or regions)):
        check_bins("lovasz::histogram", bins)
    _check_pixels(
        "histogram", scores, target, link, upsample, size,
        pixel_weight=pixel_weight, class_weight=class_weight, segment_ids=segment_ids,
        mixture=mixture, label_smoothing=label_smoothing, regions=regions,
    )  # fmt: skip
    if cross_entropy:
        _check_has_cross_entropy("histogram", link)


def _check_sort(
    scores: Tensor,
    target: Tensor,
    ignore_index: int | None,
    per_image: bool,
    link: str,
    segment_ids: Tensor | None = None,
    segments: int = 1,
    upsample: str | None = None,
    size: Sequence[int] | None = None,
    pixel_weight: Tensor | None = None,
    mixture: Tensor | None = None,
    label_smoothing: float = 0.0,
) -> None:
    """Arguments of ``lovasz::sort``."""
    _check_pixels(
        "sort", scores, target, link, upsample, size,
        pixel_weight=pixel_weight, segment_ids=segment_ids,
        mixture=mixture, label_smoothing=label_smoothing,
    )  # fmt: skip


def _check_sort_and_extend(
    scores: Tensor,
    target: Tensor,
    ignore_index: int | None,
    per_image: bool,
    link: str,
    alpha: float,
    beta: float,
    symmetric: bool = False,
    pixel_weight: Tensor | None = None,
    segment_ids: Tensor | None = None,
    segments: int = 1,
    upsample: str | None = None,
    size: Sequence[int] | None = None,
    mixture: Tensor | None = None,
    label_smoothing: float = 0.0,
    regions: Tensor | None = None,
) -> None:
    """Arguments of ``lovasz::sort_and_extend``; the sums of soft labels come with them."""
    images, classes, _ = _check_pixels(
        "sort_and_extend", scores, target, link, upsample, size,
        pixel_weight=pixel_weight, segment_ids=segment_ids,
        mixture=mixture, label_smoothing=label_smoothing,
    )  # fmt: skip
    groups = segments if segment_ids is not None else images if per_image else 1
    wanted: _Wanted = ("regions", regions, (groups, classes, SUMS), torch.float64)
    _expect("sort_and_extend", [wanted], scores.device)


def _check_backward(
    scores: Tensor,
    target: Tensor,
    lse: Tensor,
    slopes: Tensor,
    factors: Tensor | None,
    ignore_index: int | None,
    link: str,
    scale: Tensor | None,
    class_weight: Tensor | None,
    smoothing: float,
    segment_ids: Tensor | None,
    pixel_weight: Tensor | None,
    upsample: str | None,
    size: Sequence[int] | None,
    mixture: Tensor | None = None,
    label_smoothing: float = 0.0,
    by_regions: Tensor | None = None,
) -> None:
    """Arguments of ``lovasz::backward``.

    Slopes (G, C, 2, B) by bin or (N, C, L) by pixel, factors (G, C), and derivatives by the sums
    (G, C, 8): a row for all pixels, or one for each image, or with segment ids one for each cloud.
    Of 0 bins where nothing was counted.
    """
    pixels = _check_pixels(
        "backward", scores, target, link, upsample, size,
        lse=lse, pixel_weight=pixel_weight, class_weight=class_weight, segment_ids=segment_ids,
        mixture=mixture, label_smoothing=label_smoothing, regions=by_regions is not None,
    )  # fmt: skip
    if scale is not None:
        _check_has_cross_entropy("backward", link)
    images, classes, _ = pixels
    by_pixel = slopes.dim() == 3
    rows = slopes.shape[0]
    shape = tuple(slopes.shape)
    if by_pixel:
        shape = pixels
        rows = 1 if factors is None else factors.shape[0]
    elif slopes.dim() != 4 or slopes.shape[1:3] != (classes, 2):
        raise ValueError(
            f"lovasz::backward: expected slopes of shape (G, {classes}, 2, B) or"
            f" {pixels}, got {tuple(slopes.shape)}"
        )
    if segment_ids is None and rows not in (1, images):
        raise ValueError(
            f"lovasz::backward: expected slopes and factors of 1 group or of {images}, got {rows}"
        )
    wanted: tuple[_Wanted, ...] = (
        ("slopes", slopes, shape, None),
        ("factors", factors, (rows, classes), None),
        ("by_regions", by_regions, (rows, classes, SUMS), torch.float64),
    )
    _expect("backward", wanted, scores.device)


def _check_argmax(
    scores: Tensor,
    size: Sequence[int] | None,
    upsample: str | None,
    narrow: bool,
    lines: Tensor | None = None,
    multilabel: bool = False,
) -> None:
    """Arguments of ``lovasz::argmax``: labels of uint8 are below 255, which stands for none."""
    _, classes, _ = _shape("argmax", scores, upsample, size)
    if not 1 <= classes <= (255 if narrow and not multilabel else 2**31 - 1):
        raise ValueError(f"lovasz::argmax: expected 1 to 255 classes for uint8, got {classes}")
    if lines is not None:
        _expect("argmax", [("lines", lines, (2, classes), torch.float32)], scores.device)


def _check_extend(
    counts: Tensor,
    alpha: float,
    beta: float,
    wide: bool,
    scale: int = 1,
    unbounded: bool = False,
    positives: Tensor | None = None,
) -> None:
    """Arguments of ``lovasz::extend``: counts (G, C, 2, B) in units of a whole number."""
    shape = counts.shape
    if len(shape) != 4 or shape[2] != 2 or counts.dtype != torch.int64 or scale < 1:
        raise ValueError(
            "lovasz::extend: expected int64 counts of shape (G, C, 2, B) and a scale of 1 or"
            f" more, got {counts.dtype}, {tuple(shape)} and {scale}"
        )
    if positives is not None:
        wanted: _Wanted = ("positives", positives, tuple(shape[:2]), torch.float64)
        _expect("extend", [wanted], counts.device)


def _check_reduce(
    losses: Tensor,
    active: Tensor,
    invalid: Tensor,
    weight: Tensor | None,
    reduction: str,
    sums: Tensor | None,
    regions: Tensor | None,
) -> None:
    """Arguments of ``lovasz::reduce``."""
    if reduction not in ("none", "sum", "mean"):
        raise ValueError(
            f"lovasz::reduce: expected reduction to be none, sum or mean, got {reduction!r}"
        )
    shape = tuple(active.shape)
    if len(shape) != 2:
        raise ValueError(f"lovasz::reduce: expected active of shape (G, C), got {shape}")
    wanted: tuple[_Wanted, ...] = (
        ("active", active, shape, torch.bool),
        ("losses", losses, shape, torch.float64),
        ("invalid", invalid, shape[:1], torch.int64),
        ("weight", weight, shape[1:], None),
        ("sums", sums, (2,), torch.float64),
        ("regions", regions, (*shape, SUMS), torch.float64),
    )
    _expect("reduce", wanted, active.device)


def _shape(
    operator: str, scores: Tensor, upsample: str | None, size: Sequence[int] | None
) -> tuple[int, int, int]:
    """Images, classes and pixels: of the scores, or of what they are interpolated to."""
    if upsample is None and size is None:
        if scores.dim() == 3:
            images, classes, length = scores.shape
            return images, classes, length
        raise ValueError(
            f"lovasz::{operator}: expected scores of shape (N, C, L), got {tuple(scores.shape)}"
        )
    if upsample not in KERNEL_MODES or size is None or len(size) != 3 or min(size) < 1:
        raise ValueError(
            f"lovasz::{operator}: expected upsample to be one of {', '.join(KERNEL_MODES)} with a"
            f" size of three axes, got {upsample} and {size}"
        )
    if scores.dim() != 5 or min(scores.shape[2:]) < 1:
        raise ValueError(
            f"lovasz::{operator}: expected scores of shape (N, C, d, h, w) with upsample,"
            f" got {tuple(scores.shape)}"
        )
    return scores.shape[0], scores.shape[1], size[0] * size[1] * size[2]


def _check_pixels(
    operator: str,
    scores: Tensor,
    target: Tensor,
    link: str,
    upsample: str | None,
    size: Sequence[int] | None,
    *,
    lse: Tensor | None = None,
    pixel_weight: Tensor | None = None,
    class_weight: Tensor | None = None,
    segment_ids: Tensor | None = None,
    mixture: Tensor | None = None,
    label_smoothing: float = 0.0,
    regions: bool = False,
) -> tuple[int, int, int]:
    """Scores and what has to be of the sizes of their pixels.

    Args:
        operator: name for the sentence.
        scores: (N, C, L), or what is interpolated to that.
        target: (N, L) integers, or (N, C, L) for links of multilabel and where it is floating, or
            (N, K, L) integers with a mixture.
        link: see ``core.links``.
        upsample: see ``core.upsampling``.
        size: likewise.
        lse: (N, L), where the link is the softmax.
        pixel_weight: (N, L), or (N, C, L) for links of multilabel.
        class_weight: (C,).
        segment_ids: (1, L) int64.
        mixture: (N, K), weights of label maps.
        label_smoothing: in [0, 1].
        regions: whether sums are asked for, or what comes of them.

    Returns:
        N, C and L.

    Raises:
        ValueError: for a tensor of another shape, dtype or device.
    """
    if link not in MULTICLASS and link not in MULTILABEL:
        raise ValueError(
            f"lovasz::{operator}: expected link to be one of"
            f" {', '.join((*MULTICLASS, *MULTILABEL))}, got {link}"
        )
    images, classes, length = shape = _shape(operator, scores, upsample, size)
    if segment_ids is not None and (images != 1 or upsample is not None):
        raise ValueError(
            f"lovasz::{operator}: expected scores of one image with segment_ids, and without"
            f" upsample, got {images} and {upsample}"
        )
    pixels: tuple[int, ...] = (images, classes, length)
    labels, maps = pixels, 0
    if link in MULTICLASS:
        pixels = (images, length)
        if mixture is not None:
            maps = mixture.shape[-1]
            labels = (images, maps, length)
        elif not target.is_floating_point():
            labels = pixels
    wanted: tuple[_Wanted, ...] = (
        ("target", target, labels, None),
        ("lse", lse if link == "softmax" else None, (images, length), None),
        ("pixel_weight", pixel_weight, pixels, None),
        ("class weights", class_weight, (classes,), None),
        ("segment_ids", segment_ids, (1, length), torch.int64),
        ("mixture", mixture, (images, maps), None),
    )
    _expect(operator, wanted, scores.device)
    mixed = mixture is not None or label_smoothing > 0
    if mixed or regions or target.is_floating_point():
        _check_soft(operator, target, link, mixture, mixed, regions)
    return shape


def _check_soft(
    operator: str,
    target: Tensor,
    link: str,
    mixture: Tensor | None,
    mixed: bool,
    regions: bool,
) -> None:
    """Links that have predictions, and of which several labels can be mixed or smoothed."""
    if link in UNBOUNDED and (regions or target.is_floating_point()):
        raise ValueError(
            f"lovasz::{operator}: expected labels of integers and no regions with link {link},"
            f" got {target.dtype} and {regions}"
        )
    if mixed and link not in MULTICLASS:
        raise ValueError(
            f"lovasz::{operator}: expected mixture and label_smoothing with link"
            f" {' or '.join(MULTICLASS)} alone, got {link}"
        )
    if mixture is not None and target.is_floating_point():
        raise ValueError(
            f"lovasz::{operator}: expected label maps of integers with mixture, got {target.dtype}"
        )


def _check_has_cross_entropy(operator: str, link: str) -> None:
    """A link that has a cross-entropy."""
    if link not in LOGITS:
        raise ValueError(
            f"lovasz::{operator}: expected cross_entropy with link {' or '.join(LOGITS)} alone,"
            f" got {link}"
        )


def _expect(operator: str, wanted: Iterable[_Wanted], device: torch.device) -> None:
    """Tensors as they have to be."""
    for argument, tensor, shape, dtype in wanted:
        if tensor is None:
            continue
        if tensor.shape != shape or (dtype is not None and tensor.dtype != dtype):
            raise ValueError(
                f"lovasz::{operator}: expected {argument} of shape {shape}"
                f"{'' if dtype is None else f' and dtype {dtype}'},"
                f" got {tuple(tensor.shape)}{'' if dtype is None else f' and {tensor.dtype}'}"
            )
        if tensor.device != device:
            raise ValueError(
                f"lovasz::{operator}: expected {argument} on {device}, got {tensor.device}"
            )


_CHECKS: dict[str, Callable[..., None]] = {
    "histogram": _check_histogram,
    "sort": _check_sort,
    "sort_and_extend": _check_sort_and_extend,
    "extend": _check_extend,
    "backward": _check_backward,
    "argmax": _check_argmax,
}
