"""What two processes compute with TrainerLoss on their parts of a batch."""

from pathlib import Path

import torch
from torch import distributed

from lovasz import CrossEntropyLovaszSoftmaxLoss
from lovasz.integrations.transformers import TrainerLoss

CRITERION = {"ignore_index": -100, "upsample": "bilinear"}


def batches():
    """Logits and labels for two processes; the second has fewer that count."""
    generator = torch.Generator().manual_seed(3)
    parts = []
    for rank in range(2):
        logits = torch.randn(2, 4, 4, 4, generator=generator).requires_grad_()
        labels = torch.randint(4, (2, 16, 16), generator=generator)
        labels[:, : 2 + 9 * rank] = -100
        parts.append((logits, labels))
    return parts


def run(rank, size, folder):
    torch.set_num_threads(1)
    store = distributed.FileStore(f"{folder}/store", size)
    distributed.init_process_group("gloo", store=store, rank=rank, world_size=size)
    total = sum(labels.ne(-100).sum() for _, labels in batches())
    logits, labels = batches()[rank]
    compute = TrainerLoss(CrossEntropyLovaszSoftmaxLoss(**CRITERION, process_group="world"))
    loss = compute({"logits": logits}, labels, num_items_in_batch=total)
    (gradient,) = torch.autograd.grad(loss, logits)
    torch.save((loss.detach(), gradient), Path(folder) / f"{rank}.pt")
    distributed.barrier()  # gloo may abort where one leaves early
    distributed.destroy_process_group()
