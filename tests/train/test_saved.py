from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from lovasz.train.config import Config
from lovasz.train.data import DataSet, Statistics
from lovasz.train.data.images import Reading
from lovasz.train.errors import UserError
from lovasz.train.saved import describe, find_checkpoint, read_saved


def test_the_checkpoint_alone_is_enough(trained, tmp_path):
    path = shutil.copy(trained / "checkpoint.pt", tmp_path / "moved.pt")
    saved = read_saved(str(path))
    assert saved.classes == ["dark", "red", "green"]
    assert saved.mask_values == [0, 1, 2]
    assert len(saved.colours) == len(set(saved.colours)) == 3
    assert (saved.window, saved.statistics.channels, saved.epochs) == (12, 3, 1)
    assert saved.reading.channels == 3
    assert not saved.network.training
    content = torch.load(path, weights_only=True)
    assert content["network"] == {
        "model": "unet",
        "norm": "batch",
        "model_args": {"channels": [4, 8]},
    }
    for name, values in saved.network.state_dict().items():
        assert torch.equal(values, content["model"][name])


def earlier(trained, folder, *files):
    """A run of a version whose checkpoints had weights alone."""
    folder.mkdir()
    content = torch.load(trained / "checkpoint.pt", weights_only=True)
    del content["data"], content["network"]
    torch.save(content, folder / "checkpoint.pt")
    for name in files:
        shutil.copy(trained / name, folder / name)
    return str(folder)


def test_earlier_checkpoints_are_read_with_their_options_and_data(trained, tmp_path):
    now = read_saved(str(trained))
    before = read_saved(earlier(trained, tmp_path / "run", "config.yaml"))
    same = {"network": None, "path": None, "digest": None, "decision": None}
    assert replace(before, **same) == replace(now, **same)
    with pytest.raises(UserError, match="expected it beside a checkpoint of an earlier version"):
        read_saved(earlier(trained, tmp_path / "alone"))
    text = (trained / "config.yaml").read_text().replace("squares", "gone")
    (tmp_path / "run" / "config.yaml").write_text(text)
    with pytest.raises(UserError, match=r"needs the data that it was trained on .*/gone, which"):
        read_saved(str(tmp_path / "run"))


def test_a_word_means_one_run(trained, tmp_path):
    assert find_checkpoint(str(trained)) == trained / "checkpoint.pt"
    assert find_checkpoint(str(trained / "checkpoint.pt")) == trained / "checkpoint.pt"
    for name in ("a", "b"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "checkpoint.pt").touch()
    with pytest.raises(UserError, match=r"which holds 2; name one of them, for example .*runs/a"):
        find_checkpoint(str(tmp_path))
    with pytest.raises(UserError, match=r"found no checkpoint\.pt in"):
        find_checkpoint(str(trained.parent / "squares"))
    with pytest.raises(UserError, match=r"found no .*nowhere"):
        find_checkpoint(str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match="expected a checkpoint, cannot read it"):
        read_saved(str(tmp_path / "runs" / "a"))


def test_weights_of_another_network_are_one_sentence(trained, tmp_path):
    content = torch.load(trained / "checkpoint.pt", weights_only=True)
    content["network"]["model_args"] = {"channels": [8, 8]}
    torch.save(content, tmp_path / "checkpoint.pt")
    with pytest.raises(UserError, match="expected the weights of the network that unet builds"):
        read_saved(str(tmp_path))


def test_images_are_read_as_those_of_the_training(trained, tmp_path):
    saved = read_saved(str(trained))
    random = np.random.default_rng(0)
    grey = random.integers(0, 256, (5, 7), dtype=np.uint8)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    assert torch.equal(saved.read(tmp_path / "grey.png"), torch.from_numpy(grey).expand(3, -1, -1))
    tifffile.imwrite(tmp_path / "four.tif", random.integers(0, 256, (5, 7, 4), dtype=np.uint8))
    with pytest.raises(UserError, match=r"four\.tif: expected an image with 3 channels, .* got 4"):
        saved.read(tmp_path / "four.tif")
    chosen = replace(saved, options={**saved.options, "channels": 3})
    assert chosen.read(tmp_path / "four.tif").shape == (3, 5, 7)


def test_what_is_saved_is_plain_and_follows_the_data():
    data = DataSet(
        "",
        ["crack", "wall"],
        {},
        [(0, 0, 0), (255, 255, 255)],
        statistics=Statistics((1.0, 2.0), (3.0, 4.0)),
        reading=Reading("stored", (0.0, 4095.0), 0),
        mask_values=[0, 255],
    )
    config = Config(data="walls", crop=48, model="net:build", model_args={"width": 3})
    about = json.loads(json.dumps(describe(config, data)))
    assert about["network"] == {"model": "net:build", "norm": "batch", "model_args": {"width": 3}}
    options = about["data"].pop("options")
    assert options["data"] == "walls"
    assert about["data"] == {
        "classes": ["crack", "wall"],
        "colours": [[0, 0, 0], [255, 255, 255]],
        "mask_values": [0, 255],
        "mean": [1.0, 2.0],
        "spread": [3.0, 4.0],
        "window": 48,
        "reading": {"orientation": "stored", "value_range": [0.0, 4095.0], "channels": 2},
    }
