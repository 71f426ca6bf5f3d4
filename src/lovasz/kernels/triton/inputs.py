"""Labels, weights of classes and weights of pixels as the kernels read them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from lovasz.kernels.fixed_point import to_fixed


class Labels(NamedTuple):
    """Labels, (N, L) or for channels (N, C, L), with any strides."""

    target: Tensor
    ignore_index: int  # of no meaning unless `ignores`
    ignores: bool

    @classmethod
    def of(cls, target: Tensor, ignore_index: int | None) -> Labels:
        """Labels with ``ignore_index``, or with none."""
        # A bool is a byte, and Triton loads no single bits.
        target = target.view(torch.uint8) if target.dtype == torch.bool else target
        return cls(target, 0 if ignore_index is None else ignore_index, ignore_index is not None)


class Entropy(NamedTuple):
    """Cross-entropy that rides along."""

    weight: Tensor | None  # (C,) float32; of the positives for channels
    smoothing: float  # 0 for channels

    @classmethod
    def of(cls, weight: Tensor | None, smoothing: float = 0.0) -> Entropy:
        """As the operators are given it."""
        return cls(None if weight is None else weight.to(torch.float32).contiguous(), smoothing)


class Weights(NamedTuple):
    """Weights of pixels, contiguous and of the shape of the labels."""

    weight: Tensor  # float32
    mass: Tensor  # int64, what they count; 0 where the label is ignored

    @classmethod
    def of(cls, weight: Tensor | None, labels: Labels) -> Weights | None:
        """As the operators are given them."""
        if weight is None:
            return None
        mass = to_fixed(weight)
        if labels.ignores:
            mass = torch.where(labels.target.to(torch.int64) == labels.ignore_index, 0, mass)
        return cls(weight.to(torch.float32).contiguous(), mass.contiguous())
