"""The example: a few steps with less loss at their end."""

import importlib.util
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "jax" / "unet.py"


def test_a_few_steps():
    pytest.importorskip("flax")
    pytest.importorskip("optax")
    spec = importlib.util.spec_from_file_location("unet", EXAMPLE)
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    losses, iou = example.train(8, batch=2, width=8)
    assert all(loss < 5 for loss in losses)
    assert sum(losses[-3:]) < sum(losses[:3])
    assert 0 < iou < 1
