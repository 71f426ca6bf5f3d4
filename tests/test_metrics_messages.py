"""The one sentence for what metrics do not accept, and what it says to do."""

import pytest
import torch
from PIL import Image

from lovasz.metrics import ClassIoU, DatasetIoU, ImageIoU, ImageScore

METRICS = [DatasetIoU, ImageIoU, ClassIoU]
C = 3

RANDOM = torch.Generator().manual_seed(0)
TRUTH = torch.randint(C, (2, 4, 5), generator=RANDOM)
LOGITS = torch.randn(2, C, 4, 5, generator=RANDOM)
MASKS = torch.nn.functional.one_hot(TRUTH, C).movedim(-1, 1)
OVERLAP = MASKS | MASKS.roll(1, 1)
LOW = torch.zeros(2, 8, 10).long()
SENTENCES = {
    "overlapping masks": ({}, (OVERLAP.bool(), OVERLAP.bool()), "pass multilabel=True for masks"),
    "one-hot masks": ({}, (MASKS.bool(), MASKS.bool()), "labels.argmax(1) of one-hot labels"),
    "two masks": (
        {"num_classes": 2},
        (OVERLAP[:, :2].bool(), OVERLAP[:, :2].bool()),
        "or labels.long() of labels 0 and 1",
    ),
    "bool labels": ({}, (TRUTH > 0, TRUTH > 0), "expected class indices from 0 to 2, got torch.bo"),
    "one-hot integers": ({}, (MASKS, MASKS), "pass prediction.argmax(1) and target.argmax(1)"),
    "one-hot prediction": ({}, (MASKS, TRUTH), "of one-hot ones prediction.argmax(1)"),
    "integer logits": ({}, ((9 * LOGITS).int(), TRUTH), "of logits pass prediction.float()"),
    "soft labels": ({}, (LOGITS, LOGITS.softmax(1)), "pass target.argmax(1) of soft labels"),
    "void in one-hot": ({}, (LOGITS, 0 * MASKS), "or ignore_mask=target.sum(1) == 0"),
    "fractions": ({}, (LOGITS, TRUTH / 3), "expected target of whole numbers, got"),
    "coarse floats": (
        {"num_classes": 300},
        (TRUTH, TRUTH.bfloat16()),
        "of an integer dtype for 300 classes, because torch.bfloat16 holds whole numbers up to 256",
    ),
    "target channels last": ({}, (LOGITS, MASKS.movedim(1, -1)), "pass target.movedim(-1, 1)"),
    "logits channels last": ({}, (LOGITS.movedim(1, -1), TRUTH), "pass prediction.movedim(-1, 1)"),
    "an axis at the end": ({}, (LOGITS, TRUTH.unsqueeze(-1)), "pass target.squeeze(-1)"),
    "one logit": ({}, (LOGITS[:, :1], TRUTH), "for one mask pass num_classes=1 and multilabel=Tru"),
    "probabilities": (
        {"num_classes": 2},
        (LOGITS[:, 0].sigmoid(), TRUTH % 2),
        "pass prediction.unsqueeze(1) for scores of class 1, or num_classes=1 and multilabel=True",
    ),
    "floating labels": ({}, (TRUTH.float(), TRUTH), "pass prediction.long() of labels, or num_cla"),
    "dict": ({}, ({"out": LOGITS, "aux": 0}, TRUTH), "keys ['out', 'aux']; pass prediction['out']"),
    "list": ({}, ([LOGITS, LOGITS], TRUTH), "got list of 2; pass one of them, as prediction[0]"),
    "tuple": ({}, ((LOGITS,), TRUTH), "got tuple of 1; pass one of them, as prediction[0]"),
    "array": ({}, (LOGITS.numpy(), TRUTH), "got ndarray; pass torch.as_tensor(numpy.array(predict"),
    "image": ({}, (LOGITS, Image.new("L", (5, 4))), "numpy.array(target)), of one image with [Non"),
    "none": ({}, (None, TRUTH), "expected prediction to be a tensor, got NoneType"),
    "resolution": ({}, (LOGITS, LOW), 'than the network\'s pass upsample="bilinear"'),
    "labels' resolution": ({}, (TRUTH, LOW), "not interpolated, pass the logits, with upsample="),
    "points and upsample": (
        {"upsample": "nearest"},
        (LOGITS[:, :, 0, 0], TRUTH[:, 0, 0]),
        'expected prediction with spatial axes for upsample="nearest"',
    ),
    "NaN": ({}, (LOGITS * torch.nan, TRUTH), "without NaN, got NaN at 40 of 40 pixels; torch.isn"),
    "not a probability": (
        {"from_logits": False},
        (LOGITS, TRUTH),
        "in [0, 1] with from_logits=False, got -",
    ),
    "threshold": (
        {"num_classes": 2, "threshold": 0.3},
        (LOGITS[:, :2], TRUTH % 2),
        "expected threshold=0.5 where the largest of 2 scores decides, got 0.3; pass one channel",
    ),
    "classes for masks": ({"multilabel": True}, (LOGITS, TRUTH), "leave multilabel=True out"),
    "masks channels last": (
        {"multilabel": True},
        (LOGITS.movedim(1, -1), MASKS.movedim(1, -1)),
        "pass prediction.movedim(-1, 1)",
    ),
    "masks' resolution": (
        {"multilabel": True},
        (LOGITS, MASKS.repeat(1, 1, 2, 2)),
        'pass upsample="bilinear"',
    ),
    "other channels": (
        {"num_classes": 4, "multilabel": True},
        (LOGITS, MASKS),
        "(N, 4, *) or (P, ",
    ),
    "mask of 255": ({"multilabel": True}, (LOGITS, 255 * MASKS), "got 255 (and 39 more outside); "),
    "found of 255": (
        {"multilabel": True},
        (255 * MASKS, MASKS),
        "label to be in [0, 1], got 255 (and 39 more outside); of a mask pass prediction > 0",
    ),
    "two classes of 255": (
        {"num_classes": 2},
        (255 * (TRUTH > 0), TRUTH > 0),
        "outside); of a mask pass prediction > 0",
    ),
    "soft masks": ({"multilabel": True}, (LOGITS, MASKS / 3), "of soft labels pass target > 0.5"),
    "NaN of masks": (
        {"multilabel": True},
        (torch.where(MASKS > 0, torch.nan, LOGITS), MASKS),
        "without NaN, got NaN at 40 of 120 pixels",
    ),
}


@pytest.mark.parametrize("kind", METRICS)
@pytest.mark.parametrize("case", SENTENCES)
def test_sentences(kind, case):
    options, arguments, words = SENTENCES[case]
    metric = kind(**{"num_classes": C, **options})
    with pytest.raises((TypeError, ValueError)) as caught:
        metric.update(*arguments)
    sentence = str(caught.value)
    assert sentence.startswith(f"{kind.__name__}: expected ")
    assert words in sentence
    assert "got" in sentence
    assert "soft labels of shape" not in sentence  # which metrics do not take
    assert metric.invalid == 0


WRONG_MASKS = [
    ([0], TypeError, "expected ignore_mask to be a tensor, got list"),
    (TRUTH, TypeError, "expected ignore_mask of dtype bool, got torch.int64"),
    (TRUTH[0] > 0, ValueError, r"ignore_mask of shape \(2, 4, 5\), True for .*, got \(4, 5\)"),
    ((TRUTH > 0).to("meta"), ValueError, "ignore_mask on the device of target, cpu, got meta"),
]


@pytest.mark.parametrize(("mask", "error", "words"), WRONG_MASKS)
def test_wrong_masks(mask, error, words):
    with pytest.raises(error, match=f"^DatasetIoU: .*{words}"):
        DatasetIoU(C).update(LOGITS, TRUTH, ignore_mask=mask)


WRONG_OPTIONS = [
    (
        {"num_classes": 1},
        ValueError,
        "num_classes of 2 or more, .* got 1; for one mask pass multil",
    ),
    ({"present_in": "truth"}, ValueError, "present_in to be one of 'target', 'union', got 'truth'"),
    ({"average": "mean"}, ValueError, "average to be one of 'macro', 'micro', 'weighted', got 'me"),
    ({"multilabel": 1}, TypeError, "multilabel to be True or False, got 1"),
    ({"from_logits": None}, TypeError, "from_logits to be True or False, got None"),
    ({"threshold": "0.5"}, TypeError, "threshold to be a number, got '0.5'"),
    ({"threshold": 0, "multilabel": True}, ValueError, "a probability between 0 and 1, also for l"),
    (
        {"threshold": 0.3},
        ValueError,
        "threshold=0.5 where the largest of 3 scores decides, got 0.3",
    ),
    ({"ignore_index": "0"}, TypeError, "an integer or None, or several integers, got '0'"),
    ({"ignore_index": [0, 1.5]}, TypeError, r"or several integers, got \[0, 1.5\]"),
    ({"ignore_index": [1], "multilabel": True}, ValueError, "neither 0 nor 1, which are labels"),
    (
        {"reduction": "none", "average": "micro"},
        ValueError,
        "average='macro' with reduction='none'",
    ),
]


@pytest.mark.parametrize(("options", "error", "words"), WRONG_OPTIONS)
def test_wrong_options(options, error, words):
    with pytest.raises(error, match=f"^DatasetIoU: expected .*{words}"):
        DatasetIoU(**{"num_classes": C, **options})


def test_wrong_score():
    words = "^ImageScore: expected score to be one of 'iou', .* got 'jaccard'$"
    with pytest.raises(ValueError, match=words):
        ImageScore(C, "jaccard")


def test_warnings_of_what_may_be_masks_or_probabilities():
    with pytest.warns(UserWarning, match="zeros and ones with 3 entries on axis 1; for masks"):
        DatasetIoU(C).update(OVERLAP, OVERLAP)
    scores = LOGITS.sigmoid()
    with pytest.warns(UserWarning, match=r"all in \[0, 1\]; if they are probabilities"):
        DatasetIoU(C, multilabel=True).update(scores, MASKS)
    # Neither where nothing is to be suspected; warnings are errors here.
    volume = torch.arange(24).view(2, 3, 4) % 3
    DatasetIoU(C).update(volume, volume)
    DatasetIoU(C, multilabel=True, from_logits=False).update(scores, MASKS)
    DatasetIoU(C).update(LOGITS.softmax(1), TRUTH)  # of which the largest decides
