"""What each process draws from a loader with the equibatch sampler, in loops of other packages."""

from __future__ import annotations

import os

import torch
from torch import distributed
from torch.utils.data import DataLoader, TensorDataset

from lovasz import EquibatchSampler

PROCESSES = 2
BATCH = 4
# 40 images, class 0 in all, 1 in five, 2 in one, of which each rank draws 20.
TABLE = torch.zeros(40, 3, dtype=torch.bool)
TABLE[:, 0] = True
TABLE[::8, 1] = True
TABLE[37, 2] = True


def sequence(epoch: int) -> list[int]:
    """What all processes draw together."""
    sampler = EquibatchSampler(TABLE, num_replicas=1, rank=0)
    sampler.set_epoch(epoch)
    return list(sampler)


def loader(workers: int = 0) -> DataLoader:
    """One of image numbers, made as a script does that does not know of processes."""
    data = TensorDataset(torch.arange(len(TABLE)))
    return DataLoader(data, batch_size=BATCH, sampler=EquibatchSampler(TABLE), num_workers=workers)


def drawn(batches) -> list[int]:
    """Numbers of the images of all batches."""
    return [int(image) for (images,) in batches for image in images]


def meet(rank: int, folder: str) -> None:
    """The group, and what torchrun says in the environment."""
    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(rank), GROUP_RANK="0", WORLD_SIZE=str(PROCESSES),
        LOCAL_WORLD_SIZE=str(PROCESSES), MASTER_ADDR="127.0.0.1", MASTER_PORT="29500",
        TORCHELASTIC_RUN_ID="tests",
    )  # fmt: skip
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=PROCESSES
    )


def leave(found: object, rank: int, folder: str) -> None:
    """Save what was found, when all are done."""
    torch.save(found, f"{folder}/{rank}.pt")
    distributed.barrier()  # gloo may abort where one leaves early
    distributed.destroy_process_group()


def run(rank: int, folder: str) -> None:
    """A plain loop, and one of Fabric."""
    from lightning_fabric import Fabric
    from lightning_fabric.plugins.environments import TorchElasticEnvironment

    plain, fabrics = loader(), loader()  # before there are processes
    alone = len(plain.sampler)
    meet(rank, folder)
    fabric = Fabric(
        accelerator="cpu", strategy="ddp", devices=PROCESSES, plugins=TorchElasticEnvironment()
    )
    fabric.launch()
    wrapped = fabric.setup_dataloaders(fabrics)
    found = {
        "lengths": (alone, len(plain.sampler), len(wrapped)),
        "plain": [drawn(plain) for _ in range(2)],
        "fabric": [drawn(wrapped) for _ in range(2)],
    }
    leave(found, rank, folder)
