"""The loss with Accelerate: value, ignored labels, accumulation, bfloat16, and two processes."""

import pytest
import torch
from torch.utils.data import TensorDataset

from tests.stacks.examples import load, numbers, of_labelled, require, run, size_of

require("accelerate")


@pytest.fixture(scope="module")
def example():
    return load("accelerate_loop")


@pytest.fixture(autouse=True)
def _alone(example):
    """Accelerate keeps the options of the first Accelerator of a process."""
    example.Accelerator().free_memory()
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)


def untrained():
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 16, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(16, 4, 1)
    )


def test_value_is_that_of_the_labelled_pixels(example):
    dataset = example.data(8)
    images, target = dataset.tensors
    assert (target == 255).any()
    _, _, losses = example.train(dataset)
    want = of_labelled(untrained()(images), target)
    assert losses[0] == pytest.approx(want.item(), rel=1e-5)


def test_a_batch_without_labels_changes_nothing(example):
    images, target = example.data(8).tensors
    _, network, losses = example.train(TensorDataset(images, torch.full_like(target, 255)))
    assert losses == [0, 0]
    for got, want in zip(network.parameters(), untrained().parameters(), strict=True):
        assert torch.equal(got, want)


def test_accumulated_batches_are_averaged(example):
    """Two equal batches, accumulated, are a step as one of them is."""
    images, target = (tensor[:4] for tensor in example.data(8).tensors)
    twice = TensorDataset(images.repeat(2, 1, 1, 1), target.repeat(2, 1, 1))
    _, want, alone = example.train(twice)  # whole batches of 8
    _, got, halves = example.train(twice, gradient_accumulation_steps=2)
    assert halves[0] == pytest.approx(alone[0], rel=1e-5)
    for one, other in zip(got.parameters(), want.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_bfloat16(example):
    dataset = example.data(8)
    _, _, losses = example.train(dataset, mixed_precision="bf16")
    want = of_labelled(untrained()(dataset.tensors[0]), dataset.tensors[1]).item()
    assert losses[0] != want
    assert losses[0] == pytest.approx(want, rel=1e-2)


def test_two_processes_train_as_one_does(example):
    launcher = ("-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2")
    _, network, losses = example.train()
    got = numbers(run("accelerate_loop", launcher=launcher))
    assert got == pytest.approx([losses[-1], size_of(network)], abs=2e-4)
