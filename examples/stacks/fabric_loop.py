"""The loss in a loop with Fabric. Lines that differ from one with cross-entropy are marked.

    python examples/stacks/fabric_loop.py [PROCESSES]

prints the same numbers for one process and for two: the loss is that of the global batch.
"""

import sys

import torch
from lightning.fabric import Fabric
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lovasz import CrossEntropyLovaszSoftmaxLoss  # new


def data(number=16):
    images = torch.rand(number, 3, 24, 24, generator=torch.Generator().manual_seed(0))
    target = (images.mean(1) * 6 - 1).long().clamp(0, 3)
    target[:, :2] = 255  # not labelled
    return TensorDataset(images, target)


def train(processes=1, dataset=None, **options):
    fabric = Fabric(
        accelerator="cpu",
        devices=processes,
        strategy="ddp" if processes > 1 else "auto",
        **options,
    )
    fabric.launch()
    fabric.seed_everything(0, verbose=False)
    network = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 4, 1))
    network, optimizer = fabric.setup(network, torch.optim.SGD(network.parameters(), lr=0.5))
    loader = fabric.setup_dataloaders(DataLoader(dataset or data(), batch_size=8 // processes))
    # was: criterion = nn.CrossEntropyLoss(ignore_index=255)
    criterion = CrossEntropyLovaszSoftmaxLoss(ignore_index=255, process_group="world")
    losses = []
    for _ in range(2):
        for images, target in loader:
            loss = criterion(network(images), target)
            optimizer.zero_grad()
            fabric.backward(loss)
            optimizer.step()
            losses.append(loss.item())
    return fabric, network, losses


if __name__ == "__main__":
    fabric, network, losses = train(int(sys.argv[1]) if len(sys.argv) > 1 else 1)
    weights = sum(weight.double().abs().sum() for weight in network.parameters())
    fabric.print(f"loss {losses[-1]:.6f}, weights {weights:.4f}")
