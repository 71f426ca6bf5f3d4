"""Files of a run on a full disk, its TensorBoard events, and names that look like markup."""

from __future__ import annotations

import errno
import io
import json
import math
import os
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lovasz.train import checkpoint, commands, progress
from lovasz.train.commands import run
from lovasz.train.data import load_data
from lovasz.train.errors import UserError, WriteError
from lovasz.train.evaluate import Interrupted
from lovasz.train.events import Events
from lovasz.train.loop import train
from lovasz.train.writing import replacing, write_json
from tests.train.test_cli import arguments
from tests.train.test_loop import EPOCH, StopAfter, never, quiet

FULL = Path("/dev/full")  # every byte that is written to it finds the disk full
needs_full = pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")


@needs_full
@pytest.mark.parametrize(
    "name", ["config.yaml", "checkpoint.pt", "val.json", "pictures.npz", "report.html"]
)
def test_a_full_disk_is_one_sentence_and_leaves_no_half_file(options, capsys, name):
    out = Path(options["out"])
    out.mkdir()
    (out / f"{name}.tmp").symlink_to(FULL)
    words = ["train", *arguments(options, epochs=1, crop=8)]
    assert run(words) == 2
    error = capsys.readouterr().err
    assert error.startswith("lovasz: error: ")
    assert error.count("\n") == 1
    assert f"{out / name}: No space left on device" in error
    assert not list(out.glob("*.tmp"))
    assert not (out / name).exists()
    # with room again
    assert run([*words, "--resume"] if name != "config.yaml" else words) == 0
    assert (out / name).exists()


@needs_full
@pytest.mark.parametrize("name", ["checkpoint.pt", "log.jsonl"])
def test_a_full_disk_leaves_the_files_before(train_config, name):
    config = train_config()
    with pytest.raises(Interrupted):
        train(config, load_data(config), quiet, StopAfter(EPOCH))
    path = Path(config.out) / name
    before = path.read_bytes()
    path.with_name(f"{name}.tmp").symlink_to(FULL)
    with pytest.raises(WriteError, match="No space left on device; the file before it is kept"):
        train(config, load_data(config), quiet, never)
    assert path.read_bytes() == before


@needs_full
def test_events_on_a_full_disk(tmp_path):
    events = Events(tmp_path, 0)
    events.path = FULL
    with pytest.raises(WriteError, match="cannot write /dev/full: No space left"):
        events.add(1, {"loss": 0.5})


def test_what_interrupts_the_writing_leaves_the_file_before(tmp_path):
    write_json(tmp_path / "a.json", {"a": 1})

    def interrupted(kind):
        with replacing(tmp_path / "a.json") as file:
            file.write(b"half")
            raise kind

    for kind in (KeyboardInterrupt, RuntimeError):
        with pytest.raises(kind):
            interrupted(kind)
    assert json.loads((tmp_path / "a.json").read_text()) == {"a": 1}
    assert os.listdir(tmp_path) == ["a.json"]


def test_tensorboard_has_each_epoch_once_after_kills_and_resumes(train_config):
    config = train_config()

    def crash() -> bool:
        raise MemoryError

    # in the second epoch, in the evaluation after it and in the third epoch
    for stop in (StopAfter(EPOCH), StopAfter(3), StopAfter(EPOCH)):
        with pytest.raises(Interrupted):
            train(config, load_data(config), quiet, stop)
    with pytest.raises(MemoryError):
        train(config, load_data(config), quiet, crash)
    train(config, load_data(config), quiet, never)
    read = EventAccumulator(config.out).Reload()
    rows = [json.loads(line) for line in (Path(config.out) / "log.jsonl").read_text().splitlines()]
    for name in ("loss", "miou", "accuracy", "lr"):
        shown = [(event.step, event.value) for event in read.Scalars(name)]
        assert shown == [(row["epoch"], pytest.approx(row[name])) for row in rows]


def test_events_of_a_row_without_a_number(tmp_path):
    events = Events(tmp_path, 0)
    events.add(1, {"loss": None})
    events.add(2, {"loss": 0.5})
    # as if the epochs after the first were lost, and done again
    again = Events(tmp_path, 1)
    again.add(2, {"loss": 0.25})
    shown = EventAccumulator(str(tmp_path)).Reload().Scalars("loss")
    assert [event.step for event in shown] == [1, 2]
    assert math.isnan(shown[0].value)
    assert shown[1].value == 0.25


def test_checkpoints_within_an_epoch(train_config, monkeypatch):
    """A run that is killed loses no more than what came after the last of them."""
    config = train_config(checkpoint_minutes=1e-9)
    at = []
    monkeypatch.setattr(
        checkpoint, "save", lambda out, progress, *_: at.append((progress.epoch, progress.step))
    )
    train(config, load_data(config), quiet, never)
    assert at == [
        *[(0, 1), (0, 2), (0, 3), (1, 0)],
        *[(1, 1), (1, 2), (1, 3), (2, 0)],
        *[(2, 1), (2, 2), (2, 3), (3, 0)],
    ]
    at.clear()
    config = train_config(checkpoint_minutes=0, out=f"{config.out}-0")
    train(config, load_data(config), quiet, never)
    assert at == [(1, 0), (2, 0), (3, 0)]


def test_a_checkpoint_holds_what_it_is_given_besides(tmp_path, train_config):
    config = train_config(epochs=1)
    train(config, load_data(config), quiet, never)
    network = torch.nn.Linear(1, 1)
    optimizer = torch.optim.SGD(network.parameters(), 0.1)
    state = checkpoint.State(network, optimizer, network, network)
    checkpoint.save(tmp_path, checkpoint.Progress(), state, {"data": {"classes": ["a"]}})
    content = checkpoint.read(tmp_path / "checkpoint.pt")
    assert content["data"] == {"classes": ["a"]}
    assert checkpoint.load(tmp_path, state).step == 0


def test_a_file_that_loads_badly_leaves_a_checkpoint(train_config, squares):
    config = train_config()
    data = load_data(config)
    image = squares / "train/images/0.png"
    whole = image.read_bytes()
    image.write_bytes(whole[:60])
    with pytest.raises(UserError, match=r"0\.png: expected an image"):
        train(config, data, quiet, never)
    image.write_bytes(whole)
    train(config, data, quiet, never)
    assert (Path(config.out) / "val.json").exists()


NAMES = ["[/b]", "[red]bus[/red]", r"\[x]", ":car: $a_1$ $"]


def test_names_that_look_like_markup_are_shown_as_they_are(options, squares, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    (squares / "classes.txt").write_text("\n".join(NAMES), encoding="utf-8")
    odd = squares.rename(squares.with_name("[bold]squares[b]"))
    out = Path(options["out"]).with_name("[link]run")
    options |= {"data": str(odd), "out": str(out), "epochs": 1}
    weights = out / "weights.json"
    assert run(["weights", str(odd), f"--out={weights}"]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in NAMES)
    assert str(weights) in printed
    assert run(["train", *arguments(options)]) == 0
    printed = capsys.readouterr().out
    assert "[bold]squares[b] (folders by part)" in printed
    assert f"Report: {out}/report.html" in printed
    assert all(name.replace("&", "&amp;") in (out / "report.html").read_text() for name in NAMES)
    assert run(["train", *arguments(options)]) == 2
    assert "[link]run already holds a run" in capsys.readouterr().err


def test_there_is_one_console():
    """Any other would read markup in names."""
    source = Path(progress.__file__).parent
    made = [path.name for path in source.rglob("*.py") if "Console(" in path.read_text("utf-8")]
    assert made == ["progress.py"]


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "train: No space left on device"),
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB."),
            "train: CUDA out of memory; try a lower --batch-size or --crop",
        ),
    ],
)
def test_what_the_machine_lacks_is_one_sentence(options, monkeypatch, capsys, error, sentence):
    def fail(*_):
        raise error

    monkeypatch.setattr(commands, "train", fail)
    assert run(["train", *arguments(options)]) == 2
    assert capsys.readouterr().err == f"lovasz: error: {sentence}\n"


def test_bars_show_names_as_they_are():
    console = progress.screen()
    console.file = io.StringIO()
    shown = progress.bars(console)
    shown.update(progress.add_bar(shown, "[/b] :car:"), text="[red]1", total=2)
    console.print(shown.get_renderable())
    assert "[/b] :car:" in console.file.getvalue()
    assert "[red]1" in console.file.getvalue()


def test_files_of_events_are_in_the_order_of_their_names(tmp_path):
    names = [Events(tmp_path, 0).path.name for _ in range(12)]
    assert sorted(names) == names
