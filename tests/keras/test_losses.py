"""The losses of Keras: values, gradients, forms of labels, weights, wrong input."""

import json
import subprocess
import sys

import keras
import numpy as np
import pytest
import torch
from keras.src.backend.common.masking import set_keras_mask

import lovasz
from lovasz import error_bound
from lovasz import keras as losses
from lovasz.keras.functions import functions, functions_of
from tests import oracle
from tests.keras.backends import BACKEND, compiled, with_gradient

IGNORE = 255
SHAPE = (2, 6, 7, 4)
ALPHA = [1.0, 2.0, 0.5, 0.0]
LOSSES = [getattr(losses, name) for name in losses.__all__ if name != "DatasetIoU"]
RNG = np.random.default_rng(0)
LOGITS = (2 * RNG.normal(size=SHAPE)).astype("float32")
LABELS = RNG.integers(0, 4, SHAPE[:-1])
LABELS[RNG.random(LABELS.shape) < 0.1] = IGNORE
MASKS = np.where(LABELS[..., None] == IGNORE, IGNORE, np.arange(4) == LABELS[..., None])
WEIGHT = RNG.random(SHAPE[:-1]).astype("float32")
WEIGHT[0, 0] = 0


def softmax(x):
    return torch.tensor(x).softmax(-1).numpy()


def sigmoid(x):
    return torch.tensor(x).sigmoid().numpy()


@pytest.mark.parametrize("method", ["histogram", "sort"])
@pytest.mark.parametrize("classes", ["present", "all", [0, 3]])
def test_the_definition(method, classes):
    logits, labels = LOGITS[:, :2], LABELS[:, :2]
    want, gradient = oracle.lovasz_softmax(
        logits.reshape(-1, 4).tolist(),
        labels.reshape(-1).tolist(),
        classes=classes,
        weight=[1.0, 2.0, 0.5, 3.0],
        ignore_index=IGNORE,
    )
    loss = losses.LovaszSoftmax(
        from_logits=True,
        ignore_class=IGNORE,
        classes=classes,
        class_weight=[1.0, 2.0, 0.5, 3.0],
        method=method,
        bins=2**14,
    )
    value, found = with_gradient(loss, labels, logits)
    bound = 1e-6 + (error_bound(2**14) if method == "histogram" else 0)
    assert value == pytest.approx(want, abs=bound)
    np.testing.assert_allclose(found.reshape(-1, 4), gradient, atol=bound)


# Of each loss what makes it, and the same for torch, of scores (N, *, C).
CASES = {
    "softmax": (
        losses.LovaszSoftmax(from_logits=True, ignore_class=IGNORE, class_weight=ALPHA),
        lambda x, y, **w: lovasz.lovasz_softmax(
            x.movedim(-1, 1), y, ignore_index=IGNORE, weight=ALPHA, **w
        ),
        LABELS,
    ),
    "softmax by image": (
        losses.LovaszSoftmax(
            from_logits=True,
            ignore_class=IGNORE,
            per_image=True,
            classes="foreground",
            set_function=lovasz.tversky(0.5, 1.5),
        ),
        lambda x, y, **w: lovasz.lovasz_softmax(
            x.movedim(-1, 1),
            y,
            ignore_index=IGNORE,
            per_image=True,
            classes="foreground",
            set_function=lovasz.tversky(0.5, 1.5),
            **w,
        ),
        LABELS,
    ),
    "with cross-entropy": (
        losses.CrossEntropyLovaszSoftmax(
            from_logits=True,
            ignore_class=IGNORE,
            class_weight=ALPHA,
            label_smoothing=0.1,
            lovasz_weight=0.5,
            lovasz_class_weight=ALPHA[::-1],
        ),
        lambda x, y, **w: lovasz.cross_entropy_lovasz_softmax(
            x.movedim(-1, 1),
            y,
            ignore_index=IGNORE,
            weight=ALPHA,
            label_smoothing=0.1,
            lovasz_weight=0.5,
            lovasz_class_weight=ALPHA[::-1],
            **w,
        ),
        LABELS,
    ),
    "masks": (
        losses.LovaszSigmoid(
            from_logits=True, ignore_class=IGNORE, multilabel=True, symmetric=True
        ),
        lambda x, y, **w: lovasz.lovasz_sigmoid(
            x.movedim(-1, 1),
            y.movedim(-1, 1),
            ignore_index=IGNORE,
            multilabel=True,
            symmetric=True,
            **w,
        ),
        MASKS,
    ),
    "hinge": (
        losses.LovaszHinge(ignore_class=IGNORE, multilabel=True, method="sort"),
        lambda x, y, **w: lovasz.lovasz_hinge(
            x.movedim(-1, 1),
            y.movedim(-1, 1),
            ignore_index=IGNORE,
            multilabel=True,
            method="sort",
            **w,
        ),
        MASKS,
    ),
    "with binary cross-entropy": (
        losses.BinaryCrossEntropyLovaszSigmoid(
            from_logits=True, ignore_class=IGNORE, multilabel=True, pos_weight=ALPHA
        ),
        lambda x, y, **w: lovasz.binary_cross_entropy_lovasz_sigmoid(
            x.movedim(-1, 1),
            y.movedim(-1, 1),
            ignore_index=IGNORE,
            multilabel=True,
            pos_weight=ALPHA,
            **w,
        ),
        MASKS,
    ),
}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_values_and_gradients_are_those_of_torch(case, weighted):
    loss, of_torch, labels = CASES[case]
    weight = WEIGHT if weighted else None
    value, gradient = with_gradient(loss, labels, LOGITS, weight)
    scores, options = torch.tensor(LOGITS).requires_grad_(), {}
    if weighted:
        own = torch.tensor(WEIGHT)
        options["pixel_weight"] = own
        if labels is MASKS:
            options["pixel_weight"] = own.unsqueeze(1).expand(2, 4, 6, 7)
    want = of_torch(scores, torch.tensor(labels), **options)
    want.backward()
    assert value == pytest.approx(want.item(), abs=2e-6)
    np.testing.assert_allclose(gradient, scores.grad.numpy(), atol=1e-6)


def one_hot(dtype):
    return (np.arange(4) == LABELS[..., None]).astype(dtype) + IGNORE * (
        LABELS[..., None] == IGNORE
    ).astype(dtype)


FORMS = {
    "uint8": LABELS.astype("uint8"),
    "float32": LABELS.astype("float32"),
    "with an axis": LABELS[..., None],
    "float with an axis": LABELS[..., None].astype("float32"),
    "one-hot": one_hot("int32"),
    "one-hot float": one_hot("float32"),
}


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_labels(form):
    loss = losses.LovaszSoftmax(from_logits=True, ignore_class=IGNORE)
    assert float(loss(FORMS[form], LOGITS)) == float(loss(LABELS, LOGITS))


def test_classes_on_another_axis():
    last = losses.CrossEntropyLovaszSoftmax(ignore_class=IGNORE)
    first = losses.CrossEntropyLovaszSoftmax(ignore_class=IGNORE, axis=1)
    want = float(last(LABELS, softmax(LOGITS)))
    p = np.moveaxis(softmax(LOGITS), -1, 1).copy()
    for labels in (LABELS, LABELS[:, None], np.moveaxis(one_hot("int32"), -1, 1)):
        assert float(first(labels, p)) == pytest.approx(want, abs=1e-6)


@pytest.mark.parametrize("name", ["LovaszSoftmax", "CrossEntropyLovaszSoftmax"])
def test_probabilities_of_classes(name):
    kind = getattr(losses, name)
    options = {"ignore_class": IGNORE}
    want = kind(from_logits=True, **options)(LABELS, LOGITS)
    got = kind(**options)(LABELS, softmax(LOGITS))
    assert float(got) == pytest.approx(float(want), abs=1e-5)


@pytest.mark.parametrize("name", ["LovaszSigmoid", "BinaryCrossEntropyLovaszSigmoid"])
def test_probabilities_of_masks(name):
    kind = getattr(losses, name)
    options = {"ignore_class": IGNORE, "multilabel": True}
    want = kind(from_logits=True, **options)(MASKS, LOGITS)
    got = kind(**options)(MASKS, sigmoid(LOGITS))
    assert float(got) == pytest.approx(float(want), abs=1e-5)


@pytest.mark.parametrize("y_pred", [LOGITS[..., :1], LOGITS[0, 0, :, 0]])
def test_one_channel(y_pred):
    labels = np.where(MASKS[..., :1] == 1, 1, 0) if y_pred.ndim > 1 else MASKS[0, 0, :, 0] % 2
    loss = losses.BinaryCrossEntropyLovaszSigmoid(from_logits=True)
    scores, target = torch.tensor(y_pred).flatten(), torch.tensor(labels).flatten()
    want = lovasz.binary_cross_entropy_lovasz_sigmoid(scores, target).item()
    for y_true in (labels, labels[..., 0] if y_pred.ndim > 1 else labels[:, None].squeeze(1)):
        assert float(loss(y_true, y_pred)) == pytest.approx(want, abs=1e-6)


@pytest.mark.parametrize("shape", [(2,), (2, 1), (2, 6, 7), (2, 6, 7, 1)])
def test_weights_of_samples_are_those_of_their_pixels(shape):
    weight = WEIGHT[:, 1, 1] if len(shape) < 3 else WEIGHT
    spread = np.broadcast_to(
        weight.reshape(2, *weight.shape[1:], *[1] * (3 - weight.ndim)), (2, 6, 7)
    )
    loss = losses.CrossEntropyLovaszSoftmax(from_logits=True, ignore_class=IGNORE)
    want = lovasz.cross_entropy_lovasz_softmax(
        torch.tensor(LOGITS).movedim(-1, 1),
        torch.tensor(LABELS),
        ignore_index=IGNORE,
        pixel_weight=torch.tensor(spread.copy()),
    )
    got = loss(LABELS, LOGITS, weight.reshape(shape))
    assert float(got) == pytest.approx(want.item(), abs=1e-6)


def test_a_mask_of_keras_leaves_pixels_out():
    loss = losses.LovaszSoftmax(from_logits=True, ignore_class=IGNORE)
    want = float(loss(np.where(WEIGHT > 0.5, LABELS, IGNORE), LOGITS))
    scores = keras.ops.convert_to_tensor(LOGITS)
    set_keras_mask(scores, keras.ops.convert_to_tensor(WEIGHT > 0.5))
    assert float(loss(LABELS, scores)) == pytest.approx(want, abs=1e-6)


def test_no_label_is_rounded():
    """Keras makes float32 of labels, which 2**24 + 1 would not survive."""
    labels = np.where(LABELS == IGNORE, 2**24 + 1, LABELS)
    loss = losses.LovaszSoftmax(from_logits=True, ignore_class=2**24 + 1)
    want = losses.LovaszSoftmax(from_logits=True, ignore_class=IGNORE)(LABELS, LOGITS)
    assert float(loss(labels, LOGITS)) == float(want)


@pytest.mark.parametrize("case", ["softmax", "with binary cross-entropy"])
def test_compiled(case):
    loss, _, labels = CASES[case]
    given = [keras.ops.convert_to_tensor(x) for x in (labels, LOGITS)]
    run = compiled(loss)
    assert float(run(*given)) == pytest.approx(float(loss(labels, LOGITS)), abs=2e-6)


def test_what_compiled_code_cannot_raise_is_nan():
    loss = losses.CrossEntropyLovaszSoftmax(ignore_class=IGNORE)
    run = compiled(loss)
    labels, p = (keras.ops.convert_to_tensor(x) for x in (FORMS["float32"], softmax(LOGITS)))
    assert np.isfinite(float(run(labels, p)))
    for y_true, y_pred in ((labels + 0.5, p), (labels * 0 + 4, p), (labels, p - 1)):
        if BACKEND == "torch" and y_true is not labels:  # its operators look at labels all the same
            with pytest.raises(ValueError, match=r"^cross_entropy_.*got (one that is neither|4)"):
                run(y_true, y_pred)
        else:
            assert np.isnan(float(run(y_true, y_pred)))


@pytest.mark.parametrize("case", CASES)
def test_nothing_that_counts_is_a_zero_with_a_gradient(case):
    loss, _, labels = CASES[case]
    value, gradient = with_gradient(loss, np.full_like(labels, IGNORE), LOGITS)
    assert value == 0
    assert not gradient.any()
    value, gradient = with_gradient(loss, labels, LOGITS, np.zeros(2, "float32"))
    assert value == 0
    assert not gradient.any()


@pytest.mark.parametrize("kind", LOSSES, ids=lambda kind: kind.__name__)
def test_a_loss_is_what_its_configuration_makes_it(kind):
    options = {"ignore_class": 7, "bins": 64, "classes": (0, 2), "name": "own", "dtype": "float64"}
    for function in (lovasz.jaccard, lovasz.missed_positives, lovasz.tversky(0.5, 2.0)):
        loss = kind(set_function=function, **options)
        saved = json.loads(json.dumps(keras.saving.serialize_keras_object(loss)))
        same = keras.saving.deserialize_keras_object(saved)
        assert type(same) is kind
        assert same.config == loss.config
        assert same.get_config() == loss.get_config()
        assert (same.name, same.dtype) == ("own", "float64")


@keras.saving.register_keras_serializable("tests")
def weighted_mistakes(fn, fp, positives):
    return fn + 0.5 * fp + 0 * positives


def test_a_set_function_of_ones_own():
    loss = losses.LovaszSoftmax(
        from_logits=True, set_function=weighted_mistakes, ignore_class=IGNORE
    )
    same = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    assert same.config == loss.config
    want = lovasz.lovasz_softmax(
        torch.tensor(LOGITS).movedim(-1, 1),
        torch.tensor(LABELS),
        ignore_index=IGNORE,
        set_function=weighted_mistakes,
    )
    assert float(loss(LABELS, LOGITS)) == pytest.approx(want.item(), rel=1e-6)


def wrong(sentence, kind=ValueError, name="LovaszSoftmax", y_true=LABELS, weight=None, **options):
    options = {"ignore_class": IGNORE, **options}
    if name != "LovaszHinge":
        options = {"from_logits": True, **options}
    return pytest.param(name, y_true, weight, options, kind, sentence, id=sentence)


WRONG = [
    wrong(r"every label to be in \[0, 3\] or .* ignore_class=7, got 255 \(and", ignore_class=7),
    wrong("expected whole numbers as labels, got 0.5$", y_true=LABELS * 0 + 0.5),
    wrong(r"one-hot labels, a 1 and zeros for each pixel, got \[0.2", y_true=MASKS * 0 + 0.2),
    wrong(r"y_true of shape \(2, 6, 7\), .* to match y_pred, got \(2, 6\)$", y_true=LABELS[..., 0]),
    wrong(r"\[0, 1\] \(pass from_logits=True for logits\), got", from_logits=False),
    wrong(r"probabilities in \[0, 1\] \(pass from_logits=True for logits\), got",
          name="CrossEntropyLovaszSoftmax", from_logits=False),
    wrong(r"expected y_pred of shape \(N, \*, C\) with classes on axis 7", axis=7),
    wrong(r"sample_weight with a number for each image or each label .*got shape \(3,\)$",
          weight=np.ones(3, "float32")),
    wrong(r"expected sample_weight to be in \[0, 65536\], got -1$", weight=-np.ones(2, "float32")),
    wrong("expected class_weight to be a number for each class", TypeError, class_weight={0: 1.0}),
    wrong("expected class_weight to be finite and not negative", class_weight=[-1.0] * 4),
    wrong(r"expected weight of shape \(4,\)", class_weight=[1.0]),
    wrong("expected bins to be an integer from 2", bins=1),
    wrong("expected method to be one of", method="sorted"),
    wrong("expected ignore_class to be an integer or None, got 0.5$", TypeError, ignore_class=0.5),
    wrong("expected ignore_class to be neither 0 nor 1", name="LovaszHinge", ignore_class=1),
    wrong("expected from_logits to be True or False, got 'yes'$", TypeError, from_logits="yes"),
    wrong(r"expected multilabel=True .* got multilabel=None$", name="LovaszSigmoid", y_true=MASKS),
    wrong("expected every label to be 0 or 1", name="LovaszHinge", y_true=MASKS + 2,
          multilabel=True, ignore_class=None),
    wrong("lovasz_weight to be finite", name="CrossEntropyLovaszSoftmax", lovasz_weight=-1),
]  # fmt: skip


@pytest.mark.parametrize(("name", "y_true", "weight", "options", "kind", "sentence"), WRONG)
def test_wrong_input_is_told_in_a_sentence(name, y_true, weight, options, kind, sentence):
    with pytest.raises(kind, match=rf"^{name}: .*{sentence}"):
        getattr(losses, name)(**options)(y_true, LOGITS, weight)


def test_another_backend_is_told():
    sentence = "lovasz.keras: expected Keras on torch, jax or tensorflow .*, got 'openvino'$"
    with pytest.raises(ImportError, match=sentence):
        functions_of("openvino")
    assert functions.__name__ == f"lovasz.keras.on_{BACKEND}"


WITHOUT = """
import sys
from importlib.machinery import PathFinder
import numpy as np

found = PathFinder.find_spec
missing = lambda name, *rest: name.partition(".")[0] in sys.argv[1:]
PathFinder.find_spec = lambda *given: None if missing(*given) else found(*given)
from lovasz.keras import LovaszSoftmax

if "tensorflow" not in sys.argv[1:]:
    from lovasz.compat import lovasz_losses_tf
print(float(LovaszSoftmax(method="sort")(np.zeros(1, "int32"), np.full((1, 2), 0.5))))
"""


def test_only_the_backend_is_needed():
    others = sorted({"torch", "jax", "tensorflow"} - {BACKEND})
    command = [sys.executable, "-c", WITHOUT, *others]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.stdout.strip() == "0.5", result.stderr
