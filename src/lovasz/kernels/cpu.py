"""The operators on the CPU, by the compiled kernels; what they do not know goes to the reference.

That is float64 scores, sorting by soft labels, and sums of clouds beside errors that were sorted.
"""

from __future__ import annotations

import ctypes
import functools
import math
from collections.abc import Sequence
from typing import NoReturn

import torch
from torch import Tensor

from lovasz.core import native
from lovasz.core.bins import centres
from lovasz.core.links import PROBABILITIES
from lovasz.core.regions import SUMS
from lovasz.kernels import reference
from lovasz.kernels.clouds import Clouds
from lovasz.kernels.contents import (
    raise_for_labels,
    raise_for_probabilities,
    raise_for_soft_labels,
    split_target,
)
from lovasz.kernels.cpu_library import LABEL_TYPES, LINKS, SCORE_TYPES, UPSAMPLE, load
from lovasz.kernels.fixed_point import SCALE, to_fixed
from lovasz.kernels.segments import by_image
from lovasz.kernels.soft import is_soft, read_labels

# An element of the sort holds its place in 32 bits.
_SORTED_SCORES = 2**32 - 1
_NO_MEMORY = -1

_NO_LSE = torch.empty(0, dtype=torch.float64)


def histogram(
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
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """``lovasz::histogram`` for CPU tensors."""
    kernels = _kernels(scores, target, link)
    if kernels is None:
        options = (ignore_index, per_image, link, cross_entropy, class_weight, smoothing)
        segmented = (pixel_weight, segment_ids, segments, upsample, size)
        soft = (mixture, label_smoothing, regions)
        return reference.histogram(scores, target, bins, *options, *segmented, *soft)
    images, classes = scores.shape[:2]
    groups = images if per_image else 1
    clouds, given = None, target
    if segment_ids is not None:
        groups, clouds = segments, Clouds.of(segment_ids, segments)
        scores, target, pixel_weight = clouds.gather(scores, target, pixel_weight)
    counts = torch.zeros((groups, classes, 2, bins), dtype=torch.int64)
    kernels.lovasz_expect_writes(counts.data_ptr(), counts.numel() * 8)
    invalid = torch.zeros(groups, dtype=torch.int64)
    summing = regions or mixture is not None or label_smoothing > 0 or target.is_floating_point()
    summed = torch.zeros((groups, classes, SUMS) if summing else 0, dtype=torch.float64)
    lse = torch.empty((images, target.shape[-1]) if link == "softmax" else 0, dtype=torch.float64)
    inputs = _Inputs(scores, target, lse, ignore_index, per_image, link, bins, clouds)
    if summing:
        inputs.add_labels(mixture, label_smoothing, regions=regions)
    if upsample is not None:
        inputs.add_upsampling(scores, upsample, size)
    if cross_entropy:
        inputs.add_cross_entropy(True, class_weight, smoothing)
    if pixel_weight is not None:
        inputs.add_pixel_weight(pixel_weight, fixed=True)
    result = native.HistogramResult(
        counts=counts.data_ptr(), invalid=invalid.data_ptr(), regions=summed.data_ptr()
    )
    if status := kernels.lovasz_histogram(inputs.struct, result, torch.get_num_threads()):
        _raise_for(status)
    if result.bad_labels and given.is_floating_point():
        raise_for_soft_labels(given, ignore_index, link, cross_entropy)
    if result.bad_labels:
        raise_for_labels(given, classes, ignore_index, link, cross_entropy)
    if link in PROBABILITIES and any(invalid.tolist()):
        labels = (mixture, label_smoothing, pixel_weight)
        found = read_labels(scores, target, ignore_index, link, *labels)
        raise_for_probabilities(scores, found.valid, link)
    sums = torch.empty(0, dtype=torch.float64)
    if cross_entropy:
        sums = torch.tensor(result.cross_entropy[:], dtype=torch.float64)
    return counts, lse if clouds is None else clouds.scatter(lse), invalid, sums, summed


def sort_and_extend(
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
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """``lovasz::sort_and_extend`` for CPU tensors."""
    kernels = _kernels(scores, target, link)
    shape = (*scores.shape[:2], target.shape[-1])
    soft = is_soft(target, mixture, label_smoothing)
    if kernels is None or soft or math.prod(shape) > _SORTED_SCORES:
        options = (ignore_index, per_image, link, alpha, beta, symmetric)
        segmented = (pixel_weight, segment_ids, segments, upsample, size)
        rest = (mixture, label_smoothing, regions)
        return reference.sort_and_extend(scores, target, *options, *segmented, *rest)
    images, classes = scores.shape[:2]
    groups = images if per_image else 1
    clouds, given = None, target
    if segment_ids is not None:
        groups, clouds = segments, Clouds.of(segment_ids, segments)
        scores, target, pixel_weight = clouds.gather(scores, target, pixel_weight)
    lse = torch.empty(target.shape if link == "softmax" else 0, dtype=torch.float64)
    slopes = torch.empty((*scores.shape[:2], target.shape[-1]), dtype=torch.float32)
    kernels.lovasz_expect_writes(slopes.data_ptr(), slopes.numel() * 4)
    losses = torch.empty((groups, classes), dtype=torch.float64)
    positives, pixels = (torch.empty((groups, classes), dtype=torch.int64) for _ in range(2))
    invalid = torch.zeros(groups, dtype=torch.int64)
    inputs = _Inputs(scores, target, lse, ignore_index, per_image, link, clouds=clouds)
    inputs.add_upsampling(scores, upsample, size)
    inputs.add_pixel_weight(pixel_weight, fixed=True)
    result = native.SortResult(
        slopes=slopes.data_ptr(),
        losses=losses.data_ptr(),
        positives=positives.data_ptr(),
        pixels=pixels.data_ptr(),
        invalid=invalid.data_ptr(),
        alpha=alpha,
        beta=beta,
        unit=1 if pixel_weight is None else SCALE,
        symmetric=symmetric,
    )
    if status := kernels.lovasz_sort_and_extend(inputs.struct, result, torch.get_num_threads()):
        _raise_for(status)
    if result.bad_labels:
        raise_for_labels(given, classes, ignore_index, link, False)
    if link in PROBABILITIES and any(invalid.tolist()):
        _, valid = split_target(target, ignore_index)
        raise_for_probabilities(scores, valid.view(len(valid), -1, valid.shape[-1]), link)
    if clouds is not None:
        slopes, lse = clouds.scatter(slopes), clouds.scatter(lse)
    return losses, slopes, positives, pixels, lse, invalid


def backward(
    scores: Tensor,
    target: Tensor,
    lse: Tensor,
    slopes: Tensor,
    factors: Tensor | None,
    ignore_index: int | None,
    link: str,
    scale: Tensor | None = None,
    class_weight: Tensor | None = None,
    smoothing: float = 0.0,
    segment_ids: Tensor | None = None,
    pixel_weight: Tensor | None = None,
    upsample: str | None = None,
    size: Sequence[int] | None = None,
    mixture: Tensor | None = None,
    label_smoothing: float = 0.0,
    by_regions: Tensor | None = None,
) -> Tensor:
    """``lovasz::backward`` for CPU tensors."""
    kernels = _kernels(scores, target, link)
    by_pixel = slopes.dim() == 3
    # Slopes by pixel are taken from many clouds at once, derivatives by sums from one at a time.
    both = by_pixel and segment_ids is not None and by_regions is not None
    if kernels is None or both:
        options = (ignore_index, link, scale, class_weight, smoothing, segment_ids, pixel_weight)
        rest = (upsample, size, mixture, label_smoothing, by_regions)
        return reference.backward(scores, target, lse, slopes, factors, *options, *rest)
    wanted, clouds = scores, None
    if segment_ids is not None and not by_pixel:
        clouds = Clouds.of(segment_ids, len(slopes))
        scores, target, lse, pixel_weight = clouds.gather(scores, target, lse, pixel_weight)
    gradient = torch.empty_like(scores)
    if upsample is not None:
        out = torch.zeros(scores.shape, dtype=torch.float32)  # which is added to
    else:
        out = gradient if _in_place(gradient) else torch.empty(scores.shape, dtype=scores.dtype)
        kernels.lovasz_expect_writes(out.data_ptr(), out.numel() * out.element_size())
    slopes = slopes.to(torch.float32).contiguous()
    lse = lse.to(torch.float64).contiguous()
    factors = None if factors is None else factors.to(torch.float32).contiguous()
    bins = 0 if by_pixel else slopes.shape[3]
    per_image = segment_ids is None and by_image(slopes, factors)
    if by_regions is not None:
        per_image = segment_ids is None and len(by_regions) > 1
        by_regions = by_regions.to(torch.float64).contiguous()
    inputs = _Inputs(scores, target, lse, ignore_index, per_image, link, bins, clouds)
    inputs.add_labels(mixture, label_smoothing)
    inputs.add_upsampling(scores, upsample, size)
    inputs.add_cross_entropy(scale is not None, class_weight, smoothing)
    inputs.add_pixel_weight(pixel_weight)
    if segment_ids is not None and by_pixel and factors is not None:
        inputs.add_cloud_ids(segment_ids, len(factors))
    factor = None if factors is None else factors.data_ptr()
    by_region = None if by_regions is None else by_regions.data_ptr()
    written, threads = _strided(out.flatten(2)), torch.get_num_threads()
    by_sum = 0.0 if scale is None else scale.item()
    status = kernels.lovasz_backward(
        inputs.struct, slopes.data_ptr(), by_pixel, factor, by_sum, by_region, written, threads
    )
    if status:
        _raise_for(status)
    if clouds is not None and clouds.order is not None:
        gradient, out = torch.empty_like(wanted), clouds.scatter(out)
        if out.stride()[1:] == gradient.stride()[1:]:
            return out.as_strided(out.shape, gradient.stride())
    if out.dtype == gradient.dtype and out.stride() == gradient.stride():
        return out
    return gradient.copy_(out)


def argmax(
    scores: Tensor,
    size: Sequence[int] | None,
    upsample: str | None,
    narrow: bool,
    lines: Tensor | None = None,
    multilabel: bool = False,
) -> Tensor:
    """``lovasz::argmax`` for CPU tensors."""
    kernels = load() if scores.dtype in SCORE_TYPES and scores.numel() > 0 else None
    if kernels is None:
        return reference.argmax(scores, size, upsample, narrow, lines, multilabel)
    length = scores.shape[2] if size is None else math.prod(size)
    shape = (*scores.shape[: 2 if multilabel else 1], length)
    labels = torch.empty(shape, dtype=torch.uint8 if narrow else torch.int64)
    kernels.lovasz_expect_writes(labels.data_ptr(), labels.numel() * labels.element_size())
    link = "sigmoid" if multilabel else "softmax"
    inputs = _Inputs(scores, labels, _NO_LSE, None, False, link)
    inputs.add_upsampling(scores, upsample, size)
    lines = None if lines is None else lines.contiguous()
    pointer, threads = None if lines is None else lines.data_ptr(), torch.get_num_threads()
    if status := kernels.lovasz_argmax(inputs.struct, pointer, labels.data_ptr(), narrow, threads):
        _raise_for(status)
    return labels


def extend(
    counts: Tensor,
    alpha: float,
    beta: float,
    wide: bool,
    scale: int = 1,
    unbounded: bool = False,
    positives: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """``lovasz::extend`` for CPU tensors."""
    kernels = load()
    if kernels is None:
        return reference.extend(counts, alpha, beta, wide, scale, unbounded, positives)
    groups, classes, _, bins = counts.shape
    counts, places = counts.contiguous(), _centres(bins, unbounded)
    positives = None if positives is None else positives.contiguous()
    losses = torch.empty((groups, classes), dtype=torch.float64)
    slopes = torch.empty(counts.shape, dtype=torch.float64 if wide else torch.float32)
    present = torch.empty((2, groups, classes), dtype=torch.bool)
    extension = native.Extension(
        counts=counts.data_ptr(),
        centres=places.data_ptr(),
        losses=losses.data_ptr(),
        slopes=slopes.data_ptr(),
        present=present.data_ptr(),
        rows=groups * classes,
        bins=bins,
        unit=scale,
        alpha=alpha,
        beta=beta,
        wide=wide,
        positives=None if positives is None else positives.data_ptr(),
    )
    kernels.lovasz_extend(extension, torch.get_num_threads())
    return losses, slopes, present


def reduce(
    losses: Tensor,
    active: Tensor,
    invalid: Tensor,
    weight: Tensor | None,
    normalize: bool,
    mean: bool,
    per_image: bool,
    wide: bool,
    sums: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """``reference.reduce`` for CPU tensors, without a gradient."""
    kernels = load()
    if kernels is None:
        options = (normalize, mean, per_image, wide, sums)
        return reference.reduce(losses, active, invalid, weight, *options)
    dtype = torch.float64 if wide else torch.float32
    losses, active, invalid = losses.contiguous(), active.contiguous(), invalid.contiguous()
    weight = None if weight is None else weight.to(dtype).contiguous()
    sums = None if sums is None else sums.contiguous()
    total, factors = torch.empty((), dtype=dtype), torch.empty(losses.shape, dtype=dtype)
    shape = (0,) if sums is None else ()
    cross_entropy, by_sum = torch.empty(shape, dtype=dtype), torch.empty(shape, dtype=dtype)
    reduction = native.Reduction(
        losses=losses.data_ptr(),
        active=active.data_ptr(),
        invalid=invalid.data_ptr(),
        weight=None if weight is None else weight.data_ptr(),
        factors=factors.data_ptr(),
        sums=None if sums is None else sums.data_ptr(),
        total=total.data_ptr(),
        cross_entropy=cross_entropy.data_ptr(),
        by_sum=by_sum.data_ptr(),
        groups=losses.shape[0],
        classes=losses.shape[1],
        mean=mean,
        normalize=normalize and weight is not None,
        per_image=per_image,
        wide=wide,
    )
    kernels.lovasz_reduce(reduction)
    return total, factors, cross_entropy, by_sum


class _Inputs:
    """The struct, and the tensors that have to live as long as it."""

    def __init__(
        self,
        scores: Tensor,
        target: Tensor,
        lse: Tensor,
        ignore_index: int | None,
        per_image: bool,
        link: str,
        bins: int = 0,
        clouds: Clouds | None = None,
    ) -> None:
        images, classes = scores.shape[:2]
        self.kept = [lse]
        self.struct = native.Inputs(
            images=images,
            classes=classes,
            length=target.shape[-1],
            bins=bins,
            ignore_index=0 if ignore_index is None else ignore_index,
            lse=lse.data_ptr(),
            score_type=SCORE_TYPES[scores.dtype],
            has_ignore_index=ignore_index is not None,
            per_image=per_image,
            link=LINKS[link],
        )
        if target.is_floating_point():
            if target.dtype not in SCORE_TYPES or not _in_place(target):
                target = target.to(torch.float32).contiguous()
            self.struct.soft = _strided(target)
            self.struct.soft_type = SCORE_TYPES[target.dtype]
        else:
            target = target if target.stride(-1) == 1 else target.contiguous()
            self.struct.target, self.struct.target_stride = target.data_ptr(), target.stride(0)
            self.struct.target_class_stride = target.stride(1) if target.dim() == 3 else 0
            self.struct.label_type = LABEL_TYPES[target.dtype]
        self.kept.append(target)
        if scores.dim() == 3:  # else see `add_upsampling`
            scores = scores if _in_place(scores) else scores.contiguous()
            self.struct.scores = _strided(scores)
            self.kept.append(scores)
        if clouds is not None:
            self.struct.offsets, self.struct.clouds = clouds.offsets.data_ptr(), clouds.number
            self.kept.append(clouds.offsets)

    def add_labels(
        self, mixture: Tensor | None, label_smoothing: float, *, regions: bool = False
    ) -> None:
        """Weights (N, K) of label maps, what is smoothed, and whether sums are asked for."""
        self.struct.label_smoothing, self.struct.regions = label_smoothing, regions
        if mixture is not None:
            mixture = mixture.to(torch.float32).contiguous()
            self.struct.maps, self.struct.mixture = mixture.shape[1], mixture.data_ptr()
            self.kept.append(mixture)

    def add_upsampling(self, scores: Tensor, mode: str | None, size: Sequence[int] | None) -> None:
        """Scores (N, C, d, h, w), of which the kernels read contiguous floats."""
        if mode is None or size is None:
            return
        if scores.dtype != torch.float32 or not scores.is_contiguous():
            scores = torch.empty(scores.shape, dtype=torch.float32).copy_(scores)
        self.struct.score_type = SCORE_TYPES[scores.dtype]
        self.struct.upsample = UPSAMPLE[mode]
        self.struct.source[:], self.struct.size[:] = scores.shape[2:], size
        self.struct.scores = _strided(scores.flatten(2))
        self.kept.append(scores)

    def add_cross_entropy(self, asked: bool, class_weight: Tensor | None, smoothing: float) -> None:
        """Ask for cross-entropy."""
        if not asked:
            return
        self.struct.cross_entropy, self.struct.smoothing = True, smoothing
        if class_weight is not None:
            class_weight = class_weight.to(torch.float32).contiguous()
            self.struct.class_weight = class_weight.data_ptr()
            self.kept.append(class_weight)

    def add_cloud_ids(self, ids: Tensor, number: int) -> None:
        """The cloud of each point (1, L), which is all that slopes by pixel ask for."""
        ids = ids.contiguous()
        self.struct.cloud_ids, self.struct.clouds = ids.data_ptr(), number
        self.kept.append(ids)

    def add_pixel_weight(self, weight: Tensor | None, *, fixed: bool = False) -> None:
        """Weights (N, L), or (N, C, L) for multilabel; in fixed point too for the first pass."""
        if weight is None:
            return
        if fixed:
            numbers = to_fixed(weight).contiguous()
            self.struct.fixed_weight = numbers.data_ptr()
            self.kept.append(numbers)
        weight = weight.to(torch.float32).contiguous()
        self.struct.pixel_weight = weight.data_ptr()
        self.struct.weight_image_stride = weight.stride(0)
        self.struct.weight_class_stride = weight.stride(1) if weight.dim() == 3 else 0
        self.kept.append(weight)


def _strided(scores: Tensor) -> native.Strided:
    """Where a tensor is, and its strides."""
    image, channel, pixel = scores.stride()
    if channel != 1 or scores.shape[2] == 1:
        pixel = 1
    return native.Strided(scores.data_ptr(), image, channel, pixel)


def _in_place(scores: Tensor) -> bool:
    """Whether pixels or classes lie next to each other."""
    return 1 in scores.stride()[1:] or scores.shape[2] == 1


def _kernels(scores: Tensor, target: Tensor, link: str) -> ctypes.CDLL | None:
    """The library, if it can do this."""
    labels = target.is_floating_point() or target.dtype in LABEL_TYPES
    known = scores.dtype in SCORE_TYPES and labels and link in LINKS
    return load() if known and scores.numel() > 0 else None


def _raise_for(status: int) -> NoReturn:
    """Say why the kernels could not work, ``lovasz_status`` in csrc/lovasz.h."""
    if status == _NO_MEMORY:
        raise MemoryError("lovasz: the CPU kernels could not allocate their tables")
    raise RuntimeError(
        "lovasz: expected arguments that csrc/lovasz.h allows, and the CPU kernels got others;"
        " this is an error of lovasz, please report it with the shapes and strides of the call"
    )


@functools.cache
def _centres(bins: int, unbounded: bool) -> Tensor:
    """Made once: it takes a seventh of the time of a small call to `extend`."""
    places: Tensor = centres(torch, bins, unbounded=unbounded)
    return places


def level() -> str | None:
    """Instruction-set level of the kernels in use, or None without kernels."""
    kernels = load()
    return None if kernels is None else str(kernels.lovasz_level(), "ascii")
