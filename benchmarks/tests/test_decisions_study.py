"""The study of decisions runs, on an epoch of few images; no score is asserted."""

import json
from dataclasses import replace

import torch

from benchmarks import decisions
from lovasz.train.data import load_data


def test_an_epoch_of_real_training(tmp_path, monkeypatch, capsys):
    few = {}

    def load(config):
        if not few:
            data = load_data(config)
            parts = {
                name: torch.utils.data.Subset(part, range(8 if name == "train" else 1))
                for name, part in data.parts.items()
            }
            few["data"] = replace(data, parts=parts)
        return few["data"]

    monkeypatch.setattr(decisions, "load_data", load)
    output = tmp_path / "decisions.json"
    files = ["--runs", str(tmp_path / "runs.jsonl"), "--output", str(output), "--rounds", "0"]
    some = [*files, "--seeds", "3", "--losses", "cross-entropy", "--epochs", "1"]
    decisions.main(some)
    (row,) = json.loads(output.read_text())["runs"]
    assert set(row["scores"]) == {"argmax", *decisions.FITS, "image dice", "image iou"}
    assert all(0 <= score <= 1 for found in row["scores"].values() for score in found.values())
    for fit in row["fits"].values():
        assert fit["score"] >= fit["score of argmax"]
    assert "| landcover: cross-entropy | validation, no labels | " in capsys.readouterr().out
    monkeypatch.setattr(decisions, "run", None)  # it is done, and not done again
    decisions.main(some)


def test_costs_are_ratios():
    found = decisions.costs([1, 3, 16, 16], 1)
    assert set(found) == {"contiguous", "channels last", "upsampled", "masks", "per image"}
    assert all(ratio > 0 for ratio in found.values())
