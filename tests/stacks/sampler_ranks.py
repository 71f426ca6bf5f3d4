"""What two processes of Lightning and of Accelerate draw from an EquibatchSampler."""

import os

import torch
from torch import distributed
from torch.utils.data import DataLoader

from lovasz import EquibatchSampler

PROCESSES, BATCH, EPOCHS = 2, 2, 2
TABLE = [[0], [0], [0, 1], [0], [2], [0], [1, 2], [0]]


def sequences():
    """What one process draws in each epoch."""
    sampler = EquibatchSampler(TABLE, seed=3)
    return [list(sampler) for _ in range(EPOCHS)]


def with_lightning():
    import lightning
    from lightning.fabric.plugins.environments import TorchElasticEnvironment

    class Recorder(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(()))
            self.drawn = [[] for _ in range(EPOCHS)]

        def training_step(self, images, _):
            self.drawn[self.current_epoch].append(images.tolist())
            return self.weight * 0

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    recorder = Recorder()
    trainer = lightning.Trainer(
        accelerator="cpu",
        devices=PROCESSES,
        strategy="ddp",
        plugins=TorchElasticEnvironment(),
        max_epochs=EPOCHS,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    sampler = EquibatchSampler(TABLE, seed=3)
    trainer.fit(recorder, DataLoader(range(len(TABLE)), batch_size=BATCH, sampler=sampler))
    return recorder.drawn


def with_accelerate():
    from accelerate import Accelerator

    sampler = EquibatchSampler(TABLE, seed=3, num_replicas=1, rank=0)
    loader = DataLoader(range(len(TABLE)), batch_size=BATCH, sampler=sampler)
    loader = Accelerator(cpu=True).prepare(loader)
    drawn = []
    for epoch in range(EPOCHS):
        loader.set_epoch(epoch)
        drawn.append([batch.tolist() for batch in loader])
    return drawn


LOOPS = {"lightning": with_lightning, "accelerate": with_accelerate}


def run(rank, folder, name, port):
    torch.set_num_threads(1)
    os.environ.update(
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        GROUP_RANK="0",
        WORLD_SIZE=str(PROCESSES),
        LOCAL_WORLD_SIZE=str(PROCESSES),
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
        TORCHELASTIC_RUN_ID="tests",
    )
    torch.save(LOOPS[name](), f"{folder}/{rank}.pt")
    distributed.barrier()  # gloo may abort where one leaves early
    distributed.destroy_process_group()
