"""The IoU of a data set, from counts that are exact."""

import keras
import numpy as np
import pytest

from lovasz.keras import DatasetIoU
from tests import oracle
from tests.keras.backends import compiled

IGNORE = 255
RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(6, 5, 7, 4)).astype("float32")
LABELS = RNG.integers(0, 3, LOGITS.shape[:-1])  # class 3 is nowhere
LABELS[RNG.random(LABELS.shape) < 0.2] = IGNORE


def ious(labels, predicted, classes):
    """IoU of each class from the definition."""
    kept = labels != IGNORE
    there, found = labels[kept].tolist(), predicted[kept].tolist()
    return [oracle.iou(found, there, label) for label in classes]


def updated(metric, labels, scores, batch=3):
    for start in range(0, len(labels), batch):
        metric.update_state(labels[start : start + batch], scores[start : start + batch])
    return metric


@pytest.mark.parametrize("classes", [None, "all", "foreground", [1, 3]])
def test_batches_are_one_data_set(classes):
    metric = updated(DatasetIoU(4, classes=classes, ignore_class=IGNORE), LABELS, LOGITS)
    which = {None: [0, 1, 2], "all": range(4), "foreground": [1, 2, 3]}
    chosen = which[classes] if not isinstance(classes, list) else classes
    want = ious(LABELS, LOGITS.argmax(-1), chosen)
    assert float(metric.result()) == pytest.approx(np.mean(want), abs=1e-6)
    by_class = keras.ops.convert_to_numpy(metric.by_class())
    np.testing.assert_allclose(by_class[list(chosen)], want, atol=1e-6)
    assert np.isnan(np.delete(by_class, list(chosen))).all()
    metric.reset_state()
    assert np.isnan(float(metric.result()))


def test_forms_of_labels_and_predictions():
    want = float(updated(DatasetIoU(4, ignore_class=IGNORE), LABELS, LOGITS).result())
    hot = np.where(LABELS[..., None] == IGNORE, IGNORE, np.arange(4) == LABELS[..., None])
    first = np.moveaxis(LOGITS, -1, 1)
    cases = [
        (LABELS.astype("uint8"), LOGITS, {}),
        (LABELS.astype("float32")[..., None], LOGITS, {}),
        (hot.astype("float32"), LOGITS, {}),
        (LABELS, LOGITS.argmax(-1), {}),
        (LABELS, LOGITS.argmax(-1)[..., None].astype("int32"), {}),
        (LABELS, first, {"axis": 1}),
    ]
    for labels, scores, options in cases:
        metric = DatasetIoU(4, ignore_class=IGNORE, **options)
        assert float(updated(metric, labels, scores).result()) == want


@pytest.mark.parametrize("from_logits", [False, True])
def test_two_classes_by_a_threshold(from_logits):
    p = 1 / (1 + np.exp(-LOGITS[..., :1]))
    labels = np.where(LABELS == IGNORE, IGNORE, LABELS % 2)
    metric = DatasetIoU(2, ignore_class=IGNORE, threshold=0.3, from_logits=from_logits)
    updated(metric, labels[..., None], LOGITS[..., :1] if from_logits else p)
    want = np.mean(ious(labels, p[..., 0] >= 0.3, [0, 1]))
    assert float(metric.result()) == pytest.approx(want, abs=1e-6)


def test_masks_that_overlap():
    labels = np.where(LABELS[..., None] == IGNORE, IGNORE, LOGITS[..., ::-1] > 0.3)
    metric = DatasetIoU(4, ignore_class=IGNORE, multilabel=True, from_logits=True)
    updated(metric, labels, LOGITS)
    want = [ious(labels[..., c], LOGITS[..., c] >= 0, [1])[0] for c in range(4)]
    assert float(metric.result()) == pytest.approx(np.mean(want), abs=1e-6)


def test_names_are_reported():
    metric = DatasetIoU(3, ignore_class=IGNORE, class_names=["sea", "land", "ice"], name="iou")
    metric.update_state(LABELS, LOGITS[..., :3])
    want = ious(LABELS, LOGITS[..., :3].argmax(-1), range(3))
    found = {name: float(value) for name, value in metric.result().items()}
    names = ["iou", "iou_sea", "iou_land", "iou_ice"]
    assert found == pytest.approx(dict(zip(names, [np.mean(want), *want], strict=True)), abs=1e-6)


def test_more_pixels_than_32_bits_count():
    metric = DatasetIoU(2)
    metric.low.assign(np.full((4, 2), 2**20 - 1))
    metric.high.assign(np.full((4, 2), 2**30))
    metric.update_state(np.array([0, 1, 1, 1], "int32"), np.array([0, 1, 1, 0], "int32"))
    words = (keras.ops.convert_to_numpy(word).astype(object) for word in metric.variables[:2])
    low, high = words
    before = 2**50 + 2**20 - 1
    want = [[before + n for n in row] for row in ([1, 2], [2, 2], [1, 3], [4, 4])]
    assert (high * 2**20 + low).tolist() == want
    assert low.max() < 2**20
    assert float(metric.result()) == pytest.approx(1)


def test_compiled():
    metric = DatasetIoU(4, ignore_class=IGNORE)
    run = compiled(metric.stateless_update_state)
    state = [variable.value for variable in metric.variables]
    given = [keras.ops.convert_to_tensor(x) for x in (LABELS, LOGITS)]
    got = metric.stateless_result(run(state, *given))
    assert float(got) == float(updated(metric, LABELS, LOGITS).result())


def test_a_metric_is_what_its_configuration_makes_it():
    metric = DatasetIoU(4, classes=(0, 1), ignore_class=7, threshold=0.5, name="own")
    same = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(metric))
    assert same.get_config() == metric.get_config()


Y, X = LABELS % 4, LOGITS
WRONG = [
    ({}, (Y + 9, X), r"every label to be in \[0, 3\] or equal to ignore_class=None, got"),
    ({}, (Y, np.where(X > 1, np.nan, X)), "expected y_pred without NaN, got NaN"),
    ({}, (Y, Y + 4), r"expected every predicted class to be in \[0, 3\], got"),
    ({}, (Y, X[..., :3]), "expected y_pred with scores of 4 classes, got 3$"),
    ({}, (Y[..., 0], X), r"expected y_true of shape \(6, 5, 7\)"),
    ({}, (Y, X, np.ones(6)), "expected sample_weight=None, because pixels are counted"),
    ({"multilabel": True}, (X > 0, X), r"probabilities in \[0, 1\] \(pass from_logits=True"),
    ({"num_classes": 1}, None, "expected num_classes to be 2 or more, got 1$"),
    ({"classes": [4]}, None, r"expected classes to hold indices from 0 to 3, got \[4\]$"),
    ({"threshold": 2}, None, "expected threshold to be a probability between 0 and 1"),
    ({"class_names": ["a"]}, None, r"expected class_names to have 4 names, got \['a'\]$"),
]


@pytest.mark.parametrize(("options", "given", "sentence"), WRONG)
def test_wrong_input_is_told_in_a_sentence(options, given, sentence):
    with pytest.raises(ValueError, match=rf"^DatasetIoU: .*{sentence}"):
        DatasetIoU(**{"num_classes": 4, **options}).update_state(*given)
