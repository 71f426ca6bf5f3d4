"""The losses in TensorFlow's operators: the definition, torch's counts, graphs and XLA."""

import inspect

import numpy as np
import pytest
import tensorflow as tf
import torch

import lovasz
from lovasz import error_bound, relative_bound
from lovasz import tensorflow as losses
from lovasz.core.options import Options
from lovasz.kernels import reference
from lovasz.tensorflow import counting
from lovasz.tensorflow.inputs import read
from tests import oracle

IGNORE = 255
SHAPE = (2, 9, 11, 5)
HOW = pytest.mark.parametrize("how", ["eager", "graph", "xla"])


def numbers(shape=SHAPE, sharpness=2.0, dtype="float32", seed=0):
    """Logits, and labels of which a tenth is ignored."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, shape[-1], shape[:-1])
    labels[rng.random(labels.shape) < 0.1] = IGNORE
    return (rng.normal(size=shape) * sharpness).astype(dtype), labels


def with_gradient(loss, scores, how="eager"):
    """Loss and gradient of a function of the scores."""

    @tf.autograph.experimental.do_not_convert
    def both(scores):
        with tf.GradientTape() as tape:
            tape.watch(scores)
            value = loss(scores)
        return value, tape.gradient(value, scores)

    if how != "eager":
        both = tf.function(both, jit_compile=how == "xla")
    value, gradient = both(tf.constant(scores))
    return value.numpy(), gradient.numpy()


def of_torch(loss, scores):
    """The same of a loss for torch, which has the classes on axis 1."""
    scores = torch.tensor(scores).requires_grad_()
    value = loss(scores.movedim(-1, 1))
    value.sum().backward()
    return value.detach().numpy(), scores.grad.numpy()


def as_torch(options):
    """Options with weights of pixels as torch has them."""
    weight = options.get("pixel_weight")
    if weight is None:
        return options
    weight = torch.tensor(weight)
    return {**options, "pixel_weight": weight.movedim(-1, 1) if weight.dim() == 4 else weight}


def assert_like_torch(got, want):
    assert got[0].dtype == want[0].dtype
    np.testing.assert_allclose(got[0], want[0], atol=1e-6)
    np.testing.assert_allclose(got[1], want[1], atol=1e-6 * max(1, np.abs(want[1]).max()))


@pytest.mark.parametrize("classes", ["present", "all", [0, 3]])
@pytest.mark.parametrize("method", ["histogram", "sort"])
def test_the_definition(method, classes):
    logits, labels = numbers((2, 4, 5, 4), dtype="float64")
    want, gradient = oracle.lovasz_softmax(
        logits.reshape(-1, 4).tolist(), labels.reshape(-1).tolist(), classes=classes,
        weight=[1.0, 2.0, 0.5, 3.0], ignore_index=IGNORE,
    )  # fmt: skip
    value, found = with_gradient(
        lambda x: losses.lovasz_softmax(
            x, labels, classes=classes, weight=[1.0, 2.0, 0.5, 3.0], ignore_index=IGNORE,
            method=method, bins=2**14,
        ),
        logits,
    )  # fmt: skip
    bound = 1e-12 if method == "sort" else error_bound(2**14)
    assert value == pytest.approx(want, abs=bound)
    np.testing.assert_allclose(found.reshape(-1, 4), gradient, atol=max(bound, 1e-12))


WEIGHT = np.random.default_rng(1).random(SHAPE).astype("float32")
WEIGHT[0, 0] = 0
ALPHA = [1.0, 2.0, 0.5, 0.0, 3.0]
OPTIONS = [
    {},
    {"per_image": True},
    {"classes": "all", "weight": ALPHA, "normalize_weight": False},
    {"classes": "foreground", "reduction": "sum"},
    {"reduction": "none", "per_image": True},
    {"set_function": lovasz.tversky(0.5, 1.5)},
    {"set_function": lovasz.missed_positives, "reduction": "sum"},
    {"set_function": lambda fn, fp, positives: fn + 0.5 * fp},
    {"pixel_weight": WEIGHT[..., 0]},
    {"pixel_weight": WEIGHT[..., 0], "method": "sort", "per_image": True},
]


@pytest.mark.parametrize("options", OPTIONS, ids="-".join)
def test_softmax_is_that_of_torch(options):
    logits, labels = numbers()
    options = {"ignore_index": IGNORE, **options}
    got = with_gradient(lambda x: losses.lovasz_softmax(x, labels, **options), logits)
    target, kind = torch.tensor(labels), as_torch(options)
    want = of_torch(lambda x: lovasz.lovasz_softmax(x, target, **kind), logits)
    assert_like_torch(got, want)


@pytest.mark.parametrize("name", ["lovasz_sigmoid", "lovasz_hinge"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"symmetric": True, "per_image": True},
        {"pixel_weight": WEIGHT, "classes": "present", "weight": ALPHA},
        {"pixel_weight": WEIGHT, "symmetric": True, "method": "sort"},
    ],
    ids="-".join,
)
def test_masks_are_those_of_torch(name, options):
    logits, labels = numbers()
    labels = np.where(np.arange(5) == labels[..., None], 1, np.where(logits > 2, IGNORE, 0))
    options = {"ignore_index": IGNORE, **options}
    got = with_gradient(lambda x: getattr(losses, name)(x, labels, axis=-1, **options), logits)
    target, kind = torch.tensor(labels).movedim(-1, 1), as_torch(options)
    want = of_torch(lambda x: getattr(lovasz, name)(x, target, multilabel=True, **kind), logits)
    assert_like_torch(got, want)


@pytest.mark.parametrize("per_image", [False, True])
def test_one_channel_without_an_axis(per_image):
    logits, labels = numbers()
    logits, labels = logits[..., 0], labels % 2
    got = with_gradient(lambda x: losses.lovasz_hinge(x, labels, per_image=per_image), logits)
    given = torch.tensor(logits).requires_grad_()
    options = {"multilabel": False, "per_image": per_image}
    want = lovasz.lovasz_hinge(given, torch.tensor(labels), **options)
    want.backward()
    assert_like_torch(got, (want.detach().numpy(), given.grad.numpy()))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"weight": ALPHA, "label_smoothing": 0.1, "pixel_weight": WEIGHT[..., 0]},
        {"lovasz_class_weight": ALPHA, "cross_entropy_weight": 0.3, "lovasz_weight": 2.0},
    ],
    ids="-".join,
)
def test_with_cross_entropy(options):
    logits, labels = numbers()
    options = {"ignore_index": IGNORE, **options}
    got = with_gradient(
        lambda x: losses.cross_entropy_lovasz_softmax(x, labels, **options), logits, "xla"
    )
    target, kind = torch.tensor(labels), as_torch(options)
    want = of_torch(lambda x: lovasz.cross_entropy_lovasz_softmax(x, target, **kind), logits)
    assert_like_torch(got, want)


def test_with_binary_cross_entropy():
    logits, labels = numbers()
    labels = np.where(np.arange(5) == labels[..., None], 1, np.where(logits > 2, IGNORE, 0))
    options = {"ignore_index": IGNORE, "pos_weight": ALPHA, "pixel_weight": WEIGHT}
    got = with_gradient(
        lambda x: losses.binary_cross_entropy_lovasz_sigmoid(x, labels, axis=-1, **options), logits
    )
    target, kind = torch.tensor(labels).movedim(-1, 1), as_torch(options)
    want = of_torch(
        lambda x: lovasz.binary_cross_entropy_lovasz_sigmoid(x, target, multilabel=True, **kind),
        logits,
    )
    assert_like_torch(got, want)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("link", ["probabilities", "hinge"])
def test_counts_are_those_of_torch_to_the_bit(link, weighted):
    """Of errors that need no exponential, of which no two libraries have the same."""
    scores, labels = numbers((3, 40, 50, 4))
    scores = torch.tensor(scores).softmax(-1).numpy() if link == "probabilities" else 9 * scores
    if link == "hinge":
        labels = np.where(np.arange(4) == labels[..., None], 1, 0)
    weight = np.random.default_rng(2).random(labels.shape).astype("float32") if weighted else None
    options = Options(ignore_index=IGNORE, pixel_weight=weight, per_image=True)
    axis = -1
    pixels = read("lovasz_hinge", "scores", link, scores, labels, axis, options)
    places = counting.bins_of(counting.errors_of(pixels), link, 2048)
    counts = counting.histogram(places, pixels).numpy()
    flat = torch.tensor(scores).movedim(-1, 1).flatten(2)
    target = torch.tensor(labels).flatten(1)
    weight = None if weight is None else torch.tensor(weight).flatten(1)
    if link == "hinge":
        target = torch.tensor(labels).movedim(-1, 1).flatten(2)
        weight = None if weight is None else weight.view(3, -1, 4).movedim(-1, 1)
    want = reference.histogram(flat, target, 2048, IGNORE, True, link, pixel_weight=weight)[0]
    assert counts.any()
    np.testing.assert_array_equal(counts, want.numpy())


def test_bins_of_logits_are_those_of_torch_but_for_some_at_an_edge():
    logits, labels = numbers((2, 64, 64, 19))
    pixels = read(
        "lovasz_softmax", "logits", "softmax", logits, labels, -1, Options(ignore_index=IGNORE)
    )
    places = counting.bins_of(counting.errors_of(pixels), "softmax", 2048)
    counts = counting.histogram(places, pixels).numpy()
    flat, target = torch.tensor(logits).movedim(-1, 1).flatten(2), torch.tensor(labels).flatten(1)
    want = reference.histogram(flat, target, 2048, IGNORE, False, "softmax")[0].numpy()
    assert np.abs(counts - want).sum() / want.sum() < 1e-3


@HOW
@pytest.mark.parametrize(
    "options", [{}, {"per_image": True, "pixel_weight": WEIGHT[..., 0]}, {"method": "sort"}]
)
def test_graphs_and_xla(how, options):
    logits, labels = numbers()
    options = {"ignore_index": IGNORE, **options}
    got = with_gradient(lambda x: losses.lovasz_softmax(x, labels, **options), logits, how)
    assert_like_torch(
        got, with_gradient(lambda x: losses.lovasz_softmax(x, labels, **options), logits)
    )


@pytest.mark.parametrize("per_image", [False, True])
def test_sizes_that_a_graph_does_not_know(per_image):
    signature = [tf.TensorSpec((None, None, None, 5)), tf.TensorSpec((None, None, None), tf.int64)]

    @tf.function(input_signature=signature)
    def loss(logits, labels):
        return losses.lovasz_softmax(logits, labels, ignore_index=IGNORE, per_image=per_image)

    for images in (1, 3):
        logits, labels = numbers((images, 6, 7, 5))
        want = losses.lovasz_softmax(logits, labels, ignore_index=IGNORE, per_image=per_image)
        assert float(loss(logits, labels)) == pytest.approx(float(want), abs=1e-6)


def test_classes_on_another_axis():
    logits, labels = numbers()
    want = with_gradient(lambda x: losses.lovasz_softmax(x, labels, ignore_index=IGNORE), logits)
    moved = np.moveaxis(logits, -1, 1).copy()
    got = with_gradient(
        lambda x: losses.lovasz_softmax(x, labels, axis=1, ignore_index=IGNORE), moved
    )
    assert_like_torch((got[0], np.moveaxis(got[1], 1, -1)), want)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32", "float64"])
@pytest.mark.parametrize("labels_as", ["uint8", "int16", "int32", "uint64", "float32", "float16"])
def test_dtypes(dtype, labels_as):
    logits, labels = numbers((2, 6, 5))
    logits, labels = tf.cast(logits, dtype), labels.astype(labels_as)
    value, gradient = with_gradient(
        lambda x: losses.lovasz_softmax(x, labels, ignore_index=IGNORE), logits
    )
    want = losses.lovasz_softmax(tf.cast(logits, tf.float64), labels, ignore_index=IGNORE)
    assert value.dtype == ("float64" if dtype == "float64" else "float32")
    assert gradient.dtype == tf.as_dtype(dtype).as_numpy_dtype
    assert value == pytest.approx(float(want), abs=1e-6)


@HOW
@pytest.mark.parametrize(
    "options", [{}, {"per_image": True, "method": "sort"}, {"classes": "all"}], ids=str
)
def test_nothing_that_counts_is_a_zero_with_a_gradient(how, options):
    logits, labels = numbers()
    value, gradient = with_gradient(
        lambda x: losses.lovasz_softmax(
            x, np.full_like(labels, IGNORE), ignore_index=IGNORE, **options
        ),
        np.full_like(logits, np.nan),
        how,
    )
    assert value == 0
    assert not gradient.any()


@pytest.mark.parametrize("shape", [(0, 3), (0, 4, 4, 3), (2, 0, 3)])
@pytest.mark.parametrize("method", ["histogram", "sort"])
def test_no_pixel(shape, method):
    value, gradient = with_gradient(
        lambda x: losses.lovasz_softmax(x, np.zeros(shape[:-1], int), method=method),
        np.zeros(shape),
    )
    assert value == 0
    assert gradient.shape == shape


@pytest.mark.parametrize("logit", [1e4, -1e4, -np.inf])
def test_large_logits(logit):
    logits, labels = numbers()
    labels = np.where(labels == IGNORE, 1, labels % 4)
    logits[..., 4] = logit
    value, gradient = with_gradient(
        lambda x: losses.cross_entropy_lovasz_softmax(x, labels), logits
    )
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()
    target = torch.tensor(labels)
    want = of_torch(lambda x: lovasz.cross_entropy_lovasz_softmax(x, target), logits)
    assert_like_torch((value, gradient), want)


@pytest.mark.parametrize(("how", "number"), [("eager", np.inf), ("graph", np.nan), ("xla", np.nan)])
def test_what_is_no_number_is_told(how, number):
    """By the loss of its image alone, and by its gradient."""
    logits, labels = numbers()
    labels = np.where(labels == IGNORE, 0, labels)
    logits[0, 0, 0, 0] = number
    images, gradient = with_gradient(
        lambda x: losses.lovasz_softmax(x, labels, per_image=True, reduction="none"), logits, how
    )
    assert np.isnan(images[0]).all()
    assert np.isnan(gradient[0]).any()
    assert np.isfinite(images[1]).all()
    assert np.isfinite(gradient[1]).all()
    if how == "eager":
        assert np.isnan(losses.lovasz_softmax(logits, labels))


@pytest.mark.parametrize("how", ["graph", "xla"])
def test_labels_out_of_range_are_nan_where_they_cannot_be_raised(how):
    logits, labels = numbers()
    value, gradient = with_gradient(
        lambda x: losses.cross_entropy_lovasz_softmax(x, labels), logits, how
    )
    assert np.isnan(value)
    assert np.isnan(gradient).all()


def test_the_hinge_is_within_its_bound():
    logits, labels = numbers((4000, 2), sharpness=20.0, dtype="float64")
    logits, labels = logits[..., 0], (labels == 1).astype("uint8")
    exact = float(losses.lovasz_hinge(logits, labels, method="sort"))
    counted = float(losses.lovasz_hinge(logits, labels, bins=64))
    assert abs(counted - exact) <= relative_bound(64) * (exact + 1 / 64)


X, Y = numbers((2, 4, 5))[0], np.ones((2, 4), int)
MASKS = (X > 0).astype(int)


def wrong(sentence, kind=ValueError, name="lovasz_softmax", scores=X, labels=Y, **options):
    return pytest.param(name, scores, labels, options, kind, sentence, id=sentence)


WRONG = [
    wrong(r"every label to be in \[0, 4\] or .*=None, got 8 \(and 7 more outside\)$", labels=Y + 7),
    wrong("got one that is neither whole nor one-hot", labels=Y + 0.5),
    wrong(r"of shape \(2, 4\) to match logits \(2, 4, 5\), got \(1, 4\)$", labels=Y[:1]),
    wrong("expected labels of an integer dtype, .* got string$", TypeError, labels=Y.astype(str)),
    wrong("expected labels of an integer dtype for 300", TypeError, scores=np.zeros((8, 300)),
          labels=tf.zeros(8, tf.bfloat16)),
    wrong("expected logits of dtype float64, .* got int64$", TypeError, scores=MASKS),
    wrong("expected logits of two classes or more", scores=X[..., :1]),
    wrong("expected logits with one class or more on axis 2", scores=X[..., :0]),
    wrong("expected axis to be one of the 3 axes of logits, got 3$", axis=3),
    wrong(r"expected classes to hold indices from 0 to 4, got \[7\]$", classes=[7]),
    wrong(r"expected weight of shape \(5,\), one number .* got \(1,\)$", weight=[1.0]),
    wrong("expected weight to be finite and not negative", weight=[-1.0] * 5),
    wrong("expected weight to be a tensor or a sequence", TypeError, weight="ab"),
    wrong("expected pixel_weight of a floating dtype, got int64$", TypeError, pixel_weight=Y),
    wrong(r"expected pixel_weight of shape \(2, 4\), .* got \(2, 4, 5\)$", pixel_weight=X),
    wrong(r"pixel_weight to be in \[0, 65536\], got -1$", pixel_weight=Y - 2.0),
    wrong("accept_nonconvex=True", TypeError, set_function=lovasz.dice),
    wrong("expected bins to be an integer from 2", bins=1),
    wrong("expected method to be one of 'histogram', 'sort'", method="sorted"),
    wrong("to be 0 or 1 or .*, got [23]", name="lovasz_sigmoid", labels=MASKS + 2, axis=-1),
    wrong("neither 0 nor 1", name="lovasz_hinge", labels=MASKS, axis=-1, ignore_index=1),
    wrong(r"\(use lovasz_softmax for logits\), got", name="lovasz_softmax_from_probabilities"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "scores", "labels", "options", "kind", "sentence"), WRONG)
def test_wrong_input_is_told_in_a_sentence(name, scores, labels, options, kind, sentence):
    with pytest.raises(kind, match=rf"^{name}: .*{sentence}"):
        getattr(losses, name)(scores, labels, **options)


@pytest.mark.parametrize("name", losses.__all__)
def test_options_have_the_names_and_defaults_of_torch(name):
    own = inspect.signature(getattr(losses, name)).parameters
    of_torch = inspect.signature(getattr(lovasz, name)).parameters
    for option, parameter in own.items():
        if option not in ("labels", "axis"):
            assert parameter.default == of_torch[option].default, option
