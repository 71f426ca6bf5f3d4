"""Every function and module of ``compat`` compiles whole: values and gradients as without."""

import inspect

import pytest
import torch

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

C, IGNORE = 4, 255


def classes():
    return torch.randn(2, C, 5, 3), torch.randint(C, (2, 5, 3))


def probabilities():
    scores, target = classes()
    return scores.softmax(1), target


def masks():
    return torch.randn(2, 5, 3), torch.randint(2, (2, 5, 3))


def one_probability():
    scores, target = masks()
    return scores.sigmoid(), target


def channels():
    return torch.randn(2, C, 5, 3), torch.randint(2, (2, C, 5, 3))


def channel_probabilities():
    scores, target = channels()
    return scores.sigmoid(), target


def pairs_of_channels():
    scores, target = masks()
    return torch.stack([scores.sin(), scores], 1), target


def one_hot():
    scores, target = classes()
    return scores, torch.nn.functional.one_hot(target, C).movedim(-1, 1)


def indices_with_a_channel():
    scores, target = classes()
    return scores, target.unsqueeze(1).float()


# What makes a loss, a function of scores and labels, for a choice of per_image and ignore.
def smp_loss(*arguments, **options):
    return lambda per_image, ignore: smp.LovaszLoss(
        *arguments, per_image=per_image, ignore_index=ignore, **options
    )


def pointcept_loss(*arguments):
    return lambda per_image, ignore: pointcept.LovaszLoss(
        *arguments, per_image=per_image, ignore_index=ignore
    )


def openmmlab_loss(kind, argument, weighted=False, **options):
    def make(per_image, ignore):
        criterion = kind(**{argument: per_image}, **options)

        def loss(x, y):
            more = {"weight": (y % 3 != 1).float()} if weighted else {}
            return criterion(x, y, ignore_index=ignore, **more).sum()

        return loss

    return make


def mmseg_loss(**options):
    return openmmlab_loss(mmseg.LovaszLoss, "per_image", **options)


def images_loss(kind, **options):
    """Of a module that takes per_image and the ignored label first."""
    return lambda per_image, ignore: kind(per_image, ignore, **options)


def module_loss(kind, **options):
    """Of a module that takes neither."""
    return lambda *_: kind(**options)


def ignoring_loss(kind):
    return lambda _, ignore: kind(ignore)


def monai_loss(**options):
    return lambda per_image, ignore: monai.LovaszLoss(
        batch=not per_image, ignore_index=ignore, **options
    )


def function(name, *options, prepare=None, connected=False):
    """A function of the authors' file; what has no gradient is added to the sum of the scores."""
    call = getattr(lovasz_losses, name)
    takes = inspect.signature(call).parameters

    def make(per_image, ignore):
        given = {"per_image": per_image, "ignore": ignore}
        more = {key: given[key] for key in given if key in takes}

        def loss(x, y):
            value = call(*((x, y) if prepare is None else prepare(x, y)), *options, **more)
            value = value[0] if isinstance(value, tuple) else value
            value = value if isinstance(value, float) else torch.as_tensor(value).sum()
            return x.sum() + value if connected else value

        return loss

    return make


def rows(x, y):
    return x.flatten() if x.dim() == y.dim() else x.movedim(1, -1).flatten(0, -2), y.flatten()


def predictions(x, y):
    return (x > 0).long(), y


CASES = {
    "lovasz_hinge": (function("lovasz_hinge"), masks),
    "lovasz_hinge_flat": (function("lovasz_hinge_flat", prepare=rows), masks),
    "lovasz_softmax": (function("lovasz_softmax"), probabilities),
    "lovasz_softmax of some": (function("lovasz_softmax", [0, 2]), probabilities),
    "lovasz_softmax of one": (function("lovasz_softmax", [1]), one_probability),
    "lovasz_softmax_flat": (function("lovasz_softmax_flat", prepare=rows), probabilities),
    "binary_xloss": (function("binary_xloss"), masks),
    "xloss": (function("xloss"), classes),
    "StableBCELoss": (lambda *_: lovasz_losses.StableBCELoss(), masks),
    "lovasz_grad": (
        function("lovasz_grad", prepare=lambda x, y: (y.flatten().float(),), connected=True),
        masks,
    ),
    "iou": (function("iou", 2, prepare=predictions, connected=True), masks),
    "iou_binary": (function("iou_binary", prepare=predictions, connected=True), masks),
    "flatten_binary_scores": (function("flatten_binary_scores"), masks),
    "flatten_probas": (function("flatten_probas"), probabilities),
    "smp multiclass": (smp_loss("multiclass"), classes),
    "smp binary": (smp_loss("binary"), masks),
    "smp multilabel": (smp_loss("multilabel"), channels),
    "smp probabilities": (smp_loss("multiclass", from_logits=False), probabilities),
    "smp binary probabilities": (smp_loss("binary", from_logits=False), one_probability),
    "smp multilabel probabilities": (
        smp_loss("multilabel", from_logits=False),
        channel_probabilities,
    ),
    "pointcept multiclass": (pointcept_loss("multiclass"), classes),
    "pointcept seen": (pointcept_loss("multiclass", [0, 2]), classes),
    "pointcept binary": (pointcept_loss("binary"), masks),
    "pointcept multilabel": (pointcept_loss("multilabel"), channels),
    "mmseg multi_class": (mmseg_loss(class_weight=[1.0, 2.0, 3.0, 4.0]), classes),
    "mmseg binary": (mmseg_loss(loss_type="binary"), masks),
    "mmseg none": (mmseg_loss(reduction="none"), classes),
    "mmseg weighted": (mmseg_loss(weighted=True), classes),
    "mmseg binary weighted": (mmseg_loss(weighted=True, loss_type="binary"), masks),
    "mmdet3d": (openmmlab_loss(mmdet3d.LovaszLoss, "per_sample"), classes),
    "kornia softmax": (module_loss(kornia.LovaszSoftmaxLoss, weight=[1, 2, 3, 4]), classes),
    "kornia hinge": (module_loss(kornia.LovaszHingeLoss), masks),
    "toolbelt binary": (images_loss(toolbelt.BinaryLovaszLoss), masks),
    "toolbelt softmax": (images_loss(toolbelt.LovaszLoss), probabilities),
    "catalyst binary": (images_loss(catalyst.LovaszLossBinary, method="histogram"), masks),
    "catalyst softmax": (images_loss(catalyst.LovaszLossMultiClass, method="sort"), probabilities),
    "catalyst multilabel": (images_loss(catalyst.LovaszLossMultiLabel), channels),
    "paddleseg softmax": (ignoring_loss(paddleseg.LovaszSoftmaxLoss), indices_with_a_channel),
    "paddleseg hinge": (ignoring_loss(paddleseg.LovaszHingeLoss), pairs_of_channels),
    "monai softmax": (
        monai_loss(softmax=True, to_onehot_y=True, include_background=False),
        indices_with_a_channel,
    ),
    "monai sigmoid": (monai_loss(sigmoid=True, to_onehot_y=True), indices_with_a_channel),
    "monai one-hot": (monai_loss(softmax=True), one_hot),
    "monai other_act": (monai_loss(other_act=torch.sigmoid, reduction="sum"), one_hot),
}
# Functions that take no label to ignore.
WITHOUT_IGNORED = (
    "StableBCELoss",
    "lovasz_hinge_flat",
    "lovasz_softmax_flat",
    "lovasz_grad",
    "kornia softmax",
    "kornia hinge",
    "monai one-hot",
    "monai other_act",
)


def value_and_gradient(loss, scores, target):
    scores = scores.clone().requires_grad_()
    value = loss(scores, target)
    return value.detach(), torch.autograd.grad(value, scores)[0]


def assert_compiles(loss, compiled, scores, target):
    got = value_and_gradient(compiled, scores, target)
    for one, other in zip(got, value_and_gradient(loss, scores, target), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)


def test_the_table_has_every_function():
    assert {name.split()[0] for name in CASES} >= set(lovasz_losses.__all__)


def combinations():
    """All of per_image and ignore, and two of modules that share what they compute with others."""
    shared = list(CASES)[list(CASES).index("mmseg none") :]
    for name in CASES:
        yield from ((name, False, None), (name, True, IGNORE))
        if name not in shared:
            for options in ((True, None), (False, IGNORE)):
                yield pytest.param(name, *options, marks=pytest.mark.slow)


@pytest.mark.parametrize(("name", "per_image", "ignore"), list(combinations()))
def test_compiles_whole(name, per_image, ignore):
    torch._dynamo.reset()
    make_loss, make_inputs = CASES[name]
    loss, (scores, target) = make_loss(per_image, ignore), make_inputs()
    if ignore is not None and name not in WITHOUT_IGNORED:
        target[..., 0, :] = ignore
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    assert_compiles(loss, compiled, scores, target)


@pytest.mark.parametrize("name", ["smp binary", "lovasz_softmax of one", "mmseg binary"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8])
def test_compiles_whole_for_labels_of_any_dtype_with_a_channel(name, dtype):
    torch._dynamo.reset()
    make_loss, make_inputs = CASES[name]
    loss = make_loss(False, IGNORE)
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager", dynamic=True)
    for _ in range(2):
        scores, target = make_inputs()
        assert_compiles(loss, compiled, scores.unsqueeze(1), target.to(dtype))
