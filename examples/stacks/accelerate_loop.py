"""The loss in a loop with Accelerate. Lines that differ from one with cross-entropy are marked.

    accelerate launch --cpu --num_processes 2 examples/stacks/accelerate_loop.py

or without ``accelerate launch`` on one process: the numbers that are printed are the same.
"""

import torch
from accelerate import Accelerator
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lovasz import CrossEntropyLovaszSoftmaxLoss  # new


def data(number=16):
    images = torch.rand(number, 3, 24, 24, generator=torch.Generator().manual_seed(0))
    target = (images.mean(1) * 6 - 1).long().clamp(0, 3)
    target[:, :2] = 255  # not labelled
    return TensorDataset(images, target)


def train(dataset=None, **options):
    accelerator = Accelerator(cpu=True, **options)
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 4, 1))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.5)
    batch_size = 8 // accelerator.num_processes // accelerator.gradient_accumulation_steps
    loader = DataLoader(dataset or data(), batch_size=batch_size)
    network, optimizer, loader = accelerator.prepare(network, optimizer, loader)
    # was: criterion = nn.CrossEntropyLoss(ignore_index=255)
    criterion = CrossEntropyLovaszSoftmaxLoss(ignore_index=255, process_group="world")
    losses = []
    for _ in range(2):
        for images, target in loader:
            with accelerator.accumulate(network):
                loss = criterion(network(images), target)
                accelerator.backward(loss)
                optimizer.step()
                optimizer.zero_grad()
            losses.append(loss.item())
    return accelerator, network, losses


if __name__ == "__main__":
    accelerator, network, losses = train()
    weights = sum(weight.double().abs().sum() for weight in network.parameters())
    accelerator.print(f"loss {losses[-1]:.6f}, weights {weights:.4f}")
    accelerator.end_training()
