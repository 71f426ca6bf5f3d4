"""The loss in a task of TerraTorch. Lines that differ from its own loss are marked.

python examples/stacks/terratorch_task.py
"""

import lightning
import torch
from terratorch.models.model import ModelOutput
from terratorch.tasks import SemanticSegmentationTask
from torch import nn
from torch.utils.data import DataLoader, Dataset

from lovasz import CrossEntropyLovaszSoftmaxLoss  # new


class Scenes(Dataset):
    def __init__(self, number=8):
        self.images = torch.rand(number, 6, 32, 32, generator=torch.Generator().manual_seed(0))
        self.masks = (self.images.mean(1) * 8 - 2).long().clamp(0, 3)
        self.masks[:, :2] = 255  # not labelled

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return {"image": self.images[index], "mask": self.masks[index]}


class Network(nn.Module):
    """In the place of a foundation model, which ``model_factory`` would make."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(6, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 4, 1))

    def forward(self, images, **_):
        return ModelOutput(self.layers(images))


def task():
    lightning.seed_everything(0, verbose=False)
    return SemanticSegmentationTask(
        model_args={"num_classes": 4},
        model=Network(),
        # was: loss="ce",
        loss=CrossEntropyLovaszSoftmaxLoss(ignore_index=255),
        ignore_index=255,
    )


def fit(model, scenes=None, **options):
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_epochs=2,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )
    loader = DataLoader(scenes or Scenes(), batch_size=4)
    trainer.fit(model, loader, loader)
    return trainer


if __name__ == "__main__":
    trainer = fit(task())
    print(f"loss {trainer.callback_metrics['train/loss']:.4f}")
