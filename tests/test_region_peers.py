"""The losses by sums are those of nnU-Net and MONAI, and where not, it is said how.

`make peers` installs these libraries and runs this; elsewhere it tests those that are there.
"""

import pytest
import torch
from torch.nn import functional as F

import lovasz
from tests.peers import (
    CLASSES,
    SIZE,
    WEIGHT,
    differ,
    draw,
    library,
    one_hot,
    same,
    soft,
    with_ignored,
)


@pytest.fixture
def nnunet():
    library("nnunetv2", "training.loss.dice")
    return library("nnunetv2", "training.loss.compound_losses")


@pytest.fixture
def monai():
    return pytest.importorskip("monai.losses")


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


def test_monai_has_no_generalized_dice_of_images_of_background_alone(monai):
    logits, target = 2 * torch.randn(SIZE).double(), torch.zeros(SIZE[0], *SIZE[2:]).long()
    theirs = monai.GeneralizedDiceLoss(
        softmax=True, to_onehot_y=True, include_background=False, batch=True
    )
    # Its classes have no weight at all then, whatever is predicted; here each has the weight 1.
    assert theirs(logits, target.unsqueeze(1)) == 0
    loss = lovasz.generalized_dice_loss(logits, target, classes="foreground")
    assert loss > 0.999


def test_sums_of_sixteen_bits_overflow_in_monai(monai):
    logits, target = torch.zeros(1, 2, 400, 400).half(), torch.zeros(1, 400, 400).long()
    theirs = monai.DiceLoss(softmax=True, to_onehot_y=True)
    assert theirs(logits, target.unsqueeze(1)) == 1  # whatever is predicted: something by infinity
    assert float(lovasz.dice_loss(logits, target)) == pytest.approx(2 / 3, rel=1e-6)


def test_logits_of_ignored_pixels_may_be_anything_here(nnunet, monai):
    logits, target = draw()
    target[0, 0] = CLASSES
    logits[0, :, 0] = torch.nan
    mask, known = (target != CLASSES).unsqueeze(1), target.clamp(max=CLASSES - 1).unsqueeze(1)
    dice = nnunet.MemoryEfficientSoftDiceLoss(nnunet.softmax_helper_dim1, ddp=False)
    assert dice(logits, known, loss_mask=mask).isnan()
    masked = monai.DiceLoss(softmax=True, to_onehot_y=True, ignore_index=CLASSES)
    assert masked(logits, target.unsqueeze(1)).isnan()
    assert lovasz.dice_loss(logits, target, ignore_index=CLASSES).isfinite()


def scales_of(x):
    """Outputs at the full resolution, a half and a quarter."""
    return [x, x[..., ::2, ::2, ::2], x[..., ::4, ::4, ::4]]


def pyramid():
    """Logits whose sizes are multiples of 4, and labels."""
    size = (2, 8, 12, 8)
    return 2 * torch.randn(2, CLASSES, *size[1:]), torch.randint(CLASSES, size)


def test_nnunet_deep_supervision(nnunet):
    logits, target = pyramid()
    wrapper = library("nnunetv2", "training.loss.deep_supervision").DeepSupervisionWrapper
    weights = [4 / 7, 2 / 7, 1 / 7]
    options = {"batch_dice": True, "do_bg": False, "smooth": 1e-5, "ddp": False}
    theirs = wrapper(nnunet.DC_and_CE_loss(options, {}), weights)
    labels = target.unsqueeze(1).float()
    smaller = (F.interpolate(labels, scale_factor=1 / s, mode="nearest-exact") for s in (2, 4))
    targets = [labels, *smaller]
    same(
        logits,
        lambda x: lovasz.deep_supervision(
            lovasz.cross_entropy_dice, scales_of(x), target, classes="foreground"
        ),
        lambda x: 1 + theirs(scales_of(x), targets),
    )


def test_monai_deep_supervision(monai):
    logits, target = pyramid()
    theirs = monai.DeepSupervisionLoss(monai.DiceCELoss(softmax=True, to_onehot_y=True, batch=True))
    # Its weights are 1, 1/2, 1/4, ...; here they are divided by their sum unless they are given.
    same(
        logits,
        lambda x: lovasz.deep_supervision(
            lovasz.cross_entropy_dice, scales_of(x), target, weights=[1.0, 0.5, 0.25]
        ),
        lambda x: theirs(scales_of(x), target.unsqueeze(1).float()),
    )
