"""The loss in a LightningModule. Lines that differ from one with cross-entropy are marked.

    python examples/stacks/lightning_fit.py [PROCESSES]

prints the same numbers for one process and for two: the loss is that of the global batch.
"""

import sys

import lightning
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lovasz import CrossEntropyLovaszSoftmaxLoss  # new


class Segmenter(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.network = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 4, 1))
        # was: self.criterion = nn.CrossEntropyLoss(ignore_index=255)
        self.criterion = CrossEntropyLovaszSoftmaxLoss(ignore_index=255, process_group="world")

    def training_step(self, batch, _):
        images, target = batch
        loss = self.criterion(self.network(images), target)
        self.log("loss", loss)
        return loss

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.5)


def data(number=8):
    images = torch.rand(number, 3, 24, 24, generator=torch.Generator().manual_seed(0))
    target = (images.mean(1) * 6 - 1).long().clamp(0, 3)
    target[:, :2] = 255  # not labelled
    return TensorDataset(images, target)


def fit(processes=1, dataset=None, **options):
    lightning.seed_everything(0, verbose=False)
    model = Segmenter()
    trainer = lightning.Trainer(
        accelerator="cpu",
        devices=processes,
        strategy="ddp" if processes > 1 else "auto",
        max_epochs=4,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )
    # One batch an epoch, because Lightning shuffles what it distributes.
    dataset = dataset or data()
    trainer.fit(model, DataLoader(dataset, batch_size=len(dataset) // processes))
    return model, trainer


if __name__ == "__main__":
    model, trainer = fit(int(sys.argv[1]) if len(sys.argv) > 1 else 1)
    if trainer.is_global_zero:
        weights = sum(weight.double().abs().sum() for weight in model.parameters())
        print(f"loss {trainer.callback_metrics['loss']:.6f}, weights {weights:.4f}")
