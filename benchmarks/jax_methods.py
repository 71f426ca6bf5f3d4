"""What is timed of JAX, in a process of its own: ``python -m benchmarks.jax_methods JSON``."""

from __future__ import annotations

import json
import os
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax

import lovasz.jax
from lovasz.jax import compiled


def sorted_lovasz_softmax(logits, labels):
    """The algorithm as published, in jax.numpy: a sort and a difference for each class."""
    classes = logits.shape[-1]
    probabilities = jax.nn.softmax(logits).reshape(-1, classes).T
    positive = (labels.reshape(-1) == jnp.arange(classes)[:, None]).astype(logits.dtype)
    errors = jnp.abs(positive - probabilities)
    order = jnp.argsort(-jax.lax.stop_gradient(errors), -1)
    errors, positive = (jnp.take_along_axis(a, order, -1) for a in (errors, positive))
    everything = positive.sum(-1, keepdims=True)
    missed = everything - jnp.cumsum(positive, -1)
    union = everything + jnp.cumsum(1 - positive, -1)
    jaccard = 1 - missed / union
    weights = jnp.diff(jaccard, axis=-1, prepend=0)
    present = everything[:, 0] > 0
    return jnp.where(present, (errors * weights).sum(-1), 0).sum() / present.sum()


def methods(names):
    """Compiled functions of logits and labels, by name."""

    def cross_entropy(logits, labels):
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    if any(name.startswith("plain") for name in names):
        compiled.available = lambda: False  # in this process
    losses = {
        "optax": cross_entropy,
        "sort": sorted_lovasz_softmax,
        "both": lovasz.jax.cross_entropy_lovasz_softmax,
        "lovasz": lovasz.jax.lovasz_softmax,
        "plain_both": lovasz.jax.cross_entropy_lovasz_softmax,
        "plain": lovasz.jax.lovasz_softmax,
    }
    return {name: jax.jit(jax.value_and_grad(losses[name])) for name in names}


def draw(shape):
    """Logits of a network that is right nearly everywhere, as of ``benchmarks.workloads``."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, shape[-1], shape[:-1])
    logits = 3 * rng.standard_normal(shape, np.float32)
    logits += 8.0 * (labels[..., None] == np.arange(shape[-1]))
    return jnp.asarray(logits), jnp.asarray(labels)


def measure(shape, names, rounds, threads):
    """Milliseconds of each method in each round, in this process."""
    if not any(name.startswith("plain") for name in names) and not compiled.available():
        raise SystemExit("expected the compiled kernels for JAX, as make jax builds them")
    now = time.process_time if threads == 1 else time.perf_counter
    batch, found = draw(tuple(shape)), methods(names)
    times = {name: [] for name in names}
    for turn in range(rounds + 1):  # the first is a warm-up
        for name, method in found.items():
            jax.block_until_ready(method(*batch))  # has its memory from wherever it is
            start = now()
            jax.block_until_ready(method(*batch))
            if turn:
                times[name].append(1e3 * (now() - start))
    return times


if __name__ == "__main__":
    request = json.loads(sys.argv[1])
    # Before JAX makes its threads, as many as there are cores.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: request["threads"]])
    print(json.dumps(measure(**request)))
