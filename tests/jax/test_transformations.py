"""Under jit, vmap, checkpoint and scan, and over devices: the loss of each batch, or of all."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

from lovasz.jax import cross_entropy_lovasz_softmax, lovasz_sigmoid, lovasz_softmax
from tests.jax.alike import COMPILED

RNG = np.random.default_rng(20180618)
LOGITS = jnp.asarray(RNG.normal(size=(4, 6, 5)) * 3, jnp.float32)
LABELS = jnp.asarray(RNG.integers(0, 5, (4, 6)))
WEIGHT = jnp.asarray(RNG.random((4, 6)), jnp.float32)

LOSSES = {
    "both": cross_entropy_lovasz_softmax,
    "sorted": functools.partial(lovasz_softmax, method="sort", classes="all"),
    "channels": lambda logits, labels, **options: lovasz_sigmoid(
        logits, (labels[..., None] == jnp.arange(5)).astype("uint8"), axis=-1, **options
    ),
}


WHICH = pytest.mark.parametrize(
    ("implementation", "which"),
    [("compiled", "both"), ("compiled", "sorted"), ("compiled", "channels"), ("plain", "both")],
    indirect=["implementation"],
    scope="module",
)


def near(found, want):
    np.testing.assert_allclose(found, want, rtol=2e-6, atol=1e-7)


@pytest.fixture(scope="module")
def each(implementation, which):
    """A loss, and its values and gradients for one image after the other."""
    loss = LOSSES[which]
    one = jax.jit(jax.value_and_grad(loss))
    values, gradients = zip(*map(one, LOGITS, LABELS), strict=True)
    return loss, jnp.stack(values), jnp.stack(gradients)


@WHICH
def test_without_jit(each):
    loss, values, gradients = each
    value, gradient = jax.value_and_grad(loss)(LOGITS[0], LABELS[0])
    near(value, values[0])
    near(gradient, gradients[0])


@WHICH
def test_vmap(each):
    loss, values, gradients = each
    found, gradient = jax.jit(jax.vmap(jax.value_and_grad(loss)))(LOGITS, LABELS)
    near(found, values)
    near(gradient, gradients)
    gradient = jax.grad(lambda logits: jax.vmap(loss)(logits, LABELS).sum())(LOGITS)
    near(gradient, gradients)


@WHICH
def test_vmap_over_one_of_both(each):
    loss, *_ = each
    found = jax.vmap(loss, (None, 0))(LOGITS[0], LABELS)
    near(found, [loss(LOGITS[0], labels) for labels in LABELS])


@WHICH
def test_checkpoint_and_scan(each):
    loss, values, gradients = each

    @jax.value_and_grad
    def summed(logits):
        def step(total, batch):
            return total + jax.checkpoint(loss)(*batch), None

        return lax.scan(step, 0.0, (logits, LABELS))[0]

    total, gradient = jax.jit(summed)(LOGITS)
    near(total, values.sum())
    near(gradient, gradients)


@WHICH
def test_64_bits_allowed(each):
    loss, values, gradients = each
    with jax.enable_x64(True):
        value, gradient = jax.jit(jax.value_and_grad(loss))(LOGITS[0], LABELS[0].astype("int64"))
    assert value.dtype == gradient.dtype == jnp.float32
    near(value, values[0])
    near(gradient, gradients[0])


def on_devices(how, function):
    """A function of two images on each of two devices, as (values, gradients of all)."""
    if how in ("pmap", "vmap"):
        mapped = {"pmap": jax.pmap, "vmap": jax.vmap}[how](function, axis_name="devices")

        def call(logits, labels):
            two = (2, 2, *logits.shape[1:]), (2, 2, *labels.shape[1:])
            values, gradients = mapped(logits.reshape(two[0]), labels.reshape(two[1]))
            return values, gradients.reshape(logits.shape)

        return call
    mesh = jax.make_mesh((2,), ("devices",), axis_types=(AxisType.Auto,))

    def with_axis(logits, labels):
        value, gradient = function(logits, labels)
        return value[None], gradient

    return jax.jit(
        jax.shard_map(
            with_axis, mesh=mesh, in_specs=P("devices"), out_specs=P("devices"),
            check_vma=how == "shard_map",
        )
    )  # fmt: skip


@pytest.mark.parametrize(
    ("implementation", "how", "options"),
    [
        *(("compiled", how, {}) for how in ("shard_map", "unchecked", "pmap", "vmap")),
        ("compiled", "shard_map", {"per_image": True}),
        ("compiled", "pmap", {"per_image": True}),
        ("plain", "shard_map", {"classes": [1, 4]}),
    ],
    ids=str,
    indirect=["implementation"],
)
def test_axis_name_is_the_global_batch(implementation, how, options):
    loss = functools.partial(cross_entropy_lovasz_softmax, **options)
    want, want_gradient = jax.value_and_grad(loss)(LOGITS, LABELS)

    def own(logits, labels):
        return jax.value_and_grad(loss)(logits, labels, axis_name="devices")

    def mean(logits, labels):  # what JAX makes of a mean over devices
        return lax.pmean(jnp.square(logits).mean(), "devices")

    values, gradients = on_devices(how, own)(LOGITS, LABELS)
    near(values, [want, want])
    _, reference = on_devices(how, jax.value_and_grad(mean))(LOGITS, LABELS)
    times = reference[0, 0, 0] / jax.grad(lambda x: jnp.square(x).mean())(LOGITS)[0, 0, 0]
    near(gradients, want_gradient * times)


@COMPILED
def test_parameters_on_all_devices_get_the_gradient_of_the_global_batch(implementation):
    def loss(factor, logits, labels, axis_name=None):
        return lovasz_softmax(factor * logits, labels, axis_name=axis_name)

    want = jax.grad(loss)(2.0, LOGITS, LABELS)
    mesh = jax.make_mesh((2,), ("devices",), axis_types=(AxisType.Auto,))
    step = jax.shard_map(
        functools.partial(jax.grad(loss), axis_name="devices"),
        mesh=mesh, in_specs=(P(), P("devices"), P("devices")), out_specs=P(),
    )  # fmt: skip
    near(jax.jit(step)(2.0, LOGITS, LABELS), want)
    mapped = jax.pmap(
        lambda *batch: lax.pmean(jax.grad(loss)(*batch, axis_name="devices"), "devices"),
        axis_name="devices", in_axes=(None, 0, 0),
    )  # fmt: skip
    near(mapped(2.0, LOGITS.reshape(2, 2, 6, 5), LABELS.reshape(2, 2, 6)), [want, want])


@COMPILED
def test_class_weights_can_be_learned(implementation):
    weight = jnp.array([1.0, 2.0, 0.5, 1.0, 3.0])

    def by_parts(weight):
        losses = lovasz_softmax(LOGITS, LABELS, classes="all", reduction="none")
        return (weight * losses).sum() / weight.sum()

    gradient = jax.grad(lambda w: lovasz_softmax(LOGITS, LABELS, classes="all", weight=w))(weight)
    near(gradient, jax.grad(by_parts)(weight))


@COMPILED
def test_factors_of_a_schedule(implementation):
    @jax.jit
    def loss(factor):
        return cross_entropy_lovasz_softmax(
            LOGITS, LABELS, cross_entropy_weight=1 - factor, lovasz_weight=factor
        )

    near(loss(0.25), cross_entropy_lovasz_softmax(
        LOGITS, LABELS, cross_entropy_weight=0.75, lovasz_weight=0.25
    ))  # fmt: skip
