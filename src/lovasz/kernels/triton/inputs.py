"""Labels, cross-entropy, weights of pixels and clouds as the kernels read them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from lovasz.kernels.fixed_point import to_fixed


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
