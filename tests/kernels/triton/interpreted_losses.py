"""Public losses by way of the GPU kernels, in Triton's interpreter: the way as a whole."""

import pytest
import torch
from torch.utils._python_dispatch import _disable_current_modes

import lovasz
from lovasz.kernels import autograd, operators
from lovasz.kernels import triton as gpu
from lovasz.kernels.contract import checked, checked_reduction
from tests.kernels.cases import relative
from tests.operators import Counter
from tools.launches import kernels

pytestmark = [
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),
    pytest.mark.usefixtures("poison"),
]

OPERATORS = {
    name: checked(name, getattr(gpu, name))
    for name in ("histogram", "extend", "sort_and_extend", "backward")
}
WEIGHT = torch.tensor([1.0, 2.0, 0.5, 0.0, 1.0])
LOSSES = {
    "softmax": lambda x, y: lovasz.lovasz_softmax(x, y, ignore_index=255),
    "list of classes by image": lambda x, y: lovasz.lovasz_softmax(
        x, y, ignore_index=255, classes=[0, 3], per_image=True, weight=WEIGHT, normalize_weight=True
    ),
    "all classes by image": lambda x, y: lovasz.lovasz_softmax(
        x, y, ignore_index=255, classes="all", per_image=True
    ),
    "class weights": lambda x, y: lovasz.lovasz_softmax(x, y, ignore_index=255, weight=WEIGHT),
    "with cross-entropy": lambda x, y: lovasz.cross_entropy_lovasz_softmax(
        x, y, ignore_index=255, weight=WEIGHT, label_smoothing=0.1
    ),
    "exact": lambda x, y: lovasz.lovasz_softmax(x, y, ignore_index=255, method="sort"),
    "tversky": lambda x, y: lovasz.lovasz_softmax(
        x, y, ignore_index=255, set_function=lovasz.tversky(0.7, 1.5)
    ),
    "weights of pixels": lambda x, y: lovasz.lovasz_softmax(
        x, y, ignore_index=255, pixel_weight=(y % 3).float()
    ),
    "sigmoid": lambda x, y: lovasz.lovasz_sigmoid(
        x, torch.nn.functional.one_hot(y % 5, 5).movedim(-1, 1), multilabel=True, symmetric=True
    ),
    "hinge": lambda x, y: lovasz.lovasz_hinge(x[:, :1], y % 2),
    "upsampled": lambda x, y: lovasz.lovasz_softmax(
        x, y.repeat_interleave(2, 1)[:, 1:], ignore_index=255, upsample="bilinear", per_image=True
    ),
    "cross-entropy of upsampled logits alone": lambda x, y: lovasz.cross_entropy_lovasz_softmax(
        x, y[:, ::2, 1:], ignore_index=255, upsample="bilinear", lovasz_weight=0.0
    ),
    "soft labels": lambda x, y: lovasz.lovasz_softmax(x, soft(y)),
    "two label maps": lambda x, y: lovasz.lovasz_softmax(
        x, [y, y.flip(-1)], target_weight=torch.tensor([0.7, 0.3]), ignore_index=255
    ),
    "label smoothing": lambda x, y: lovasz.lovasz_softmax(
        x, y, ignore_index=255, label_smoothing=0.1, per_image=True
    ),
    "cross-entropy and Dice": lambda x, y: lovasz.cross_entropy_dice(x, y, ignore_index=255),
    "Dice of channels by image": lambda x, y: lovasz.dice_loss(
        x, soft(y), activation="sigmoid", multilabel=True, per_image=True, squared=True
    ),
    "metric of upsampled logits": lambda x, y: lovasz.jaccard_metric_loss(
        x, soft(y.repeat_interleave(2, 1)), upsample="bilinear"
    ),
    "Tversky beside Lovász": lambda x, y: lovasz.cross_entropy_lovasz_softmax(
        x, y, ignore_index=255, region=lovasz.SoftTversky(0.3, 0.7, gamma=0.75)
    ),
    "hinge with cross-entropy": lambda x, y: lovasz.binary_cross_entropy_lovasz_hinge(
        x[:, :1], y % 2
    ),
    "binary with cross-entropy": lambda x, y: lovasz.binary_cross_entropy_lovasz_sigmoid(
        x[:, :1], y % 2
    ),
}


def soft(labels):
    """Labels of five classes, blurred along an axis."""
    hard = torch.nn.functional.one_hot(labels % 5, 5).movedim(-1, 1).float()
    return (hard + hard.roll(1, -1)) / 2


def inputs():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 5, 9, 13, generator=generator) * 2
    target = torch.randint(5, (2, 9, 13), generator=generator)
    target[0, :2] = 255
    return logits.requires_grad_(), target


@pytest.fixture
def by_kernels(monkeypatch):
    """Call when the expected values are there: from then on every loss runs on the kernels.

    As plain functions, so that what they start is seen: the dispatcher would hide it.
    """

    def choose():
        assert operators is not None  # has defined what is replaced
        for name, kernel in OPERATORS.items():
            monkeypatch.setattr(torch.ops.lovasz, name, kernel)
        monkeypatch.setattr(torch.ops.lovasz, "reduce", autograd._reduce)
        reduce = checked_reduction(gpu.reduce)
        monkeypatch.setattr(autograd, "_below_autograd", lambda _, inputs: reduce(*inputs))

    return choose


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
def test_losses_and_gradients(loss, by_kernels):
    logits, target = inputs()
    expected = loss(logits, target)
    (gradient,) = torch.autograd.grad(expected, logits)
    by_kernels()
    got = loss(logits, target)
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-6)
    assert relative(torch.autograd.grad(got, logits)[0], gradient) < 2e-3


def test_a_gradient_of_class_weights(by_kernels):
    logits, target = inputs()
    weight = WEIGHT.clone().requires_grad_()
    expected = torch.autograd.grad(
        lovasz.lovasz_softmax(logits, target, ignore_index=255, weight=weight), weight
    )
    by_kernels()
    got = lovasz.lovasz_softmax(logits, target, ignore_index=255, weight=weight)
    torch.testing.assert_close(torch.autograd.grad(got, weight), expected)


class Starts(Counter):
    """Counts what the host starts on a device: operators that are no views, and kernels."""

    def __init__(self, monkeypatch):
        super().__init__()
        for module, name in kernels():
            monkeypatch.setattr(module, name, self._counted(getattr(module, name)))

    def _counted(self, kernel):
        starts = self

        class Counted:
            def __getitem__(self, grid):
                def launch(*args, **kwargs):
                    starts.names.append(kernel.__name__)
                    with _disable_current_modes():
                        return kernel[grid](*args, **kwargs)

                return launch

        return Counted()


FEW = {
    "softmax": (lambda x, y: lovasz.lovasz_softmax(x, y, ignore_index=255), 6, 3),
    "with cross-entropy": (
        lambda x, y: lovasz.cross_entropy_lovasz_softmax(x, y, ignore_index=255), 8, 4,
    ),
    "sigmoid": (lambda x, y: lovasz.lovasz_sigmoid(x, y, multilabel=True), 5, 3),
}  # fmt: skip


@pytest.mark.parametrize(("loss", "forward", "backward"), FEW.values(), ids=FEW.keys())
def test_few_launches(loss, forward, backward, by_kernels, monkeypatch):
    logits, target = inputs()
    target = target if loss is not FEW["sigmoid"][0] else (logits > 0).long()
    by_kernels()
    loss(logits, target)  # the edges of the bins are computed once, on the host
    with Starts(monkeypatch) as starts:
        value = loss(logits, target)
        first = list(starts.names)
        torch.autograd.grad(value, logits)
    # New memory is no launch, and labels are looked at on processors alone.
    free = {"aten::new_empty", "aten::empty_like", "aten::aminmax", "aten::_local_scalar_dense"}
    there = [name for name in first if name not in free]
    assert len(there) <= forward, there
    back = [name for name in starts.names[len(first) :] if name not in free]
    assert len(back) <= backward, back
