"""The corner cases of every implementation, and those that only JAX has."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lovasz.jax import lovasz_sigmoid, lovasz_softmax, lovasz_softmax_from_probabilities
from tests.corner_cases import CASES, WRONG_LABELS
from tests.jax.alike import COMPILED

METHODS = pytest.mark.parametrize("method", ["histogram", "sort"])
WAYS = pytest.mark.parametrize(
    ("implementation", "method"),
    [("compiled", "histogram"), ("compiled", "sort"), ("plain", "histogram")],
    indirect=["implementation"],
)


@WAYS
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case(implementation, case, method):
    logits, labels = jnp.array(case.logits, jnp.float32), jnp.array(case.labels)

    def loss(logits):
        return lovasz_softmax(logits, labels, method=method, bins=2**12, **case.options)

    value, gradient = jax.value_and_grad(loss)(logits)
    assert value == pytest.approx(case.loss, abs=4e-4, nan_ok=True)
    if case.flat:
        assert abs(gradient).max() < 1e-12


@METHODS
@pytest.mark.parametrize("label", WRONG_LABELS)
def test_a_label_out_of_range_is_an_error_outside_and_nan_inside_of_jit(
    implementation, method, label
):
    logits, labels = jnp.zeros((2, 4, 3)), jnp.zeros((2, 4), jnp.int32).at[1, 2].set(label)
    with pytest.raises(ValueError, match=rf"lovasz_softmax: expected every label .* got {label} "):
        jax.grad(lovasz_softmax)(logits, labels, method=method)
    assert jnp.isnan(
        jax.jit(lovasz_softmax, static_argnames="method")(logits, labels, method=method)
    )


def test_numbers_that_are_no_probabilities(implementation):
    labels = jnp.zeros((4,), jnp.int32)
    with pytest.raises(ValueError, match=r"expected probabilities in \[0, 1\] .* got 5"):
        lovasz_softmax_from_probabilities(jnp.full((4, 2), 5.0), labels)
    assert jnp.isnan(jax.jit(lovasz_softmax_from_probabilities)(jnp.full((4, 2), 5.0), labels))
    assert jnp.isnan(lovasz_softmax_from_probabilities(jnp.full((4, 2), jnp.nan), labels))


@COMPILED
@pytest.mark.parametrize("shape", [(0, 3), (0, 4, 3), (2, 0, 3)])
@pytest.mark.parametrize("per_image", [False, True])
def test_an_empty_batch_is_zero(implementation, shape, per_image):
    logits, labels = jnp.zeros(shape), jnp.zeros(shape[:-1], jnp.int32)
    value, gradient = jax.value_and_grad(lovasz_softmax)(logits, labels, per_image=per_image)
    assert value == 0
    assert gradient.shape == shape


@COMPILED
@pytest.mark.parametrize("dtype", ["bool", "uint8", "int8", "uint16", "int16", "uint32", "int32"])
def test_labels_of_every_dtype(implementation, dtype):
    logits, labels = jnp.array([[2.0, 0.5], [0.1, 0.4], [1.0, 0.0]]), np.array([0, 1, 1])
    want = lovasz_softmax(logits, jnp.asarray(labels))
    assert lovasz_softmax(logits, labels.astype(dtype)) == want
    if dtype != "bool":  # the largest number of the dtype, as signed ones of it would be -1
        masked = labels.astype(dtype)
        masked[1] = top = np.iinfo(dtype).max
        want = lovasz_softmax(logits, labels, where=np.array([True, False, True]))
        assert lovasz_softmax(logits, masked, ignore_index=int(top)) == want
        assert lovasz_softmax(logits, masked, where=np.array([True, False, True])) == want


@COMPILED
def test_an_index_that_no_label_can_be_ignores_none(implementation):
    logits, labels = jnp.array([[2.0, 0.5], [0.1, 0.4]]), np.array([0, 1], np.uint8)
    want = lovasz_softmax(logits, labels)
    assert lovasz_softmax(logits, labels, ignore_index=-100) == want
    assert lovasz_softmax(logits, labels, ignore_index=2**40) == want


@COMPILED
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_sixteen_bits(implementation, dtype):
    rng = np.random.default_rng(0)
    logits = jnp.asarray(rng.normal(size=(64, 4)), dtype)
    labels = jnp.asarray(rng.integers(0, 4, 64))
    value, gradient = jax.value_and_grad(lovasz_softmax)(logits, labels)
    want, want_gradient = jax.value_and_grad(lovasz_softmax)(logits.astype("float32"), labels)
    assert value.dtype == jnp.float32
    assert gradient.dtype == dtype
    assert value == pytest.approx(float(want), abs=1e-6)
    np.testing.assert_array_equal(gradient, want_gradient.astype(dtype))


def test_one_pixel_without_an_axis_of_pixels(implementation):
    assert lovasz_softmax(jnp.array([0.0, 0.0]), jnp.array(1), method="sort") == 0.5
    assert lovasz_sigmoid(jnp.array(0.0), jnp.array(1), method="sort") == 0.5


@COMPILED
def test_more_than_a_thousand_classes(implementation):
    rng = np.random.default_rng(0)
    logits, labels = jnp.asarray(rng.normal(size=(50, 1234)), "float32"), rng.integers(0, 1234, 50)
    value, gradient = jax.value_and_grad(lovasz_softmax)(logits, labels)
    want, want_gradient = jax.value_and_grad(lovasz_softmax)(logits, labels, method="sort")
    assert value == pytest.approx(float(want), abs=4e-4)
    assert jnp.linalg.norm(gradient - want_gradient) < 1e-2 * jnp.linalg.norm(want_gradient)
