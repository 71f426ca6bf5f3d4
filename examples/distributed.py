"""Train on several processes with the loss of the global batch.

    torchrun --nproc-per-node 2 examples/distributed.py

or on one, without torchrun: the losses that are printed are the same.
"""

import os

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from lovasz import CrossEntropyLovaszSoftmaxLoss

together = "RANK" in os.environ  # torchrun has started this process
if together:
    distributed.init_process_group("gloo")  # "nccl" with GPUs
rank = distributed.get_rank() if together else 0
size = distributed.get_world_size() if together else 1

torch.manual_seed(0)
model = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 4, 1))
if together:
    model = DistributedDataParallel(model)
optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
criterion = CrossEntropyLovaszSoftmaxLoss(ignore_index=255, process_group="world")

for step in range(5):
    generator = torch.Generator().manual_seed(step)
    images = torch.rand(6, 3, 32, 32, generator=generator)
    target = (images.mean(1) * 6 - 1).long().clamp(0, 3)
    mine = slice(rank, None, size)  # every process takes its share of the batch
    loss = criterion(model(images[mine]), target[mine])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if rank == 0:
        print(f"step {step}: loss of the global batch {loss.item():.6f}")

if together:
    distributed.barrier()  # gloo may abort where one leaves early
    distributed.destroy_process_group()
