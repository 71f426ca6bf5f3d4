"""A network that holds a loss can be scripted and traced, saved, loaded and trained."""

import copy
import io
import pickle

import pytest
import torch
from torch import nn

import lovasz
from lovasz.compat import (
    catalyst,
    kornia,
    lovasz_losses,
    mmdet3d,
    mmseg,
    monai,
    paddleseg,
    pointcept,
    smp,
    toolbelt,
)
from tests.gradients import value_and_gradient

C = 4


def classes(count=2, *shape):
    return torch.randint(C, (count, *(shape or (5, 3))))


def masks(count=2, *shape):
    return torch.randint(2, (count, C, *(shape or (5, 3))))


def soft_masks(*sizes):
    return masks(*sizes).float()


class Holder(nn.Module):
    """Puts out scores; the loss is called from outside, or by a method for Python."""

    def __init__(self, criterion):
        super().__init__()
        self.layer = nn.Conv2d(3, C, 1)
        self.criterion = criterion

    def forward(self, images):
        return self.layer(images)

    @torch.jit.unused
    def training_step(self, images, target):
        return self.criterion(self.layer(images), target).sum()


class Caller(Holder):
    """Calls the loss in its forward."""

    def forward(self, images, target):
        return self.criterion(self.layer(images), target)


WEIGHT = [1.0, 2.0, 0.5, 3.0]
MODULES = {
    "LovaszSoftmaxLoss": (lambda: lovasz.LovaszSoftmaxLoss(weight=WEIGHT, classes=[0, 2]), classes),
    "set function": (
        lambda: lovasz.LovaszSoftmaxLoss(set_function=lovasz.tversky(1.5, 2.0)),
        classes,
    ),
    "window": (lambda: lovasz.LovaszSoftmaxLoss(momentum=0.9), classes),
    "averaging": (lambda: lovasz.LovaszSoftmaxLoss(averaging={"image": 1, "class": 2}), classes),
    "CrossEntropyLovaszSoftmaxLoss": (
        lambda: lovasz.CrossEntropyLovaszSoftmaxLoss(weight=WEIGHT, region=lovasz.SoftDice()),
        classes,
    ),
    "LovaszSigmoidLoss": (lambda: lovasz.LovaszSigmoidLoss(multilabel=True), masks),
    "LovaszHingeLoss": (lambda: lovasz.LovaszHingeLoss(multilabel=True), masks),
    "BinaryCrossEntropyLovaszSigmoidLoss": (
        lambda: lovasz.BinaryCrossEntropyLovaszSigmoidLoss(multilabel=True, pos_weight=WEIGHT),
        masks,
    ),
    "BinaryCrossEntropyLovaszHingeLoss": (
        lambda: lovasz.BinaryCrossEntropyLovaszHingeLoss(multilabel=True),
        masks,
    ),
    "DiceLoss": (lovasz.DiceLoss, classes),
    "JaccardLoss": (lovasz.JaccardLoss, classes),
    "JaccardMetricLoss": (lovasz.JaccardMetricLoss, classes),
    "TverskyLoss": (lambda: lovasz.TverskyLoss(alpha=0.3, beta=0.7), classes),
    "GeneralizedDiceLoss": (lovasz.GeneralizedDiceLoss, classes),
    "CrossEntropyDiceLoss": (lovasz.CrossEntropyDiceLoss, classes),
    "BinaryCrossEntropyDiceLoss": (
        lambda: lovasz.BinaryCrossEntropyDiceLoss(multilabel=True),
        masks,
    ),
    "DeepSupervision": (lambda: lovasz.DeepSupervision(lovasz.DiceLoss()), classes),
    "DeepSupervision of a function": (
        lambda: lovasz.DeepSupervision(lovasz.dice_loss, smooth=1.0),
        classes,
    ),
}


COMPAT = {
    "mmseg": (lambda: mmseg.LovaszLoss(per_image=True, class_weight=WEIGHT), classes),
    "mmdet3d": (mmdet3d.LovaszLoss, classes),
    "smp": (lambda: smp.LovaszLoss("multiclass", ignore_index=255), classes),
    "smp multilabel": (lambda: smp.LovaszLoss("multilabel"), masks),
    "pointcept": (lambda: pointcept.LovaszLoss("multiclass", [0, 2]), classes),
    "kornia": (lambda: kornia.LovaszSoftmaxLoss(WEIGHT), classes),
    "catalyst": (lambda: catalyst.LovaszLossMultiLabel(per_image=True), masks),
    "paddleseg": (paddleseg.LovaszSoftmaxLoss, classes),
    "monai": (lambda: monai.LovaszLoss(sigmoid=True, weight=2.0), masks),
    "other_act": (lambda: monai.LovaszLoss(other_act=torch.sigmoid), masks),
    "StableBCELoss": (lovasz_losses.StableBCELoss, soft_masks),
}
MODULES |= COMPAT
# Those of one channel or of probabilities, which the network here does not put out.
OTHERS = {
    "kornia hinge": kornia.LovaszHingeLoss,
    "toolbelt": toolbelt.LovaszLoss,
    "toolbelt binary": toolbelt.BinaryLovaszLoss,
    "catalyst binary": catalyst.LovaszLossBinary,
    "catalyst softmax": catalyst.LovaszLossMultiClass,
    "paddleseg hinge": paddleseg.LovaszHingeLoss,
    "mixture": lambda: paddleseg.MixedLoss([paddleseg.LovaszSoftmaxLoss()], [0.5]),
}


def images():
    return torch.randn(2, 3, 5, 3)


def saved(module):
    file = io.BytesIO()
    torch.jit.save(module, file)
    file.seek(0)
    return torch.jit.load(file)


def gradient(module, loss):
    module.zero_grad()
    loss.backward()
    return [parameter.grad.clone() for parameter in module.parameters()]


def test_every_module_is_in_the_table():
    names = {name for name in lovasz.__all__ if name.endswith("Loss")} | {"DeepSupervision"}
    assert names <= MODULES.keys()


@pytest.mark.parametrize("name", MODULES)
def test_a_network_that_holds_a_loss_is_scripted(name):
    make, labels = MODULES[name]
    network, x, y = Holder(make()), images(), labels()
    # Those that are not saved, too, which TorchScript does not know
    states = {x for x, _ in (*network.named_parameters(), *network.named_buffers())}
    scripted = torch.jit.script(network)
    assert type(network.criterion) is type(make())  # the network is as it was
    assert {x for x in scripted.state_dict() if not x.endswith("_extra_state")} == states
    assert torch.equal(scripted(x), network(x))
    assert torch.equal(saved(scripted)(x), network(x))
    # Each with a loss that has seen nothing.
    expected = Holder(make())
    expected.layer.load_state_dict(network.layer.state_dict())
    value, usual = scripted.training_step(x, y), expected.training_step(x, y)
    assert torch.equal(value, usual)
    for one, other in zip(gradient(scripted, value), gradient(expected, usual), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("name", OTHERS)
def test_a_network_that_holds_another_loss_is_scripted(name):
    network, x = Holder(OTHERS[name]()), images()
    assert torch.equal(saved(torch.jit.script(network))(x), network(x))


# Labels are looked at on the CPU, which a trace does not record.
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("name", MODULES)
def test_a_network_that_calls_a_loss_is_traced(name):
    make, labels = MODULES[name]
    network = Caller(make())
    network.eval()  # without the window
    x, y = images(), labels()
    traced = torch.jit.trace(network, (x, y))
    # Another number of images is an error for those that go through them one by one.
    count = 2 if name in ("averaging", "mmseg") else 3
    x, y = torch.randn(count, 3, 4, 6), labels(count, 4, 6)
    value, usual = traced(x, y), network(x, y)
    assert torch.equal(value, usual)
    for one, other in zip(gradient(traced, value), gradient(network, usual), strict=True):
        assert torch.equal(one, other)


def test_a_trace_with_a_window_is_refused():
    network = Caller(lovasz.LovaszSoftmaxLoss(momentum=0.9))
    with pytest.raises(RuntimeError, match="momentum=None or evaluation mode in torch"):
        torch.jit.trace(network, (images(), classes()))


def test_a_scripted_forward_that_calls_a_loss_says_so():
    scripted = torch.jit.script(Caller(lovasz.LovaszSoftmaxLoss()))
    with pytest.raises(torch.jit.Error, match="annotated to be ignored and cannot be run"):
        scripted(images(), classes())


def test_the_marks_change_nothing_else():
    criterion = lovasz.LovaszSoftmaxLoss(momentum=0.5, weight=WEIGHT)
    copies = [copy.deepcopy(criterion), pickle.loads(pickle.dumps(criterion))]
    scores, target = torch.randn(2, C, 5, 3), classes()
    value, slopes = value_and_gradient(lambda x: criterion(x, target), scores)
    for other in copies:
        got = value_and_gradient(lambda x, other=other: other(x, target), scores)
        assert torch.equal(got[0], value)
        assert torch.equal(got[1], slopes)
