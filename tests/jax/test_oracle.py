"""The loss and its gradient against its definition in plain Python."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lovasz.jax import error_bound, lovasz_softmax, missed_positives, tversky
from tests import oracle
from tests.jax.alike import named

BINS = 2**16  # so many that no two of the errors fall in one
RNG = np.random.default_rng(20180618)
LOGITS = RNG.normal(size=(12, 4)) * 2
LABELS = RNG.integers(0, 4, 12)
LABELS[[2, 7]] = 9

OPTIONS = [
    {},
    {"classes": "all"},
    {"classes": [1, 3], "reduction": "sum"},
    {"weight": [0.5, 2.0, 1.0, 3.0]},
    {"weight": [0.5, 2.0, 1.0, 3.0], "normalize_weight": False},
    {"delta": (tversky(0.5, 2.0), oracle.tversky(0.5, 2.0))},
    {"delta": (missed_positives, oracle.missed_positives), "reduction": "sum"},
]


@pytest.mark.parametrize("method", ["histogram", "sort"])
@pytest.mark.parametrize("options", OPTIONS, ids=named)
def test_loss_and_gradient(implementation, options, method):
    options = dict(options)
    ours, theirs = options.pop("delta", (None, oracle.jaccard))
    want, want_gradient = oracle.lovasz_softmax(
        LOGITS.tolist(), LABELS.tolist(), delta=theirs, ignore_index=9, **options
    )
    if ours is not None:
        options["set_function"] = ours
    value, gradient = jax.value_and_grad(lovasz_softmax)(
        jnp.asarray(LOGITS, jnp.float32),
        LABELS,
        ignore_index=9,
        method=method,
        bins=BINS,
        **options,
    )
    most = float(theirs(3, 10, 3))  # Δ of everything is at most so much
    bound = 4 * most * error_bound(BINS) if method == "histogram" else 0
    assert value == pytest.approx(want, abs=bound + 1e-6)
    np.testing.assert_allclose(gradient, want_gradient, atol=1e-6)


@pytest.mark.parametrize("method", ["histogram", "sort"])
def test_float64(method):
    with jax.enable_x64(True):
        value, gradient = jax.value_and_grad(lovasz_softmax)(
            jnp.asarray(LOGITS), LABELS, ignore_index=9, method=method, bins=BINS
        )
    want, want_gradient = oracle.lovasz_softmax(LOGITS.tolist(), LABELS.tolist(), ignore_index=9)
    assert value.dtype == gradient.dtype == np.float64
    assert float(value) == pytest.approx(want, abs=error_bound(BINS) if method[0] == "h" else 1e-14)
    np.testing.assert_allclose(gradient, want_gradient, atol=1e-13)
