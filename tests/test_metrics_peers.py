"""The metrics beside those of torchmetrics, MONAI and mmsegmentation on the same inputs.

Where they differ, the difference is a test too, and stands in docs/metrics.md.
"""

import numpy as np
import pytest
import torch
import torchmetrics
import torchmetrics.functional.classification as peers
from packaging.version import Version
from torchmetrics.segmentation import DiceScore, MeanIoU

from lovasz.metrics import ClassScore, DatasetIoU, DatasetScore, ImageIoU, ImageScore

C, IGNORE = 6, 255
NAMES = {
    "iou": "jaccard_index",
    "dice": "f1_score",
    "accuracy": "accuracy",
    "precision": "precision",
    "recall": "recall",
}
AVERAGES = ["macro", "micro", "weighted", "none"]


def labels(seed=0, shape=(5, 6, 7)):
    """Predictions and truth: class 3 is never true, class 4 never predicted, class 5 neither."""
    random = torch.Generator().manual_seed(seed)
    truth = torch.tensor([0, 0, 0, 1, 1, 2, 4])[torch.randint(7, shape, generator=random)]
    noise = torch.randint(4, shape, generator=random)
    wrong = (torch.rand(shape, generator=random) < 0.4) | (truth == 4)
    return torch.where(wrong, noise, truth), truth


def options(average):
    return {"reduction": "none"} if average == "none" else {"average": average}


def ours(metric, *pair, **arguments):
    metric.update(*pair, **arguments)
    return metric.compute().float()


@pytest.mark.parametrize("ignored", [None, IGNORE, -1])
@pytest.mark.parametrize("average", AVERAGES)
@pytest.mark.parametrize("score", NAMES)
def test_multiclass(score, average, ignored):
    prediction, truth = labels()
    if ignored is not None:
        truth[:, ::3] = ignored
    peer = getattr(peers, f"multiclass_{NAMES[score]}")
    expected = peer(prediction, truth, C, average=average, ignore_index=ignored)
    metric = DatasetScore(C, score, present_in="union", ignore_index=ignored, **options(average))
    result = ours(metric, prediction, truth)
    if average == "none":  # where neither has a pixel, torchmetrics has 0 and this has NaN
        assert result.isnan().tolist() == [False] * 5 + [True]
        result = result.nan_to_num(0)
    torch.testing.assert_close(result, expected)


@pytest.mark.parametrize("average", ["macro", "micro", "weighted"])
def test_an_ignored_class(average):
    """Label 0 is ignored, and predictions of 0 are misses of other classes and no false alarms."""
    prediction, truth = labels()
    metric = DatasetScore(C, "iou", present_in="union", ignore_index=0, average=average)
    result = ours(metric, prediction, truth)
    expected = peers.multiclass_jaccard_index(prediction, truth, C, average=average, ignore_index=0)
    torch.testing.assert_close(result, expected)
    # F1 and accuracy of torchmetrics do count them: 0 is a class with a score of 0, or its
    # predictions are false positives.
    metric = DatasetScore(C, "dice", present_in="union", ignore_index=0, average=average)
    other = peers.multiclass_f1_score(prediction, truth, C, average=average, ignore_index=0)
    if average == "weighted":  # by a weight of 0
        torch.testing.assert_close(ours(metric, prediction, truth), other)
    else:
        assert ours(metric, prediction, truth) > other


def test_which_classes_count():
    """The same predictions, by three rules: in the truth, in either, all of them."""
    prediction, truth = labels()
    each = ours(DatasetIoU(C, reduction="none", classes="all"), prediction, truth)
    assert each[5] == 1  # nothing to find, and nothing found
    assert each[3] == each[4] == 0
    means = {
        "target": each[[0, 1, 2, 4]].mean(),
        "union": each[:5].mean(),
        None: each.mean(),
    }
    for rule, expected in means.items():
        metric = DatasetIoU(C, classes="all", present_in=rule)
        torch.testing.assert_close(ours(metric, prediction, truth), expected)
    usual = ours(DatasetIoU(C), prediction, truth)
    torch.testing.assert_close(usual, means["target"])
    other = peers.multiclass_jaccard_index(prediction, truth, C)
    torch.testing.assert_close(other, means["union"])
    assert usual > other + 0.05


def masks(channels, seed=0):
    random = torch.Generator().manual_seed(seed)
    logits = torch.randn(4, channels, 5, 6, generator=random)
    truth = (logits + torch.randn(logits.shape, generator=random) > 0.4).long()
    truth[torch.rand(truth.shape, generator=random) < 0.1] = IGNORE
    return logits, truth


@pytest.mark.parametrize("threshold", [0.5, 0.3, 0.8])
@pytest.mark.parametrize("from_logits", [True, False])
@pytest.mark.parametrize("score", NAMES)
def test_binary(score, from_logits, threshold):
    logits, truth = masks(1)
    scores = logits if from_logits else logits.sigmoid()
    common = {"threshold": threshold, "ignore_index": IGNORE}
    expected = getattr(peers, f"binary_{NAMES[score]}")(scores, truth, **common)
    metric = DatasetScore(1, score, multilabel=True, from_logits=from_logits, **common)
    torch.testing.assert_close(ours(metric, scores, truth), expected)
    metric.reset()
    torch.testing.assert_close(ours(metric, scores[:, 0], truth[:, 0]), expected)
    decided = (logits.sigmoid() > threshold)[:, 0]
    metric.reset()
    torch.testing.assert_close(ours(metric, decided, truth), expected)
    # And with background and foreground as two classes, where accuracy is that of the class.
    metric = DatasetScore(2, score, classes=[1], from_logits=from_logits, **common)
    result = ours(metric, scores, truth[:, 0])
    if score == "accuracy":
        expected = peers.binary_recall(scores, truth, **common)
        metric = DatasetScore(2, score, average="micro", from_logits=from_logits, **common)
        pixels = peers.binary_accuracy(scores, truth, **common)
        torch.testing.assert_close(ours(metric, scores, truth[:, 0]), pixels)
    torch.testing.assert_close(result, expected)


def test_logits_that_look_like_probabilities():
    """The peer decides by the batch what its scores are; here they are what they are said to be."""
    logits, truth = torch.tensor([[0.2, 0.4, 0.9, 0.1]]), torch.tensor([[1, 1, 1, 0]])
    guessed = [peers.binary_jaccard_index(x, truth) for x in (logits, logits - 0.15)]
    assert guessed[0] == pytest.approx(1 / 3)  # taken for probabilities: one of four is positive
    assert guessed[1] == 1  # one negative number, and they are logits
    metric = DatasetScore(1, "iou", multilabel=True)
    with pytest.warns(UserWarning, match=r"all in \[0, 1\]; if they are prob.* from_logits=False$"):
        assert ours(metric, logits, truth) == 0.75
    assert ours(DatasetScore(1, "iou", multilabel=True), logits - 0.15, truth) == 1


@pytest.mark.parametrize("average", AVERAGES)
@pytest.mark.parametrize("from_logits", [True, False])
@pytest.mark.parametrize("score", NAMES)
def test_multilabel(score, from_logits, average):
    logits, truth = masks(3)
    scores = logits if from_logits else logits.sigmoid()
    peer = getattr(peers, f"multilabel_{NAMES[score]}")
    expected = peer(scores, truth, 3, average=average, threshold=0.4, ignore_index=IGNORE)
    metric = DatasetScore(
        3, score, multilabel=True, threshold=0.4, from_logits=from_logits, ignore_index=IGNORE,
        **options(average),
    )  # fmt: skip
    torch.testing.assert_close(ours(metric, scores, truth), expected)


def test_a_mask_that_is_empty_on_both_sides():
    """Here it is perfect, or does not count; for torchmetrics it is 0."""
    nothing = torch.zeros(2, 1, 3, dtype=torch.long)
    assert peers.binary_jaccard_index(nothing, nothing) == 0
    assert ours(DatasetIoU(1, multilabel=True), nothing, nothing) == 1
    assert ours(DatasetIoU(1, multilabel=True, present_in="union"), nothing, nothing).isnan()


# Of the classes that changed between versions.
recent = pytest.mark.skipif(
    Version(torchmetrics.__version__) < Version("1.9"), reason="the conventions of torchmetrics 1.9"
)


@recent
@pytest.mark.filterwarnings("ignore:DiceScore metric currently defaults")
@pytest.mark.parametrize("background", [True, False])
@pytest.mark.parametrize("average", AVERAGES)
@pytest.mark.parametrize("level", ["samplewise", "global"])
def test_dice_of_segmentation(level, average, background):
    prediction, truth = labels()
    peer = DiceScore(
        C, include_background=background, average=average, input_format="index",
        aggregation_level=level,
    )  # fmt: skip
    peer.update(prediction, truth)
    chosen = {"classes": "all" if background else "foreground", "present_in": "union"}
    kind = DatasetScore
    if level == "samplewise":
        kind = ClassScore if average == "none" else ImageScore
    result = ours(kind(C, "dice", **chosen, **options(average)), prediction, truth)
    if average == "none" and not background:
        result = result[1:]
    torch.testing.assert_close(result.flatten(), peer.compute().flatten(), equal_nan=True)


@recent
def test_mean_iou_of_segmentation():
    prediction, truth = labels()
    peer = MeanIoU(C, per_class=True, input_format="index")
    peer.update(prediction, truth)
    metric = ClassScore(C, "iou", classes="all", present_in="union", reduction="none")
    result = ours(metric, prediction, truth)
    torch.testing.assert_close(result.nan_to_num(-1), peer.compute())  # -1 says that none has it
    # Its mean is over the pairs of image and class: that of images if all have as many classes.
    peer = MeanIoU(C, input_format="index")
    peer.update(prediction[:, :2], truth[:, :2])
    images = ImageIoU(C, present_in="union")
    each = [ours(ImageIoU(C, present_in="union", classes=[c], reduction="none"),
                 prediction[:, :2], truth[:, :2]) for c in range(C)]  # fmt: skip
    torch.testing.assert_close(peer.compute(), torch.stack(each).nanmean())
    assert peer.compute() != ours(images, prediction[:, :2], truth[:, :2])
    alike, same = torch.arange(C).expand(3, C), torch.arange(C).flip(0).expand(3, C).contiguous()
    peer.reset()
    peer.update(alike.contiguous(), same)
    torch.testing.assert_close(ours(ImageIoU(C), alike, same), peer.compute())


@pytest.mark.parametrize(("score", "peer"), [("iou", "MeanIoU"), ("dice", "DiceMetric")])
def test_monai(score, peer):
    """Images of classes, NaN where the truth of an image does not have the class."""
    peer = getattr(pytest.importorskip("monai.metrics"), peer)
    prediction, truth = labels()
    maps = [torch.nn.functional.one_hot(x, C).movedim(-1, 1) for x in (prediction, truth)]
    for background in (True, False):
        chosen = {"classes": "all" if background else "foreground", "present_in": "target"}
        metric = peer(include_background=background, reduction="mean_batch")
        metric(*maps)
        result = ours(ClassScore(C, score, **chosen, reduction="none"), prediction, truth)
        expected = torch.as_tensor(metric.aggregate())
        result = result if background else result[1:]
        torch.testing.assert_close(result.nan_to_num(0), expected.nan_to_num(0))
        metric = peer(include_background=background, reduction="mean")
        metric(*maps)
        result = ours(ImageScore(C, score, **chosen), prediction, truth)
        torch.testing.assert_close(result, torch.as_tensor(metric.aggregate()).squeeze())


def mmsegmentation(prediction, truth):
    """What its IoUMetric reports, from areas of intersection, prediction and label.

    0 / 0 is NaN and is left out of the means.
    """
    kept = truth != IGNORE
    prediction, truth = prediction[kept].numpy(), truth[kept].numpy()
    found, true, both = (
        np.bincount(x, minlength=C).astype(float)
        for x in (prediction, truth, truth[prediction == truth])
    )
    with np.errstate(invalid="ignore"):
        precision, recall = both / found, both / true
        return {
            "aAcc": both.sum() / true.sum(),
            "mIoU": np.nanmean(both / (found + true - both)),
            "mAcc": np.nanmean(recall),
            "mDice": np.nanmean(2 * both / (found + true)),
            "mPrecision": np.nanmean(precision),
            "mRecall": np.nanmean(recall),
            "mFscore": np.nanmean(2 * precision * recall / (precision + recall)),
        }


def test_mmsegmentation():
    prediction, truth = labels()
    truth[:, 0] = IGNORE
    expected = mmsegmentation(prediction, truth)
    metrics = {
        "aAcc": DatasetScore(C, "accuracy", average="micro", ignore_index=IGNORE),
        "mIoU": DatasetIoU(C, present_in="union", ignore_index=IGNORE),
        "mAcc": DatasetScore(C, "accuracy", ignore_index=IGNORE),
        "mDice": DatasetScore(C, "dice", present_in="union", ignore_index=IGNORE),
        "mRecall": DatasetScore(C, "recall", ignore_index=IGNORE),
    }
    for name, metric in metrics.items():
        torch.testing.assert_close(ours(metric, prediction, truth).item(), expected[name])
    # Explained: a class that is in the truth and never predicted has no precision there, and 0
    # here; and its F-score leaves out all classes without a hit, however wrong they are.
    each = ours(
        DatasetScore(C, "precision", reduction="none", present_in="union", ignore_index=IGNORE),
        prediction, truth,
    )  # fmt: skip
    assert each[4] == 0
    torch.testing.assert_close(each[:4].mean().item(), expected["mPrecision"])
    each = ours(
        DatasetScore(C, "dice", reduction="none", present_in="union", ignore_index=IGNORE),
        prediction, truth,
    )  # fmt: skip
    assert each[3] == each[4] == 0
    torch.testing.assert_close(each[:3].mean().item(), expected["mFscore"])
