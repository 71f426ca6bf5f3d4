"""TrainerLoss without the Trainer: the share of a batch, and what is refused."""

import doctest

import pytest
import torch

from lovasz import CrossEntropyLovaszSoftmaxLoss
from lovasz.integrations import transformers
from lovasz.integrations.transformers import TrainerLoss
from tests.processes import start_processes
from tests.stacks import trainer_ranks
from tests.stacks.trainer_ranks import CRITERION, batches


def test_batches_count_by_their_labels():
    parts = batches()
    counted = [labels.ne(-100).sum() for _, labels in parts]
    assert counted[0] != counted[1]
    criterion = CrossEntropyLovaszSoftmaxLoss(**CRITERION)
    for n, (logits, labels) in zip(counted, parts, strict=True):
        got = TrainerLoss(criterion)({"logits": logits}, labels, sum(counted))
        torch.testing.assert_close(got, criterion(logits, labels) * n / sum(counted))
    # of cross-entropy, which is a mean over pixels, the parts are the whole
    cross_entropy = CrossEntropyLovaszSoftmaxLoss(lovasz_weight=0.0, **CRITERION)
    compute = TrainerLoss(cross_entropy)
    whole = cross_entropy(*(torch.cat(tensors) for tensors in zip(*parts, strict=True)))
    torch.testing.assert_close(sum(compute((x,), y, sum(counted)) for x, y in parts), whole)


@pytest.mark.parametrize("form", [int, lambda n: torch.full((2, 1), n)])
def test_forms_of_the_number_of_items(form):
    """An integer; and one number for each of the devices by which the Trainer multiplies."""
    logits, labels = batches()[0]
    compute = TrainerLoss(CrossEntropyLovaszSoftmaxLoss(**CRITERION))
    items = form(labels.ne(-100).sum().item())
    devices = torch.as_tensor(items).numel()
    torch.testing.assert_close(
        compute((logits,), labels, items) * devices, compute((logits,), labels)
    )


def test_nothing_counted_is_zero():
    logits, labels = batches()[0]
    compute = TrainerLoss(CrossEntropyLovaszSoftmaxLoss(**CRITERION))
    loss = compute((logits,), torch.full_like(labels, -100), torch.tensor(0))
    (gradient,) = torch.autograd.grad(loss, logits)
    assert loss == 0
    assert not gradient.any()


def test_processes_with_unequal_labels_have_the_gradient_of_one(tmp_path):
    """The loss of the global batch, of which the processes have unequal numbers of labels."""
    start_processes(trainer_ranks.run, (2, str(tmp_path)), 2)
    parts = batches()
    logits, labels = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
    logits = logits.detach().requires_grad_()
    loss = CrossEntropyLovaszSoftmaxLoss(**CRITERION)(logits, labels)
    (want,) = torch.autograd.grad(loss, logits)
    found = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    for value, _ in found:  # the Trainer multiplies by the number of processes
        torch.testing.assert_close(value * 2, loss.detach())
    gradient = torch.cat([gradient for _, gradient in found])  # times 2, and the mean of 2
    torch.testing.assert_close(gradient, want, rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (({"loss": torch.zeros(())}, torch.zeros(1)), r"a tensor 'logits', got \['loss'\]"),
        (((), torch.zeros(1)), "a tensor 'logits', got tuple"),
        (({"logits": torch.zeros(1, 2, 3)}, None), "to have labels, got None"),
    ],
)
def test_refused(arguments, sentence):
    with pytest.raises(TypeError, match=f"^TrainerLoss: expected .*{sentence}"):
        TrainerLoss(CrossEntropyLovaszSoftmaxLoss())(*arguments)


def test_a_criterion_is_callable():
    with pytest.raises(TypeError, match=r"^TrainerLoss: expected criterion to be a loss .*got 3$"):
        TrainerLoss(3)


def test_the_example_runs():
    found = doctest.testmod(transformers)
    assert found.attempted
    assert not found.failed
