"""A small data set of coloured squares, and a configuration that trains on it in a second."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from lovasz.train import loop
from lovasz.train.config import TrainConfig, claim_folder
from lovasz.train.data import load_data

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SIDE = 16


def write_pair(folder: Path, name: str, seed: int) -> None:
    """An image whose left part is dark (class 0), the rest red or green (1 or 2)."""
    random = np.random.default_rng(seed)
    mask = np.full((SIDE, SIDE), 1 + seed % 2, dtype=np.uint8)
    mask[:, : random.integers(3, SIDE - 3)] = 0
    image = np.array([[20, 20, 20], [200, 40, 40], [40, 200, 40]], dtype=np.uint8)[mask]
    image += random.integers(0, 20, image.shape, dtype=np.uint8)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    (folder / "masks").mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(folder / "images" / f"{name}.png")
    Image.fromarray(mask).save(folder / "masks" / f"{name}.png")


def write_squares(root: Path, counts: dict[str, int]) -> Path:
    """A data set of so many images in each part, with class names."""
    for first, (part, count) in enumerate(counts.items()):
        for k in range(count):
            write_pair(root / part, f"{k}", 10 * first + k)
    (root / "classes.txt").write_text("dark\nred\ngreen\n", encoding="utf-8")
    return root


@pytest.fixture(scope="session")
def make_squares() -> Callable[[Path, dict[str, int]], Path]:
    """The function that writes such a data set, for fixtures of other scopes."""
    return write_squares


@pytest.fixture
def squares(tmp_path: Path) -> Path:
    """A folder with 7 training, 3 validation and 3 test images."""
    return write_squares(tmp_path / "squares", {"train": 7, "val": 3, "test": 3})


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a complete run of one epoch; its data is in `squares` beside it."""
    place = tmp_path_factory.mktemp("trained")
    config = TrainConfig(
        data=str(write_squares(place / "squares", {"train": 7, "val": 3, "test": 3})),
        model_args={"channels": [4, 8]},
        crop=12,
        batch_size=2,
        epochs=1,
        accelerator="cpu",
        threads=1,
        out=str(place / "run"),
    )
    data = load_data(config)
    out = claim_folder(config)
    loop.train(config, data, lambda *_: None, lambda: False)
    loop.test(config, data, lambda: False)
    return out


@pytest.fixture
def options(squares: Path, tmp_path: Path) -> dict[str, Any]:
    """Options of a run of 3 epochs with 3 steps each."""
    return {
        "data": str(squares),
        "model_args": {"channels": [4, 8]},
        "crop": 12,
        "batch_size": 2,
        "epochs": 3,
        "accelerator": "cpu",
        "threads": 1,
        "out": str(tmp_path / "run"),
    }


@pytest.fixture
def train_config(options: dict[str, Any]) -> Callable[..., TrainConfig]:
    """A configuration with other options on top."""
    return lambda **changes: TrainConfig(**{**options, **changes})
