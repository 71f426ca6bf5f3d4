"""``torch.vmap`` of the operators: a loop, because losses of a batch are batches already."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def one_by_one(operator: Any, info: Any, in_dims: Any, arguments: tuple[Any, ...]) -> Any:
    """Results of the operator, stacked, and along which axis."""
    calls = [
        operator(
            *(
                argument.select(dim, index)
                if isinstance(argument, Tensor) and dim is not None
                else argument
                for argument, dim in zip(arguments, in_dims, strict=True)
            )
        )
        for index in range(info.batch_size)
    ]
    if isinstance(calls[0], Tensor):
        return torch.stack(calls), 0
    results = tuple(map(torch.stack, zip(*calls, strict=True)))
    return results, (0,) * len(results)


def vmap_rule(operator: Any) -> Any:
    """As ``torch.library.register_vmap`` takes it."""
    return lambda info, in_dims, *arguments: one_by_one(operator, info, in_dims, arguments)
