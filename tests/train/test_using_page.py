"""The code of docs/using.md runs as it stands there."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lovasz.train.commands import run
from tests.train.decided import with_decision

PAGE = Path(__file__).parents[2] / "docs" / "using.md"
PROGRAM, ONNX, LOADING, SAVED, DECIDED = re.findall(
    r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.S
)


@pytest.fixture
def place(trained, tmp_path, monkeypatch):
    """A folder with the run and the photograph that the page names."""
    shutil.copytree(trained, tmp_path / "runs" / "train")
    pixels = np.random.default_rng(0).integers(0, 256, (30, 50, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 8
    Image.fromarray(pixels).save(tmp_path / "photo.jpg", exif=exif)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_checkpoint_is_loaded_in_ten_lines(place):
    by_hand, by_saved = {}, {}
    exec(LOADING, by_hand)
    exec(SAVED, by_saved)
    assert by_hand["labels"].shape == (50, 30)
    assert torch.equal(by_hand["labels"], by_saved["labels"])
    assert set(by_hand["names"]) <= {"dark", "red", "green"}
    lines = [line for line in LOADING.splitlines() if line and "import" not in line]
    assert len(lines) <= 10


def test_the_fitted_decision_is_used_so(place, trained):
    with_decision(trained, place / "runs" / "train")
    names = {}
    exec(SAVED, names)
    by_argmax = names["labels"]
    exec(DECIDED, names)
    assert names["labels"].shape == by_argmax.shape
    assert not torch.equal(names["labels"], by_argmax)
    words = ["--decision", "fitted", "--accelerator=cpu", "--out=masks"]
    assert f"lovasz predict runs/train photos --out masks {' '.join(words[:2])}" in PAGE.read_text()
    assert run(["predict", "runs/train", "photo.jpg", *words]) == 0
    assert np.array_equal(np.asarray(Image.open("masks/photo.png")), names["labels"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "name", "needed"),
    [(PROGRAM, "network.pt2", "torch"), (ONNX, "network.onnx", "onnxruntime")],
)
def test_the_exported_files_are_used_so(place, code, name, needed):
    pytest.importorskip(needed)
    if name.endswith("onnx"):
        pytest.importorskip("onnxscript")
    assert run(["export", "runs/train", f"--out={name}"]) == 0
    names = {}
    exec(code, names)
    assert names["labels"].shape == (1, 96, 96)
    assert names["names"] == ["dark", "red", "green"]
