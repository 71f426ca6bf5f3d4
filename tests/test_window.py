"""The window of remembered counts against the sums that it stands for."""

import copy
import gc
import io
import pickle

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.checkpoint import checkpoint

from lovasz import (
    CrossEntropyLovaszSoftmaxLoss,
    LovaszSoftmaxLoss,
    Window,
    cross_entropy_lovasz_softmax,
    dice_loss,
    lovasz_softmax,
)
from lovasz.losses.window import PIXEL, Remembered

CLASSES = 4


def batches(count, size=(2, 5, 6), classes=CLASSES):
    generator = torch.Generator().manual_seed(count)
    for _ in range(count):
        logits = 2 * torch.randn(size[0], classes, *size[1:], generator=generator)
        target = torch.randint(classes, size, generator=generator)
        yield logits.requires_grad_(), target


def value_and_gradient(loss, logits):
    return loss, torch.autograd.grad(loss, logits)[0]


@pytest.mark.parametrize("module", [LovaszSoftmaxLoss, CrossEntropyLovaszSoftmaxLoss])
def test_momentum_zero_is_the_batch_to_the_bit(module):
    window, batch = module(momentum=0.0), module()
    for logits, target in batches(4):
        got = value_and_gradient(window(logits, target), logits)
        want = value_and_gradient(batch(logits, target), logits)
        assert torch.equal(got[0], want[0])
        assert torch.equal(got[1], want[1])


def test_a_window_that_forgets_nothing_is_the_loss_of_all_batches():
    # momentum 1 is not allowed, but counts of 2**20 a pixel cannot tell it from 1 - 2**-40
    window = Window(1 - 2.0**-40)
    seen = list(batches(3))
    for logits, target in seen:
        loss = lovasz_softmax(logits, target, window=window)
    together = lovasz_softmax(
        torch.cat([logits for logits, _ in seen]), torch.cat([target for _, target in seen])
    )
    assert loss.item() == pytest.approx(together.item(), abs=1e-5)


def test_the_gradient_is_that_of_the_sum_of_all_batches_for_an_average_one():
    # Of n equal batches each has 1/n of the gradient of their union; the window multiplies by n.
    (logits, target), *_ = batches(1)
    window = Window(1 - 2.0**-40)
    for _ in range(5):
        loss, gradient = value_and_gradient(lovasz_softmax(logits, target, window=window), logits)
    alone, expected = value_and_gradient(lovasz_softmax(logits, target), logits)
    assert loss.item() == pytest.approx(alone.item(), abs=1e-5)
    torch.testing.assert_close(gradient, expected, rtol=2e-3, atol=1e-7)


def test_counts_decay():
    window = Window(0.5)
    counts = torch.zeros(3, CLASSES, 2, 8, dtype=torch.int64)
    counts[0, 1, 1, 3], counts[1, 1, 1, 3], counts[2, 2, 0, 7] = 4 * PIXEL, PIXEL, 3 * PIXEL
    for batch in counts:
        window.add(batch, torch.tensor(True))
    assert window.counts[1, 1, 3] == 1.5 * PIXEL
    assert window.counts[2, 0, 7] == 3 * PIXEL
    assert window.batches == 1.75 * PIXEL
    average = Remembered(window.counts, window.batches).average()
    assert average[1, 1, 3] == round(1.5 / 1.75 * PIXEL)


def test_a_class_counts_while_a_pixel_of_it_is_left():
    window = Window(0.5)
    logits = torch.zeros(8, 3, requires_grad=True)
    with_rare, without = torch.tensor([0, 0, 1, 1, 1, 2, 2, 2]), torch.tensor([0, 0] + [1] * 6)
    losses = [
        lovasz_softmax(logits, target, reduction="none", window=window)[2].item()
        for target in (with_rare, without, without)
    ]
    assert losses[0] > 0
    assert losses[1] > 0  # one and a half pixels
    assert losses[2] == 0  # three quarters of one


def test_with_all_classes_those_without_a_pixel_in_the_window_count():
    (logits, target), *_ = batches(1)
    target.clamp_(max=1)  # classes 2 and 3 have never been there
    losses = lovasz_softmax(logits, target, classes="all", reduction="none", window=Window(0.9))
    assert losses[2:].min() > 0
    mean = lovasz_softmax(logits, target, classes="all", window=Window(0.9))
    torch.testing.assert_close(mean, losses.mean())
    torch.testing.assert_close(mean, lovasz_softmax(logits, target, classes="all"))


def test_false_positives_of_a_class_that_is_only_in_the_window_are_punished():
    window = Window(0.9)
    (logits, target), (other, _) = batches(2)
    lovasz_softmax(logits, target.fill_(CLASSES - 1), window=window)
    loss = lovasz_softmax(other, torch.zeros_like(target), window=window)
    (gradient,) = torch.autograd.grad(loss, other)
    assert gradient[:, CLASSES - 1].min() > 0
    (alone,) = torch.autograd.grad(lovasz_softmax(other, torch.zeros_like(target)), other)
    assert gradient[:, CLASSES - 1].sum() > alone[:, CLASSES - 1].sum()


def test_nothing_is_left_of_a_class_that_does_not_come_again():
    window = Window(0.9)
    counts = torch.full((2, 2, 4), 100 * PIXEL)
    window.add(counts, torch.tensor(True))
    for _ in range(400):
        window.add(torch.zeros_like(counts), torch.tensor(True))
    assert not window.counts.any()


def test_evaluation_neither_uses_nor_changes_the_window():
    criterion = LovaszSoftmaxLoss(momentum=0.9)
    (first, target), (second, other) = batches(2)
    criterion(first, target)
    before = criterion.window.counts.clone()
    criterion.eval()
    assert criterion(second, other) == lovasz_softmax(second, other)
    assert torch.equal(criterion.window.counts, before)
    criterion.train()
    assert criterion(second, other) != lovasz_softmax(second, other)


WITHOUT_GRADIENT = {"no_grad": torch.no_grad, "inference_mode": torch.inference_mode}


@pytest.mark.parametrize("mode", WITHOUT_GRADIENT)
@pytest.mark.parametrize("loss", [LovaszSoftmaxLoss, CrossEntropyLovaszSoftmaxLoss])
def test_a_validation_loop_leaves_the_window_alone(mode, loss):
    """The network alone is in evaluation mode, as in most loops that people write."""
    criterion, alone = loss(momentum=0.9), loss(momentum=0.9)
    (first, target), (second, other), (third, last) = batches(3)
    criterion(first, target)
    alone(first, target)
    with WITHOUT_GRADIENT[mode]():
        values = [criterion(third.clone(), last) for _ in range(3)]
    assert values[0] == values[1] == values[2]
    assert values[0] == copy.deepcopy(alone)(third, last)  # of the window that ends with it
    got, want = (value_and_gradient(c(second, other), second) for c in (criterion, alone))
    assert torch.equal(got[0], want[0])
    assert torch.equal(got[1], want[1])
    assert torch.equal(criterion.window.counts, alone.window.counts)
    assert criterion.window.batches == alone.window.batches


def test_logits_without_a_gradient_are_not_remembered():
    criterion = LovaszSoftmaxLoss(momentum=0.9)
    (first, target), *_ = batches(1)
    criterion(first.detach(), target)
    assert criterion.window.batches == 0


@pytest.mark.parametrize("made_there", [False, True])
def test_a_window_begun_in_inference_mode_can_be_trained(made_there):
    (first, target), (second, other) = batches(2)
    alone = LovaszSoftmaxLoss(momentum=0.9)
    with torch.inference_mode(made_there):
        criterion = LovaszSoftmaxLoss(momentum=0.9)
        criterion.load_state_dict(alone.state_dict())
    criterion.reset_window()
    with torch.inference_mode():
        criterion(first.detach(), target)
    for logits, labels in ((first, target), (second, other)):
        got, want = (value_and_gradient(c(logits, labels), logits) for c in (criterion, alone))
        assert torch.equal(got[0], want[0])
        assert torch.equal(got[1], want[1])


def test_validation_between_checkpoints_counts_no_batch():
    criterion, plain = LovaszSoftmaxLoss(momentum=0.9), LovaszSoftmaxLoss(momentum=0.9)
    for reentrant, (logits, target) in zip((True, False, True), batches(3), strict=True):
        with torch.no_grad():
            criterion(logits.clone(), target)
        plain(logits, target)
        checkpoint(criterion, logits, target, use_reentrant=reentrant).backward()
        assert torch.equal(criterion.window.counts, plain.window.counts)


def test_compiled_validation_leaves_the_window_alone():
    plain, compiled = LovaszSoftmaxLoss(momentum=0.9), LovaszSoftmaxLoss(momentum=0.9)
    run = torch.compile(compiled, fullgraph=True, backend="aot_eager")
    for logits, target in batches(3):
        with torch.no_grad():
            run(logits.clone(), target)
        want = value_and_gradient(plain(logits, target), logits)
        torch.testing.assert_close(value_and_gradient(run(logits, target), logits), want)
        assert torch.equal(compiled.window.counts, plain.window.counts)


def test_reset():
    criterion = LovaszSoftmaxLoss(momentum=0.9)
    for logits, target in batches(3):
        criterion(logits, target)
    criterion.reset_window()
    (logits, target), *_ = batches(1)
    assert criterion(logits, target) == lovasz_softmax(logits, target)


def test_a_batch_that_is_no_number_is_not_remembered():
    criterion = LovaszSoftmaxLoss(momentum=0.9)
    (first, target), (second, other), (third, last) = batches(3)
    clean = copy.deepcopy(criterion)
    criterion(first, target)
    clean(first, target)
    with torch.no_grad():
        second[0, 0, 0, 0] = torch.nan
    assert criterion(second, other).isnan()
    assert criterion(third, last) == clean(third, last)


@pytest.mark.parametrize("reentrant", [True, False])
def test_a_checkpoint_counts_a_batch_once(reentrant):
    criterion = LovaszSoftmaxLoss(momentum=0.9)
    plain = copy.deepcopy(criterion)
    for logits, target in batches(3):
        want = value_and_gradient(plain(logits, target), logits)
        loss = checkpoint(criterion, logits, target, use_reentrant=reentrant)
        loss.backward()
        assert torch.equal(loss, want[0])
        assert torch.equal(logits.grad, want[1])
        assert torch.equal(criterion.window.counts, plain.window.counts)


def test_the_window_is_saved_with_the_module():
    criterion = LovaszSoftmaxLoss(momentum=0.9)
    *seen, (logits, target) = batches(4)
    for before in seen:
        criterion(*before)
    file = io.BytesIO()
    torch.save(criterion.state_dict(), file)
    file.seek(0)
    restored = LovaszSoftmaxLoss(momentum=0.9)
    restored.load_state_dict(torch.load(file))
    assert restored(logits, target) == criterion(logits, target)
    empty = LovaszSoftmaxLoss(momentum=0.9)
    restored.load_state_dict(empty.state_dict())
    assert restored(logits, target) == lovasz_softmax(logits, target)


def test_conversion_to_half_precision_leaves_the_memory_alone():
    criterion = LovaszSoftmaxLoss(momentum=0.9)
    (logits, target), *_ = batches(1)
    criterion(logits, target)
    before = criterion.window.counts.clone()
    assert torch.equal(criterion.half().window.counts, before)


def test_compiled_without_a_break_it_remembers_the_same():
    plain, compiled = LovaszSoftmaxLoss(momentum=0.9), LovaszSoftmaxLoss(momentum=0.9)
    run = torch.compile(compiled, fullgraph=True, backend="aot_eager")
    for logits, target in batches(4):
        want = value_and_gradient(plain(logits, target), logits)
        got = value_and_gradient(run(logits, target), logits)
        torch.testing.assert_close(got, want)
        assert torch.equal(compiled.window.counts, plain.window.counts)


def test_cross_entropy_is_that_of_the_batch():
    window = Window(0.9)
    (first, target), (second, other) = batches(2)
    lovasz_softmax(first, target, window=window)
    alone = copy.deepcopy(window)
    both = cross_entropy_lovasz_softmax(second, other, window=window)
    entropy = torch.nn.functional.cross_entropy(second, other)
    torch.testing.assert_close(both, entropy + lovasz_softmax(second, other, window=alone))


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"momentum": 1.0}, ValueError, "momentum to be in"),
        ({"momentum": -0.1}, ValueError, "momentum to be in"),
        ({"momentum": "much"}, TypeError, "momentum to be a number, got 'much'"),
        ({"momentum": 0.9, "per_image": True}, ValueError, "per_image=False with a window"),
        ({"momentum": 0.9, "method": "sort"}, ValueError, "method='histogram' with a window"),
    ],
)
def test_wrong_options(options, error, words):
    with pytest.raises(error, match=f"LovaszSoftmaxLoss: expected .*{words}"):
        LovaszSoftmaxLoss(**options)


def test_wrong_windows():
    (logits, target), *_ = batches(1)
    with pytest.raises(TypeError, match=r"expected window to be a lovasz\.Window or None, got int"):
        lovasz_softmax(logits, target, window=3)
    window = Window(0.9)
    lovasz_softmax(logits, target, window=window)
    with pytest.raises(ValueError, match="expected 4 classes and 2048 bins"):
        lovasz_softmax(torch.zeros(2, 3), torch.zeros(2, dtype=torch.long), window=window)


def test_the_expected_gradient_is_nearer_to_that_of_the_data_set():
    """A frozen network: batch gradients on average, against that of the whole data set at once."""
    generator = torch.Generator().manual_seed(0)
    images, classes = 120, 5
    shares = torch.tensor([0.6, 0.25, 0.1, 0.04, 0.01])
    kinds = torch.multinomial(shares, images, replacement=True, generator=generator)
    target = torch.where(torch.rand(images, 40, generator=generator) < 0.5, kinds[:, None], 0)
    logits = torch.randn(images, classes, 40, generator=generator)
    logits += 1.5 * torch.nn.functional.one_hot(target, classes).movedim(-1, 1)
    logits.requires_grad_()
    # The gradient by a bias of each class stands for that by the parameters of a network.
    bias = torch.zeros(classes, 1, requires_grad=True)

    def mean_gradient(criterion):
        total = torch.zeros(classes, 1)
        for epoch in range(6):
            for image in torch.randperm(images, generator=generator):
                loss = criterion(logits[image : image + 1] + bias, target[image : image + 1])
                total += (epoch > 1) * torch.autograd.grad(loss, bias)[0]
        return total / (4 * images)

    (truth,) = torch.autograd.grad(lovasz_softmax(logits + bias, target), bias)
    error = {
        momentum: (mean_gradient(LovaszSoftmaxLoss(momentum=momentum)) - truth).norm()
        for momentum in (None, 0.9, 0.97)
    }
    assert error[0.9] < 0.5 * error[None]
    assert error[0.97] < error[0.9]


class Network(nn.Module):
    """One that holds its loss, as those of mmsegmentation and of Lightning do."""

    def __init__(self, window=None):
        super().__init__()
        self.layer = nn.Conv2d(3, CLASSES, 1)
        self.norm = nn.BatchNorm2d(CLASSES)
        self.criterion = LovaszSoftmaxLoss(momentum=0.9)
        if window is not None:
            self.criterion.window = window

    def forward(self, images, target):
        return self.criterion(self.norm(self.layer(images)), target)


def steps(network, count):
    generator = torch.Generator().manual_seed(0)
    for _ in range(count):
        images = torch.randn(2, 3, 5, 6, generator=generator)
        target = torch.randint(CLASSES, (2, 5, 6), generator=generator)
        loss = network(images, target)
        network.zero_grad()
        loss.backward()
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.sub_(0.1 * parameter.grad)
        yield loss.item()


@pytest.mark.parametrize("average", [None, get_ema_multi_avg_fn(0.5)])
@pytest.mark.parametrize("use_buffers", [False, True])
@pytest.mark.parametrize("before", [0, 2])
def test_averages_of_weights_leave_the_window_alone(average, use_buffers, before):
    torch.manual_seed(0)
    network = Network()
    alone = copy.deepcopy(network)
    list(steps(network, before))
    averaged = AveragedModel(network, multi_avg_fn=average, use_buffers=use_buffers)
    window = averaged.module.criterion.window
    remembered = window.counts.clone(), window.batches.clone()
    alone_losses = [*steps(alone, before), *steps(alone, 3)]
    losses = []
    for loss in steps(network, 3):
        averaged.update_parameters(network)
        losses.append(loss)
    assert losses == alone_losses[before:]
    assert torch.equal(window.counts, remembered[0])
    assert torch.equal(window.batches, remembered[1])
    averaged.eval()
    assert averaged(torch.zeros(1, 3, 4, 4), torch.zeros(1, 4, 4, dtype=torch.long)).isfinite()


def average_state_dicts(average, network):
    """As averages do that are not torch's: whole numbers are copied."""
    both = zip(average.state_dict().values(), network.state_dict().values(), strict=True)
    for mean, new in both:
        mean.copy_(0.5 * mean + 0.5 * new if mean.is_floating_point() else new)


def test_averages_over_state_dicts_leave_the_window_alone():
    """Those of timm; the copy has no batch and is as large as the network all the same."""
    network = Network()
    average = copy.deepcopy(network).eval()
    again = copy.deepcopy(average)
    for _ in steps(network, 3):
        average_state_dicts(average, network)
        average_state_dicts(again, average)
    assert not torch.equal(again.layer.weight, average.layer.weight)
    assert again.criterion.window.batches == average.criterion.window.batches == 0
    resumed = Network()
    resumed.load_state_dict(pickle.loads(pickle.dumps(average)).state_dict())
    assert resumed.criterion.window.counts.shape == (0,)
    resumed.load_state_dict(average.state_dict())
    assert resumed.criterion.window.counts.shape == (0,)
    state = again.criterion.window.state_dict()["_extra_state"]
    assert state.shape == network.criterion.window.state_dict()["_extra_state"].shape
    assert not state.any()
    del network, average  # a copy outlives its original
    gc.collect()
    assert again.criterion.window.state_dict()["_extra_state"].shape == (4,)


def test_a_window_with_num_classes_has_its_shapes_from_the_start():
    window = Window(0.9, num_classes=CLASSES)
    network, plain = Network(window), Network()
    plain.load_state_dict(network.state_dict())  # its window is empty and has no classes
    plain.criterion.window = Window(0.9)
    average = copy.deepcopy(network)
    shapes = {key: value.shape for key, value in network.state_dict().items()}
    for got, want in zip(steps(network, 3), steps(plain, 3), strict=True):
        assert got == want
        average_state_dicts(average, network)
    assert {key: value.shape for key, value in network.state_dict().items()} == shapes
    restored = Network(Window(0.9, num_classes=CLASSES))
    restored.load_state_dict(plain.state_dict())
    assert torch.equal(restored.criterion.window.counts, network.criterion.window.counts)
    restored.load_state_dict(Network().state_dict())
    assert restored.criterion.window.counts.shape == (CLASSES, 2, 2048)
    assert not restored.criterion.window.counts.any()


def test_a_window_of_sums_with_num_classes():
    fixed, free = Window(0.5, num_classes=CLASSES, bins=0, sums=True), Window(0.5)
    for logits, target in batches(3):
        got = value_and_gradient(dice_loss(logits, target, window=fixed), logits)
        want = value_and_gradient(dice_loss(logits, target, window=free), logits)
        assert torch.equal(got[0], want[0])
        assert torch.equal(got[1], want[1])
    again = Window(0.5)
    again.load_state_dict(fixed.state_dict())
    assert torch.equal(again.sums, free.sums)
    assert again.counts.shape == free.counts.shape


def test_a_window_that_was_made_for_others():
    (logits, target), *_ = batches(1)
    window = Window(0.9, num_classes=3)
    with pytest.raises(ValueError, match="expected 3 classes and 2048 bins, as it was made for"):
        lovasz_softmax(logits, target, window=window)
    trained = Window(0.9)
    lovasz_softmax(logits, target, window=trained)
    with pytest.raises(ValueError, match=r"counts of shape \(3, 2, 2048\), .* got \(4, 2, 2048\)"):
        window.load_state_dict(trained.state_dict())
    with pytest.raises(ValueError, match="expected sums=True of a window with num_classes"):
        dice_loss(logits, target, window=Window(0.9, num_classes=CLASSES, bins=0))
    with pytest.raises(TypeError, match="Window: expected num_classes to be an integer"):
        Window(0.9, num_classes=4.0)
    with pytest.raises(ValueError, match="Window: expected bins and sums with num_classes, got"):
        Window(0.9, sums=True)
    with pytest.raises(TypeError, match="Window: expected sums to be True or False"):
        Window(0.9, num_classes=4, sums=None)


@pytest.mark.parametrize("with_sums", [True, False])
def test_checkpoints_in_which_the_memory_was_of_buffers(with_sums):
    network = Network()
    list(steps(network, 3))
    old = network.state_dict()
    window = network.criterion.window
    del old["criterion.window._extra_state"]
    old.update(
        {f"criterion.window.{name}": getattr(window, name) for name in ("counts", "batches")}
    )
    if with_sums:
        old["criterion.window.sums"] = window.sums
    restored = Network()
    restored.load_state_dict(old)
    assert list(steps(restored, 2)) == list(steps(network, 2))


def test_a_checkpoint_without_a_window_is_said_to_lack_it():
    with pytest.raises(RuntimeError, match=r'Missing key.*"window\._extra_state"'):
        LovaszSoftmaxLoss(momentum=0.9).load_state_dict(LovaszSoftmaxLoss().state_dict())


def test_a_module_made_without_storage_begins_with_nothing():
    trained = Network()
    list(steps(trained, 2))
    with torch.device("meta"):
        network = Network()
    network.to_empty(device="cpu")
    assert network.criterion.window.batches == 0
    network.load_state_dict(trained.state_dict())
    assert list(steps(network, 2)) == list(steps(trained, 2))


def test_a_pickled_or_copied_network_goes_on_with_its_window():
    network = Network()
    list(steps(network, 2))
    others = [pickle.loads(pickle.dumps(network)), copy.deepcopy(network)]
    want = list(steps(network, 2))
    assert [list(steps(other, 2)) for other in others] == [want, want]


def test_accumulated_and_frozen_steps():
    """Each batch with a gradient counts, whether or not the optimiser steps; others do not."""
    network = Network()
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(2, 3, 5, 6, generator=generator)
    target = torch.randint(CLASSES, (2, 5, 6), generator=generator)
    for _ in range(2):
        (network(images, target) / 2).backward()
    assert network.criterion.window.batches == round(1.9 * PIXEL)
    network.requires_grad_(False)
    assert network(images, target).isfinite()
    assert network.criterion.window.batches == round(1.9 * PIXEL)


def test_functional_gradients_remember_the_same():
    plain, functional = LovaszSoftmaxLoss(momentum=0.9), LovaszSoftmaxLoss(momentum=0.9)
    for logits, target in batches(3):
        want, gradient = value_and_gradient(plain(logits, target), logits)
        got = torch.func.grad_and_value(functional)(logits.detach(), target)
        assert torch.equal(got[1], want)
        assert torch.equal(got[0], gradient)
        assert torch.equal(functional.window.counts, plain.window.counts)
        assert torch.equal(functional.window.batches, plain.window.batches)
    (logits, target), *_ = batches(1)
    assert torch.equal(functional(logits, target), plain(logits, target))


def test_batches_at_once_have_no_order_to_be_remembered_in():
    criterion = LovaszSoftmaxLoss(momentum=0.9)
    logits, target = (torch.stack(both) for both in zip(*batches(2), strict=True))
    with pytest.raises(
        ValueError, match=r"^Window: expected one batch at a time.*torch\.func\.vmap"
    ):
        torch.func.vmap(torch.func.grad(criterion))(logits.detach(), target)
    assert criterion.window.batches == 0
    assert criterion.window.counts.shape == (0,)
