"""The code of the page on JAX, with a network of one layer."""

import re
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

PAGE = Path(__file__).parents[2] / "docs" / "jax.md"
RNG = np.random.default_rng(0)
PARAMS = jnp.asarray(RNG.normal(size=(3, 19)), jnp.float32)
IMAGES = jnp.asarray(RNG.normal(size=(2, 8, 8, 3)), jnp.float32)
LABELS = jnp.asarray(RNG.integers(0, 19, (2, 8, 8)))


@pytest.fixture(scope="module")
def blocks():
    optax = pytest.importorskip("optax")
    names = {
        "network": SimpleNamespace(apply=lambda params, images: images @ params),
        "optimizer": optax.sgd(0.1),
    }
    found = []
    for code in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S):
        exec(code, names)
        found.append(dict(names))
    return found


def test_a_step(blocks):
    step, optimizer = blocks[0]["step"], blocks[0]["optimizer"]
    params, state, first = step(PARAMS, optimizer.init(PARAMS), IMAGES, LABELS)
    *_, second = step(params, state, IMAGES, LABELS)
    assert second < first


def test_several_devices(blocks):
    mesh = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Auto,))
    step = jax.shard_map(
        blocks[1]["step"], mesh=mesh, in_specs=(P(), P("data"), P("data")), out_specs=P()
    )
    value, gradient = jax.jit(step)(PARAMS, IMAGES, LABELS)

    def loss(params):
        return blocks[0]["cross_entropy_lovasz_softmax"](IMAGES @ params, LABELS)

    want, want_gradient = jax.value_and_grad(loss)(PARAMS)
    np.testing.assert_allclose(value, want, rtol=1e-6)
    np.testing.assert_allclose(gradient, want_gradient, atol=1e-6)


def test_the_window(blocks):
    step, window = blocks[2]["step"], blocks[2]["window"]
    _, window, gradient = step(PARAMS, window, IMAGES, LABELS)
    assert window.batches == 1
    assert gradient.any()
