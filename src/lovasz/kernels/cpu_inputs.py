"""What the compiled kernels read, from tensors: ``lovasz_inputs`` of csrc/lovasz.h."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lovasz.core import native
from lovasz.core.upsampling import LINEAR, LINEAR_CORNERS, NEAREST
from lovasz.kernels.clouds import Clouds
from lovasz.kernels.fixed_point import to_fixed

LINKS = {
    "softmax": 0,
    "sigmoid": 1,
    "hinge": 2,
    "elu": 3,
    "probabilities": 4,
    "channel_probabilities": 5,
}
SCORE_TYPES = {torch.float32: 0, torch.bfloat16: 1, torch.float16: 2}
LABEL_TYPES = {
    torch.bool: 0,
    torch.uint8: 0,
    torch.int8: 1,
    torch.uint16: 2,
    torch.int16: 3,
    torch.uint32: 4,
    torch.int32: 5,
    torch.int64: 6,
    torch.uint64: 7,
}
_UPSAMPLE = {LINEAR: 1, LINEAR_CORNERS: 2, NEAREST: 3}


class Inputs:
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
        self._add_target(target)
        if scores.dim() == 3:  # else see `add_upsampling`
            scores = scores if in_place(scores) else scores.contiguous()
            self.struct.scores = strided(scores)
            self.kept.append(scores)
        if clouds is not None:
            self.struct.offsets, self.struct.clouds = clouds.offsets.data_ptr(), clouds.number
            self.kept.append(clouds.offsets)

    def _add_target(self, target: Tensor) -> None:
        """Labels, or soft ones, of which the kernels read what they read of scores."""
        if target.is_floating_point():
            if target.dtype not in SCORE_TYPES or not in_place(target):
                target = target.to(torch.float32).contiguous()
            self.struct.soft = strided(target)
            self.struct.soft_type = SCORE_TYPES[target.dtype]
        else:
            target = target if target.stride(-1) == 1 else target.contiguous()
            self.struct.target, self.struct.target_stride = target.data_ptr(), target.stride(0)
            self.struct.target_class_stride = target.stride(1) if target.dim() == 3 else 0
            self.struct.label_type = LABEL_TYPES[target.dtype]
        self.kept.append(target)

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
        self.struct.upsample = _UPSAMPLE[mode]
        self.struct.source[:], self.struct.size[:] = scores.shape[2:], size
        self.struct.scores = strided(scores.flatten(2))
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


def strided(scores: Tensor) -> native.Strided:
    """Where a tensor is, and its strides."""
    image, channel, pixel = scores.stride()
    if channel != 1 or scores.shape[2] == 1:
        pixel = 1
    return native.Strided(scores.data_ptr(), image, channel, pixel)


def in_place(scores: Tensor) -> bool:
    """Whether pixels or classes lie next to each other."""
    return 1 in scores.stride()[1:] or scores.shape[2] == 1
