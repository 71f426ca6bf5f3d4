"""Clouds of points as the C++ kernels read them: one after the other."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from lovasz.core import compiled

_OK, _MOVED = 0, 1

_SIGNED = {torch.uint16: torch.int16, torch.uint32: torch.int32, torch.uint64: torch.int64}


class Clouds(NamedTuple):
    """Where each cloud begins, and which points are moved to make it so."""

    offsets: Tensor  # (G + 1,) int64, the last one where the last cloud ends
    order: Tensor | None = None  # (L,) int64, the points in that order; None if they lie so
    places: Tensor | None = None  # (L,) int64, where each point is in that order; or None

    @classmethod
    def of(cls, ids: Tensor, number: int) -> Clouds:
        """From segment ids (1, L), which are read."""
        library = compiled.load()
        assert library is not None  # whoever asks is about to call it
        ids = ids.contiguous()
        offsets = torch.empty(number + 1, dtype=torch.int64)
        order, places = torch.empty_like(ids[0]), torch.empty_like(ids[0])
        pointers = (tensor.data_ptr() for tensor in (offsets, order, places))
        status = library.lovasz_clouds(ids.data_ptr(), ids.numel(), number, *pointers)
        if status not in (_OK, _MOVED):
            raise ValueError(
                f"lovasz: expected segment_ids in [0, {number - 1}],"
                f" got {int(ids.min())} to {int(ids.max())}"
            )
        return cls(offsets, order, places) if status == _MOVED else cls(offsets)

    @property
    def number(self) -> int:
        """Of clouds."""
        return len(self.offsets) - 1

    def gather(self, *tensors: Any) -> tuple[Any, ...]:
        """Values (1, L) or (1, C, L) of the points in the order of the clouds; as many results."""
        order = self.order
        return tensors if order is None else tuple(_taken(tensor, order) for tensor in tensors)

    def scatter(self, values: Tensor) -> Tensor:
        """The reverse: values where their points are."""
        return values if self.places is None else _taken(values, self.places)


def _taken(tensor: Any, index: Tensor) -> Any:
    if tensor is None or len(tensor) == 0:  # what is not given, and no log-sum-exp
        return tensor
    # With the axis of the one image it takes three to ten times as long.
    tensor = tensor.squeeze(0)
    if tensor.dtype in _SIGNED:  # labels of a dtype that torch hardly knows
        return _taken(tensor.view(_SIGNED[tensor.dtype]).unsqueeze(0), index).view(tensor.dtype)
    if tensor.dim() == 2 and tensor.stride(0) == 1:  # the classes of a point are neighbours
        return tensor.t().index_select(0, index).t().unsqueeze(0)
    return tensor.index_select(-1, index).unsqueeze(0)
