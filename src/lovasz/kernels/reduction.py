"""From the losses of the classes to the loss, as one operator that owns the gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def reduce_by(
    reduce: Callable[..., tuple[Tensor, Tensor, Tensor, Tensor]],
) -> Callable[..., tuple[Tensor, Tensor, Tensor, Tensor]]:
    """``lovasz::reduce`` by a function as ``between.reduce``."""

    def kernel(
        losses: Tensor,
        counting: Tensor,
        invalid: Tensor,
        weight: Tensor | None,
        normalize: bool,
        reduction: str,
        per_image: bool,
        sums: Tensor | None,
        scores: Tensor,
        *_: Any,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The value, its derivatives by the losses, and the mean cross-entropy with its own.

        What follows the scores is kept for the gradient, see ``autograd``.
        """
        if reduction not in ("none", "sum", "mean"):
            raise ValueError(
                f"lovasz::reduce: expected reduction to be none, sum or mean, got {reduction!r}"
            )
        options = (normalize, reduction == "mean", per_image, scores.dtype == torch.float64)
        total, factors, *entropy = reduce(losses, counting, invalid, weight, *options, sums)
        value = (losses * factors).to(factors.dtype) if reduction == "none" else total
        return value, factors, *entropy  # type: ignore[return-value]

    return kernel
