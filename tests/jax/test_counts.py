"""Counts by the compiled kernels: to the bit those of PyTorch; and those of the plain way."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from lovasz.jax import counting, operators
from lovasz.jax.reading import Reading
from lovasz.kernels import passes

assert passes is not None  # defines torch.ops.lovasz


@pytest.mark.parametrize("class_axis", [1, 2])
@pytest.mark.parametrize("link", ["softmax", "sigmoid", "hinge"])
@pytest.mark.parametrize("weighted", [False, True])
def test_counts_are_those_of_torch(link, class_axis, weighted):
    """Bit for bit; of the plain way see `test_implementations_differ_in_few_counts`."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2, 3000, 5)).astype(np.float32) * 4
    shape = (2, 3000) if link == "softmax" else (2, 5, 3000)
    labels = rng.integers(0, 5 if link == "softmax" else 2, shape).astype(np.int32)
    weight = rng.random(shape).astype(np.float32) if weighted else None
    scores = torch.tensor(logits).movedim(-1, 1)
    want, *_ = torch.ops.lovasz.histogram(
        scores, torch.tensor(labels), 2048, 3, True, link, False, None, 0.0,
        None if weight is None else torch.tensor(weight),
        None, 1, None, None, None, 0.0, False,
    )  # fmt: skip
    scores = jnp.asarray(logits if class_axis == 2 else logits.swapaxes(1, 2))
    r = Reading(link, class_axis, 3, True, 2048)
    counts = operators.histogram(scores, jnp.asarray(labels), weight, None, r).counts
    found = np.asarray(counts).view(np.int64)[..., 0]
    np.testing.assert_array_equal(found, want.numpy())


def test_implementations_differ_in_few_counts():
    """Where an error lies at an edge, by the last digit of an exponential."""
    rng = np.random.default_rng(0)
    logits = jnp.asarray(rng.normal(size=(1, 20_000, 5)) * 2, jnp.float32)
    labels = jnp.asarray(rng.integers(0, 5, (1, 20_000)))
    r = Reading("softmax", 2, None, False, 2048)
    tables = [
        np.asarray(way(logits, labels, None, None, r).counts).view(np.int64)[..., 0]
        for way in (operators.histogram, jax.jit(counting.histogram, static_argnums=4))
    ]
    assert tables[0].sum() == tables[1].sum() == 100_000
    assert abs(tables[0] - tables[1]).sum() <= 2 * 20
    assert abs(np.cumsum(tables[0] - tables[1], -1)).max() <= 2  # in the bin beside it


def test_slopes_are_looked_up_part_by_part(monkeypatch):
    rng = np.random.default_rng(0)
    scores = jnp.asarray(rng.normal(size=(2, 50, 3)), jnp.float32)
    labels = jnp.asarray(rng.integers(0, 3, (2, 50)))
    slopes = jnp.asarray(rng.normal(size=(1, 3, 2, 64)), jnp.float32)
    r = Reading("softmax", 2, None, False, 64)
    lse = counting.histogram(scores, labels, None, None, r).lse
    arrays = (scores, labels, lse, slopes, jnp.ones((1, 3)), jnp.zeros(()), None, None, r)
    want = counting.backward(*arrays)
    monkeypatch.setattr(counting, "_LOOKED_UP", 64)  # parts of 300, and a rest
    np.testing.assert_array_equal(counting.backward(*arrays), want)
