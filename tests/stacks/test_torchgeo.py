"""The loss in the tasks of TorchGeo and TerraTorch: value, ignored labels, bfloat16, processes.

Both are Lightning's; `make stacks-torchvision` installs them.
"""

import importlib.util

import pytest
import torch

from tests.stacks.examples import load, of_labelled, require, run

require("torchgeo")

FILES = [name for name in ("torchgeo", "terratorch") if importlib.util.find_spec(name) is not None]


@pytest.fixture(params=FILES)
def example(request):
    return load(f"{request.param}_task")


def first_loss(example, scenes, **options):
    """The logged loss of one step, and the task after it."""
    task = example.task()
    trainer = example.fit(task, scenes, max_steps=1, **options)
    (name,) = {"train_loss", "train/loss"} & set(trainer.callback_metrics)
    return trainer.callback_metrics[name], task


def logits_of(task, images):
    found = task.model(images)
    return getattr(found, "output", found)


def half(example):
    scenes = example.Scenes(4)
    assert (scenes.masks == 255).any()
    return scenes


def test_value_is_that_of_the_labelled_pixels(example):
    scenes = half(example)
    loss, _ = first_loss(example, scenes)
    want = of_labelled(logits_of(example.task(), scenes.images), scenes.masks)
    torch.testing.assert_close(loss, want.detach(), rtol=1e-5, atol=0)


def test_a_batch_without_labels_is_zero(example):
    scenes = half(example)
    scenes.masks[:] = 255
    loss, task = first_loss(example, scenes)
    assert loss == 0
    assert all(weight.isfinite().all() for weight in task.parameters())


def test_bfloat16(example):
    scenes = half(example)
    loss, _ = first_loss(example, scenes, precision="bf16-mixed")
    want, _ = first_loss(example, scenes)
    assert loss != want
    torch.testing.assert_close(loss, want, rtol=1e-2, atol=0)


def test_the_example_runs(example):
    assert "nan" not in run(example.__name__.removeprefix("example_"))
