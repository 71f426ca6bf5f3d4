"""Labels, cross-entropy and weights of pixels as the kernels read them."""

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

    weight: Tensor  # float32
    fixed: Tensor  # int64, the same in units of 2^-20; 0 where the label is ignored

    @property
    def strides(self) -> tuple[int, int]:
        """From image to image and class to class; classes have one weight."""
        image, *channel, _ = self.weight.stride()
        return (image, *(channel or (0,)))

    @classmethod
    def of(cls, weight: Tensor | None, labels: Labels) -> Weights | None:
        """As the operators are given them."""
        if weight is None:
            return None
        fixed = to_fixed(weight)
        if labels.ignores:
            fixed = torch.where(labels.target.to(torch.int64) == labels.ignore_index, 0, fixed)
        return cls(weight.to(torch.float32).contiguous(), fixed.contiguous())
