"""kornia, pytorch-toolbelt, Catalyst, PaddleSeg in `lovasz.compat`, as the oracle has them.

tests/test_compat_peers.py has the libraries themselves, where they are installed.
"""

import inspect
import statistics

import pytest
import torch

from lovasz import error_bound
from lovasz.compat import catalyst, kornia, mmdet3d, paddleseg, smp, toolbelt
from tests import oracle
from tests.gradients import value_and_gradient
from tests.test_compat import (
    IGNORE,
    C,
    binary_oracle,
    distance,
    hinge,
    masks,
    pair,
    rows,
    softmax_oracle,
)

CLOSE = error_bound(2048)

# Of kornia 0.9.0, pytorch-toolbelt 0.8.0, Catalyst 22.4, mmdetection3d 1.4.0, PaddleSeg.
SIGNATURES = [
    (kornia.lovasz_softmax_loss, "pred, target, weight=None"),
    (kornia.lovasz_hinge_loss, "pred, target"),
    (kornia.LovaszSoftmaxLoss, "weight=None"),
    (kornia.LovaszSoftmaxLoss.forward, "self, pred, target"),
    (kornia.LovaszHingeLoss, ""),
    (kornia.LovaszHingeLoss.forward, "self, pred, target"),
    (toolbelt.BinaryLovaszLoss, "per_image=False, ignore_index=None"),
    (toolbelt.BinaryLovaszLoss.forward, "self, logits, target"),
    (toolbelt.LovaszLoss, "per_image=False, ignore=None"),
    (toolbelt.LovaszLoss.forward, "self, logits, target"),
    (catalyst.LovaszLossBinary, "per_image=False, ignore=None"),
    (catalyst.LovaszLossBinary.forward, "self, logits, targets"),
    (catalyst.LovaszLossMultiClass, "per_image=False, ignore=None"),
    (catalyst.LovaszLossMultiLabel, "per_image=False, ignore=None"),
    (
        mmdet3d.LovaszLoss,
        "loss_type='multi_class', classes='present', per_sample=False, reduction='mean',"
        " class_weight=None, loss_weight=1.0",
    ),
    (paddleseg.LovaszSoftmaxLoss, "ignore_index=255, classes='present'"),
    (paddleseg.LovaszSoftmaxLoss.forward, "self, logits, labels"),
    (paddleseg.LovaszHingeLoss, "ignore_index=255"),
    (paddleseg.MixedLoss, "losses, coef"),
    (paddleseg.MixedLoss.forward, "self, logits, labels"),
]


@pytest.mark.parametrize(
    ("function", "expected"), SIGNATURES, ids=lambda x: getattr(x, "__qualname__", str(x)[:40])
)
def test_signatures(function, expected):
    parameters = list(inspect.signature(function).parameters.values())
    original = [x for x in parameters if x.kind is not inspect.Parameter.KEYWORD_ONLY]
    bare = [parameter.replace(annotation=inspect.Parameter.empty) for parameter in original]
    assert str(inspect.Signature(bare)) == f"({expected})"
    assert {x.name for x in parameters if x not in original} <= {"method"}


def gradient_of_softmax(logits, target, **options):
    """Mean over images of the oracle's gradients."""
    images = [
        oracle.lovasz_softmax(*rows(logits[k : k + 1], target[k : k + 1]), **options)[1]
        for k in range(len(logits))
    ]
    shape = (len(logits), *logits.shape[2:], logits.shape[1])
    return (torch.tensor(images).view(shape) / len(logits)).movedim(-1, 1)


@pytest.mark.parametrize("weight", [None, [1.0, 2.0, 0.5, 4.0]])
def test_kornia_is_of_images_and_all_classes(weight):
    logits, target = pair(ignored=False)
    target[0, 0, 0] = 2
    options = {"classes": "all", "weight": weight, "normalize_weight": False}
    expected = statistics.fmean(
        softmax_oracle(logits[k : k + 1], target[k : k + 1], **options) for k in range(3)
    )
    value, gradient = value_and_gradient(
        lambda x: kornia.lovasz_softmax_loss(x, target, weight, method="sort"), logits
    )
    assert value.item() == pytest.approx(expected, rel=1e-12)
    slopes = gradient_of_softmax(logits, target, **options)
    torch.testing.assert_close(gradient.float(), slopes, rtol=1e-5, atol=1e-7)
    counted = kornia.LovaszSoftmaxLoss(weight)(logits, target).item()
    assert counted == pytest.approx(expected, abs=4 * CLOSE)


def test_one_prediction_of_kornia_for_every_target():
    logits, target = pair(ignored=False)
    target[0, 0, 0] = 2
    one = value_and_gradient(lambda x: kornia.lovasz_softmax_loss(x, target), logits[:1])
    other = value_and_gradient(
        lambda x: kornia.lovasz_softmax_loss(x.expand_as(logits), target), logits[:1]
    )
    torch.testing.assert_close(one, other)


def test_class_weights_of_kornia_are_not_saved_unless_learned():
    assert not kornia.LovaszSoftmaxLoss(torch.ones(C)).state_dict()
    criterion = kornia.LovaszSoftmaxLoss(torch.nn.Parameter(torch.ones(C)))
    logits, target = pair(ignored=False)
    target[0, 0, 0] = 2
    criterion(logits, target).backward()
    assert [name for name, _ in criterion.named_parameters()] == ["weight"]
    assert criterion.weight.grad.all()


BINARY = {
    "toolbelt": toolbelt.BinaryLovaszLoss,
    "catalyst": catalyst.LovaszLossBinary,
    "smp": lambda *options: smp.LovaszLoss("binary", *options),
}


@pytest.mark.parametrize("per_image", [False, True])
@pytest.mark.parametrize("name", BINARY)
def test_hinges(name, per_image):
    scores, target = masks()
    expected = binary_oracle(scores, target, hinge, per_image)
    criterion = BINARY[name](per_image, IGNORE)
    for given in (target, target.float(), target.unsqueeze(1)):
        assert criterion(scores, given).item() == pytest.approx(expected, rel=1e-12)
    whole = statistics.fmean(
        binary_oracle(scores[k], (target[k] == 1).long(), hinge) for k in range(3)
    )
    kornias = kornia.LovaszHingeLoss()(scores.unsqueeze(1), (target == 1).long())
    assert kornias.item() == pytest.approx(whole, rel=1e-12)


def test_a_floating_ignored_label_of_toolbelt():
    scores, target = masks()
    criterion = toolbelt.BinaryLovaszLoss(ignore_index=255.0)
    expected = binary_oracle(scores, target, hinge)
    assert criterion(scores, target.float()).item() == pytest.approx(expected, rel=1e-12)
    with pytest.raises(TypeError, match="ignore_index to be an integer or None"):
        toolbelt.BinaryLovaszLoss(ignore_index=0.5)


@pytest.mark.parametrize("per_image", [False, True])
@pytest.mark.parametrize("kind", [toolbelt.LovaszLoss, catalyst.LovaszLossMultiClass])
def test_losses_that_take_probabilities_for_logits(kind, per_image):
    logits, target = pair()
    expected = softmax_oracle(logits, target, per_image)
    exact = kind(per_image, IGNORE, method="sort")
    assert exact(logits.softmax(1), target).item() == pytest.approx(expected, rel=1e-9)
    for labels in (target, target.unsqueeze(1), target.float()):
        loss = kind(per_image, IGNORE)(logits.softmax(1), labels)
        assert loss.item() == pytest.approx(expected, abs=CLOSE)
    with pytest.raises(ValueError, match=r"LovaszLoss.*takes under the name of logits.*softmax\(1"):
        kind(per_image, IGNORE)(logits, target)
    with pytest.raises(ValueError, match=r"two classes or more on axis 1.*Binary"):
        kind(per_image, IGNORE)(logits[:, :1].sigmoid(), target)


@pytest.mark.parametrize("per_image", [False, True])
def test_channels_of_catalyst(per_image):
    columns = [masks() for _ in range(3)]
    scores, target = (torch.stack(x, 1) for x in zip(*columns, strict=True))
    expected = statistics.fmean(binary_oracle(*column, hinge, per_image) for column in columns)
    loss = catalyst.LovaszLossMultiLabel(per_image, IGNORE)(scores, target)
    assert loss.item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("classes", ["present", "all", [0, 3]])
def test_softmax_of_paddleseg(classes):
    logits, target = pair()
    expected = softmax_oracle(logits, target, classes=classes)
    criterion = paddleseg.LovaszSoftmaxLoss(classes=classes, method="sort")
    for labels in (target, target.unsqueeze(1)):
        assert criterion(logits, labels).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_two_channels_of_paddleseg_are_the_logit_of_the_second(dtype):
    scores, target = masks()
    pairs = torch.stack([scores.cos(), scores + scores.cos()], 1).to(dtype)
    expected = binary_oracle((pairs[:, 1].double() - pairs[:, 0].double()), target, hinge)
    criterion = paddleseg.LovaszHingeLoss()
    bound = 1e-12 if dtype == torch.float64 else 1e-6
    assert criterion(pairs, target.unsqueeze(1)).item() == pytest.approx(expected, rel=bound)
    single = criterion(scores.unsqueeze(1), target).item()
    assert single == pytest.approx(binary_oracle(scores, target, hinge), rel=1e-12)
    with pytest.raises(ValueError, match=r"of shape \(N, 1, \*\) or \(N, 2, \*\), got \(3, 3, 2"):
        criterion(pairs[:, :1].expand(3, 3, 2, 3), target)


def test_the_mixture_of_paddleseg():
    logits, target = pair()
    losses = [torch.nn.CrossEntropyLoss(ignore_index=IGNORE), paddleseg.LovaszSoftmaxLoss()]
    criterion = paddleseg.MixedLoss(losses, [0.8, 0.2])
    parts = criterion(logits, target)
    assert [part.item() for part in parts] == [
        0.8 * losses[0](logits, target).item(),
        pytest.approx(0.2 * losses[1](logits, target).item()),
    ]
    assert next(iter(criterion.children()))[1] is losses[1]  # moves with it


WRONG = [
    (lambda: paddleseg.MixedLoss(1, [1]), TypeError, "expected losses to be a list, got int"),
    (lambda: paddleseg.MixedLoss([print], [1]), TypeError, "expected losses that are modules"),
    (lambda: paddleseg.MixedLoss([], [1.0]), ValueError, "as many numbers in coef as there are l"),
    (
        lambda: paddleseg.MixedLoss([torch.nn.MSELoss()], [float("nan")]),
        ValueError,
        "coef to hold finite numbers",
    ),
    (lambda: smp.LovaszLoss("binary", method="x"), ValueError, "method to be one of 'histogram'"),
    (
        lambda: smp.LovaszLoss("multiclass")(torch.zeros(1, 2, 3), torch.full((1, 3), 0.5)),
        ValueError,
        "smp.LovaszLoss: expected labels to be whole numbers .class indices., got 0.5",
    ),
]


@pytest.mark.parametrize(("call", "error", "words"), WRONG)
def test_wrong_arguments(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_masks_of_0_and_255_are_refused():
    scores, target = masks()
    target = (target == 1) * 255
    for criterion in (
        kornia.lovasz_hinge_loss,
        toolbelt.BinaryLovaszLoss(),
        catalyst.LovaszLossBinary(),
        smp.LovaszLoss("binary"),
    ):
        with pytest.raises(ValueError, match="expected every label to be 0"):
            criterion(scores, target)


def test_methods_of_hinges_are_those_of_the_losses():
    scores, target = masks()
    target[target == IGNORE] = 0
    exact = smp.LovaszLoss("binary")(scores, target)
    counted = smp.LovaszLoss("binary", method="histogram")(scores, target)
    assert counted != exact
    assert counted.item() == pytest.approx(exact.item(), rel=0.02)
    probabilities = smp.LovaszLoss("binary", from_logits=False, method="histogram")
    expected = binary_oracle(scores.sigmoid(), target, distance)
    assert probabilities(scores.sigmoid(), target).item() == pytest.approx(expected, abs=CLOSE)
