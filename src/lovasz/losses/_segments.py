"""Clouds of points that lie one after the other: from ends or indices to segment ids."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lovasz.core.options import Options
from lovasz.core.shapes import Layout, check_device, check_points
from lovasz.kernels.passes import Inputs


def with_segments(name: str, inputs: Inputs, layout: Layout, options: Options) -> Inputs:
    """The inputs with one group for each cloud."""
    offsets, index = options.offsets, options.batch_index
    argument, tensor = ("offsets", offsets) if index is None else ("batch_index", index)
    if tensor is None:
        raise ValueError(
            f"{name}: expected batch_size with batch_index alone, got {options.batch_size!r}"
        )
    if offsets is not None and index is not None:
        raise ValueError(f"{name}: expected offsets or batch_index, got both")
    if not (isinstance(tensor, Tensor) and tensor.dtype in (torch.int32, torch.int64)):
        kind = tensor.dtype if isinstance(tensor, Tensor) else type(tensor).__name__
        raise TypeError(f"{name}: expected {argument} to be an int32 or int64 tensor, got {kind}")
    check_points(name, argument, layout, len(inputs.scores), options.per_image)
    check_device(name, argument, tensor, inputs.scores.device)
    count = inputs.scores.shape[2]
    if index is not None:
        ids, number = _by_index(name, index, count, options.batch_size)
    else:
        ids, number = _by_offsets(name, tensor, count)
    return inputs._replace(segment_ids=ids.unsqueeze(0), segments=number)


def _by_offsets(name: str, offsets: Tensor, count: int) -> tuple[Tensor, int]:
    wanted = f"{name}: expected offsets to be the ascending ends of the clouds, the last {count}"
    if offsets.dim() != 1 or len(offsets) == 0:
        raise ValueError(f"{wanted}, got shape {tuple(offsets.shape)}")
    readable = offsets.device.type == "cpu" and not torch.compiler.is_compiling()
    if readable:
        ascending = bool((offsets.diff() >= 0).all()) and int(offsets[0]) >= 0
        if not ascending or int(offsets[-1]) != count:
            raise ValueError(f"{wanted}, got {offsets.tolist()}")
        sizes = offsets.diff(prepend=offsets.new_zeros(1))
        ids = torch.repeat_interleave(sizes, output_size=count)
        return ids.to(torch.int64), len(offsets)
    place = torch.arange(count, device=offsets.device, dtype=offsets.dtype)
    # Where the last end falls short, on a device, no group would be there for the rest.
    return torch.bucketize(place, offsets, right=True).clamp(max=len(offsets) - 1), len(offsets)


def _by_index(name: str, index: Tensor, count: int, size: Any) -> tuple[Tensor, int]:
    if tuple(index.shape) != (count,):
        raise ValueError(
            f"{name}: expected batch_index of shape ({count},), one number for each point,"
            f" got {tuple(index.shape)}"
        )
    readable = index.device.type == "cpu" and not torch.compiler.is_compiling()
    if size is None:
        if not readable:
            raise ValueError(
                f"{name}: expected batch_size with batch_index here, because to find it would wait"
                " for the device, got None"
            )
        size = int(index.max()) + 1 if count else 1
    if not isinstance(size, int) or isinstance(size, bool) or size < 1:
        raise ValueError(f"{name}: expected batch_size to be 1 or more, got {size!r}")
    if readable and count and not bool(((index >= 0) & (index < size)).all()):
        raise ValueError(
            f"{name}: expected batch_index in [0, {size - 1}],"
            f" got {int(index.min())} to {int(index.max())}"
        )
    return index.to(torch.int64), size
