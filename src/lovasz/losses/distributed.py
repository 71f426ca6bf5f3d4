"""The processes whose batches are taken as one: sums over a group of ``torch.distributed``."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor, distributed

# "world" is found when the loss is called, so that modules can be made, copied and saved where no
# process group is there yet. In quotes, because torch may have been built without processes.
Group: TypeAlias = "distributed.ProcessGroup | Literal['world'] | None"


class Ranks(NamedTuple):
    """Processes that call the same loss at the same time."""

    group: distributed.ProcessGroup
    size: int

    def total(self, tensor: Tensor) -> Tensor:
        """Sum over the ranks, without gradient: the same on every rank."""
        summed = tensor.detach().clone()
        distributed.all_reduce(summed, group=self.group)
        return summed

    def connected_total(self, tensor: Tensor) -> Tensor:
        """Sum over the ranks, connected to this rank's part as ``replicated`` is."""
        return self.replicated(tensor, self.total(tensor))

    def replicated(self, tensor: Tensor, value: Tensor | None = None) -> Tensor:
        """A value that all ranks have, with as many times the gradient as there are ranks.

        Every rank's backward pass yields the derivative by that rank's own pixels. The gradient of
        the loss of the global batch is the sum of those, and what DDP and FSDP take is the mean.
        """
        value = tensor.detach() if value is None else value
        return _Replicated.apply(tensor, value, self.size)  # type: ignore[no-any-return, no-untyped-call]


def check_group(
    name: str,
    process_group: Any,
    *,
    per_image: bool,
    reduction: str = "mean",
    method: str = "histogram",
) -> None:
    """A group, and options for which there is something to sum."""
    if process_group is None:
        return
    if process_group != "world" and not _is_group(process_group):
        raise TypeError(
            f"{name}: expected process_group to be a torch.distributed.ProcessGroup that this"
            f' process belongs to, "world" or None, got {process_group!r}'
        )
    if method != "histogram":
        raise ValueError(
            f"{name}: expected method='histogram' with process_group, because counts are summed"
            f" over the ranks and errors are not, got {method!r}"
        )
    if per_image and reduction == "none":
        raise ValueError(
            f"{name}: expected reduction='mean' or 'sum' with per_image=True and process_group,"
            f" because the losses of images are each rank's own, got {reduction!r}"
        )


def ranks_of(process_group: Group) -> Ranks | None:
    """The ranks; None where this process is on its own."""
    if process_group is None:
        return None
    if isinstance(process_group, str):
        if not (distributed.is_available() and distributed.is_initialized()):
            return None
        process_group = distributed.group.WORLD
    assert process_group is not None  # initialised
    return Ranks(process_group, process_group.size())


def _is_group(value: Any) -> bool:
    return distributed.is_available() and isinstance(value, distributed.ProcessGroup)


class _Replicated(torch.autograd.Function):
    @staticmethod
    def forward(tensor: Tensor, value: Tensor, size: int) -> Tensor:
        return value.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.size = inputs[2]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return grads[0] * ctx.size, None, None
