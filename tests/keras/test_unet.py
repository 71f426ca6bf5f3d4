"""The example, with few steps."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "keras" / "unet.py"


def test_the_example_trains():
    pytest.importorskip("PIL")
    spec = importlib.util.spec_from_file_location("unet", EXAMPLE)
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    example.BATCH = 2
    history = example.train(2)
    assert np.isfinite(history["loss"]).all()
    assert 0 < history["dataset_iou"][0] < 1
