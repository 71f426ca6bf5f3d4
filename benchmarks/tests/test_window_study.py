"""The window study runs, on two steps; no mIoU is asserted."""

import json

import pytest
import torch

from benchmarks import momenta, window, window_table
from benchmarks.runs import read_lines

OPTIONS = [
    *("--data", "scenes", "--batch-sizes", "1", "4", "--losses", "both", "both-windowed"),
    *("--rates", "0.001", "0.01", "--seeds", "3", "5", "--steps", "2"),
]


@pytest.fixture
def study(tmp_path, monkeypatch):
    """The study with its training replaced: the order of its runs, and their outcome."""
    asked = []

    def fake(setting):
        asked.append(setting)
        worth = setting.seed / 100 + setting.batch_size / 10 + 0.2 * ("windowed" in setting.loss)
        score = {"val": worth + setting.lr, "test": worth + setting.seed * setting.lr}
        return {**vars(setting), **score, "accuracy": 0.5, "iou": [0.5, None], "seconds": 1.0}

    monkeypatch.setattr(window, "run", fake)
    files = ["--runs", str(tmp_path / "runs.jsonl"), "--output", str(tmp_path / "window.json")]
    return asked, tmp_path, lambda *more: window.main([*OPTIONS, *files, *more])


def test_the_search_comes_first_then_seed_by_seed(study):
    asked, folder, main = study
    main()
    assert [setting.seed for setting in asked] == [3] * 8 + [5] * 4
    assert {setting.lr for setting in asked[8:]} == {0.01}
    cells = json.loads((folder / "window.json").read_text())["cells"]
    assert [cell["test"] for cell in cells if cell["batch_size"] == 4] == [
        {"3": pytest.approx(0.46), "5": pytest.approx(0.50)},
        {"3": pytest.approx(0.66), "5": pytest.approx(0.70)},
    ]
    assert cells[0]["iou"] == [0.5, None]


def test_what_is_done_is_not_done_again(study):
    asked, folder, main = study
    main()
    runs = folder / "runs.jsonl"
    whole = runs.read_text()
    runs.write_text(whole[:-20])  # ended while it wrote the last line
    main()
    assert len(asked) == 13
    assert asked[12] == asked[11]
    main("--table")
    assert len(asked) == 13
    assert len(read_lines(window.Setting, runs)) == 12


def test_other_steps_and_momenta_are_other_runs(study):
    asked, _, main = study
    main()
    main("--momentum", "0.5")
    assert len(asked) == 12 + 6
    assert {setting.momentum for setting in asked[12:]} == {0.5}
    main("--steps", "3")
    assert len(asked) == 18 + 12
    main("--factor", "3")
    assert len(asked) == 30 + 12
    assert asked[-1].schedule() == [{"epoch": 0, "cross_entropy": 1, "lovasz": 3}]


def test_tables_of_a_part_of_the_runs(study, capsys):
    _, folder, main = study
    main("--seeds", "3")
    found = json.loads((folder / "window.json").read_text())
    assert "| scenes | 4 | 2 | 46.0 (0.01) | 66.0 (0.01) |" in window_table.miou_table(found)
    assert "| scenes | 1 | +20.0 |" in window_table.difference_table(found)
    capsys.readouterr()
    main("--table", "--losses", "both", "cross-entropy")
    out = capsys.readouterr().out
    assert "| data | batch size | steps | both |" in out
    assert "windowed" not in out


def test_table_of_momenta(study, capsys):
    _, folder, main = study
    main()
    first, other = folder / "window.json", folder / "other.json"
    main("--momentum", "0.5", "--losses", "both-windowed", "--output", str(other))
    found = json.loads(first.read_text())
    sums = [cell for cell in found["cells"] if cell["loss"] == "both"]
    found["cells"] += [{**cell, "loss": "lovasz-softmax"} for cell in sums]
    first.write_text(json.dumps(found))
    capsys.readouterr()
    output = ["--first", str(first), "--output", str(folder / "momenta.json")]
    momenta.main([*output, "--add", str(other)])
    printed = capsys.readouterr().out
    assert "| scenes | 4 | both-windowed − both | +20.0 ± 0.0 | +20.0 ± 0.0 |" in printed
    momenta.main([*output, "--add", str(other)])
    assert capsys.readouterr().out == printed


def test_interval_of_paired_differences():
    # Differences 0.02, 0.04, 0.01: standard deviation 0.015275, t(0.975, 2) = 4.3027.
    first, second = (
        {"test": {"0": a, "1": b, "2": c, "9": d}}
        for a, b, c, d in [(0.28, 0.30, 0.32, 0.1), (0.30, 0.34, 0.33, 0.2)]
    )
    del second["test"]["9"]
    mean, half = window_table.interval(window_table.paired(first["test"], second["test"]))
    assert mean == pytest.approx(0.0233333, abs=1e-6)
    assert half == pytest.approx(0.0379460, abs=1e-6)


@pytest.mark.slow
def test_two_steps_of_real_training(tmp_path):
    before = torch.get_num_threads()
    setting = window.Setting("landcover", 2, "both-windowed", 0.01, 0, steps=2, momentum=0.5)
    row = window.run(setting)
    again = window.run(setting)
    torch.set_num_threads(before)
    assert {name: row[name] for name in vars(setting)} == vars(setting)
    assert len(row["iou"]) == 17
    assert 0 < row["test"] < 1
    assert row["test"] == again["test"]


def test_a_repeated_part_goes_round():
    part = window.Repeated([(0, 0), (1, 1), (2, 2)], 7)
    assert [part[k][0] for k in range(len(part))] == [0, 1, 2, 0, 1, 2, 0]
