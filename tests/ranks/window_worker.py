"""A network that holds a loss with a window, in several processes: what each rank remembers."""

from __future__ import annotations

import torch
import torch.distributed.checkpoint as dcp
from torch import distributed, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    set_model_state_dict,
)
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from lovasz import LovaszSoftmaxLoss, Window

PROCESSES = 2
CLASSES = 4


class Network(nn.Module):
    """With its loss inside, and buffers that DistributedDataParallel sends to all."""

    def __init__(self, group=None, classes=None):
        super().__init__()
        self.layer = nn.Conv2d(3, CLASSES, 1)
        self.norm = nn.BatchNorm2d(CLASSES)
        self.criterion = LovaszSoftmaxLoss(momentum=0.5, process_group=group)
        if classes is not None:
            self.criterion.window = Window(0.5, num_classes=classes)

    def forward(self, images, target):
        return self.criterion(self.norm(self.layer(images)), target)


def batch(rank):
    generator = torch.Generator().manual_seed(rank)
    images = torch.randn(2, 3, 5, 6, generator=generator)
    return images, torch.randint(CLASSES, (2, 5, 6), generator=generator)


def remembered(network):
    window = network.criterion.window
    return window.counts.clone(), window.batches.clone()


def data_parallel(rank):
    """A rank has seen a batch more than the other, and each has its own."""
    network = Network()
    wrapped = DistributedDataParallel(network)
    if rank == 0:
        network(*batch(7))
    for _ in range(2):
        wrapped(*batch(rank)).backward()
    return remembered(network)


def loaded_by_one_alone(rank):
    """What is said where the ranks do not remember the same."""
    trained, network = Network(), Network("world")
    trained(*batch(0))
    if rank == 0:
        network.load_state_dict(trained.state_dict())
    try:
        network(*batch(rank))
    except ValueError as error:
        return str(error)
    return "no error"


def checkpoint(folder):
    """Saved and loaded by torch.distributed.checkpoint."""
    network = Network("world", CLASSES)
    network(*batch(distributed.get_rank())).backward()
    dcp.save({"model": network.state_dict()}, checkpoint_id=f"{folder}/checkpoint")
    restored = Network("world", CLASSES)
    state = {"model": restored.state_dict()}
    dcp.load(state, checkpoint_id=f"{folder}/checkpoint")
    restored.load_state_dict(state["model"])
    return remembered(network), remembered(restored)


def sharded(rank):
    """Of parameters that are sharded, with a checkpoint that rank 0 alone has."""
    network = fully_shard(Network("world"))
    for _ in range(2):
        network(*batch(rank)).backward()
    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    state = get_model_state_dict(network, options=options)
    restored = fully_shard(Network("world"))
    options = StateDictOptions(full_state_dict=True, broadcast_from_rank0=True)
    set_model_state_dict(restored, {} if rank else state, options=options)
    return remembered(network), remembered(restored)


def run(rank, folder):
    torch.manual_seed(0)
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=PROCESSES
    )
    found = {
        "data parallel": data_parallel(rank),
        "loaded by one alone": loaded_by_one_alone(rank),
        "checkpoint": checkpoint(folder),
        "sharded": sharded(rank),
    }
    torch.save(found, f"{folder}/{rank}.pt")
    distributed.barrier()  # gloo may abort where one leaves early
    distributed.destroy_process_group()
