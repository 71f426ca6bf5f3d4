from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from lovasz.train import cli
from lovasz.train.commands import run


def arguments(options, **changes):
    """Options as words of the command line; JSON is YAML on one line."""
    words = {name: v if isinstance(v, str) else json.dumps(v) for name, v in options.items()}
    words |= {name: v if isinstance(v, str) else json.dumps(v) for name, v in changes.items()}
    return [f"--{name}={word}" for name, word in words.items()]


def test_import_lovasz_does_not_import_the_trainer():
    code = "import lovasz, sys; print([m for m in ('lovasz.train', 'monai') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_missing_extra_is_one_sentence(monkeypatch, capsys):
    monkeypatch.setattr(cli, "find_spec", lambda name: None if name == "monai" else find_spec(name))
    assert cli.main(["train"]) == 2
    assert capsys.readouterr().err == (
        "lovasz: training needs monai: run pip install '.[train]' in a checkout of lovasz\n"
    )


def test_help_names_the_commands_and_their_options(capsys):
    for words, expected in (([], "compare"), (["train"], "--loss"), (["compare"], "--seeds")):
        with pytest.raises(SystemExit, match="0"):
            cli.main([*words, "--help"])
        assert expected in capsys.readouterr().out


def test_train_writes_all_its_files_and_its_config_reproduces_it(options, tmp_path, capsys):
    assert cli.main(["train", *arguments(options, epochs=1)]) == 0
    out = Path(options["out"])
    names = {path.name.split(".out.")[0] for path in out.iterdir()}
    assert names == {
        ".lock",
        "config.yaml",
        "log.jsonl",
        "events",
        "checkpoint.pt",
        "confusion.csv",
        "pictures.npz",
        "val.json",
        "result.json",
        "report.html",
    }
    assert "mIoU on the test part" in capsys.readouterr().out
    again = tmp_path / "again"
    assert cli.main(["train", f"--config={out / 'config.yaml'}", f"--out={again}"]) == 0
    assert (again / "log.jsonl").read_bytes() == (out / "log.jsonl").read_bytes()
    assert (again / "confusion.csv").read_bytes() == (out / "confusion.csv").read_bytes()
    first, second = (yaml.safe_load((p / "config.yaml").read_text()) for p in (out, again))
    assert {name for name in first if first[name] != second[name]} == {"out"}


def test_without_test_part_screen_and_report_say_so(options, squares, capsys):
    shutil.rmtree(squares / "test")
    assert run(["train", *arguments(options, epochs=1)]) == 0
    printed = capsys.readouterr().out
    assert "There is no test part: results are those of the validation part." in printed
    assert "mIoU on the validation part" in printed
    report = (Path(options["out"]) / "report.html").read_text(encoding="utf-8")
    assert "The data set has no test part" in report
    assert "mIoU worst per class, %" in report
    assert "Differences" not in report


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": "nowhere"}, "lovasz: error: data: expected a folder, got nowhere, which is none"),
        ({"epochs": 0}, "lovasz: error: epochs: expected 1 or more, got 0"),
        ({"lr": 0.0}, "lovasz: error: lr: expected more than 0, got 0.0"),
        ({"warmup": 1.0}, "lovasz: error: warmup: expected a fraction from 0 up to 1, got 1.0"),
        ({"loss_schedule": [{"epoch": 0}]}, "lovasz: error: loss_schedule: expected points with "),
        (
            {"loss_schedule": [{"epoch": 0, "cross_entropy": 0, "lovasz": 0}]},
            "lovasz: error: loss_schedule: LossSchedule: expected a finite epoch",
        ),
        (
            {
                "loss": "cross-entropy",
                "loss_schedule": [{"epoch": 0, "cross_entropy": 1, "lovasz": 1}],
            },
            "lovasz: error: loss_schedule: expected the loss both, got cross-entropy",
        ),
        ({"resume": True}, "lovasz: error: resume: expected a run in"),
        ({"lovasz_args": {"bars": 3}}, "lovasz: error: lovasz_args: "),
        ({"lovasz_args": {"reduction": "none"}}, "lovasz: error: lovasz_args: expected options "),
        ({"lovasz_args": {"weight": [1.0]}}, "lovasz: error: lovasz_args: "),
    ],
)
def test_errors_of_the_user_are_one_line_and_status_2(options, capsys, changes, message):
    words = arguments(options, **changes)
    words = ["--resume" if word.startswith("--resume") else word for word in words]
    assert run(["train", *words]) == 2
    error = capsys.readouterr().err
    assert error.startswith(message)
    assert error.count("\n") == 1
    assert not Path(options["out"]).exists()


def test_a_folder_with_a_run_is_not_overwritten(options, capsys):
    out = Path(options["out"])
    out.mkdir()
    (out / "config.yaml").write_text("lr: 1\n")
    assert run(["train", *arguments(options)]) == 2
    assert "already holds a run; continue it with --resume" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["train", pytest.param("compare", marks=pytest.mark.slow)])
def test_ctrl_c_leaves_checkpoint_and_report_and_says_how_to_resume(options, tmp_path, command):
    options["epochs"] = 500
    extra = [] if command == "train" else ["--learning_rates=[0.01]", "--jobs=1", "--seeds=[0,1]"]
    process = subprocess.Popen(
        [sys.executable, "-m", "lovasz.train.cli", command, *arguments(options), *extra],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "COLUMNS": "200"},
    )
    out = Path(options["out"])
    deadline = time.monotonic() + 60
    while not any(p.stat().st_size > 300 for p in out.rglob("log.jsonl")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    printed, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (130, "")
    assert f"Continue with: lovasz {command} --config {out / 'config.yaml'} --resume" in printed
    assert "Interrupted." in (out / "report.html").read_text(encoding="utf-8")
    assert len(list(out.rglob("checkpoint.pt"))) == 1
