"""The losses by sums are those of segmentation-models-pytorch and Keras, and where not, how.

`make peers` installs these libraries and runs this; elsewhere it tests those that are there.
"""

import pytest
import torch

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
    with_ignored,
)

CHANNELS_LAST = (0, 2, 3, 4, 1)


@pytest.fixture
def smp():
    return library("segmentation_models_pytorch", "losses")


@pytest.fixture
def keras():
    return pytest.importorskip("keras.losses")


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


def of_keras(loss, target):
    labels = one_hot(target).permute(CHANNELS_LAST)
    return lambda x: loss(labels, x.softmax(1).permute(CHANNELS_LAST))


KERAS = {
    None: {"pooled": True},
    (0, 1, 2, 3): {},
    (1, 2, 3): {"per_image": True},
    (1, 2, 3, 4): {"pooled": True, "per_image": True},
}


@pytest.mark.parametrize("axis", KERAS)
def test_keras_dice(keras, axis):
    logits, target = draw()
    theirs = keras.Dice(axis=axis)
    same(
        logits,
        lambda x: lovasz.dice_loss(x, target, smooth=(0.0, 1e-7), **KERAS[axis]),
        of_keras(theirs, target),
    )


@pytest.mark.parametrize("pooled", [True, False])
def test_keras_tversky_has_alpha_and_beta_the_other_way_round(keras, pooled):
    logits, target = draw()
    theirs = keras.Tversky(alpha=0.3, beta=0.7, axis=None if pooled else (0, 1, 2, 3))

    def ours(x, alpha, beta):
        return lovasz.tversky_loss(
            x, target, alpha=alpha, beta=beta, pooled=pooled, smooth=(0.0, 1e-7)
        )

    # Its alpha is documented to be that of false positives.
    same(logits, lambda x: ours(x, 0.7, 0.3), of_keras(theirs, target))
    if not pooled:  # of all classes together there are as many of both kinds
        differ(logits, lambda x: ours(x, 0.3, 0.7), of_keras(theirs, target))
