"""Runs whose loss or network is not finite any more, and float16 with its scaler."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from lightning_fabric.plugins import MixedPrecision

from lovasz.train import checkpoint, processes
from lovasz.train.commands import run
from lovasz.train.data import load_data
from lovasz.train.divergence import FiniteCheck
from lovasz.train.errors import DivergedError
from lovasz.train.evaluate import Interrupted
from lovasz.train.loop import test as evaluate_run
from lovasz.train.loop import train
from tests.train.test_cli import arguments
from tests.train.test_loop import EPOCH, StopAfter, assert_same, never, outcome, quiet

# Counts its training steps, and at one it is not finite: its logits, or only a statistic that its
# evaluation would use.
BROKEN = """
import torch
from torch import nn

class Network(nn.Module):
    steps = 0
    breaks = {}

    def __init__(self, in_channels, num_classes):
        super().__init__()
        self.layer = nn.Conv2d(in_channels, num_classes, 3, padding=1)
        self.register_buffer("mask", torch.tensor(-torch.inf))  # as attention has it
        self.register_buffer("scale", torch.tensor(1.0))

    def forward(self, images):
        logits = self.layer(images)
        if self.training and images.any():  # not in the trial, whose images are blank
            Network.steps += 1
            if Network.steps == self.breaks.get("statistic"):
                self.scale.fill_(torch.inf)
            return logits * torch.nan if Network.steps == self.breaks.get("logits") else logits
        return logits * self.scale
"""


@pytest.fixture
def broken(tmp_path, monkeypatch):
    """The options for a network, and at which step it breaks."""
    (tmp_path / "broken.py").write_text(BROKEN)
    monkeypatch.syspath_prepend(str(tmp_path))

    def network(**breaks):
        from broken import Network

        Network.steps, Network.breaks = 0, breaks
        return {"model": "broken:Network", "model_args": {}}

    return network


def test_a_rate_that_is_too_high_is_one_sentence_and_status_3(options, capsys):
    assert run(["train", *arguments(options, lr=1e30, loss="cross-entropy")]) == 3
    error = capsys.readouterr().err
    assert re.fullmatch(
        r"lovasz: error: lr: the loss is (nan|inf) at step \d of 9 \(learning rate .*\);"
        r" try a lower --lr\n",
        error,
    )
    written = {path.name for path in Path(options["out"]).iterdir()}
    assert written == {".lock", "config.yaml", "log.jsonl"}


@pytest.mark.parametrize(
    ("breaks", "said"),
    [
        ({"logits": 5}, "the loss is nan at step 5 of 9 (learning rate 0.00177, of --lr 0.003)"),
        ({"statistic": 5}, "scale of the network is not finite after step 6 of 9"),
    ],
)
def test_the_checkpoint_before_stays_and_goes_on(
    train_config, options, tmp_path, broken, capsys, breaks, said
):
    straight = train_config(**broken(), out=str(tmp_path / "straight"), precision="bf16-mixed")
    train(straight, load_data(straight), quiet, never)
    evaluate_run(straight, load_data(straight), never)
    words = arguments(options, **broken(**breaks), precision="bf16-mixed")
    assert run(["train", *words]) == 3
    out = Path(options["out"])
    error = capsys.readouterr().err
    assert said in error
    assert f"; try a lower --lr or --precision 32-true; {out}/checkpoint.pt holds step 3" in error
    assert not (out / "val.json").exists()
    assert len((out / "log.jsonl").read_text().splitlines()) == 1
    broken()
    assert run(["train", *words, "--resume"]) == 0
    assert_same(outcome(train_config()), outcome(straight))


def test_on_an_accelerator_the_losses_are_read_now_and_then(train_config):
    network = torch.nn.Linear(1, 1)
    strategy = SimpleNamespace(precision=None)
    fabric = SimpleNamespace(device=torch.device("cuda"), strategy=strategy)
    check = FiniteCheck(train_config(), network, 1000, fabric)
    for step in range(1, 100):
        check.observe(torch.tensor(torch.nan if step == 70 else 0.5), step)
        assert not check.found
    check.observe(torch.tensor(0.5), 100)
    assert check.found.startswith("the loss is nan at step 70 of 1000")
    check = FiniteCheck(train_config(), network, 1000, fabric)
    check.observe(torch.tensor(torch.inf), 1)
    check.before_use()
    assert "the loss is inf at step 1 of 1000" in check.sentence()


def scaled(monkeypatch, **options):
    """Let float16 begin with a scaler of these options."""

    def precision(config):
        scaler = torch.amp.GradScaler("cpu", **options)
        return {"plugins": MixedPrecision("16-mixed", "cpu", scaler)}

    monkeypatch.setattr(processes, "_precision", precision)


def test_float16_has_a_scaler_on_the_processor_too(train_config):
    config = train_config(precision="16-mixed", epochs=1)
    train(config, load_data(config), quiet, never)
    state = checkpoint.read(Path(config.out) / "checkpoint.pt")
    assert state["precision"]["_growth_tracker"] == 3


@pytest.mark.parametrize("stops", [[1], [EPOCH, 1]])
def test_float16_resumes_bit_for_bit_where_steps_are_skipped(
    train_config, tmp_path, monkeypatch, stops
):
    # The first steps overflow and are skipped; later the factor grows, and overflows again.
    scaled(monkeypatch, init_scale=2.0**18, growth_interval=2)
    straight = train_config(precision="16-mixed", loss="both")
    train(straight, load_data(straight), quiet, never)
    evaluate_run(straight, load_data(straight), never)
    broken = train_config(precision="16-mixed", loss="both", out=str(tmp_path / "broken"))
    for times in stops:
        with pytest.raises(Interrupted):
            train(broken, load_data(broken), quiet, StopAfter(times))
    train(broken, load_data(broken), quiet, never)
    evaluate_run(broken, load_data(broken), never)
    assert_same(outcome(broken), outcome(straight))
    state = outcome(straight)[2]
    steps = [int(entry["step"]) for entry in state["optimizer"]["state"].values()]
    assert 0 < max(steps) < 9


def test_float16_whose_every_step_is_skipped_has_diverged(train_config, monkeypatch):
    scaled(monkeypatch, init_scale=2.0**-11)
    config = train_config(precision="16-mixed")
    with pytest.raises(DivergedError, match=r"no gradient is finite in float16 after step 3 of 9"):
        train(config, load_data(config), quiet, never)
    assert not (Path(config.out) / "checkpoint.pt").exists()


def test_checkpoints_of_earlier_versions_load(train_config, tmp_path):
    config = train_config(epochs=2)
    with pytest.raises(Interrupted):
        train(config, load_data(config), quiet, StopAfter(EPOCH))
    path = Path(config.out) / "checkpoint.pt"
    content = checkpoint.read(path)
    del content["precision"]
    torch.save({**content, "scheduler": {"last_epoch": 4}}, path)
    train(config, load_data(config), quiet, never)
    straight = train_config(epochs=2, out=str(tmp_path / "straight"))
    train(straight, load_data(straight), quiet, never)
    rows = [(Path(c.out) / "log.jsonl").read_text() for c in (config, straight)]
    assert rows[0] == rows[1]
    assert [json.loads(row)["lr"] for row in rows[0].splitlines()] == pytest.approx(
        [0.003 * (2 / 3) ** 0.9, 0.003 * (1 / 6) ** 0.9]
    )
