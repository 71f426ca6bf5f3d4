"""The loss in a task of TorchGeo. Lines that differ from its own loss are marked.

python examples/stacks/torchgeo_task.py
"""

import lightning
import torch
from torch.utils.data import DataLoader, Dataset
from torchgeo.trainers import SemanticSegmentationTask

from lovasz import CrossEntropyLovaszSoftmaxLoss  # new


class Scenes(Dataset):
    def __init__(self, number=8):
        self.images = torch.rand(number, 5, 32, 32, generator=torch.Generator().manual_seed(0))
        self.masks = (self.images.mean(1) * 8 - 2).long().clamp(0, 3)
        self.masks[:, :2] = 255  # not labelled

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return {"image": self.images[index], "mask": self.masks[index]}


def task():
    lightning.seed_everything(0, verbose=False)
    found = SemanticSegmentationTask(
        model="fcn", in_channels=5, num_classes=4, num_filters=8, ignore_index=255
    )
    found.criterion = CrossEntropyLovaszSoftmaxLoss(ignore_index=255, process_group="world")  # new
    return found


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
    print(f"loss {trainer.callback_metrics['train_loss']:.4f}")
