"""The Lovász losses for JAX: functions in the manner of optax, for jit, grad, vmap and shard_map.

>>> import jax, jax.numpy as jnp
>>> from lovasz.jax import cross_entropy_lovasz_softmax
>>> logits, labels = jnp.zeros((2, 8, 8, 19)), jnp.zeros((2, 8, 8), jnp.int32)
>>> step = jax.jit(jax.value_and_grad(cross_entropy_lovasz_softmax))
>>> value, gradient = step(logits, labels)

On the CPU the compiled kernels compute them, as they do for PyTorch; on other devices plain
jax.numpy does, by counting too. Nothing here needs PyTorch.
"""

import re
from importlib import import_module


def _check_jax() -> None:
    """No dependency of the package says that JAX has to be there, nor how new."""
    expected = "lovasz.jax: expected jax 0.10.2 or newer (pip install 'lovasz[jax]')"
    try:
        version = str(import_module("jax").__version__)
    except ModuleNotFoundError as error:
        if error.name != "jax":  # it is there, and lacks something itself
            raise
        raise ImportError(f"{expected}, got: {error}") from error
    if tuple(int(part) for part in re.findall(r"\d+", version)[:3]) < (0, 10, 2):
        raise ImportError(f"{expected}, got {version}")


_check_jax()

from lovasz.core.bins import error_bound, relative_bound  # noqa: E402
from lovasz.core.set_functions import dice, jaccard, missed_positives, tversky  # noqa: E402
from lovasz.jax.hinge import lovasz_hinge  # noqa: E402
from lovasz.jax.sigmoid import (  # noqa: E402
    binary_cross_entropy_lovasz_sigmoid,
    lovasz_sigmoid,
    lovasz_sigmoid_from_probabilities,
)
from lovasz.jax.softmax import (  # noqa: E402
    cross_entropy_lovasz_softmax,
    lovasz_softmax,
    lovasz_softmax_from_probabilities,
)
from lovasz.jax.window import Window  # noqa: E402

__all__ = [
    "Window",
    "binary_cross_entropy_lovasz_sigmoid",
    "cross_entropy_lovasz_softmax",
    "dice",
    "error_bound",
    "jaccard",
    "lovasz_hinge",
    "lovasz_sigmoid",
    "lovasz_sigmoid_from_probabilities",
    "lovasz_softmax",
    "lovasz_softmax_from_probabilities",
    "missed_positives",
    "relative_bound",
    "tversky",
]
