"""The metrics against the oracle, the losses, torchmetrics, and themselves on two processes."""

import itertools
import math
import subprocess
import sys

import pytest
import torch
import torch.multiprocessing as mp
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassJaccardIndex
from torchmetrics.segmentation import MeanIoU

from lovasz import lovasz_softmax_from_probabilities
from lovasz.metrics import ClassIoU, DatasetIoU, ImageIoU
from tests import oracle
from tests.processes import start_processes

C, IGNORE = 5, 255
METRICS = [DatasetIoU, ImageIoU, ClassIoU]
CLASSES = ["present", "all", [0, 4], [2]]


def images(count=7, shape=(4, 6), seed=0):
    """Predictions and truth: a class is rare, one is never true, one image is all ignored."""
    random = torch.Generator().manual_seed(seed)
    truth = torch.multinomial(
        torch.tensor([0.6, 0.25, 0.1, 0.05]), count * shape[0] * shape[1], True, generator=random
    ).reshape(count, *shape)
    wrong = torch.rand(truth.shape, generator=random) < 0.4
    noise = torch.randint(0, C, truth.shape, generator=random)
    prediction = torch.where(wrong, noise, truth)
    truth[torch.rand(truth.shape, generator=random) < 0.1] = IGNORE
    truth[2] = IGNORE
    truth[3][truth[3] == 1] = 0
    return prediction, truth


def plain(prediction, truth):
    return prediction.flatten(1).tolist(), truth.flatten(1).tolist()


def value(metric, *pairs):
    for prediction, truth in pairs:
        metric.update(prediction, truth)
    return metric.compute()


def counting(by_class):
    return {c: v for c, v in enumerate(by_class.tolist()) if not math.isnan(v)}


def split(prediction, truth):
    return [(prediction[:3], truth[:3]), (prediction[3:4], truth[3:4]), (prediction[4:], truth[4:])]


@pytest.mark.parametrize("classes", CLASSES, ids=str)
def test_mean_over_the_data_set(classes):
    prediction, truth = images()
    whole = [[labels.flatten().tolist()] for labels in (prediction, truth)]
    (expected,) = oracle.image_ious(*whole, C, classes, IGNORE)
    metric = DatasetIoU(C, classes=classes, ignore_index=IGNORE, reduction="none")
    by_class = value(metric, *split(prediction, truth))
    assert counting(by_class) == expected
    mean = value(DatasetIoU(C, classes=classes, ignore_index=IGNORE), (prediction, truth))
    assert mean.item() == pytest.approx(sum(expected.values()) / len(expected), rel=1e-15)


@pytest.mark.parametrize("worst", [100, 50, 1, (10, 40, 100)], ids=str)
@pytest.mark.parametrize("classes", CLASSES, ids=str)
def test_means_over_images(classes, worst):
    prediction, truth = images()
    rows = oracle.image_ious(*plain(prediction, truth), C, classes, IGNORE)
    by_image = [sum(row.values()) / len(row) for row in rows if row]
    shares = worst if isinstance(worst, tuple) else (worst,)
    expected = sum(oracle.lowest_mean(by_image, q) for q in shares) / len(shares)
    metric = ImageIoU(C, classes=classes, ignore_index=IGNORE, worst=worst)
    assert value(metric, *split(prediction, truth)).item() == pytest.approx(expected, rel=1e-14)
    metric = ImageIoU(C, classes=classes, ignore_index=IGNORE, reduction="none")
    each = value(metric, *split(prediction, truth))
    assert each.isnan().tolist() == [not row for row in rows]
    assert each[~each.isnan()].tolist() == pytest.approx(by_image, rel=1e-15)


@pytest.mark.parametrize("worst", [100, 50, 1, (10, 40, 100)], ids=str)
@pytest.mark.parametrize("classes", CLASSES, ids=str)
def test_means_over_images_of_each_class(classes, worst):
    prediction, truth = images()
    rows = oracle.image_ious(*plain(prediction, truth), C, classes, IGNORE)
    shares = worst if isinstance(worst, tuple) else (worst,)
    columns = {c: [row[c] for row in rows if c in row] for c in range(C)}
    expected = {
        c: sum(oracle.lowest_mean(column, q) for q in shares) / len(shares)
        for c, column in columns.items()
        if column
    }
    options = {"classes": classes, "ignore_index": IGNORE, "worst": worst}
    by_class = value(ClassIoU(C, **options, reduction="none"), *split(prediction, truth))
    assert counting(by_class) == pytest.approx(expected, rel=1e-14)
    mean = value(ClassIoU(C, **options), (prediction, truth)).item()
    assert mean == pytest.approx(sum(expected.values()) / len(expected), rel=1e-14)


@pytest.mark.parametrize("classes", CLASSES, ids=str)
@pytest.mark.parametrize(("metric", "per_image"), [(DatasetIoU, False), (ImageIoU, True)])
def test_a_metric_is_one_minus_the_loss_of_the_hard_decision(metric, per_image, classes):
    prediction, truth = images()
    sure = torch.nn.functional.one_hot(prediction, C).movedim(-1, 1).double()
    options = {"classes": classes, "ignore_index": IGNORE}
    loss = lovasz_softmax_from_probabilities(
        sure, truth, per_image=per_image, method="sort", **options
    )
    metric = value(metric(C, **options), (prediction, truth))
    torch.testing.assert_close(metric, 1 - loss)


def test_torchmetrics_agrees_where_it_has_the_same():
    prediction, truth = torch.randint(0, 3, (2, 9, 20, 20))
    usual = value(MulticlassJaccardIndex(3, average="none"), (prediction, truth))
    ours = value(DatasetIoU(3, reduction="none"), (prediction, truth))
    torch.testing.assert_close(ours.float(), usual)
    each = [
        value(MeanIoU(3, input_format="index"), (p[None], t[None]))
        for p, t in zip(prediction, truth, strict=True)
    ]
    ours = value(ImageIoU(3, reduction="none"), (prediction, truth))
    torch.testing.assert_close(ours.float(), torch.stack(each))
    by_class = value(MeanIoU(3, input_format="index", per_class=True), (prediction, truth))
    ours = value(ClassIoU(3, reduction="none"), (prediction, truth))
    torch.testing.assert_close(ours.float(), by_class)


@pytest.mark.parametrize("kind", METRICS)
def test_logits_labels_and_points_give_the_same(kind):
    prediction, truth = images()
    options = {"num_classes": C, "ignore_index": IGNORE}
    logits = torch.nn.functional.one_hot(prediction, C).movedim(-1, 1).to(torch.bfloat16)
    expected = value(kind(**options), (prediction, truth))
    assert torch.equal(value(kind(**options), (logits, truth.short())), expected)
    assert torch.equal(value(kind(**options), (prediction.to(torch.uint8), truth)), expected)
    clouds = [(p.flatten(), t.flatten()) for p, t in zip(prediction, truth, strict=True)]
    assert torch.equal(value(kind(**options), *clouds), expected)
    clouds = [(p.flatten(1).t(), t.flatten()) for p, t in zip(logits, truth, strict=True)]
    assert torch.equal(value(kind(**options), *clouds), expected)


def test_binary_masks_without_foreground():
    truth = torch.zeros(3, 4, dtype=torch.bool)
    truth[0] = True
    prediction = torch.tensor([[1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1]])
    metric = ImageIoU(2, classes=[1], reduction="none")
    assert value(metric, (prediction, truth)).tolist() == [0.5, 1, 0]


@pytest.mark.parametrize("kind", METRICS)
def test_nothing_gives_nan(kind):
    nothing = (torch.zeros(2, 3, dtype=torch.long), torch.full((2, 3), IGNORE))
    assert value(kind(3, ignore_index=IGNORE), nothing).isnan()
    assert value(kind(3, classes="all", ignore_index=IGNORE), nothing).isnan()
    empty = (torch.zeros(0, 3, 4), torch.zeros(0, 4, dtype=torch.long))
    assert value(kind(3), empty).isnan()


@pytest.mark.parametrize("kind", METRICS)
def test_reset_and_forward(kind):
    prediction, truth = images()
    metric = kind(C, ignore_index=IGNORE)
    alone = metric(prediction[:3], truth[:3])
    assert torch.equal(alone, value(kind(C, ignore_index=IGNORE), (prediction[:3], truth[:3])))
    metric(prediction[3:], truth[3:])
    whole = value(kind(C, ignore_index=IGNORE), (prediction, truth))
    assert torch.equal(metric.compute(), whole)
    metric.reset()
    assert torch.equal(value(metric, (prediction, truth)), whole)


def test_a_collection_shares_the_counts():
    group = MetricCollection(
        {"i": ImageIoU(C, ignore_index=IGNORE), "c": ClassIoU(C, ignore_index=IGNORE, worst=5)}
    )
    prediction, truth = images()
    group.update(prediction, truth)
    assert len(group.compute_groups) == 1
    group.update(prediction, truth)
    expected = value(ClassIoU(C, ignore_index=IGNORE, worst=5), *[(prediction, truth)] * 2)
    assert torch.equal(group.compute()["c"], expected)


@pytest.mark.parametrize("kind", METRICS)
def test_half_precision_does_not_touch_the_counts(kind):
    pair = (torch.zeros(1, 70_001, dtype=torch.long), torch.arange(70_001)[None] % 2)
    assert value(kind(2).set_dtype(torch.half), pair) == value(kind(2), pair)


LABELS = torch.zeros(2, 4, dtype=torch.long)
WRONG_OPTIONS = [
    ({"num_classes": 0}, ValueError, "expected num_classes to be a positive integer, got 0"),
    ({"num_classes": 2.0}, ValueError, "expected num_classes to be a positive integer, got 2.0"),
    ({"classes": "rare"}, ValueError, "expected classes to be one of 'present', 'all'"),
    ({"classes": [3]}, ValueError, "expected classes to hold indices from 0 to 2, got"),
    (
        {"ignore_index": 1.0},
        TypeError,
        "expected ignore_index to be an integer or None, or several .*, got 1.0",
    ),
    ({"reduction": "sum"}, ValueError, "expected reduction to be one of 'mean', 'none', got 'sum'"),
]
WRONG_INPUTS = [
    ((LABELS, [0]), TypeError, "expected target to be a tensor, got list"),
    ((LABELS, LABELS[:1]), ValueError, r"of the shape of target \(1, 4\), got prediction \(2, 4\)"),
    (
        (LABELS, LABELS + 0.5),
        ValueError,
        "expected target of whole numbers, got 8 fractions or NaN",
    ),
    ((LABELS.to(torch.complex64), LABELS), TypeError, "expected prediction of a floating dtype"),
    (
        (LABELS, LABELS.to(torch.complex64)),
        TypeError,
        "expected target of an integer dtype or bool",
    ),
    ((torch.zeros(2, 4, 4), LABELS), ValueError, r"of shape \(N, 3, \*\) .* of shape \(2, 4, 4\)$"),
    ((torch.zeros(2, 3, 5), LABELS), ValueError, r"expected target of shape \(2, 5\) to match"),
    ((LABELS.to("meta"), LABELS), ValueError, "expected target on the device of prediction, meta"),
    ((LABELS, LABELS + 3), ValueError, r"in \[0, 2\] or equal to ignore_index=None, got 3 \(and 7"),
    ((LABELS - 1, LABELS), ValueError, r"every predicted label to be in \[0, 2\], got -1 \(and 7"),
    (
        (torch.full((2, 3, 4), torch.nan), LABELS),
        ValueError,
        "expected prediction without NaN, got NaN at 8 of 8 pixels; .* where$",
    ),
]


@pytest.mark.parametrize("kind", METRICS)
@pytest.mark.parametrize(("options", "error", "words"), WRONG_OPTIONS)
def test_wrong_options(kind, options, error, words):
    with pytest.raises(error, match=f"^{kind.__name__}: .*{words}"):
        kind(**{"num_classes": 3, **options})


@pytest.mark.parametrize("kind", METRICS)
@pytest.mark.parametrize(("inputs", "error", "words"), WRONG_INPUTS)
def test_wrong_inputs_leave_the_metric_as_it_was(kind, inputs, error, words):
    metric = kind(3)
    with pytest.raises(error, match=f"^{kind.__name__}: .*{words}"):
        metric.update(*inputs)
    assert value(metric, (LABELS, LABELS)) == 1


@pytest.mark.parametrize("worst", [0, 101, [], float("nan")])
def test_wrong_shares(worst):
    with pytest.raises(ValueError, match=r"ImageIoU: expected worst to be in \(0, 100\] percent"):
        ImageIoU(3, worst=worst)
    with pytest.raises(TypeError, match="ImageIoU: expected worst to hold numbers, got"):
        ImageIoU(3, worst="5")


@pytest.mark.parametrize("kind", METRICS)
def test_a_pixel_that_does_not_fit_gives_nan_where_nothing_may_be_looked_at(kind):
    metric = kind(3)
    metric.update(LABELS, LABELS)
    metric.invalid += 1  # as a device counts it
    assert metric.compute().isnan()


@pytest.mark.parametrize("kind", METRICS)
def test_no_value_is_read_elsewhere_than_on_the_cpu(kind):
    metric = kind(3, ignore_index=IGNORE).to("meta")
    metric.update(LABELS.to("meta"), LABELS.to("meta"))
    metric.update(torch.zeros(2, 3, 4, device="meta"), LABELS.to("meta"))
    assert metric.compute().is_meta  # a meta tensor has no values: reading one would raise


UPSAMPLED = [
    ("bilinear", False, (4, 5), (11, 13)),
    ("bilinear", True, (4, 5), (11, 13)),
    ("bilinear", False, (11, 13), (4, 5)),  # labels of the lower resolution
    ("nearest", False, (4, 5), (11, 13)),
    ("linear", True, (7,), (30,)),
    ("trilinear", False, (2, 3, 4), (5, 3, 9)),
]


@pytest.mark.parametrize("kind", METRICS)
@pytest.mark.parametrize(("mode", "corners", "source", "size"), UPSAMPLED, ids=str)
def test_logits_of_another_resolution(kind, mode, corners, source, size):
    options = {"num_classes": C, "ignore_index": IGNORE}
    upsampling = {"upsample": mode, "align_corners": corners}
    usual, ours = kind(**options), kind(**options, **upsampling)
    for seed in range(2):
        logits = torch.randn(4, C, *source, generator=torch.Generator().manual_seed(seed))
        _, truth = images(4, (math.prod(size), 1), seed)
        truth = truth.reshape(4, *size)
        align = {} if mode == "nearest" else {"align_corners": corners}
        enlarged = torch.nn.functional.interpolate(logits, size, mode=mode, **align)
        usual.update(enlarged, truth)
        ours.update(logits, truth.to(torch.uint8))
        ours.update(enlarged, truth)  # of the same size: nothing is interpolated
        usual.update(enlarged.argmax(1), truth)
        ours.update(enlarged.argmax(1), truth)  # labels have the size of the target
        usual.update(enlarged, truth)
    assert torch.equal(ours.compute(), usual.compute())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64], ids=str)
def test_upsampled_logits_of_any_dtype_and_layout(dtype):
    logits, truth = torch.randn(2, C, 5, 4).to(dtype), torch.randint(C, (2, 11, 9))
    enlarged = torch.nn.functional.interpolate(logits.double(), (11, 9), mode="bilinear")
    metric = DatasetIoU(C, upsample="bilinear", reduction="none")
    for layout in (logits, logits.contiguous(memory_format=torch.channels_last)):
        metric.reset()
        expected = value(DatasetIoU(C, reduction="none"), (enlarged, truth))
        torch.testing.assert_close(value(metric, (layout, truth)), expected, rtol=0, atol=0.05)


@pytest.mark.parametrize("kind", METRICS)
def test_what_does_not_fit_for_upsampling(kind):
    name, (logits, target) = kind.__name__, (torch.zeros(2, 3, 4, 5), torch.zeros(2, 8, 9).long())
    with pytest.raises(ValueError, match=f'^{name}: .*other resolution .* upsample="bilinear"$'):
        kind(3).update(logits, target)
    metric = kind(3, upsample="bilinear")
    with pytest.raises(ValueError, match=f"^{name}: expected labels .* of the shape of target"):
        metric.update(logits.argmax(1), target)
    with pytest.raises(ValueError, match=rf"^{name}: expected target of shape \(2, any size, any"):
        metric.update(logits, target[:1])
    with pytest.raises(ValueError, match=f"^{name}: expected prediction with spatial axes for ups"):
        metric.update(logits[:, :, 0, 0], target[:, 0, 0])
    with pytest.raises(
        ValueError, match=f"^{name}: expected prediction with 1 spatial axes .for 2"
    ):
        kind(3, upsample="linear").update(logits, target)
    with pytest.raises(ValueError, match=rf"^{name}: expected logits of shape \(N, 4, \*\)"):
        kind(4, upsample="bilinear").update(logits, target)
    logits[1, 2, 3, 4] = torch.nan
    with pytest.raises(ValueError, match=f"^{name}: .* without NaN, got NaN at"):
        metric.update(logits, target)
    assert value(metric, (target, target)) == 1
    with pytest.raises(ValueError, match=f"^{name}: expected upsample to be .* got 'cubic'"):
        kind(3, upsample="cubic")
    with pytest.raises(ValueError, match=f"^{name}: expected align_corners=True with upsample of"):
        kind(3, align_corners=True)


def test_upsampling_reads_no_value_elsewhere_than_on_the_cpu():
    metric = DatasetIoU(3, upsample="bilinear").to("meta")
    metric.update(torch.zeros(2, 3, 4, 5, device="meta"), torch.zeros(2, 8, 9, device="meta").int())
    assert metric.compute().is_meta


def test_the_package_does_not_need_torchmetrics():
    code = (
        "import sys; sys.modules['torchmetrics'] = None; import lovasz\n"
        "try: import lovasz.metrics\n"
        "except ImportError as error: print(error)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert "pip install 'torchmetrics>=1.6'" in result.stdout


SPLITS = [(0, 5, 7), (0, 7, 7)]  # the second leaves one process without images
OPTIONS = [{}, {"worst": 30}, {"reduction": "none"}]
CASES = [
    (kind, options)
    for kind, options in itertools.product(METRICS, OPTIONS)
    if not (kind is DatasetIoU and "worst" in options)
]


def _rank(rank, path, results):
    """One of two processes."""
    torch.set_num_threads(1)
    meet = f"file://{path}"
    torch.distributed.init_process_group("gloo", init_method=meet, rank=rank, world_size=2)
    prediction, truth = images()
    for case, (kind, options) in enumerate(CASES):
        for number, edges in enumerate(SPLITS):
            metric = kind(C, ignore_index=IGNORE, **options)
            for one in range(edges[rank], edges[rank + 1]):
                metric.update(prediction[one : one + 1], truth[one : one + 1])
            results.put((case, number, rank, repr(metric.compute().tolist())))
    torch.distributed.barrier()  # gloo may abort where one leaves early
    torch.distributed.destroy_process_group()


def test_two_processes_with_uneven_images_give_the_same_as_one(tmp_path):
    results = mp.get_context("forkserver").SimpleQueue()
    start_processes(_rank, (tmp_path / "meet", results), 2)
    got = sorted(results.get() for _ in range(len(CASES) * len(SPLITS) * 2))
    # As text, since NaN differs from itself.
    alone = [
        repr(value(kind(C, ignore_index=IGNORE, **options), images()).tolist())
        for kind, options in CASES
    ]
    assert got == [(*key, alone[key[0]]) for key in itertools.product(range(8), range(2), range(2))]
