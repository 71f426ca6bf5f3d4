"""The equibatch sampler in Lightning's Trainer, which deals out loaders to the processes."""

import pytest
import torch
from torch import nn

from tests.processes import start_processes
from tests.ranks import loader_worker as worker

pytest.importorskip("lightning")


def train(rank, folder):
    """Two epochs; which images came in which."""
    import lightning.pytorch as pl
    from lightning.pytorch.plugins.environments import TorchElasticEnvironment

    seen = {0: [], 1: []}

    class Module(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(1, 1)

        def training_step(self, batch, _):
            (images,) = batch
            seen[self.current_epoch] += images.tolist()
            return self.layer(images[:, None].float()).mean()

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 1e-3)

    loader = worker.loader()  # before there are processes
    worker.meet(rank, folder)
    trainer = pl.Trainer(
        accelerator="cpu", strategy="ddp", devices=worker.PROCESSES, max_epochs=2,
        plugins=TorchElasticEnvironment(), logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(Module(), loader)
    worker.leave(seen, rank, folder)


def test_processes_share_one_sequence(tmp_path):
    start_processes(train, (str(tmp_path),), worker.PROCESSES)
    found = [torch.load(tmp_path / f"{rank}.pt") for rank in range(worker.PROCESSES)]
    for epoch in (0, 1):
        parts = [rank[epoch] for rank in found]
        together = [image for step in zip(*parts, strict=True) for image in step]
        assert together == worker.sequence(epoch)
