"""What the tests of transformers share, and what two processes of it compute."""

import functools
import os
from pathlib import Path

import torch

from tests.stacks.examples import load


@functools.cache
def example():
    return load("transformers_trainer")


def equal_images(number=4):
    """The same image again and again, so that any batch is as good as another."""
    images = example().Images(1)
    images.images = images.images.repeat(number, 1, 1, 1)
    images.labels = images.labels.repeat(number, 1, 1)
    return images


def trained(folder, images, compute_loss_func=None, **options):
    """A trainer after a step of gradient descent on two images, or a multiple of two."""
    options = {
        "per_device_train_batch_size": 2,
        "max_steps": 1,
        "optim": "sgd",
        "learning_rate": 0.1,
        "lr_scheduler_type": "constant",
        "max_grad_norm": 0.0,
        **options,
    }
    trainer = example().trainer(images, output_dir=folder, **options)
    trainer.compute_loss_func = compute_loss_func or trainer.compute_loss_func
    trainer.train()
    return trainer


def assert_same(got, want):
    for one, other in zip(got.parameters(), want.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def run_rank(rank, size, folder, port):
    """Train on one of several processes, and keep the network."""
    torch.set_num_threads(1)
    os.environ.update(
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        WORLD_SIZE=str(size),
        LOCAL_WORLD_SIZE=str(size),
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
    )
    trainer = trained(folder, equal_images())
    torch.save(trainer.model.state_dict(), Path(folder) / f"{rank}.pt")
    torch.distributed.barrier()  # gloo may abort where one leaves early
    torch.distributed.destroy_process_group()
