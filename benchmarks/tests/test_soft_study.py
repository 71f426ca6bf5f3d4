"""The study of soft labels runs, on one epoch of few images; no mIoU is asserted."""

import json
from dataclasses import replace

import pytest
import torch
from torch import nn

from benchmarks import soft_study, soft_table
from benchmarks.soft_study import Setting
from lovasz.train.data import load_data


@pytest.fixture
def study(tmp_path, monkeypatch):
    """The study with its training replaced: the order of its runs, and their outcome."""
    asked = []

    def fake(_, setting):
        asked.append(setting)
        worth = setting.seed / 100 + 0.1 * ("both" in setting.variant)
        row = {"miou": 0.3 + worth, "accuracy": 0.5, "ece": 0.1, "iou": [0.5, None]}
        return {**vars(setting), **row, "seconds": 1.0}

    monkeypatch.setattr(soft_study, "run", fake)
    files = ["--folder", str(tmp_path), "--output", str(tmp_path / "study.json"), "--jobs", "1"]
    return asked, tmp_path, lambda *more: soft_study.main([*files, "--seeds", "3", "5", *more])


def test_the_teachers_come_first_and_what_is_done_is_not_done_again(study):
    asked, folder, main = study
    main()
    assert [setting.variant for setting in asked[:2]] == ["teacher", "teacher"]
    assert len(asked) == 2 + 2 * len(soft_table.TITLES)
    assert all((s.teacher_epochs > 0) == ("teacher-" in s.variant) for s in asked)
    runs = folder / "runs.jsonl"
    runs.write_text(runs.read_text()[:-20])  # ended while it wrote the last line
    main()
    assert len(asked) == 3 + 2 * len(soft_table.TITLES)
    found = json.loads((folder / "study.json").read_text())
    table = soft_table.table(found)
    assert "| hard labels: Lovász | 34.0 (1.4) | 50.0 (0.0) | 10.0 (0.0) |" in table
    assert "Lovász of smoothed labels − smoothed cross-entropy: Lovász of hard labels" in table
    assert table.count("| +10.0 ± 0.0 |") == 6


def test_a_part_of_the_variants(study):
    asked, folder, main = study
    main("--variants", "hard", "smooth-ce")
    assert [setting.variant for setting in asked] == ["hard", "smooth-ce"] * 2
    assert "teachers" not in soft_table.table(json.loads((folder / "study.json").read_text()))


def test_an_epoch_of_real_training(tmp_path, monkeypatch):
    data = load_data(Setting("hard", 0, 1, 0.003).config())
    few = {name: torch.utils.data.Subset(part, range(8)) for name, part in data.parts.items()}
    monkeypatch.setattr(soft_study, "load_data", lambda _: replace(data, parts=few))
    for variant in ("teacher", *soft_table.TITLES):
        setting = Setting(variant, 7, 1, 0.003, int(variant.startswith("teacher-")))
        row = soft_study.run(tmp_path, setting)
        assert 0 < row["miou"] < 1
        assert 0 < row["ece"] < 1
        if variant == "teacher-both":
            assert row["miou"] == soft_study.run(tmp_path, setting)["miou"]


class Confident(nn.Module):
    """Logits that say the first class with a probability of 0.8, of two."""

    def forward(self, images):
        logits = torch.zeros(len(images), 2, *images.shape[2:])
        logits[:, 0] = torch.tensor(4.0).log()
        return logits


def test_the_calibration_error_is_accuracy_less_confidence():
    data = load_data(Setting("hard", 0, 1, 0.003).config())
    labels = torch.arange(100).view(10, 10).ge(70).to(torch.uint8)  # 70 % are of the first class
    part = [(torch.zeros(3, 10, 10, dtype=torch.uint8), labels)] * 3
    error = soft_study.calibration_error(Confident(), replace(data, parts={"test": part}), 2)
    assert error == pytest.approx(0.1, abs=1e-6)
