"""The loss on volumes of MONAI: MetaTensors, crops, sliding windows, ignored labels, bfloat16.

MONAI starts no processes itself; those of torch and of Lightning are in the tests of others.
"""

import pytest
import torch

from lovasz import CrossEntropyLovaszSoftmaxLoss, lovasz_sigmoid, lovasz_softmax
from tests.stacks.examples import load, of_labelled, require

require("monai")

from monai.data import MetaTensor  # noqa: E402
from monai.inferers import SlidingWindowInferer  # noqa: E402


@pytest.fixture(scope="module")
def example():
    return load("monai_volumes")


@pytest.fixture
def batch(example):
    torch.manual_seed(0)
    found = next(iter(example.loader()))
    assert isinstance(found["image"], MetaTensor)
    assert found["label"].shape == (2, 1, 16, 16, 16)
    return found["image"], found["label"]


def gradients(loss, model):
    return torch.autograd.grad(loss, list(model.parameters()))


def test_value_is_that_of_the_labelled_voxels(example, batch):
    image, label = batch
    label[:, :, :5] = 255
    model = example.network()
    loss = CrossEntropyLovaszSoftmaxLoss(ignore_index=255)(model(image), label)
    want = of_labelled(model(image.as_tensor()), label.as_tensor().squeeze(1))
    torch.testing.assert_close(torch.as_tensor(loss), want, rtol=1e-5, atol=0)
    for got, expected in zip(gradients(loss, model), gradients(want, model), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-6)


def test_a_mask_of_metatensors(batch):
    image, label = batch
    mask = label > 0
    loss = lovasz_sigmoid(image - 0.5, mask)
    want = lovasz_sigmoid(image.as_tensor() - 0.5, mask.as_tensor())
    torch.testing.assert_close(torch.as_tensor(loss), want)


def test_labels_as_files_have_them(example, batch):
    """Floating numbers, as LoadImaged reads them."""
    image, label = batch
    logits = example.network()(image)
    loss, want = (lovasz_softmax(logits, target) for target in (label.float(), label))
    assert torch.equal(torch.as_tensor(loss), torch.as_tensor(want))


def test_a_batch_without_labels_is_zero(example, batch):
    image, label = batch
    model = example.network()
    criterion = CrossEntropyLovaszSoftmaxLoss(ignore_index=255)
    loss = criterion(model(image), torch.full_like(label, 255))
    assert loss == 0
    assert not any(gradient.any() for gradient in gradients(loss, model))


def test_bfloat16(example, batch):
    image, label = batch
    model, criterion = example.network(), CrossEntropyLovaszSoftmaxLoss()
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(image)
        loss = criterion(logits, label)
    assert logits.dtype == torch.bfloat16
    want = criterion(model(image), label)
    torch.testing.assert_close(*map(torch.as_tensor, (loss, want)), rtol=1e-2, atol=0)
    assert all(gradient.isfinite().all() for gradient in gradients(loss, model))


def test_sliding_windows_give_the_loss_of_the_whole_volume(example):
    """With a network that looks at one voxel alone, windows are no approximation."""
    volumes = list(example.volumes(2))
    image, label = (torch.stack([v[key] for v in volumes]) for key in ("image", "label"))
    model = torch.nn.Conv3d(1, 3, 1)
    windows = SlidingWindowInferer(roi_size=(16, 16, 16), overlap=0.25)(MetaTensor(image), model)
    assert windows.shape == (2, 3, 24, 24, 24)
    loss = lovasz_softmax(windows, MetaTensor(label))
    want = lovasz_softmax(model(image), label.squeeze(1))
    torch.testing.assert_close(torch.as_tensor(loss), want, rtol=1e-5, atol=0)


def test_the_example_trains_and_predicts(example):
    model, losses = example.train(epochs=4)
    assert losses[-1] < losses[0]
    (labels,) = example.predict(model, next(example.volumes(1))["image"][None])
    assert labels.shape == (1, 24, 24, 24)
