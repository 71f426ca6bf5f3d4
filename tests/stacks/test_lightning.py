"""The loss in Lightning and Fabric: value, ignored labels, bfloat16, and two processes."""

import pytest
import torch
from torch.utils.data import TensorDataset

from tests.stacks.examples import load, numbers, of_labelled, require, run, size_of

require("lightning")

FILES = ["lightning_fit", "fabric_loop"]


@pytest.fixture(scope="module")
def examples():
    return {name: load(name) for name in FILES}


def first_step(example, dataset, **options):
    """The loss of one step, and the network after it."""
    if hasattr(example, "fit"):
        model, trainer = example.fit(dataset=dataset, max_steps=1, **options)
        return trainer.callback_metrics["loss"], model.network
    _, network, losses = example.train(dataset=dataset, **options)
    return torch.tensor(losses[0]), network


def untrained(examples):
    examples["lightning_fit"].lightning.seed_everything(0, verbose=False)
    return examples["lightning_fit"].Segmenter().network


@pytest.mark.parametrize("name", FILES)
def test_value_is_that_of_the_labelled_pixels(examples, name):
    dataset = examples[name].data(8)
    loss, _ = first_step(examples[name], dataset)
    images, target = dataset.tensors
    assert (target == 255).any()
    want = of_labelled(untrained(examples)(images), target)
    torch.testing.assert_close(loss, want.detach(), rtol=1e-5, atol=0)


@pytest.mark.parametrize("name", FILES)
def test_a_batch_without_labels_changes_nothing(examples, name):
    images, target = examples[name].data(8).tensors
    dataset = TensorDataset(images, torch.full_like(target, 255))
    loss, network = first_step(examples[name], dataset)
    assert loss == 0
    for got, want in zip(network.parameters(), untrained(examples).parameters(), strict=True):
        assert torch.equal(got, want)


@pytest.mark.parametrize("name", FILES)
def test_bfloat16(examples, name):
    dataset = examples[name].data(8)
    losses, networks = zip(
        *(first_step(examples[name], dataset, precision=p) for p in ("bf16-mixed", "32-true")),
        strict=True,
    )
    assert losses[0] != losses[1]
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-2, atol=0)
    for got, want in zip(*(network.parameters() for network in networks), strict=True):
        torch.testing.assert_close(got, want, rtol=0, atol=2e-2)


@pytest.mark.parametrize("name", FILES)
def test_two_processes_train_as_one_does(examples, name):
    if name == "lightning_fit":
        model, trainer = examples[name].fit()
        loss = trainer.callback_metrics["loss"].item()
    else:
        _, model, losses = examples[name].train()
        loss = losses[-1]
    assert numbers(run(name, "2")) == pytest.approx([loss, size_of(model)], abs=2e-4)
