"""The losses by sums are those of the libraries that have them, and where not, it is said how.

`make peers` installs these libraries and runs this; elsewhere it tests those that are there.
"""

import pytest
import torch
from torch.nn import functional as F

import lovasz
from tools.peers import part_of

CLASSES = 5
SIZE = (3, CLASSES, 6, 5, 4)
CHANNELS_LAST = (0, 2, 3, 4, 1)
WEIGHT = [1.0, 0.5, 3.0, 0.25, 2.0]


def library(package, part):
    try:
        return part_of(package, part)
    except ImportError as error:
        return pytest.skip(f"{package} is not installed ({error})")


@pytest.fixture
def nnunet():
    library("nnunetv2", "training.loss.dice")
    return library("nnunetv2", "training.loss.compound_losses")


@pytest.fixture
def monai():
    return pytest.importorskip("monai.losses")


@pytest.fixture
def smp():
    return library("segmentation_models_pytorch", "losses")


@pytest.fixture
def keras():
    return pytest.importorskip("keras.losses")


def draw(dtype=torch.float32):
    """Logits, and labels of all but the last class, which is absent."""
    target = torch.randint(CLASSES - 1, (SIZE[0], *SIZE[2:]))
    return (2 * torch.randn(SIZE)).to(dtype), target


def one_hot(target):
    return F.one_hot(target, CLASSES).movedim(-1, 1)


def with_ignored(target, label=CLASSES):
    return target.masked_fill(torch.rand(target.shape) < 0.3, label)


def soft():
    return (2 * torch.randn(SIZE)).softmax(1)


def value_and_gradient(loss, logits):
    logits = logits.detach().requires_grad_()
    value = loss(logits)
    return value.detach(), torch.autograd.grad(value, logits)[0]


def relative(got, want):
    return float((got.double() - want.double()).norm() / want.double().norm())


def same(logits, ours, theirs, bound=1e-6):
    """Both value and gradient, up to rounding."""
    got, want = value_and_gradient(ours, logits), value_and_gradient(theirs, logits)
    assert relative(got[0], want[0]) < bound
    assert relative(got[1], want[1]) < bound


def differ(logits, ours, theirs):
    got, want = value_and_gradient(ours, logits), value_and_gradient(theirs, logits)
    assert relative(got[0], want[0]) > 1e-3


# nnU-Net: values are -ratio instead of 1 - ratio, all classes count, sums are of float32.


@pytest.mark.parametrize("smooth", [1.0, 1e-5, 0.0])
@pytest.mark.parametrize("do_bg", [True, False])
@pytest.mark.parametrize("batch_dice", [True, False])
@pytest.mark.parametrize("kind", ["SoftDiceLoss", "MemoryEfficientSoftDiceLoss"])
def test_nnunet_dice(nnunet, kind, batch_dice, do_bg, smooth):
    logits, target = draw()
    theirs = getattr(nnunet, kind)(
        nnunet.softmax_helper_dim1, batch_dice=batch_dice, do_bg=do_bg, smooth=smooth, ddp=False
    )
    options = {
        "per_image": not batch_dice,
        "classes": "all" if do_bg else "foreground",
        "smooth": smooth,
    }
    same(
        logits,
        lambda x: lovasz.dice_loss(x, target, **options),
        lambda x: 1 + theirs(x, target.unsqueeze(1)),
    )
    known = with_ignored(target, CLASSES)
    mask = (known != CLASSES).unsqueeze(1)
    same(
        logits,
        lambda x: lovasz.dice_loss(x, known, ignore_index=CLASSES, **options),
        lambda x: 1 + theirs(x, target.unsqueeze(1), loss_mask=mask),
    )


def test_nnunet_dice_of_soft_labels(nnunet):
    logits, target = 2 * torch.randn(SIZE), soft()
    theirs = nnunet.MemoryEfficientSoftDiceLoss(nnunet.softmax_helper_dim1, True, ddp=False)
    same(
        logits,
        lambda x: lovasz.dice_loss(x, target, smooth=1.0),
        lambda x: 1 + theirs(x, target),
    )


@pytest.mark.parametrize("ignored", [False, True])
@pytest.mark.parametrize("batch_dice", [True, False])
@pytest.mark.parametrize("kind", ["SoftDiceLoss", "MemoryEfficientSoftDiceLoss"])
def test_nnunet_dice_and_cross_entropy(nnunet, kind, batch_dice, ignored):
    logits, target = draw()
    target = with_ignored(target) if ignored else target
    theirs = nnunet.DC_and_CE_loss(
        {"batch_dice": batch_dice, "do_bg": False, "smooth": 1e-5, "ddp": False},
        {},
        weight_ce=0.7,
        weight_dice=1.5,
        ignore_label=CLASSES if ignored else None,
        dice_class=getattr(nnunet, kind),
    )
    same(
        logits,
        lambda x: lovasz.cross_entropy_dice(
            x,
            target,
            cross_entropy_weight=0.7,
            dice_weight=1.5,
            per_image=not batch_dice,
            classes="foreground",
            smooth=1e-5,
            ignore_index=CLASSES if ignored else None,
        ),
        lambda x: 1.5 + theirs(x, target.unsqueeze(1)),
    )


def test_nnunet_counts_an_image_without_labels_as_perfect(nnunet):
    logits, target = draw()
    target = with_ignored(target)
    target[-1] = CLASSES
    theirs = nnunet.DC_and_CE_loss(
        {"batch_dice": False, "do_bg": True, "smooth": 1.0, "ddp": False},
        {},
        weight_ce=0,
        ignore_label=CLASSES,
    )
    # Its mean is over all images; here over those that have a label.
    same(
        logits,
        lambda x: (
            (SIZE[0] - 1)
            / SIZE[0]
            * lovasz.dice_loss(x, target, per_image=True, smooth=1.0, ignore_index=CLASSES)
        ),
        lambda x: 1 + theirs(x, target.unsqueeze(1)),
    )


def regions():
    """Sets that lie within each other, and which pixels have a label."""
    whole = torch.rand(SIZE[0], 1, *SIZE[2:]) < 0.6
    sets = torch.cat([whole, whole & (torch.rand(whole.shape) < 0.5)], 1)
    return sets.float(), torch.rand(whole.shape) < 0.7


@pytest.mark.parametrize("batch_dice", [True, False])
def test_nnunet_dice_and_binary_cross_entropy(nnunet, batch_dice):
    logits = 2 * torch.randn(SIZE)[:, :2]
    target, _ = regions()
    theirs = nnunet.DC_and_BCE_loss(
        {}, {"batch_dice": batch_dice, "do_bg": True, "smooth": 1e-5, "ddp": False}
    )
    same(
        logits,
        lambda x: lovasz.binary_cross_entropy_dice(
            x, target, multilabel=True, per_image=not batch_dice, smooth=1e-5
        ),
        lambda x: 1 + theirs(x, target),
    )


def test_nnunet_binary_cross_entropy_is_larger_with_an_ignored_label(nnunet):
    logits = 2 * torch.randn(SIZE)[:, :2]
    target, known = regions()
    theirs = nnunet.DC_and_BCE_loss(
        {},
        {"batch_dice": True, "do_bg": True, "smooth": 1e-5, "ddp": False},
        use_ignore_label=True,
    )
    mask = (~known).expand(target.shape)

    def ours(x, factor):
        return lovasz.binary_cross_entropy_dice(
            x, target, multilabel=True, cross_entropy_weight=factor, smooth=1e-5, ignore_mask=mask
        )

    labels = torch.cat([target, (~known).float()], 1)
    # The sum over the regions, while without such a label it is the mean: twice as large of two.
    same(logits, lambda x: ours(x, 2.0), lambda x: 1 + theirs(x, labels))
    differ(logits, lambda x: ours(x, 1.0), lambda x: 1 + theirs(x, labels))


# MONAI: images are apart by default, weights do not divide, and the s of Jaccard is halved.


@pytest.mark.parametrize("batch", [True, False])
@pytest.mark.parametrize("background", [True, False])
@pytest.mark.parametrize("squared", [True, False])
@pytest.mark.parametrize("jaccard", [True, False])
@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_monai_dice(monai, activation, jaccard, squared, background, batch):
    logits, target = draw(torch.float64)
    target = one_hot(target) if activation == "softmax" else torch.randint(2, SIZE)
    theirs = monai.DiceLoss(
        include_background=background,
        squared_pred=squared,
        jaccard=jaccard,
        batch=batch,
        smooth_nr=0.5,
        smooth_dr=2.0,
        **{activation: True},
    )
    function = lovasz.jaccard_loss if jaccard else lovasz.dice_loss
    # Its Jaccard index is (2 I + s) / (2 (P + Q - I) + s).
    half = 0.5 if jaccard else 1.0
    same(
        logits,
        lambda x: function(
            x,
            target.double(),
            activation=activation,
            multilabel=True if activation == "sigmoid" else None,
            squared=squared,
            per_image=not batch,
            classes="all" if background else "foreground",
            smooth=(0.5 * half, 2.0 * half),
        ),
        lambda x: theirs(x, target.double()),
    )


@pytest.mark.parametrize("kind", ["DiceLoss", "TverskyLoss"])
@pytest.mark.parametrize("label", [2, CLASSES, -1])
def test_monai_ignored_labels(monai, label, kind):
    logits, target = draw(torch.float64)
    target = with_ignored(target, label)
    theirs = getattr(monai, kind)(
        softmax=True, to_onehot_y=True, batch=True, ignore_index=label, include_background=False
    )
    options = {"classes": "foreground", "ignore_index": label}

    def ours(x):
        if kind == "DiceLoss":
            return lovasz.dice_loss(x, target, **options)
        return lovasz.tversky_loss(x, target, alpha=0.5, beta=0.5, **options)

    same(logits, ours, lambda x: theirs(x, target.unsqueeze(1)))


def test_monai_class_weights_do_not_divide(monai):
    logits, target = draw(torch.float64)
    theirs = monai.DiceLoss(softmax=True, to_onehot_y=True, batch=True, weight=WEIGHT)
    same(
        logits,
        lambda x: lovasz.dice_loss(x, target, weight=WEIGHT, normalize_weight=False),
        lambda x: theirs(x, target.unsqueeze(1)),
    )


def test_monai_soft_labels(monai):
    logits, target = 2 * torch.randn(SIZE).double(), soft().double()
    options = {"softmax": True, "batch": True, "smooth_nr": 0.5, "smooth_dr": 2.0}
    # The Jaccard metric loss
    metric = monai.DiceLoss(jaccard=True, soft_label=True, **options)
    same(
        logits,
        lambda x: lovasz.jaccard_metric_loss(x, target, smooth=(0.5, 2.0)),
        lambda x: metric(x, target),
    )
    # Dice with soft labels as they are
    dice = monai.DiceLoss(**options)
    same(
        logits,
        lambda x: lovasz.dice_loss(x, target, smooth=(0.5, 2.0)),
        lambda x: dice(x, target),
    )
    # And the Dice semimetric loss, which is twice what JML makes of it: d = j / (2 - j)
    semimetric = monai.DiceLoss(soft_label=True, softmax=True, batch=True, reduction="none")
    loss = lovasz.jaccard_metric_loss(logits, target, reduction="none")
    expected = semimetric(logits, target).flatten()
    torch.testing.assert_close((loss / (2 - loss)).double(), expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize("batch", [True, False])
@pytest.mark.parametrize("kind", ["indices", "soft"])
def test_monai_tversky(monai, kind, batch):
    logits, target = draw(torch.float64)
    target = soft().double() if kind == "soft" else target
    theirs = monai.TverskyLoss(
        softmax=True, alpha=0.3, beta=0.7, batch=batch, smooth_nr=0.5, smooth_dr=2.0
    )
    labels = target if kind == "soft" else one_hot(target).double()
    same(
        logits,
        lambda x: lovasz.tversky_loss(
            x, target, alpha=0.3, beta=0.7, per_image=not batch, smooth=(0.5, 2.0)
        ),
        lambda x: theirs(x, labels),
    )


@pytest.mark.parametrize("batch", [True, False])
@pytest.mark.parametrize("background", [True, False])
@pytest.mark.parametrize("weighting", ["square", "simple", "uniform"])
def test_monai_generalized_dice(monai, weighting, background, batch):
    logits, target = draw(torch.float64)
    theirs = monai.GeneralizedDiceLoss(
        softmax=True,
        to_onehot_y=True,
        include_background=background,
        w_type=weighting,
        batch=batch,
        smooth_nr=0.5,
        smooth_dr=2.0,
    )
    same(
        logits,
        lambda x: lovasz.generalized_dice_loss(
            x,
            target,
            weighting=weighting,
            classes="all" if background else "foreground",
            per_image=not batch,
            smooth=(0.5, 2.0),
        ),
        lambda x: theirs(x, target.unsqueeze(1)),
    )


@pytest.mark.parametrize("kind", ["indices", "soft"])
def test_monai_dice_and_cross_entropy(monai, kind):
    logits, target = draw(torch.float64)
    target = soft().double() if kind == "soft" else target
    theirs = monai.DiceCELoss(
        softmax=True,
        to_onehot_y=kind == "indices",
        include_background=False,
        lambda_ce=0.5,
        lambda_dice=2.0,
        label_smoothing=0.1,
        squared_pred=True,
    )
    same(
        logits,
        lambda x: lovasz.cross_entropy_dice(
            x,
            target,
            cross_entropy_weight=0.5,
            dice_weight=2.0,
            label_smoothing=0.1,
            classes="foreground",
            squared=True,
            per_image=True,
        ),
        lambda x: theirs(x, target.unsqueeze(1) if kind == "indices" else target),
    )


def test_monai_adds_the_cross_entropy_of_the_softmax_to_several_sigmoids(monai):
    logits, target = 2 * torch.randn(SIZE).double(), torch.randint(2, SIZE).double()
    theirs = monai.DiceCELoss(sigmoid=True, batch=True)
    dice = {"activation": "sigmoid", "multilabel": True}
    same(
        logits,
        lambda x: lovasz.dice_loss(x, target, **dice) + F.cross_entropy(x, target),
        lambda x: theirs(x, target),
    )
    differ(
        logits,
        lambda x: lovasz.binary_cross_entropy_dice(x, target, multilabel=True),
        lambda x: theirs(x, target),
    )
    # Of one channel it is the binary one.
    single = target[:, :1]
    same(
        logits[:, :1],
        lambda x: lovasz.binary_cross_entropy_dice(x, single, multilabel=True),
        lambda x: theirs(x, single),
    )


# segmentation-models-pytorch: always the whole batch; a class that is absent has the loss 0, but is
# one of those that the mean is taken over; and s of Dice counts twice.


@pytest.mark.parametrize("ignored", [False, True])
@pytest.mark.parametrize("kind", ["DiceLoss", "JaccardLoss", "TverskyLoss"])
def test_smp(smp, kind, ignored):
    logits, target = draw(torch.float64)
    target = with_ignored(target, 255) if ignored else target
    ignore_index = 255 if ignored else None
    theirs = getattr(smp, kind)("multiclass", smooth=0.5, ignore_index=ignore_index)
    options = {"classes": "present", "ignore_index": ignore_index, "reduction": "sum"}

    def ours(x):
        if kind == "DiceLoss":
            return lovasz.dice_loss(x, target, smooth=1.0, **options) / CLASSES
        if kind == "JaccardLoss":
            return lovasz.jaccard_loss(x, target, smooth=0.5, **options) / CLASSES
        return lovasz.tversky_loss(x, target, alpha=0.5, beta=0.5, smooth=0.5, **options) / CLASSES

    same(logits, ours, lambda x: theirs(x, target))


@pytest.mark.parametrize("ignored", [False, True])
def test_smp_multilabel(smp, ignored):
    logits, target = 2 * torch.randn(SIZE).double(), torch.randint(2, SIZE)
    target = with_ignored(target, 255) if ignored else target
    theirs = smp.DiceLoss("multilabel", ignore_index=255 if ignored else None)
    same(
        logits,
        lambda x: lovasz.dice_loss(
            x, target, activation="sigmoid", multilabel=True, smooth=0.0, ignore_index=255
        ),
        lambda x: theirs(x, target),
    )


def test_smp_class_weights_divide(smp):
    logits, target = draw(torch.float64)
    target[0, 0, 0, 0] = CLASSES - 1  # every class is there
    theirs = smp.JaccardLoss("multiclass", class_weights=WEIGHT)
    same(
        logits,
        lambda x: lovasz.jaccard_loss(x, target, smooth=0.0, weight=WEIGHT),
        lambda x: theirs(x, target),
    )


def test_smp_soft_labels_are_jaccard_metric_losses(smp):
    logits, target = 2 * torch.randn(SIZE).double(), torch.rand(SIZE).double()
    theirs = smp.JaccardLoss("multilabel", smooth=0.5)
    options = {"activation": "sigmoid", "multilabel": True}
    same(
        logits,
        lambda x: lovasz.jaccard_metric_loss(x, target, smooth=1.0, **options),
        lambda x: theirs(x, target),
    )
    differ(
        logits,
        lambda x: lovasz.jaccard_loss(x, target, smooth=0.5, **options),
        lambda x: theirs(x, target),
    )


def test_smp_takes_the_power_of_the_mean(smp):
    logits, target = draw(torch.float64)
    target[0, 0, 0, 0] = CLASSES - 1
    options = {"alpha": 0.3, "beta": 0.7}
    theirs = smp.TverskyLoss("multiclass", gamma=0.5, **options)
    same(
        logits,
        lambda x: lovasz.tversky_loss(x, target, smooth=0.0, **options) ** 0.5,
        lambda x: theirs(x, target),
    )
    differ(
        logits,
        lambda x: lovasz.tversky_loss(x, target, smooth=0.0, gamma=0.5, **options),
        lambda x: theirs(x, target),
    )


# Keras: classes last, probabilities, one ratio of everything unless axes are named, and 1e-7 in the
# denominator.


@pytest.mark.parametrize("pooled", [True, False])
def test_keras_dice(keras, pooled):
    logits, target = draw()
    axes = None if pooled else (0, 1, 2, 3)
    theirs = keras.Dice(axis=axes)
    same(
        logits,
        lambda x: lovasz.dice_loss(x, target, pooled=pooled, smooth=(0.0, 1e-7)),
        lambda x: theirs(
            one_hot(target).permute(CHANNELS_LAST), x.softmax(1).permute(CHANNELS_LAST)
        ),
    )


def test_keras_dice_by_image(keras):
    logits, target = draw()
    theirs = keras.Dice(axis=(1, 2, 3))
    same(
        logits,
        lambda x: lovasz.dice_loss(x, target, per_image=True, smooth=(0.0, 1e-7)),
        lambda x: theirs(
            one_hot(target).permute(CHANNELS_LAST), x.softmax(1).permute(CHANNELS_LAST)
        ),
    )


@pytest.mark.parametrize("pooled", [True, False])
def test_keras_tversky_has_alpha_and_beta_the_other_way_round(keras, pooled):
    logits, target = draw()
    theirs = keras.Tversky(alpha=0.3, beta=0.7, axis=None if pooled else (0, 1, 2, 3))

    def ours(x, alpha, beta):
        return lovasz.tversky_loss(
            x, target, alpha=alpha, beta=beta, pooled=pooled, smooth=(0.0, 1e-7)
        )

    def keras_of(x):
        return theirs(one_hot(target).permute(CHANNELS_LAST), x.softmax(1).permute(CHANNELS_LAST))

    # Its alpha is documented to be that of false positives.
    same(logits, lambda x: ours(x, 0.7, 0.3), keras_of)
    if not pooled:  # of all classes together there are as many of both kinds
        differ(logits, lambda x: ours(x, 0.3, 0.7), keras_of)
