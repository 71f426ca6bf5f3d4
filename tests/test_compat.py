"""The names of other libraries: signatures as written down here, values as the oracle has them."""

import inspect
import itertools
import statistics

import pytest
import torch

from lovasz import error_bound
from lovasz.compat import lovasz_losses, mmseg, pointcept, smp
from tests import oracle

C, IGNORE = 4, 255
CLOSE = error_bound(2048)

SIGNATURES = [
    (lovasz_losses.lovasz_grad, "gt_sorted"),
    (lovasz_losses.iou_binary, "preds, labels, EMPTY=1.0, ignore=None, per_image=True"),
    (lovasz_losses.iou, "preds, labels, C, EMPTY=1.0, ignore=None, per_image=False"),
    (lovasz_losses.lovasz_hinge, "logits, labels, per_image=True, ignore=None"),
    (lovasz_losses.lovasz_hinge_flat, "logits, labels"),
    (lovasz_losses.flatten_binary_scores, "scores, labels, ignore=None"),
    (lovasz_losses.StableBCELoss.forward, "self, input, target"),
    (lovasz_losses.binary_xloss, "logits, labels, ignore=None"),
    (
        lovasz_losses.lovasz_softmax,
        "probas, labels, classes='present', per_image=False, ignore=None",
    ),
    (lovasz_losses.lovasz_softmax_flat, "probas, labels, classes='present'"),
    (lovasz_losses.flatten_probas, "probas, labels, ignore=None"),
    (lovasz_losses.xloss, "logits, labels, ignore=None"),
    (smp.LovaszLoss, "mode, per_image=False, ignore_index=None, from_logits=True"),
    (smp.LovaszLoss.forward, "self, y_pred, y_true"),
    (
        mmseg.LovaszLoss,
        "loss_type='multi_class', classes='present', per_image=False, reduction='mean',"
        " class_weight=None, loss_weight=1.0, loss_name='loss_lovasz'",
    ),
    (
        mmseg.LovaszLoss.forward,
        "self, cls_score, label, weight=None, avg_factor=None, reduction_override=None,"
        " ignore_index=255, **kwargs",
    ),
    (
        pointcept.LovaszLoss,
        "mode, class_seen=None, per_image=False, ignore_index=None, loss_weight=1.0",
    ),
    (pointcept.LovaszLoss.forward, "self, y_pred, y_true"),
]


@pytest.mark.parametrize(
    ("function", "expected"), SIGNATURES, ids=lambda x: getattr(x, "__qualname__", str(x)[:40])
)
def test_signatures(function, expected):
    """Those of the original, and what is added by keyword alone."""
    parameters = list(inspect.signature(function).parameters.values())
    original = [x for x in parameters if x.kind is not inspect.Parameter.KEYWORD_ONLY]
    bare = [parameter.replace(annotation=inspect.Parameter.empty) for parameter in original]
    assert str(inspect.Signature(bare)) == f"({expected})"
    assert {x.name for x in parameters if x not in original} <= {"method"}


def pair(count=3, shape=(2, 3), ignored=True):
    logits = 2 * torch.randn(count, C, *shape, dtype=torch.float64)
    target = torch.randint(0, C - 1, (count, *shape))  # class 3 is absent
    target[0, 0, 0] = IGNORE
    target[1] = IGNORE if ignored else 0
    return logits, target


def masks(count=3, shape=(2, 3)):
    logits = 2 * torch.randn(count, *shape, dtype=torch.float64)
    target = torch.randint(0, 2, (count, *shape))
    target[0, 0, 0] = IGNORE
    target[1] = 0  # no foreground
    return logits, target


def rows(logits, target):
    """Rows of pixels as the oracle takes them."""
    return logits.movedim(1, -1).reshape(-1, logits.shape[1]).tolist(), target.flatten().tolist()


def softmax_oracle(logits, target, per_image=False, **options):
    """The mean over images with a pixel, or the loss of the batch."""
    if not per_image:
        return oracle.lovasz_softmax(*rows(logits, target), ignore_index=IGNORE, **options)[0]
    kept = [k for k in range(len(target)) if (target[k] != IGNORE).any()]
    return statistics.fmean(
        softmax_oracle(logits[k : k + 1], target[k : k + 1], **options) for k in kept
    )


def binary_oracle(scores, target, error, per_image=False):
    """The extension at the errors of one set, or the mean over images with a pixel."""
    if per_image:
        kept = [k for k in range(len(target)) if (target[k] != IGNORE).any()]
        return statistics.fmean(binary_oracle(scores[k], target[k], error) for k in kept)
    pairs = zip(scores.flatten().tolist(), target.flatten().tolist(), strict=True)
    kept = [(error(x, y), y == 1) for x, y in pairs if y != IGNORE]
    errors, positive = zip(*kept, strict=True)
    return oracle.extension(errors, positive, oracle.jaccard)


def hinge(x, y):
    return max(0.0, 1 - x if y == 1 else 1 + x)


def distance(p, y):
    return abs((y == 1) - p)


@pytest.mark.parametrize("per_image", [False, True])
@pytest.mark.parametrize("classes", ["present", "all", [0, 3]])
def test_softmax_of_the_authors_file(classes, per_image):
    logits, target = pair()
    expected = softmax_oracle(logits, target, per_image, classes=classes)
    loss = lovasz_losses.lovasz_softmax(logits.softmax(1), target, classes, per_image, IGNORE)
    assert loss.item() == pytest.approx(expected, abs=CLOSE)


def test_flat_functions_of_the_authors_file():
    logits, target = pair()
    probas, labels = lovasz_losses.flatten_probas(logits.softmax(1), target, IGNORE)
    loss = lovasz_losses.lovasz_softmax_flat(probas, labels)
    assert loss.item() == pytest.approx(softmax_oracle(logits, target), abs=CLOSE)
    scores, truth = masks()
    flat = lovasz_losses.flatten_binary_scores(scores, truth, IGNORE)
    loss = lovasz_losses.lovasz_hinge_flat(*flat)
    assert loss.item() == pytest.approx(binary_oracle(scores, truth, hinge), rel=1e-12)


@pytest.mark.parametrize("per_image", [False, True])
@pytest.mark.parametrize("channel", [False, True])
def test_softmax_of_one_probability(per_image, channel):
    scores, target = masks()
    probas = scores.sigmoid()
    expected = binary_oracle(probas, target, distance, per_image)
    given = probas.unsqueeze(1) if channel else probas
    loss = lovasz_losses.lovasz_softmax(given, target, [1], per_image, IGNORE)
    assert loss.item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("per_image", [False, True])
@pytest.mark.parametrize("dtype", [torch.long, torch.float32, torch.uint8])
def test_hinge(per_image, dtype):
    scores, target = masks()
    target[2] = IGNORE
    expected = pytest.approx(binary_oracle(scores, target, hinge, per_image), rel=1e-12)
    given = (scores.unsqueeze(1), target.to(dtype))
    assert lovasz_losses.lovasz_hinge(*given, per_image, IGNORE).item() == expected
    assert smp.LovaszLoss("binary", per_image, IGNORE)(*given).item() == expected
    assert pointcept.LovaszLoss("binary", None, per_image, IGNORE)(*given).item() == expected
    ours = mmseg.LovaszLoss("binary", per_image=per_image)(*given, ignore_index=IGNORE)
    assert ours.item() == expected


def test_gradient_of_the_hinge():
    scores, target = masks()
    scores.requires_grad_()
    lovasz_losses.lovasz_hinge(scores, target, False, IGNORE).backward()
    kept = target != IGNORE
    positive = (target[kept] == 1).tolist()
    errors = [hinge(x, y) for x, y in zip(scores[kept].tolist(), positive, strict=True)]
    slopes = oracle.slopes(errors, positive, oracle.jaccard)
    sides = [-slope if up else slope for slope, up in zip(slopes, positive, strict=True)]
    expected = [side * (error > 0) for side, error in zip(sides, errors, strict=True)]
    assert scores.grad[kept].tolist() == pytest.approx(expected, rel=1e-12)
    assert scores.grad[~kept].tolist() == [0]


@pytest.mark.parametrize("kind", [smp.LovaszLoss, pointcept.LovaszLoss])
@pytest.mark.parametrize("per_image", [False, True])
def test_each_label_of_a_multilabel_is_a_set_of_its_own(kind, per_image):
    columns = [masks() for _ in range(3)]
    scores, target = (torch.stack(x, 1) for x in zip(*columns, strict=True))
    expected = statistics.fmean(binary_oracle(*column, hinge, per_image) for column in columns)
    loss = kind("multilabel", per_image=per_image, ignore_index=IGNORE)(scores, target)
    assert loss.item() == pytest.approx(expected, rel=1e-12)
    points = [x.movedim(1, -1).flatten(0, -2) for x in (scores, target)]
    whole = statistics.fmean(binary_oracle(*column, hinge) for column in columns)
    loss = kind("multilabel", per_image=per_image, ignore_index=IGNORE)(*points)
    assert loss.item() == pytest.approx(whole, rel=1e-12)


@pytest.mark.parametrize("per_image", [False, True])
def test_multiclass_modes(per_image):
    logits, target = pair()
    expected = pytest.approx(softmax_oracle(logits, target, per_image), abs=CLOSE)
    assert smp.LovaszLoss("multiclass", per_image, IGNORE)(logits, target).item() == expected
    given = (logits.softmax(1), target.unsqueeze(1))
    assert smp.LovaszLoss("multiclass", per_image, IGNORE, False)(*given).item() == expected
    loss = pointcept.LovaszLoss("multiclass", None, per_image, IGNORE, 3.0)(logits, target)
    assert loss.item() / 3 == expected
    assert mmseg.LovaszLoss(per_image=per_image)(logits, target).item() == expected


def test_binary_probabilities_of_smp():
    scores, target = masks()
    loss = smp.LovaszLoss("binary", ignore_index=IGNORE, from_logits=False)
    expected = binary_oracle(scores.sigmoid(), target, distance)
    assert loss(scores.sigmoid(), target).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("per_image", [False, True])
def test_seen_classes_of_pointcept(per_image):
    logits, target = pair(ignored=False)
    target[0] = 0  # has neither of the seen classes
    target[2, 0] = torch.tensor([1, 2, 0])
    images = [slice(2, 3)] if per_image else [slice(0, 3)]
    expected = statistics.fmean(
        softmax_oracle(logits[image], target[image], classes=[1, 2]) for image in images
    )
    loss = pointcept.LovaszLoss("multiclass", [1, 2, 3], per_image, IGNORE)(logits, target)
    assert loss.item() == pytest.approx(expected, abs=CLOSE)


def test_reductions_and_weights_of_mmseg():
    logits, target = pair()
    weight = [1.0, 2.0, 0.5, 4.0]
    options = {"weight": weight, "normalize_weight": False}
    images = [softmax_oracle(logits[k : k + 1], target[k : k + 1], **options) for k in range(3)]
    assert images[1] == 0  # all ignored
    criterion = mmseg.LovaszLoss(per_image=True, class_weight=weight, loss_weight=0.5)
    losses = criterion(logits, target, reduction_override="none")
    assert losses.tolist() == pytest.approx([image / 2 for image in images], abs=4 * CLOSE)
    total = losses.sum().item()
    assert criterion(logits, target, reduction_override="sum").item() == pytest.approx(total)
    assert criterion(logits, target).item() == pytest.approx(total / 2)
    assert criterion(logits, target, avg_factor=8).item() == pytest.approx(total / 8)
    batch = mmseg.LovaszLoss(class_weight=weight)
    expected = pytest.approx(softmax_oracle(logits, target, **options), abs=4 * CLOSE)
    for reduction in ("mean", "sum", "none"):
        assert batch(logits, target, reduction_override=reduction).item() == expected
    assert batch.loss_name == "loss_lovasz"


def test_slopes_of_the_authors_file():
    for bits in itertools.product([0.0, 1.0], repeat=5):
        expected = oracle.slopes([5, 4, 3, 2, 1], [bit == 1 for bit in bits], oracle.jaccard)
        slopes = lovasz_losses.lovasz_grad(torch.tensor(bits, dtype=torch.float64))
        assert slopes.tolist() == pytest.approx(expected, abs=1e-15)


def test_ious_of_the_authors_file():
    prediction, target = torch.randint(0, C, (2, 3, 4, 4))
    target[0, 0] = IGNORE
    flat = [x.flatten(1).tolist() for x in (prediction, target)]
    images = oracle.image_ious(*flat, C, "all", IGNORE)
    expected = [100 * statistics.fmean(row[c] for row in images) for c in range(C)]
    ious = lovasz_losses.iou(prediction, target, C, ignore=IGNORE, per_image=True)
    assert ious.tolist() == pytest.approx(expected)
    whole = [[x.flatten().tolist()] for x in (prediction, target)]
    (row,) = oracle.image_ious(*whole, C, "all", IGNORE)
    ious = lovasz_losses.iou(prediction, target, C, ignore=IGNORE)
    assert ious.tolist() == pytest.approx([100 * row[c] for c in range(C)])
    found = lovasz_losses.iou_binary(prediction, target, ignore=IGNORE, per_image=False)
    assert found == pytest.approx(100 * row[1])
    nothing = torch.zeros(2, 2, 2)
    assert lovasz_losses.iou_binary(nothing, nothing, EMPTY=0.5) == 50
    assert len(lovasz_losses.iou(prediction, target % C, C, ignore=0)) == C - 1


def test_cross_entropies_of_the_authors_file():
    logits, target = pair(ignored=False)
    usual = torch.nn.functional.cross_entropy(logits, target, ignore_index=255)
    assert torch.equal(lovasz_losses.xloss(logits, target), usual)
    usual = torch.nn.functional.cross_entropy(logits, target % 4, ignore_index=0)
    assert torch.equal(lovasz_losses.xloss(logits, target % 4, ignore=0), usual)
    scores, truth = masks()
    kept = truth != IGNORE
    usual = torch.nn.functional.binary_cross_entropy_with_logits(scores[kept], truth[kept].double())
    torch.testing.assert_close(lovasz_losses.binary_xloss(scores, truth, IGNORE), usual)
    assert torch.equal(lovasz_losses.StableBCELoss()(scores[kept], truth[kept]), usual)
    assert lovasz_losses.binary_xloss(scores, torch.full_like(truth, IGNORE), IGNORE) == 0


LOSSES = [
    lambda x, y: lovasz_losses.lovasz_hinge(x[:, 0], y, ignore=IGNORE),
    lambda x, y: lovasz_losses.lovasz_softmax(x.softmax(1), y, ignore=IGNORE, per_image=True),
    smp.LovaszLoss("multiclass", True, IGNORE),
    lambda x, y: smp.LovaszLoss("multilabel", True, IGNORE)(x, y[:, None].expand(x.shape)),
    mmseg.LovaszLoss(per_image=True),
    lambda x, y: mmseg.LovaszLoss("binary", per_image=True)(x[:, :1], y),
    pointcept.LovaszLoss("multiclass", [1], True, IGNORE),
    lambda x, y: pointcept.LovaszLoss("binary", None, False, IGNORE)(x[:, 0], y),
]


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("count", [2, 0])
def test_nothing_to_learn_from_gives_a_scalar_zero(loss, count):
    logits = torch.randn(count, C, 2, 2, dtype=torch.bfloat16, requires_grad=True)
    value = loss(logits, torch.full((count, 2, 2), IGNORE))
    value.backward()
    assert value.shape == ()
    assert value == 0
    assert not logits.grad.any()


@pytest.mark.parametrize("loss", LOSSES)
def test_no_value_is_read_elsewhere_than_on_the_cpu(loss):
    logits, target = pair()
    assert loss(logits.to("meta"), target.to("meta")).is_meta


X, Y = torch.zeros(2, C, 2, 2), torch.zeros(2, 2, 2, dtype=torch.long)
WRONG = [
    (lambda: smp.LovaszLoss("multi"), ValueError, "smp.LovaszLoss: expected mode to be one of"),
    (lambda: smp.LovaszLoss("binary", 1), TypeError, "expected per_image to be True or False"),
    (lambda: smp.LovaszLoss("binary")(X, Y), ValueError, "expected predictions and labels of one"),
    (lambda: smp.LovaszLoss("binary")(Y, Y), TypeError, "expected predictions of a floating"),
    (lambda: smp.LovaszLoss("binary")([0], Y), TypeError, "expected predictions to be a tensor"),
    (lambda: smp.LovaszLoss("binary")(Y * 0.5, Y + 2), ValueError, "to be 0, 1 or equal to .* 2"),
    (lambda: smp.LovaszLoss("binary")(Y * 0.5, Y + 0.5), ValueError, "to be 0, 1 or equal .* 0.5"),
    (lambda: pointcept.LovaszLoss("no"), ValueError, "expected mode to be one of 'binary', 'mu"),
    (lambda: pointcept.LovaszLoss("multiclass", 3), TypeError, "expected class_seen to be None or"),
    (lambda: pointcept.LovaszLoss("binary", [1]), ValueError, "expected class_seen with mode='mu"),
    (lambda: pointcept.LovaszLoss("multiclass", [9])(X, Y), ValueError, "class_seen to hold indic"),
    (lambda: mmseg.LovaszLoss("multiclass"), ValueError, "expected loss_type to be one of 'multi_"),
    (lambda: mmseg.LovaszLoss("binary", class_weight=[1.0]), ValueError, "loss_type='multi_class'"),
    (lambda: mmseg.LovaszLoss()(X, Y, Y[:1]), ValueError, "expected weight of the shape of the la"),
    (lambda: mmseg.LovaszLoss()(X, Y, X[:, 0] - 1), ValueError, r"to be in \[0, 65536\]"),
    (lambda: mmseg.LovaszLoss()(X, Y, avg_factor=2), ValueError, "expected avg_factor with per_im"),
    (
        lambda: mmseg.LovaszLoss()(X, Y, extra=2),
        TypeError,
        r"no further arguments, got \['extra'\]",
    ),
    (lambda: mmseg.LovaszLoss(per_image=True)(X, Y[:1]), ValueError, "expected target of shape"),
    (lambda: mmseg.LovaszLoss(per_image=True)(X[0], Y[0, 0]), ValueError, "expected .* shape"),
    (lambda: lovasz_losses.lovasz_softmax(X[:, :1], Y), ValueError, "a list of one class for prob"),
    (lambda: lovasz_losses.lovasz_softmax(X + 2, Y), ValueError, r"in \[0, 1\]"),
]


@pytest.mark.parametrize(("call", "error", "words"), WRONG)
def test_wrong_arguments(call, error, words):
    with pytest.raises(error, match=words):
        call()
