"""One process, or several that torchrun has started and that train one network together."""

from __future__ import annotations

import inspect
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins import MixedPrecision
from lightning_fabric.strategies.ddp import DDPStrategy
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from lovasz.train.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lovasz.train.config import TrainConfig
    from lovasz.train.data import DataSet


class Computing(Protocol):
    """The options of all commands that compute with a network."""

    @property
    def accelerator(self) -> str:
        """`auto`, `cpu`, `cuda` or `mps`."""
        ...

    @property
    def precision(self) -> Literal["32-true", "bf16-mixed", "16-mixed"]:
        """The number format."""
        ...

    @property
    def threads(self) -> int:
        """Threads of the processor; 0 leaves it to torch."""
        ...


class Processes(NamedTuple):
    """This process among those that torchrun has started; the only one without it."""

    rank: int = 0
    size: int = 1
    local: int = 1  # of them on this machine

    @property
    def first(self) -> bool:
        """Whether this is the one that speaks and writes."""
        return self.rank == 0

    @property
    def group(self) -> Literal["world"] | None:
        """Whose batches the loss takes as one."""
        return "world" if self.size > 1 else None


def processes() -> Processes:
    """What torchrun says in the environment."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return Processes()
    names = ("RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")
    return Processes(*(int(os.environ[name]) for name in names))


def check_processes(config: TrainConfig, data: DataSet, network: nn.Module) -> None:
    """What several processes need: an image each, of every batch, and statistics they can share.

    Raises:
        UserError: If there are more processes than images, or batch normalisation on the processor.
    """
    size = processes().size
    if size == 1:
        return
    kinds = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
    if device_type(config) == "cpu" and any(
        isinstance(module, kinds) for module in network.modules()
    ):
        raise UserError(
            "model: expected a network without batch normalisation, which torch cannot share among"
            " processes without an accelerator; the U-Net has --norm group"
        )
    smallest = min(len(part) for part in data.parts.values())
    if size > min(config.batch_size, smallest):
        raise UserError(
            f"torchrun: expected at most as many processes as images in a batch"
            f" ({config.batch_size}) and in the smallest part ({smallest}), got {size}"
        )


def device_type(config: Computing) -> str:
    """`cpu`, `cuda` or `mps`: where the configuration computes."""
    if config.accelerator != "auto":
        return config.accelerator
    if torch.backends.mps.is_available():
        return "mps"
    return "cuda" if torch.cuda.is_available() else "cpu"


def make_fabric(config: Computing) -> Fabric:
    """Devices and number format, with the process group if there are several processes."""
    if config.threads:
        torch.set_num_threads(config.threads)
    here = processes()
    if here.size == 1:
        return Fabric(accelerator=config.accelerator, devices=1, **_precision(config))
    fabric = Fabric(
        accelerator=config.accelerator,
        devices=here.local,
        num_nodes=here.size // here.local,
        strategy=DDPStrategy(**_without_buffers()),
        **_precision(config),
    )
    fabric.launch()
    return fabric


def _precision(config: Computing) -> dict[str, Any]:
    """The number format; Fabric alone would take bfloat16 for float16 on the processor."""
    if config.precision == "16-mixed" and device_type(config) == "cpu":
        return {"plugins": MixedPrecision("16-mixed", "cpu")}
    return {"precision": config.precision}


def meet(config: TrainConfig) -> None:
    """Wait for the other processes, at a time when a signal still ends this one.

    A process that has failed never comes, and torchrun then ends those that wait for it.
    """
    if processes().size > 1:
        make_fabric(config).barrier()


def _without_buffers() -> dict[str, Any]:
    """No exchange of buffers in every forward pass: statistics of batches are shared already.

    In evaluation it would wait for ranks that have fewer batches.
    """
    new = "forward_sync_buffers" in inspect.signature(DistributedDataParallel).parameters
    return {"forward_sync_buffers" if new else "broadcast_buffers": False}  # new in torch 2.13


@contextmanager
def left_in_order() -> Iterator[None]:
    """End what `make_fabric` began, together unless this process fails."""
    try:
        yield
        if _connected():
            # gloo sometimes aborts where one process leaves while another is still at work.
            distributed.barrier()
    finally:
        if _connected():
            distributed.destroy_process_group()


def _connected() -> bool:
    return distributed.is_available() and distributed.is_initialized()


def share_statistics(network: nn.Module, fabric: Fabric) -> nn.Module:
    """Batch normalisation over the global batch; `check_processes` keeps it off the processor."""
    if fabric.world_size == 1 or fabric.device.type == "cpu":
        return network
    shared: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(network)
    return shared


def agreement(fabric: Fabric) -> Callable[[int], int]:
    """The highest number of all processes, so that all do the same after the same step.

    Signals, for example, reach them at different times.
    """
    if fabric.world_size == 1:
        return lambda number: number
    # On the processor, so that asking after every step does not wait for the device.
    group = distributed.new_group(backend="gloo")

    def highest(number: int) -> int:
        asked = torch.tensor(number)
        distributed.all_reduce(asked, distributed.ReduceOp.MAX, group=group)
        return int(asked)

    return highest
