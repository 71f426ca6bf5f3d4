"""Training by several processes that torchrun starts, against one process."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lovasz import Window
from lovasz.train.checkpoint import read
from lovasz.train.commands import run
from lovasz.train.config import TrainConfig
from lovasz.train.data import load_data
from lovasz.train.evaluate import evaluate_each
from lovasz.train.fitting import make_fit
from lovasz.train.processes import make_fabric
from lovasz.train.saved import read_saved
from tests.train.test_cli import arguments

CLI = ["-m", "lovasz.train.cli", "train"]
TOGETHER = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
TOGETHER += CLI


def start(program, options):
    return subprocess.Popen(
        [*program, *arguments(options)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def finish(process):
    printed, said = process.communicate(timeout=120)
    return process.returncode, printed, said


@pytest.fixture(scope="module")
def options(make_squares, tmp_path_factory):
    """Batches of 3 images are shared unevenly, and the last one of 7 is left out."""
    root = tmp_path_factory.mktemp("processes")
    data = make_squares(root / "squares", {"train": 7, "val": 3, "test": 3})
    return {
        "data": str(data),
        "model_args": {"channels": [4, 8]},
        "norm": "group",
        "loss": "both-windowed",
        "crop": 12,
        "batch_size": 3,
        "epochs": 2,
        "threads": 1,
        "accelerator": "cpu",
        "out": str(root / "run"),
    }


@pytest.fixture(scope="module")
def alone(options):
    """The folder of a run by one process."""
    out = options["out"] + "-alone"
    assert run(["train", *arguments(options | {"out": out})]) == 0
    return Path(out)


def losses(out):
    return [json.loads(line)["loss"] for line in (out / "log.jsonl").read_text().splitlines()]


def kernels(state):
    """The weights of convolutions; biases before a normalisation have no gradient but rounding."""
    return {name: weight for name, weight in state["model"].items() if weight.ndim > 1}


@pytest.mark.slow
def test_a_folder_that_is_taken_ends_both_at_once(options, alone):
    began = time.monotonic()
    code, _, said = finish(start(TOGETHER, options | {"out": str(alone), "seed": 1}))
    assert code != 0
    assert said.count("lovasz: error: ") == 1
    assert time.monotonic() - began < 60


def test_two_processes_train_as_one(options, alone):
    code, printed, said = finish(start(TOGETHER, options))
    assert code == 0, said
    assert printed.count("mIoU on the test part, in %") == 1
    out = Path(options["out"])
    assert losses(out) == pytest.approx(losses(alone), rel=1e-5)
    ours, theirs = (read(folder / "checkpoint.pt") for folder in (out, alone))
    torch.testing.assert_close(kernels(ours), kernels(theirs), rtol=0, atol=1e-4)
    windows = [Window(0.9), Window(0.9)]
    for window, state in zip(windows, (ours, theirs), strict=True):
        window.set_extra_state(state["criterion"]["window._extra_state"])
    assert torch.equal(*[window.counts.sum(-1) for window in windows])
    decision = refitted(out, options)
    assert ours["decision"]["offsets"] == decision.offsets.tolist()
    assert ours["decision"]["statistics"] == decision.statistics.tolist()
    results = [json.loads((folder / "result.json").read_text()) for folder in (out, alone)]
    assert results[0]["miou"] == pytest.approx(results[1]["miou"], abs=0.01)


def refitted(out, options):
    """What one process fits to the network that two have trained: images come alone in both."""
    config = TrainConfig(**{**options, "out": str(out)})
    fabric, data = make_fabric(config), load_data(config)
    fit = make_fit(len(data.classes), fabric)
    network = read_saved(str(out)).network
    options = {"part": "val", "config": config, "stop": lambda: False}
    evaluate_each(fabric, network, data, [None], **options, fit=fit)
    return fit.compute()


def stopped(options, rows, *words):
    """Its log, of a run that is stopped once that has so many rows."""
    log = Path(options["out"]) / "log.jsonl"
    process = start([*TOGETHER, *words], options)
    deadline = time.monotonic() + 60
    while not log.exists() or log.read_text().count("\n") < rows:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    code, _, _ = finish(process)
    assert code != 0
    return log.read_text().splitlines()


@pytest.mark.slow
def test_a_stopped_run_goes_on(options):
    long = options | {"out": options["out"] + "-stopped", "epochs": 2000}
    before = stopped(long, 2)
    progress = read(Path(long["out"]) / "checkpoint.pt")["progress"]
    assert len(before) == progress["epoch"]
    after = stopped(long, len(before) + 2, "--resume")
    assert after[: len(before)] == before


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"norm": "batch"},
            "model: expected a network without batch normalisation, which torch cannot share among"
            " processes without an accelerator; the U-Net has --norm group",
        ),
        (
            {"batch_size": 1},
            "torchrun: expected at most as many processes as images in a batch (1) and in the"
            " smallest part (3), got 2",
        ),
    ],
)
def test_what_several_processes_need_is_said_before_the_run(
    options, changes, sentence, monkeypatch, capsys
):
    # what torchrun tells the first of two processes: it says this before it waits for the other
    told = {"TORCHELASTIC_RUN_ID": "1", "RANK": "0", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    out = options["out"] + "-wrong"
    assert run(["train", *arguments(options | {"out": out} | changes)]) == 2
    assert f"lovasz: error: {sentence}" in capsys.readouterr().err
    assert not Path(out).exists()


@pytest.mark.slow
def test_a_wrong_mask_that_one_process_sees_ends_both(options, make_squares, tmp_path):
    data = make_squares(tmp_path / "squares", {"train": 3, "val": 2})
    Image.fromarray(np.full((16, 16), 9, dtype=np.uint8)).save(data / "val/masks/1.png")
    out = tmp_path / "run"
    code, _, said = finish(start(TOGETHER, options | {"data": str(data), "out": str(out)}))
    assert code != 0
    sentence = "val/masks/1.png: expected labels from 0 to 2 or 255 for no label, got 9"
    assert said.count(f"lovasz: error: {data}/{sentence}") >= 1
    assert not out.exists()
