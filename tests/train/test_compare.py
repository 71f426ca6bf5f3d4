from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from lovasz.train import commands
from lovasz.train.commands import run
from lovasz.train.config import CompareConfig
from lovasz.train.data import load_data
from lovasz.train.figures import loss_colours
from lovasz.train.report import write_report
from lovasz.train.runs import (
    Task,
    all_diverged,
    chosen_lr,
    diverged_runs,
    finished_runs,
    open_tasks,
    record_divergence,
    tally,
)
from lovasz.train.summary import summarise
from tests.train.test_cli import arguments

LOSSES = ["cross-entropy", "lovasz-softmax"]


@pytest.fixture
def config(options):
    return CompareConfig(
        **{**options, "epochs": 2},
        losses=LOSSES,
        learning_rates=[0.001, 0.02],
        seeds=[3, 5],
    )


def finish(config, loss, lr, seed, miou):
    out = Path(config.run(loss, lr, seed).out)
    out.mkdir(parents=True, exist_ok=True)
    (out / "val.json").write_text(json.dumps({"miou": miou}))


def test_the_search_comes_first(config):
    assert open_tasks(config) == [
        Task(loss, lr, 3, test=False) for loss in LOSSES for lr in (0.001, 0.02)
    ]


def test_a_loss_with_a_whole_grid_goes_on_with_its_best_rate(config):
    finish(config, "cross-entropy", 0.001, 3, 0.4)
    assert chosen_lr(config, "cross-entropy") is None
    finish(config, "cross-entropy", 0.02, 3, 0.3)
    assert chosen_lr(config, "cross-entropy") == 0.001
    assert open_tasks(config) == [
        Task("lovasz-softmax", 0.001, 3, test=False),
        Task("lovasz-softmax", 0.02, 3, test=False),
        Task("cross-entropy", 0.001, 3, test=True),
        Task("cross-entropy", 0.001, 5, test=True),
    ]


def diverge(config, loss, lr, seed):
    out = Path(config.run(loss, lr, seed).out)
    out.mkdir(parents=True, exist_ok=True)
    record_divergence(out, "lr: the loss is nan at step 3 of 9; try a lower --lr")


def test_a_rate_that_diverged_is_not_chosen_and_not_tried_again(config):
    assert tally(config) == (0, 6)
    finish(config, "cross-entropy", 0.001, 3, 0.1)
    diverge(config, "cross-entropy", 0.02, 3)
    assert chosen_lr(config, "cross-entropy") == 0.001
    assert open_tasks(config)[2:] == [
        Task("cross-entropy", 0.001, 3, test=True),
        Task("cross-entropy", 0.001, 5, test=True),
    ]
    diverge(config, "cross-entropy", 0.001, 5)
    assert Task("cross-entropy", 0.001, 5, test=True) not in open_tasks(config)
    assert tally(config) == (3, 6)
    assert diverged_runs(config) == [
        "cross-entropy diverged with the learning rate 0.02, which cannot be chosen.",
        "cross-entropy diverged with seed 5 and the chosen learning rate 0.001; its results are"
        " those of the other seeds.",
    ]


def test_a_loss_that_diverged_with_every_rate_has_no_result(config, tmp_path):
    for lr in (0.001, 0.02):
        assert not all_diverged(config, "cross-entropy")
        diverge(config, "cross-entropy", lr, 3)
    assert chosen_lr(config, "cross-entropy") is None
    assert {task.loss for task in open_tasks(config)} == {"lovasz-softmax"}
    assert tally(config) == (2, 5)
    summary = summarise(config, load_data(config), finished_runs(config))
    write_report(tmp_path / "report.html", config, summary, complete=True)
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "No run has a result." in text
    assert (
        "cross-entropy diverged with every learning rate (0.001, 0.02) and has no result; lower"
        " ones may help." in text
    )
    assert text.count(">diverged</td>") == 2


def test_runs_of_a_seed_differ_in_the_loss_and_its_rate_only(config):
    one = vars(config.run("cross-entropy", 0.02, 3))
    other = vars(config.run("lovasz-softmax", 0.001, 3))
    assert {name for name in one if one[name] != other[name]} == {"loss", "lr", "out"}


def run_comparison(root, make_squares, *, classes, **changes):
    """Compare on new squares in a folder; where the results are, and the words that made them."""
    make_squares(root / "data", {"train": 4, "val": 2, "test": 3})
    (root / "data/classes.txt").write_text("\n".join(classes), encoding="utf-8")
    options = {
        "data": str(root / "data"),
        "model_args": {"channels": [4, 8]},
        "crop": 12,
        "batch_size": 2,
        "accelerator": "cpu",
        "out": str(root / "out"),
    }
    words = ["compare", *arguments(options, **changes)]
    assert run(words) == 0
    return root / "out", words


@pytest.fixture(scope="module")
def done(tmp_path_factory, make_squares):
    """A whole comparison, run once for the tests below."""
    return run_comparison(
        tmp_path_factory.mktemp("compare"),
        make_squares,
        classes=["dark", "red", "green", "never seen"],
        epochs=2,
        losses=LOSSES,
        learning_rates=[0.001, 0.02],
        seeds=[3, 5],
    )


def test_compare_runs_grid_and_seeds(done):
    runs = {path.name for path in (done[0] / "runs").iterdir()}
    assert len(runs) == 2 * 2 + 2  # the grid with one seed, then the other seed of each loss
    assert len(list(done[0].glob("runs/*/result.json"))) == 2 * 2


def test_report_of_a_comparison_is_complete_and_needs_no_network(done):
    text = (done[0] / "report.html").read_text(encoding="utf-8")
    for heading in (
        "Result",
        "Differences, paired by seed",
        "Learning curves",
        "Classes",
        "Predictions",
        "Choice of the learning rate",
        "What was run",
    ):
        assert f"<h2>{heading}</h2>" in text
    assert text.count('alt="truth"') == 3
    assert text.count('alt="prediction, Lovász-Softmax"') == 3
    assert "never seen" in text
    assert '">absent</td>' in text
    assert "Interrupted" not in text
    assert not re.findall(r"""(?:src|href)=["'](?!data:)|url\(|@import|https?://""", text)


def test_report_names_no_folder_of_the_machine(done):
    text = (done[0] / "report.html").read_text(encoding="utf-8")
    assert str(done[0].parent) not in text
    assert not re.findall(r"(?<![<\w.])/(?:home|tmp|root|work|usr)/", text)


def test_report_has_the_numbers_of_the_runs(done):
    from lovasz.train.summary import Spread

    text = (done[0] / "report.html").read_text(encoding="utf-8")
    for loss in LOSSES:
        results = [json.loads(p.read_text()) for p in done[0].glob(f"runs/{loss}-*/result.json")]
        values = [result["miou"] for result in results]
        assert f">{Spread(values)}</td>" in text


def test_a_report_that_fails_loses_nothing(done, capsys, monkeypatch):
    def fail(*_, **__):
        raise PermissionError("no room")

    out, words = done
    monkeypatch.setattr(commands, "write_report", fail)
    assert run([*words, "--resume"]) == 2
    printed = capsys.readouterr()
    assert "mIoU on the test part" in printed.out
    assert "could not be written (PermissionError: no room); all runs are kept" in printed.err
    assert "--resume" in printed.err
    assert len(list(out.glob("runs/*/result.json"))) == 2 * 2


@pytest.mark.parametrize("count", [1, 3, 7, 8, 40])
def test_losses_have_colours_of_their_own(count):
    assert len(set(loss_colours(count))) == count


def test_a_complete_comparison_is_not_run_again(done):
    out, words = done
    times = {path: path.stat().st_mtime_ns for path in out.glob("runs/*/*")}
    assert run([*words, "--resume"]) == 0
    assert {path: path.stat().st_mtime_ns for path in out.glob("runs/*/*")} == times


def test_resume_wants_the_same_options(done, capsys):
    _, words = done
    assert run([*words, "--resume", "--epochs=3"]) == 2
    assert "resume: expected epochs 2 as in" in capsys.readouterr().err
