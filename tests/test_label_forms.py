"""Labels as data sets and other libraries have them: with a channel, as floats, one-hot."""

import warnings

import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn import functional as F

import lovasz
from tests.gradients import value_and_gradient

CLASSES, IGNORED = 5, 255
SHAPE = (2, CLASSES, 6, 7)

LOSSES = {
    "softmax": lovasz.lovasz_softmax,
    "probabilities": lovasz.lovasz_softmax_from_probabilities,
    "cross-entropy": lovasz.cross_entropy_lovasz_softmax,
    "Dice": lovasz.cross_entropy_dice,
    "Tversky": lovasz.tversky_loss,
}
#: Two classes, whose loss is that of one channel.
BINARY = {
    "sigmoid": lovasz.lovasz_sigmoid,
    "hinge": lovasz.lovasz_hinge,
    "binary cross-entropy": lovasz.binary_cross_entropy_lovasz_sigmoid,
    "Dice of a sigmoid": lovasz.binary_cross_entropy_dice,
}


def one_hot(target, dtype=torch.int64):
    """What there is of an ignored pixel is the ignored label, in all channels."""
    ignored = target == IGNORED
    hot = F.one_hot(torch.where(ignored, 0, target), CLASSES).movedim(-1, 1)
    return torch.where(ignored.unsqueeze(1), IGNORED, hot).to(dtype)


FORMS = {
    "a channel": lambda y: y.unsqueeze(1),
    "bytes with a channel": lambda y: y.to(torch.uint8).unsqueeze(1),
    "floats": lambda y: y.float(),
    "float64": lambda y: y.double(),
    "bfloat16": lambda y: y.bfloat16(),
    "floats with a channel": lambda y: y.half().unsqueeze(1),
    "one-hot": one_hot,
    "one-hot bytes": lambda y: one_hot(y, torch.uint8),
    "one-hot int16": lambda y: one_hot(y, torch.int16),
}


def inputs(shape=SHAPE, loss="softmax"):
    torch.manual_seed(0)
    target = torch.randint(shape[1], (shape[0], *shape[2:]))
    target.flatten()[::7] = IGNORED
    scores = 2 * torch.randn(shape)
    return (scores.softmax(1) if loss == "probabilities" else scores), target


def same(got, want):
    for one, other in zip(got, want, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("loss", LOSSES)
def test_every_form_is_the_loss_of_the_indices(loss, form):
    function = LOSSES[loss]
    scores, target = inputs(loss=loss)

    def of(labels):
        return value_and_gradient(lambda x: function(x, labels, ignore_index=IGNORED), scores)

    same(of(FORMS[form](target)), of(target))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("shape", [(11, CLASSES), (3, CLASSES, 4), (2, CLASSES, 3, 2, 4)])
def test_of_every_number_of_axes(shape, form):
    logits, target = inputs(shape)

    def of(labels):
        def loss(x):
            return lovasz.lovasz_softmax(x, labels, ignore_index=IGNORED, method="sort")

        return value_and_gradient(loss, logits)

    same(of(FORMS[form](target)), of(target))


@pytest.mark.parametrize("form", FORMS)
def test_beside_masks_weights_and_several_maps(form):
    logits, target = inputs()
    labels, mask = FORMS[form](target), torch.rand(target.shape) < 0.3
    weight = torch.rand(target.shape)

    def of(labels, mask, weight):
        options = {"ignore_mask": mask, "pixel_weight": weight, "ignore_index": IGNORED}
        return value_and_gradient(lambda x: lovasz.lovasz_softmax(x, labels, **options), logits)

    want = of(target, mask, weight)
    same(of(labels, mask, weight), want)
    same(of(labels, mask.unsqueeze(1), weight.unsqueeze(1)), want)
    if not labels.is_floating_point():
        maps = [labels, labels.flip(0)]
        plain = [target, target.flip(0)]
        both = [
            value_and_gradient(
                lambda x, y=y: lovasz.lovasz_softmax(x, y, ignore_index=IGNORED), logits
            )
            for y in (maps, plain)
        ]
        same(*both)


@pytest.mark.parametrize("form", FORMS)
def test_of_another_resolution(form):
    logits, target = inputs()
    small = logits[:, :, :3, :4]

    def of(labels):
        def loss(x):
            return lovasz.cross_entropy_lovasz_softmax(
                x, labels, ignore_index=IGNORED, upsample="bilinear"
            )

        return value_and_gradient(loss, small)

    same(of(FORMS[form](target)), of(target))


@pytest.mark.parametrize("form", FORMS)
def test_deep_supervision_takes_the_nearest_index(form):
    """The mean of floats that are indices would be another class."""
    torch.manual_seed(0)
    scales = [torch.randn(2, CLASSES, n, n) for n in (8, 4, 2)]
    target = torch.randint(CLASSES, (2, 8, 8))

    def of(labels):
        return lovasz.deep_supervision(lovasz.lovasz_softmax, scales, labels, ignore_index=IGNORED)

    assert of(FORMS[form](target)) == of(target)


@pytest.mark.parametrize("form", ["a channel", "floats", "floats with a channel", "one-hot"])
def test_in_every_mode_of_torch(form):
    logits, target = inputs()
    labels = FORMS[form](target)

    def loss(x, y):
        return lovasz.lovasz_softmax(x, y, ignore_index=IGNORED)

    want = value_and_gradient(lambda x: loss(x, target), logits)
    torch._dynamo.reset()
    compiled = torch.compile(loss, backend="aot_eager", fullgraph=True)
    same(value_and_gradient(lambda x: compiled(x, labels), logits), want)
    gradient = torch.func.grad(loss)(logits, labels)
    same([gradient], want[1:])
    stacked = torch.func.vmap(torch.func.grad(loss))(
        torch.stack((logits, -logits)), torch.stack((labels, labels))
    )
    same([stacked[0]], want[1:])
    program = torch.export.export(_Module(loss), (logits, labels)).module()
    same([program(logits, labels)], want[:1])
    for before_autograd in (False, True):
        recorded = make_fx(loss, pre_dispatch=before_autograd)(logits, labels)
        same([recorded(logits, labels)], want[:1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # shapes are compared while tracing
        traced = torch.jit.trace(_Module(loss), (logits, labels))
    same([traced(logits, labels)], want[:1])


class _Module(torch.nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x, y):
        return self.function(x, y)


@pytest.mark.parametrize("loss", BINARY)
@pytest.mark.parametrize("shape", [(2, 6, 7), (11,)])
def test_masks_with_and_without_a_channel(loss, shape):
    """Where one of the two has the axis, axis 1 of the other holds no channels."""
    torch.manual_seed(0)
    logits, labels = torch.randn(shape), torch.randint(2, shape)

    def of(x, y):
        value, gradient = value_and_gradient(lambda x: BINARY[loss](x, y), x)
        return value, gradient.reshape(shape)

    want = of(logits.unsqueeze(1), labels.unsqueeze(1))
    same(of(logits, labels.unsqueeze(1)), want)
    same(of(logits, labels.bool().unsqueeze(1)), want)
    same(of(logits.unsqueeze(1), labels), want)
    for one, other in zip(of(logits, labels.float().unsqueeze(1)), want, strict=True):
        torch.testing.assert_close(one, other)  # soft labels are summed in another order


def test_two_channels_and_the_hinge():
    torch.manual_seed(0)
    logits, target = torch.randn(2, 2, 4, 4), torch.randint(2, (2, 4, 4))
    want = value_and_gradient(lambda x: lovasz.cross_entropy_lovasz_hinge(x, target), logits)
    hot = F.one_hot(target, 2).movedim(-1, 1)
    for labels in (target.float(), target.unsqueeze(1), hot, hot.bool()):
        got = value_and_gradient(
            lambda x, y=labels: lovasz.cross_entropy_lovasz_hinge(x, y), logits
        )
        same(got, want)


LOGITS, TARGET = inputs()
HOT = one_hot(torch.where(TARGET == IGNORED, 0, TARGET))
MANY = torch.zeros(2, 300, 3, 3)


def changed(tensor, value):
    tensor = tensor.clone(memory_format=torch.contiguous_format)
    tensor.flatten()[3] = value
    return tensor


WRONG = {
    "no whole number": (
        LOGITS,
        changed(TARGET.float(), 1.5),
        ValueError,
        "class indices.* got 1.5",
    ),
    "no number": (LOGITS, changed(TARGET.float(), float("nan")), ValueError, "got nan"),
    "a float out of range": (LOGITS, changed(TARGET.float(), 7), ValueError, "got 7"),
    "infinite": (LOGITS, changed(TARGET.double(), float("inf")), ValueError, "got inf"),
    "two hot": (LOGITS, changed(HOT, 1) | HOT.flip(1), ValueError, "one-hot"),
    "none hot": (LOGITS, torch.zeros_like(HOT), ValueError, r"one-hot.*\[0, 0, 0, 0, 0\]"),
    "a number beside": (LOGITS, changed(HOT, 2), ValueError, "one-hot.* got .*2, "),
    "overlapping masks": (LOGITS, torch.ones_like(HOT, dtype=torch.bool), ValueError, "one-hot"),
    "rounded": (MANY, torch.zeros(2, 3, 3).bfloat16(), TypeError, "integers up to 256"),
    "of another size": (LOGITS, TARGET[:, None, 1:], ValueError, r"to match logits"),
    "classes last": (LOGITS.movedim(1, -1), TARGET, ValueError, r"logits.movedim\(-1, 1\)"),
    "one-hot, classes last": (LOGITS, HOT.movedim(1, -1), ValueError, r"target.movedim\(-1, 1\)"),
    "one class": (LOGITS[:, :1], HOT[:, :1], ValueError, "lovasz_sigmoid"),
}


@pytest.mark.parametrize("case", WRONG)
def test_labels_that_mean_nothing_have_a_sentence(case):
    logits, target, error, words = WRONG[case]
    with pytest.raises(error, match=f"^lovasz_softmax: expected .*{words}"):
        lovasz.lovasz_softmax(logits, target, ignore_index=IGNORED)


@pytest.mark.parametrize("case", ["no whole number", "no number", "two hot", "none hot"])
def test_compiled_code_tells_of_them_too(case):
    """On the CPU, by the operator; other devices make the loss NaN."""
    logits, target, *_ = WRONG[case]
    torch._dynamo.reset()
    compiled = torch.compile(lovasz.lovasz_softmax, backend="aot_eager", fullgraph=True)
    with pytest.raises(ValueError, match=r"expected every label .* neither whole nor one-hot"):
        compiled(logits, target, ignore_index=IGNORED)


def test_what_is_masked_may_be_anything():
    mask = torch.zeros(TARGET.shape, dtype=torch.bool)
    mask[0, 0] = True
    want = lovasz.lovasz_softmax(LOGITS, TARGET, ignore_index=IGNORED, ignore_mask=mask)
    floats = torch.where(mask, float("nan"), TARGET.float())
    hot = torch.where(mask.unsqueeze(1), 3, one_hot(TARGET))
    for labels in (floats, hot):
        for out in ({"ignore_mask": mask}, {"pixel_weight": (~mask).float()}):
            got = lovasz.lovasz_softmax(LOGITS, labels, ignore_index=IGNORED, **out)
            assert got == want


def test_class_indices_of_a_multilabel_loss_are_told_the_other():
    with pytest.raises(ValueError, match="for class indices use lovasz_softmax"):
        lovasz.lovasz_sigmoid(LOGITS, TARGET, multilabel=True)
