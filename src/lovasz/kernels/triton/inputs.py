"""Labels, soft ones too, cross-entropy, weights of pixels and clouds as the kernels read them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from lovasz.core.links import MULTICLASS
from lovasz.kernels.fixed_point import to_fixed

# Kinds of soft labels: floats, zeros and ones of channels, label maps.
NUMBERS, CHANNELS, MAPS = range(3)


class Labels(NamedTuple):
    """Labels, (N, L) or for multilabel links (N, C, L), with any strides."""

    target: Tensor
    ignore_index: int  # of no meaning unless `ignores`
    ignores: bool

    @property
    def strides(self) -> tuple[int, int, int]:
        """From image to image, class to class and pixel to pixel; classes have one label."""
        image, *channel, pixel = self.target.stride()
        return (image, *(channel or (0,)), pixel)

    @classmethod
    def of(cls, target: Tensor, ignore_index: int | None) -> Labels:
        """Labels with ``ignore_index``, or with none."""
        # A bool is a byte, and Triton loads no single bits.
        target = target.view(torch.uint8) if target.dtype == torch.bool else target
        return cls(target, 0 if ignore_index is None else ignore_index, ignore_index is not None)


class CrossEntropy(NamedTuple):
    """A cross-entropy that is computed in the same passes."""

    class_weight: Tensor | None  # (C,) float32; multilabel, of the positives of a channel
    smoothing: float  # 0 for multilabel links

    @classmethod
    def of(cls, class_weight: Tensor | None, smoothing: float = 0.0) -> CrossEntropy:
        """As the operators are given it."""
        if class_weight is not None:
            class_weight = class_weight.to(torch.float32).contiguous()
        return cls(class_weight, smoothing)


class Weights(NamedTuple):
    """Weights of pixels, contiguous and of the shape of the labels."""

    weight: Tensor | None  # float32; None: all 1
    fixed: Tensor  # int64, the same in units of 2^-20, or 1; 0 where the label is ignored

    @property
    def strides(self) -> tuple[int, int]:
        """From image to image and class to class; classes have one weight."""
        image, *channel, _ = self.fixed.stride()
        return (image, *(channel or (0,)))

    @classmethod
    def of(cls, weight: Tensor | None, labels: Labels, clouds: Clouds | None) -> Weights | None:
        """As the operators are given them; None where pixels are counted that have none.

        Those of clouds are added one by one as weights are, because a program has pixels of many.
        """
        if weight is None and clouds is None:
            return None
        one = torch.ones_like(labels.target, dtype=torch.int64)
        fixed = one if weight is None else to_fixed(weight)
        if labels.ignores:
            fixed = torch.where(labels.target.to(torch.int64) == labels.ignore_index, 0, fixed)
        weight = None if weight is None else weight.to(torch.float32).contiguous()
        return cls(weight, fixed.contiguous())


class Clouds(NamedTuple):
    """Clouds of points, each of which is a group."""

    ids: Tensor  # (L,) int64, contiguous: the cloud of each point
    number: int
    unknown: Tensor  # (), points whose number is that of no cloud, and which are in another

    @classmethod
    def of(cls, segment_ids: Tensor | None, number: int) -> Clouds | None:
        """As the operators are given them; None for images."""
        if segment_ids is None:
            return None
        ids = segment_ids[0].clamp(0, number - 1).contiguous()
        return cls(ids, number, (ids != segment_ids[0]).sum())

    def sum(self, values: Tensor) -> Tensor:
        """Sums of values (..., L) over each cloud, (G, ...)."""
        sums = values.new_zeros((*values.shape[:-1], self.number))
        return sums.scatter_add_(-1, self.ids.expand(values.shape), values).movedim(-1, 0)


class SoftLabels(NamedTuple):
    """How much of a pixel belongs to a class or channel, with any strides."""

    target: Tensor  # (N, C, L) numbers, or zeros and ones; or (N, K, L) label maps
    mixture: Tensor | None  # (N, K) float32, contiguous, weights of the maps; None: one map
    kind: int
    ignore_index: int | float  # of no meaning unless `ignores`
    ignores: bool
    smoothing: float  # label smoothing
    weighted: bool  # pixels of weight 0 are ignored, and may have any labels and scores

    @property
    def strides(self) -> tuple[int, int, int]:
        """From image to image, class or map to the next one, and pixel to pixel."""
        image, row, pixel = self.target.stride()
        return image, row, pixel

    @property
    def maps(self) -> int:
        """How many, of kind ``MAPS``."""
        return self.target.shape[1] if self.kind == MAPS else 0

    @classmethod
    def of(
        cls,
        target: Tensor,
        mixture: Tensor | None,
        link: str,
        ignore_index: int | None,
        smoothing: float,
    ) -> SoftLabels:
        """As the operators are given them: indices and zeros and ones are soft labels too."""
        ignores, index = ignore_index is not None, ignore_index or 0
        if target.is_floating_point():
            ignores = ignores and link not in MULTICLASS
            return cls(target, None, NUMBERS, float(index), ignores, smoothing, True)
        target = target.view(torch.uint8) if target.dtype == torch.bool else target
        if link not in MULTICLASS:
            return cls(target, None, CHANNELS, index, ignores, smoothing, False)
        if mixture is None:
            target = target.unsqueeze(1)
        else:
            mixture = mixture.to(torch.float32).contiguous()
        return cls(target, mixture, MAPS, index, ignores, smoothing, False)

    def of_images(self, images: slice, target: Tensor) -> SoftLabels:
        """The same for some images, and some of their pixels."""
        mixture = None if self.mixture is None else self.mixture[images]
        return self._replace(target=target, mixture=mixture)

    def valid(self) -> Tensor:
        """Which pixels, or which of each channel, are not ignored; without regard to weights."""
        if not self.ignores:
            return torch.ones_like(self.target[:, :1], dtype=torch.bool)
        if self.kind == NUMBERS:
            return self.target != self.ignore_index
        valid = self.target.to(torch.int64) != self.ignore_index
        return valid.any(1, keepdim=True) if self.kind == MAPS else valid


class SoftWeights(NamedTuple):
    """Weights of pixels."""

    weight: Tensor  # (N, 1, L) or (N, C, L) float32, any strides
    fixed: Tensor  # the same in units of 2^-20, contiguous, 0 where the label is ignored

    @property
    def strides(self) -> tuple[int, int, int, int, int]:
        """From image to image, class to class and pixel to pixel; and of `fixed` the first two."""
        return *_strides(self.weight), *_strides(self.fixed)[:2]

    @classmethod
    def of(cls, weight: Tensor | None, labels: SoftLabels) -> SoftWeights | None:
        """As the operators are given them."""
        if weight is None:
            return None
        weight = weight if weight.dim() == 3 else weight.unsqueeze(1)
        fixed = to_fixed(weight)
        if labels.ignores:
            fixed = torch.where(labels.valid(), fixed, 0)
        return cls(weight.to(torch.float32), fixed.contiguous())

    def of_groups(self, per_image: bool, clouds: Clouds | None) -> Tensor:
        """Units of all pixels of each group, (G, 1) or (G, C)."""
        if clouds is not None:
            return clouds.sum(self.fixed[0])
        whole = self.fixed.sum(2)
        return whole if per_image else whole.sum(0, keepdim=True)


def _strides(tensor: Tensor) -> tuple[int, int, int]:
    """Strides; 0 between the classes of what has but one."""
    image, row, pixel = tensor.stride()
    return image, row if tensor.shape[1] > 1 else 0, pixel
