"""Wrong arguments: one sentence that names the function, what is expected and what was got."""

import jax.numpy as jnp
import numpy as np
import pytest

import lovasz
from lovasz.jax import (
    cross_entropy_lovasz_softmax,
    lovasz_hinge,
    lovasz_sigmoid,
    lovasz_softmax,
    lovasz_softmax_from_probabilities,
)


class WithoutHash:
    """A set function that is compared by its contents."""

    __hash__ = None

    def __call__(self, fn, fp, positives):
        return fn + fp


LOGITS, LABELS = jnp.zeros((2, 5, 3)), jnp.zeros((2, 5), jnp.int32)

SHAPES = [
    (
        lovasz_softmax, LOGITS, jnp.zeros((2, 4), jnp.int32), {},
        r"lovasz_softmax: expected labels of shape \(2, 5\) to match logits \(2, 5, 3\) with"
        r" classes on axis 2, got \(2, 4\)$",
    ),
    (lovasz_softmax, LOGITS, jnp.zeros((2, 5, 3), jnp.int32), {}, r"pass labels.argmax\(2\)$"),
    (lovasz_softmax, LOGITS, LABELS[..., None], {}, r"got \(2, 5, 1\); pass labels.squeeze\(-1\)$"),
    (
        lovasz_softmax, LOGITS, LABELS, {"axis": 3},
        r"expected logits with an axis 3 of classes, got shape \(2, 5, 3\)",
    ),
    (
        cross_entropy_lovasz_softmax, LOGITS[..., :1], LABELS, {},
        r"expected logits of two classes or more on axis 2, got shape \(2, 5, 1\); for one channel"
        r" use binary_cross_entropy_lovasz_sigmoid$",
    ),
    (
        lovasz_softmax, LOGITS, jnp.zeros((5, 3), jnp.int32), {"axis": 0, "per_image": True},
        r"expected logits with images on the first axis for per_image=True, got shape \(2, 5, 3\)"
        r" with classes on axis 0",
    ),
    (
        lovasz_sigmoid, LOGITS[..., :1], LABELS, {},
        r"lovasz_sigmoid: expected labels of shape \(2, 5, 1\) to match logits \(2, 5, 1\), got"
        r" \(2, 5\); pass logits.squeeze\(-1\)$",
    ),
    (
        lovasz_softmax, LOGITS, LABELS, {"where": jnp.ones((2, 4), bool)},
        r"expected where of shape \(2, 5\), one number for each label, got \(2, 4\)",
    ),
    (
        lovasz_softmax, LOGITS, LABELS, {"pixel_weight": jnp.ones((2, 5, 1))},
        r"expected pixel_weight of shape \(2, 5\), .* got \(2, 5, 1\)",
    ),
    (
        lovasz_softmax, LOGITS, LABELS, {"weight": [1.0, 2.0]},
        r"expected weight of shape \(3,\), one number for each class, got \(2,\)",
    ),
    (
        cross_entropy_lovasz_softmax, LOGITS, LABELS, {"lovasz_class_weight": jnp.ones(2)},
        r"expected lovasz_class_weight of shape \(3,\)",
    ),
    (
        lovasz_softmax, LOGITS, LABELS, {"weight": [1.0, -1.0, 1.0]},
        r"expected weight to be finite and not negative, got \[1.0, -1.0, 1.0\]",
    ),
    (
        lovasz_softmax, LOGITS, LABELS, {"classes": [0, 3]},
        r"expected classes to hold indices from 0 to 2, got \[0, 3\]",
    ),
    (
        lovasz_softmax, LOGITS, LABELS, {"method": "sort", "axis_name": "devices"},
        r"expected method='histogram' with axis_name, .* got 'sort'",
    ),
    (
        lovasz_softmax, LOGITS, LABELS, {"set_function": lambda fn, fp, positives: fn + 1},
        r"expected set_function to be finite, and 0 where fn = fp = 0, got \[1.0, 2.0, 3.0\]",
    ),
    (lovasz_softmax, LOGITS, LABELS, {"bins": 1}, r"expected bins to be an integer from 2 to"),
    (lovasz_hinge, LOGITS, LABELS, {"activation": "gelu"}, "activation to be one of 'relu'"),
    (lovasz_sigmoid, LABELS * 1.0, LABELS, {"ignore_index": 1}, "ignore_index to be neither"),
]  # fmt: skip
TYPES = [
    (
        lovasz_softmax, [[0.0, 1.0]], LABELS, {},
        "expected logits to be an array of JAX or NumPy, got list",
    ),
    (
        lovasz_softmax, LABELS, LABELS, {},
        "expected logits of dtype float64, float32, bfloat16 or float16, got int32",
    ),
    (
        lovasz_softmax_from_probabilities, LOGITS, LABELS * 1.0, {},
        "lovasz_softmax_from_probabilities: expected labels of an integer dtype or bool, got float",
    ),
    (lovasz_softmax, LOGITS, LABELS, {"axis": None}, "expected axis to be an integer, got None"),
    (
        lovasz_sigmoid, LOGITS, LABELS, {"axis": 1.0},
        "expected axis to be an integer, or None for one channel, got 1.0",
    ),
    (lovasz_softmax, LOGITS, LABELS, {"where": LABELS}, "expected where of dtype bool, got int32"),
    (
        lovasz_softmax, LOGITS, LABELS, {"pixel_weight": LABELS},
        "expected pixel_weight of dtype float64, .*, got int32",
    ),
    (
        lovasz_softmax, LOGITS, LABELS, {"weight": "balanced"},
        "expected weight to be an array or a sequence of numbers, got 'balanced'",
    ),
    (
        lovasz_softmax, LOGITS, LABELS, {"set_function": "jaccard"},
        r"expected set_function to be a callable .*, got 'jaccard' \(pass lovasz.jaccard\)",
    ),
    (lovasz_softmax, LOGITS, LABELS, {"set_function": WithoutHash()}, "that has a hash, because"),
    (
        lovasz_softmax, LOGITS, LABELS, {"set_function": lovasz.dice},
        r"got the function dice that makes one",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("function", "logits", "labels", "options", "sentence"), SHAPES)
def test_values(function, logits, labels, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        function(logits, labels, **options)


@pytest.mark.parametrize(("function", "logits", "labels", "options", "sentence"), TYPES)
def test_types(function, logits, labels, options, sentence):
    with pytest.raises(TypeError, match=sentence):
        function(logits, labels, **options)


def test_arrays_of_numpy_do_too():
    assert lovasz_softmax(np.zeros((4, 2)), np.array([0, 0, 1, 1]), method="sort") == 0.5


def test_weights_of_pixels_that_are_none_make_the_loss_nan():
    for bad in (-1.0, jnp.nan, 2.0**17):
        weight = jnp.ones((2, 5)).at[1, 2].set(bad)
        assert jnp.isnan(lovasz_softmax(LOGITS, LABELS, pixel_weight=weight))
        where = weight == 1
        assert lovasz_softmax(LOGITS, LABELS, pixel_weight=weight, where=where) >= 0
