"""`lovasz.compat` beside the libraries whose names it has: arguments, values and gradients.

`make peers` installs them and runs this; elsewhere it tests those that are there.
"""

import inspect
import sys

import pytest
import torch
from torch.nn import functional as F

from lovasz import error_bound
from lovasz.compat import catalyst, kornia, mmdet3d, mmseg, monai, smp, toolbelt
from tests.gradients import relative, value_and_gradient
from tests.peers import library

C, IGNORE = 5, 255
CLOSE = error_bound(2048)
WEIGHT = [1.0, 2.0, 0.5, 4.0, 3.0]


def classes(ignored=True):
    """Logits and labels of images, each with a pixel, and with a class that is absent."""
    target = torch.randint(C - 1, (3, 6, 5))
    if ignored:
        target[0, 0] = IGNORE
    return 2 * torch.randn(3, C, 6, 5), target


def masks(ignored=True):
    target = torch.randint(2, (3, 6, 5))
    if ignored:
        target[0, 0] = IGNORE
    return 2 * torch.randn(3, 6, 5), target


def channels(ignored=True):
    scores, target = zip(*(masks(ignored) for _ in range(C)), strict=True)
    return torch.stack(scores, 1), torch.stack(target, 1)


def same(scores, ours, theirs):
    got, want = value_and_gradient(ours, scores), value_and_gradient(theirs, scores)
    assert relative(got[0], want[0]) < 1e-6
    assert relative(got[1], want[1]) < 1e-5


def close(scores, ours, theirs):
    """What counting is off by."""
    assert abs(float(ours(scores)) - float(theirs(scores))) < CLOSE


def takes_the_same(ours, theirs):
    """The same arguments by position, and one of our own by keyword."""
    wanted = inspect.signature(theirs).parameters.values()
    found = list(inspect.signature(ours).parameters.values())
    positional = [x for x in found if x.kind is not inspect.Parameter.KEYWORD_ONLY]
    assert [(x.name, x.default) for x in positional] == [(x.name, x.default) for x in wanted]
    assert [x.name for x in found if x not in positional] == ["method"]


@pytest.fixture
def their_kornia():
    return library("kornia", "losses")


@pytest.fixture
def their_smp():
    return library("segmentation_models_pytorch", "losses")


@pytest.fixture
def their_toolbelt():
    return library("pytorch_toolbelt", "losses.lovasz", alone=True)


@pytest.fixture
def their_catalyst():
    return library("catalyst", "contrib.losses.lovasz", alone=True)


@pytest.fixture
def their_mmseg():
    return library("mmseg", "models.losses.lovasz_loss", alone=True)


@pytest.fixture
def their_mmdet3d():
    # Of mmdet one function is needed, and all else of it needs compiled parts.
    reduce = library("mmdet", "models.losses.utils", alone=True).weight_reduce_loss
    sys.modules["mmdet.models"].weight_reduce_loss = reduce
    return library("mmdet3d", "models.losses.lovasz_loss", alone=True)


def test_arguments_of_kornia(their_kornia):
    for name in kornia.__all__:
        ours, theirs = getattr(kornia, name), getattr(their_kornia, name)
        takes_the_same(ours, theirs)
        if inspect.isclass(ours):
            assert_forward(ours, theirs)


def test_arguments_of_the_others(their_smp, their_toolbelt, their_catalyst):
    for ours, theirs in ((smp, their_smp), (toolbelt, their_toolbelt), (catalyst, their_catalyst)):
        for name in ours.__all__:
            takes_the_same(getattr(ours, name), getattr(theirs, name))
            assert_forward(getattr(ours, name), getattr(theirs, name))


def test_arguments_of_openmmlab(their_mmseg, their_mmdet3d):
    for ours, theirs in ((mmseg, their_mmseg), (mmdet3d, their_mmdet3d)):
        takes_the_same(ours.LovaszLoss, theirs.LovaszLoss)
        names = list(inspect.signature(ours.LovaszLoss.forward).parameters)
        names.remove("ignore_index")  # theirs is one of the further ones
        assert names == list(inspect.signature(theirs.LovaszLoss.forward).parameters)


def assert_forward(ours, theirs):
    names = [list(inspect.signature(one.forward).parameters) for one in (ours, theirs)]
    assert names[0] == names[1]


@pytest.mark.parametrize("weight", [None, WEIGHT])
def test_kornia_softmax(their_kornia, weight):
    scores, target = classes(ignored=False)
    weight = None if weight is None else torch.tensor(weight)
    ours = kornia.LovaszSoftmaxLoss(weight, method="sort")
    theirs = their_kornia.LovaszSoftmaxLoss(weight)
    same(scores, lambda x: ours(x, target), lambda x: theirs(x, target))
    # One prediction for every target
    same(scores[:1], lambda x: ours(x, target), lambda x: theirs(x, target))
    usual = kornia.lovasz_softmax_loss
    if weight is None:
        close(scores, lambda x: usual(x, target), lambda x: theirs(x, target))


def test_kornia_softmax_has_a_gradient_by_its_weights(their_kornia):
    scores, target = classes(ignored=False)
    gradients = []
    for library_, options in ((kornia, {"method": "sort"}), (their_kornia, {})):
        criterion = library_.LovaszSoftmaxLoss(torch.nn.Parameter(torch.tensor(WEIGHT)), **options)
        criterion(scores, target).backward()
        gradients.append(criterion.weight.grad)
    torch.testing.assert_close(*gradients)


def test_kornia_hinge(their_kornia):
    scores, target = masks(ignored=False)
    same(
        scores.unsqueeze(1),
        lambda x: kornia.lovasz_hinge_loss(x, target),
        lambda x: their_kornia.lovasz_hinge_loss(x, target),
    )


@pytest.mark.parametrize("per_image", [False, True])
@pytest.mark.parametrize("ignore", [None, IGNORE])
@pytest.mark.parametrize(("mode", "draw"), [("multiclass", classes), ("binary", masks)])
def test_smp(their_smp, mode, draw, ignore, per_image):
    arguments = (mode, per_image, ignore)
    scores, target = draw(ignore is not None)
    ours = smp.LovaszLoss(*arguments, method="sort")
    theirs = their_smp.LovaszLoss(*arguments)
    same(scores, lambda x: ours(x, target), lambda x: theirs(x, target))
    # Masks of data sets that are whole floats
    same(scores, lambda x: ours(x, target.float()), lambda x: theirs(x, target.float()))
    usual = smp.LovaszLoss(*arguments)
    close(scores, lambda x: usual(x, target), lambda x: theirs(x, target))


def test_smp_takes_the_channels_of_multilabel_for_one_mask(their_smp):
    scores, target = channels(ignored=False)
    theirs = their_smp.LovaszLoss("multilabel")
    same(
        scores,
        lambda x: smp.LovaszLoss("binary")(x.flatten(0, 1), target.flatten(0, 1)),
        lambda x: theirs(x, target),
    )


@pytest.mark.parametrize("per_image", [False, True])
@pytest.mark.parametrize("ignore", [None, IGNORE])
def test_toolbelt(their_toolbelt, ignore, per_image):
    arguments = (per_image, ignore)
    scores, target = masks(ignore is not None)
    ours = toolbelt.BinaryLovaszLoss(*arguments)
    theirs = their_toolbelt.BinaryLovaszLoss(*arguments)
    same(scores, lambda x: ours(x, target), lambda x: theirs(x, target))
    scores, target = classes(ignore is not None)
    softmax = toolbelt.LovaszLoss(*arguments, method="sort")
    their_softmax = their_toolbelt.LovaszLoss(*arguments)
    same(
        scores,
        lambda x: softmax(x.softmax(1), target),
        lambda x: their_softmax(x.softmax(1), target),
    )
    usual = toolbelt.LovaszLoss(*arguments)
    close(scores.softmax(1), lambda p: usual(p, target), lambda p: their_softmax(p, target))


@pytest.mark.parametrize("per_image", [False, True])
@pytest.mark.parametrize("ignore", [None, IGNORE])
@pytest.mark.parametrize(
    ("name", "draw"), [("LovaszLossBinary", masks), ("LovaszLossMultiLabel", channels)]
)
def test_hinges_of_catalyst(their_catalyst, name, draw, ignore, per_image):
    scores, target = draw(ignore is not None)
    ours = getattr(catalyst, name)(per_image, ignore)
    theirs = getattr(their_catalyst, name)(per_image, ignore)
    same(scores, lambda x: ours(x, target), lambda x: theirs(x, target))


@pytest.mark.parametrize("per_image", [False, True])
@pytest.mark.parametrize("ignore", [None, IGNORE])
def test_softmax_of_catalyst(their_catalyst, ignore, per_image):
    scores, target = classes(ignore is not None)
    ours = catalyst.LovaszLossMultiClass(per_image, ignore, method="sort")
    theirs = their_catalyst.LovaszLossMultiClass(per_image, ignore)
    same(scores, lambda x: ours(x.softmax(1), target), lambda x: theirs(x.softmax(1), target))


# What both take, without the name of per_image: images, reduction and number to divide by.
IMAGES = [(False, "none", None), (True, "mean", None), (True, "sum", None), (True, "none", None)]
IMAGES += [(True, "mean", 7), (True, "mean", 0)]


@pytest.mark.parametrize(("per_image", "reduction", "avg_factor"), IMAGES)
@pytest.mark.parametrize("loss_type", ["multi_class", "binary"])
@pytest.mark.parametrize("name", ["mmseg", "mmdet3d"])
def test_openmmlab(name, loss_type, per_image, reduction, avg_factor, request):
    theirs = request.getfixturevalue(f"their_{name}")
    ours = {"mmseg": mmseg, "mmdet3d": mmdet3d}[name]
    options = {"loss_type": loss_type, "reduction": reduction, "loss_weight": 0.5}
    options["per_image" if name == "mmseg" else "per_sample"] = per_image
    if loss_type == "multi_class":
        options |= {"class_weight": WEIGHT, "classes": [0, 2, 4]}
    scores, target = classes() if loss_type == "multi_class" else masks()
    criterion = ours.LovaszLoss(**options, method="sort")
    original = theirs.LovaszLoss(**options)
    call = {"avg_factor": avg_factor, "ignore_index": IGNORE}
    same(scores, lambda x: criterion(x, target, **call), lambda x: original(x, target, **call))


def test_points_of_mmdet3d(their_mmdet3d):
    scores, target = classes()
    scores, target = scores.movedim(1, -1).flatten(0, -2), target.flatten()
    theirs = their_mmdet3d.LovaszLoss(reduction="none")
    ours = mmdet3d.LovaszLoss(reduction="none", method="sort")
    same(scores, lambda x: ours(x, target), lambda x: theirs(x, target))


def test_the_registry_of_mmseg_builds_ours(their_mmseg):
    registry = sys.modules["mmseg.registry"].MODELS
    registry.register_module(name="LovaszLossOfCompat", module=mmseg.LovaszLoss, force=True)
    config = {"type": "LovaszLossOfCompat", "loss_weight": 0.5, "loss_name": "loss_iou"}
    criterion = registry.build(config)
    assert isinstance(criterion, mmseg.LovaszLoss)
    assert (criterion.loss_weight, criterion.loss_name) == (0.5, "loss_iou")


@pytest.mark.parametrize("thresh", [0.7, None])
def test_hard_pixels_of_mmseg(their_mmseg, thresh):
    sampling = library("mmseg", "structures.sampler.ohem_pixel_sampler", alone=True)
    ours = mmseg.LovaszLoss(method="sort")
    pixelwise = torch.nn.CrossEntropyLoss(ignore_index=IGNORE, reduction="none")

    class Head:
        """What the sampler reads of a head."""

        ignore_index = IGNORE
        loss_decode = torch.nn.ModuleList([OfPixels(pixelwise), ours])

    scores, target = classes()
    sampler = sampling.OHEMPixelSampler(Head(), thresh, min_kept=10)
    weight = sampler.sample(scores, target.unsqueeze(1))
    assert 0 < weight.sum() < (target != IGNORE).sum()
    same(
        scores,
        lambda x: ours(x, target, weight=weight, ignore_index=IGNORE),
        lambda x: ours(x, target.masked_fill(weight == 0, IGNORE), ignore_index=IGNORE),
    )


class OfPixels(torch.nn.Module):
    """A cross-entropy as a head calls it."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, scores, target, **_):
        return self.function(scores, target)


# MONAI has no Lovász loss, so its conventions are compared: arguments, shapes and what is left out.


def test_arguments_of_monai():
    theirs = pytest.importorskip("monai.losses").DiceLoss
    wanted, found = (inspect.signature(one).parameters for one in (theirs, monai.LovaszLoss))
    of_dice = ("squared_pred", "jaccard", "smooth_nr", "smooth_dr", "soft_label")
    wanted = [(x.name, x.default) for x in wanted.values() if x.name not in of_dice]
    found = [(x.name, x.default) for x in found.values() if x.name != "method"]
    assert found == wanted


@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize("background", [False, True])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("weight", [None, 2.0, WEIGHT])
@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_conventions_of_monai(activation, weight, reduction, background, batch):
    losses = pytest.importorskip("monai.losses")
    if isinstance(weight, list) and not background:
        weight = weight[1:]
    options = {
        "include_background": background,
        "to_onehot_y": True,
        activation: True,
        "reduction": losses.dice.LossReduction(reduction),
        "batch": batch,
        "weight": weight,
    }
    # All classes are predicted in every image, and all but the last one are there.
    pixels = torch.arange(30).view(6, 5).expand(3, 6, 5)
    target = pixels.remainder(C - 1).unsqueeze(1).float()
    # Where every probability is 0 or 1 both are 1 − IoU, of Dice made so by jaccard=True.
    hard = 200 * F.one_hot(pixels.remainder(C), C).movedim(-1, 1).float() - 100
    theirs = losses.DiceLoss(jaccard=True, smooth_nr=1e-9, smooth_dr=1e-9, **options)
    ours = monai.LovaszLoss(**options, method="sort")
    got, want = ours(hard, target), theirs(hard, target)
    assert got.shape == want.shape
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)
