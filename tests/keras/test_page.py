"""The code on the page about Keras runs on every backend."""

import re
from pathlib import Path

import numpy as np
import pytest

from tests.keras.backends import BACKEND

PAGE = (Path(__file__).parents[2] / "docs" / "keras.md").read_text()
CODE = re.findall(r"```python\n(.*?)```", PAGE, re.S)


def test_code_runs():
    """The blocks follow each other; one for TensorFlow says so."""
    rng = np.random.default_rng(0)
    names = {
        "images": rng.random((4, 8, 8, 3), dtype="float32"),
        "labels": rng.integers(0, 19, (4, 8, 8)).astype("uint8"),
    }
    assert len(CODE) == 3
    for code in CODE:
        if "# needs: tensorflow" not in code or BACKEND == "tensorflow":
            exec(code, names)
    assert names["history"].history["loss"][0] > 0
    assert float(names["mean"]) == pytest.approx(
        np.nanmean(np.asarray(names["of_each_class"], dtype="float64")), abs=1e-6
    )
    if BACKEND == "tensorflow":
        assert np.any(names["gradient"])
