"""What metrics accept, each form with the same result."""

import pytest
import torch

from lovasz import (
    lovasz_sigmoid_from_probabilities,
    lovasz_softmax_from_probabilities,
)
from lovasz.metrics import (
    ClassIoU,
    ClassScore,
    DatasetIoU,
    DatasetScore,
    ImageIoU,
    ImageScore,
)

METRICS = [DatasetIoU, ImageIoU, ClassIoU]
SCORES = ["iou", "dice", "accuracy", "precision", "recall"]
C = 3


def pair(shape=(2, 4, 5), seed=0, classes=C):
    """Logits and truth that agree in part."""
    random = torch.Generator().manual_seed(seed)
    truth = torch.randint(classes, shape, generator=random)
    logits = torch.randn(shape[0], classes, *shape[1:], generator=random)
    logits += 1.5 * torch.nn.functional.one_hot(truth, classes).movedim(-1, 1)
    return logits, truth


def one_hot(truth):
    return torch.nn.functional.one_hot(truth, C).movedim(-1, 1)


def value(metric, *arguments, **options):
    metric.update(*arguments, **options)
    return metric.compute()


# The definition, pixel by pixel, shared with nothing in src.


def score_by_sets(score, found, true, pixels):
    hits, union = len(found & true), len(found | true)
    if not union:
        return 1.0
    if score == "accuracy":
        return (pixels - union + hits) / pixels
    above, below = {
        "iou": (hits, union),
        "dice": (2 * hits, len(found) + len(true)),
        "precision": (hits, len(found)),
        "recall": (hits, len(true)),
    }[score]
    return above / below if below else 0.0


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("multilabel", [False, True])
def test_scores_by_sets_of_pixels(multilabel, score):
    logits, truth = pair()
    truth[0, 1], truth[1][truth[1] == 2] = 255, 0
    found, true = logits.argmax(1), truth
    if multilabel:
        found, true = logits > 0, torch.where((truth == 255)[:, None], 255, one_hot(truth % 255))
    images = []
    for image in range(2):
        row = []
        for c in range(C):
            kept = (true[image, c] if multilabel else true[image]) != 255
            mine = found[image, c] if multilabel else found[image] == c
            theirs = (true[image, c] == 1) if multilabel else true[image] == c
            sets = [set((x & kept).flatten().nonzero().flatten().tolist()) for x in (mine, theirs)]
            kind = "recall" if score == "accuracy" and not multilabel else score
            row.append((score_by_sets(kind, *sets, int(kept.sum())), bool(sets[1])))
        images.append(row)
    options = {"multilabel": multilabel, "ignore_index": [255, 77]}
    prediction = (logits > 0).long() if multilabel else found
    means = [
        sum(s for s, present in row if present or multilabel)
        / sum(present or multilabel for _, present in row)
        for row in images
    ]
    target = true if multilabel else truth
    for scores in (prediction, logits):
        result = value(ImageScore(C, score, reduction="none", **options), scores, target)
        assert result.tolist() == pytest.approx(means, rel=1e-14)
        whole = value(ImageScore(C, score, **options), scores, target)
        assert whole.item() == pytest.approx(sum(means) / 2, rel=1e-14)
    columns = [[s for s, present in x if present or multilabel] for x in zip(*images, strict=True)]
    result = value(ClassScore(C, score, reduction="none", **options), logits, target)
    assert result.tolist() == pytest.approx([sum(x) / len(x) for x in columns], rel=1e-14)


@pytest.mark.parametrize("per_image", [False, True])
def test_a_metric_of_masks_is_one_minus_the_loss_of_the_hard_decision(per_image):
    logits, truth = pair((3, 4, 5))
    masks = one_hot(truth)
    masks[0, 1], masks[2] = 0, 255
    masks[1, 2, 1] = 255
    logits[0, 1] = -1  # nothing to find, and nothing found
    hard = (logits > 0).double()
    loss = lovasz_sigmoid_from_probabilities(
        hard, masks, multilabel=True, per_image=per_image, ignore_index=255, method="sort"
    )
    kind = ImageIoU if per_image else DatasetIoU
    metric = value(kind(C, multilabel=True, ignore_index=255), logits, masks)
    torch.testing.assert_close(metric, 1 - loss)


def test_micro_and_weighted_means_of_images():
    logits, truth = pair()
    found = logits.argmax(1)
    hits = (found == truth).flatten(1).sum(1)
    micro = value(ImageIoU(C, average="micro", reduction="none"), logits, truth)
    torch.testing.assert_close(micro, hits / (40 - hits).double())
    weighted = value(ImageIoU(C, average="weighted", reduction="none"), logits, truth)
    for image in range(2):
        by_class = value(
            DatasetIoU(C, reduction="none"), logits[image : image + 1], truth[image : image + 1]
        )
        frequency = truth[image].flatten().bincount(minlength=C) / 20
        torch.testing.assert_close(weighted[image], (by_class.nan_to_num() * frequency).sum())


# --- forms of the same thing


FORMS = {
    "labels": lambda x, y: (x.argmax(1), y),
    "one axis more": lambda x, y: (x, y.unsqueeze(1)),
    "of labels": lambda x, y: (x.argmax(1), y.unsqueeze(1)),
    "of predictions": lambda x, y: (x.argmax(1, keepdim=True), y),
    "of both": lambda x, y: (x.argmax(1, keepdim=True), y.unsqueeze(1)),
    "floats": lambda x, y: (x, y.float()),
    "bfloat16": lambda x, y: (x.argmax(1), y.bfloat16()),
    "one-hot": lambda x, y: (x, one_hot(y)),
    "one-hot bool": lambda x, y: (x, one_hot(y).bool()),
    "one-hot half": lambda x, y: (x, one_hot(y).half()),
    "one-hot and labels": lambda x, y: (x.argmax(1), one_hot(y)),
    "probabilities": lambda x, y: (x.double().softmax(1), y),
    "channels last": lambda x, y: (x.to(memory_format=torch.channels_last), y),
    "with a gradient": lambda x, y: (x.clone().requires_grad_(), y),
    "parameter": lambda x, y: (torch.nn.Parameter(x), y),
}


@pytest.mark.parametrize("kind", METRICS)
@pytest.mark.parametrize("form", FORMS)
def test_forms(kind, form):
    logits, truth = pair()
    expected = value(kind(C), logits, truth)
    result = value(kind(C), *FORMS[form](logits, truth))
    assert torch.equal(result, expected)
    assert not result.requires_grad


INTEGERS = [f"{sign}int{size}" for sign in ("", "u") for size in (8, 16, 32, 64)]


@pytest.mark.parametrize("dtype", INTEGERS)
def test_integers(dtype):
    logits, truth = pair()
    truth[0] = 255 if dtype != "int8" else 99
    expected = value(DatasetIoU(C, ignore_index=[99, 255]), logits, truth)
    dtype = getattr(torch, dtype)
    labels = logits.argmax(1).to(dtype)
    metric = DatasetIoU(C, ignore_index=[99, 255])
    assert torch.equal(value(metric, labels, truth.to(dtype)), expected)
    masks = DatasetIoU(C, multilabel=True)
    expected = value(DatasetIoU(C, multilabel=True), logits, one_hot(truth % 3))
    assert torch.equal(value(masks, (logits > 0).to(dtype), one_hot(truth % 3).to(dtype)), expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("multilabel", [False, True])
def test_floating_dtypes(multilabel, dtype):
    logits, truth = pair()
    target = one_hot(truth) if multilabel else truth
    logits = logits.to(dtype)
    expected = value(ImageIoU(C, multilabel=multilabel), logits.double(), target)
    assert torch.equal(value(ImageIoU(C, multilabel=multilabel), logits, target), expected)


def test_a_logit_of_16_bits_just_above_the_threshold_is_positive():
    """Its sigmoid in bfloat16 is 0.5, at which the peers decide."""
    tiny = torch.tensor([[2e-3, -2e-3]], dtype=torch.bfloat16)
    assert (tiny.sigmoid() == 0.5).all()
    metric = DatasetScore(1, "accuracy", multilabel=True)
    assert value(metric, tiny, torch.tensor([[1, 0]])) == 1


def test_one_score_for_two_classes():
    logits, truth = pair(classes=2)
    difference = logits[:, 1:] - logits[:, :1]
    expected = value(DatasetIoU(2), logits, truth)
    assert torch.equal(value(DatasetIoU(2), difference, truth), expected)
    assert torch.equal(value(DatasetIoU(2), difference, truth.bool()), expected)
    probabilities = difference.double().sigmoid()
    metric = DatasetIoU(2, from_logits=False)
    assert torch.equal(value(metric, probabilities, truth.unsqueeze(1)), expected)
    points = difference.flatten().unsqueeze(1)
    assert torch.equal(value(DatasetIoU(2), points, truth.flatten()), expected)


@pytest.mark.parametrize("threshold", [0.5, 0.25])
@pytest.mark.parametrize("from_logits", [True, False])
@pytest.mark.parametrize(
    ("mode", "source", "size"),
    [("bilinear", (4, 5), (9, 11)), ("trilinear", (2, 3, 4), (3, 5, 7)), ("nearest", (5,), (12,))],
)
def test_masks_of_another_resolution(mode, source, size, from_logits, threshold):
    random = torch.Generator().manual_seed(1)
    scores = torch.randn(2, C, *source, generator=random)
    scores = scores if from_logits else scores.sigmoid()
    truth = torch.randint(2, (2, C, *size), generator=random)
    enlarged = torch.nn.functional.interpolate(scores, size, mode=mode)
    options = {"multilabel": True, "threshold": threshold, "from_logits": from_logits}
    metric = ImageIoU(C, upsample=mode, **options)
    assert torch.equal(value(metric, scores, truth), value(ImageIoU(C, **options), enlarged, truth))
    options["multilabel"] = False
    one = DatasetIoU(2, upsample=mode, **options)
    expected = value(DatasetIoU(2, **options), enlarged[:, :1], truth[:, 0])
    assert torch.equal(value(one, scores[:, :1], truth[:, 0]), expected)


class Carrying(torch.Tensor):
    """A subclass that comes back from every operation and refuses to be made empty."""

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        assert function is not torch.Tensor.new_empty
        return super().__torch_function__(function, types, args, kwargs or {})


@pytest.mark.parametrize("library", ["own", "monai"])
@pytest.mark.parametrize("kind", METRICS)
def test_subclasses(kind, library):
    make = torch.Tensor.as_subclass
    subclass = Carrying
    if library == "monai":
        subclass = pytest.importorskip("monai.data").MetaTensor
        make = lambda tensor, subclass: subclass(tensor)  # noqa: E731
    logits, truth = pair()
    expected = value(kind(C), logits, truth)
    for x in (logits, logits.argmax(1)):
        metric = kind(C)
        result = value(metric, make(x, subclass), make(truth, subclass))
        assert torch.equal(result, expected)
        states = [result, *(metric.counts if isinstance(metric.counts, list) else [metric.counts])]
        assert {type(x) for x in states} == {torch.Tensor}
    mask = make(truth == 1, subclass)
    assert value(kind(C), logits, truth, ignore_mask=mask) == value(
        kind(C, ignore_index=1), logits, truth
    )


# --- what is left out


@pytest.mark.parametrize("kind", METRICS)
def test_several_ignored_labels_and_masks(kind):
    logits, truth = pair((2, 6, 5))
    ignored = torch.zeros_like(truth, dtype=torch.bool)
    ignored[:, 0], ignored[1, 2] = True, True
    expected = value(kind(C), logits, truth, ignore_mask=ignored)
    assert expected != value(kind(C), logits, truth)
    labelled = truth.masked_fill(ignored, 255)
    labelled[0, 0] = -1
    assert torch.equal(value(kind(C, ignore_index=[-1, 255]), logits, labelled), expected)
    assert torch.equal(value(kind(C, ignore_index=(255, -1)), logits, labelled), expected)
    metric = kind(C, ignore_index=-1)
    partly = labelled.masked_fill(labelled == 255, 7)  # out of range where masked
    assert torch.equal(value(metric, logits, partly, ignore_mask=ignored.unsqueeze(1)), expected)
    hidden = one_hot(truth) * ~ignored.unsqueeze(1)  # masked pixels need no class
    assert torch.equal(value(kind(C), logits, hidden, ignore_mask=ignored), expected)
    spoiled = logits.masked_fill(ignored.unsqueeze(1), torch.nan)  # nor a decision
    assert torch.equal(value(kind(C), spoiled, truth, ignore_mask=ignored), expected)


def test_masks_of_pixels_and_of_channels():
    logits, truth = pair()
    target, ignored = one_hot(truth), truth == 1
    expected = value(DatasetIoU(C, multilabel=True), logits[:, :, :0], target[:, :, :0])
    assert expected.isnan()
    marked = torch.where(ignored[:, None], 255, target)
    expected = value(ImageIoU(C, multilabel=True, ignore_index=255), logits, marked)
    for mask in (ignored, ignored[:, None].expand(-1, C, -1, -1)):
        metric = ImageIoU(C, multilabel=True)
        assert torch.equal(value(metric, logits, target, ignore_mask=mask), expected)


# --- clouds


def point_clouds(seed=0):
    """Clouds of 7, 0, 1 and 12 points, in one tensor."""
    logits, truth = pair((20,), seed)
    offsets = torch.tensor([7, 7, 8, 20])
    return logits, truth, offsets, torch.tensor([0] * 7 + [2] + [3] * 12)


@pytest.mark.parametrize("multilabel", [False, True])
@pytest.mark.parametrize("kind", [ImageIoU, ClassIoU])
def test_clouds(kind, multilabel):
    logits, truth, offsets, index = point_clouds()
    truth[3] = 255
    target = truth
    if multilabel:
        target = torch.where((truth == 255)[:, None], 255, torch.eye(C).long()[truth % 255])
    options = {"multilabel": multilabel, "ignore_index": 255}
    metric = kind(C, **options)
    for start, stop in ((0, 7), (7, 8), (8, 20)):
        metric.update(logits[start:stop], target[start:stop])
    expected = metric.compute()
    assert torch.equal(value(kind(C, **options), logits, target, offsets=offsets), expected)
    assert torch.equal(value(kind(C, **options), logits, target, offsets=offsets.int()), expected)
    mixed = torch.randperm(20, generator=torch.Generator().manual_seed(2))
    for size in (None, 4, 9):
        result = value(
            kind(C, **options), logits[mixed], target[mixed], batch_index=index[mixed],
            batch_size=size,
        )  # fmt: skip
        assert torch.equal(result, expected)
    decided = (logits > 0) if multilabel else logits.argmax(1)
    assert torch.equal(value(kind(C, **options), decided, target, batch_index=index), expected)
    assert expected != value(kind(C, **options), logits, target)  # as one cloud
    # Two batches: each has clouds of its own.
    metric = kind(C, **options)
    metric.update(logits[:8], target[:8], batch_index=index[:8])
    metric.update(logits[8:], target[8:], batch_index=index[8:] - 3)
    assert torch.equal(metric.compute(), expected)


def test_each_cloud():
    logits, truth, offsets, _ = point_clouds()
    each = value(ImageIoU(C, reduction="none"), logits, truth, offsets=offsets)
    assert each.isnan().tolist() == [False, True, False, False]
    loss = lovasz_softmax_from_probabilities(
        torch.eye(C)[logits.argmax(1)], truth, per_image=True, offsets=offsets, method="sort"
    )
    torch.testing.assert_close(each.nanmean(), 1 - loss.double())


WRONG_CLOUDS = [
    ({"batch_index": torch.zeros(2)}, TypeError, "batch_index to be an int32 or int64 tensor"),
    ({"batch_index": torch.zeros(3).long()}, ValueError, r"batch_index of shape \(20,\)"),
    ({"offsets": torch.tensor([7, 19])}, ValueError, "offsets to be the ascending ends"),
    ({"offsets": [7, 20]}, TypeError, "offsets to be an int32 or int64 tensor, got list"),
    ({"batch_size": 3}, ValueError, "batch_size with batch_index alone, got 3"),
    (
        {"offsets": torch.tensor([20]), "batch_index": torch.zeros(20).long()},
        ValueError,
        "offsets or batch_index, got both",
    ),
]


@pytest.mark.parametrize(("arguments", "error", "words"), WRONG_CLOUDS)
def test_wrong_clouds(arguments, error, words):
    logits, truth, _, _ = point_clouds()
    with pytest.raises(error, match=f"^ImageIoU: expected {words}"):
        ImageIoU(C).update(logits, truth, **arguments)


def test_images_are_no_clouds():
    logits, truth = pair()
    words = (
        r"^ClassIoU: expected offsets with points alone, labels \(P,\) or scores \(P, C\), got 2"
    )
    with pytest.raises(ValueError, match=words):
        ClassIoU(C).update(logits, truth, offsets=torch.tensor([2]))
    words = "^ClassIoU: expected batch_index with points alone"
    with pytest.raises(ValueError, match=words):
        ClassIoU(C).update(logits, truth, batch_index=torch.tensor([0, 1]))


def test_volumes_of_two_labels():
    truth = torch.randint(2, (2, 3, 4, 5), generator=torch.Generator().manual_seed(0)).bool()
    noise = torch.rand(truth.shape, generator=torch.Generator().manual_seed(1)) < 0.3
    found = truth ^ noise
    expected = value(DatasetIoU(2), found.flatten(1), truth.flatten(1))
    assert torch.equal(value(DatasetIoU(2), found, truth), expected)


@pytest.mark.parametrize("multilabel", [False, True])
def test_no_value_is_read_elsewhere_than_on_the_cpu(multilabel):
    logits, truth = pair()
    masks = one_hot(truth)
    metric = ImageIoU(C, multilabel=multilabel, from_logits=False, ignore_index=[7, 9]).to("meta")
    x, y = logits.to("meta"), (masks if multilabel else truth).to("meta")
    metric.update(x, y, ignore_mask=(truth > 0).to("meta"))
    metric.update(x, masks.half().to("meta"))
    points = (
        x.movedim(1, -1).flatten(0, -2),
        y.movedim(1, -1).reshape(-1, C) if multilabel else (y.flatten()),
    )
    metric.update(*points, offsets=torch.tensor([3, 40], device="meta"))
    metric.update(*points, batch_index=torch.zeros(40, device="meta").long(), batch_size=2)
    assert metric.compute().is_meta
