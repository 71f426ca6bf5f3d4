"""The corner cases of every implementation, on the backend and in TensorFlow's operators."""

import numpy as np
import pytest

from lovasz.keras import LovaszSoftmax
from tests.corner_cases import CASES
from tests.keras.backends import BACKEND, with_gradient

NAMES = {"ignore_index": "ignore_class", "weight": "class_weight"}  # as Keras calls them
# tests/jax has them all with JAX's own functions, which take time to compile.
METHODS = ["histogram"] if BACKEND == "jax" else ["histogram", "sort"]
EVERY = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def check(case, loss):
    labels, logits = np.array(case.labels), np.array(case.logits, np.float32)
    value, gradient = with_gradient(loss, labels, logits)
    assert value == pytest.approx(case.loss, abs=4e-4, nan_ok=True)
    if case.flat:
        assert abs(gradient).max() < 1e-12


@EVERY
@pytest.mark.parametrize("method", METHODS)
def test_case(case, method):
    options = {NAMES.get(name, name): value for name, value in case.options.items()}
    if method == "histogram":
        options["bins"] = 2**12
    check(case, LovaszSoftmax(from_logits=True, method=method, **options))


@pytest.mark.skipif(BACKEND != "tensorflow", reason="of TensorFlow alone")
@EVERY
@pytest.mark.parametrize("method", ["histogram", "sort"])
def test_case_in_tensorflow(case, method):
    from lovasz.tensorflow import lovasz_softmax

    def loss(labels, logits, _):
        return lovasz_softmax(logits, labels, method=method, bins=2**12, **case.options)

    check(case, loss)
