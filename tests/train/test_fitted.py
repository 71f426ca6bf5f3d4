"""The fitted decision of a checkpoint: read, checked, asked for, told."""

from __future__ import annotations

import json
import math

import pytest
import torch

from lovasz import Decision
from lovasz.train.commands import run
from lovasz.train.errors import UserError
from lovasz.train.fitted import described, gain_words
from lovasz.train.saved import read_saved
from tests.train.decided import CLEAR, NOISE, OFFSETS, with_decision, without_decision


def test_it_is_read_with_the_network(trained, tmp_path):
    decision = read_saved(with_decision(trained, tmp_path)).decision
    assert decision is not None
    assert decision.offsets.tolist() == OFFSETS
    assert (decision.score_of_argmax, decision.score, decision.gain) == tuple(CLEAR[:3])
    assert decision.interval == tuple(CLEAR[3:])
    assert not decision.within_noise
    noisy = read_saved(with_decision(trained, tmp_path, statistics=NOISE)).decision
    assert noisy is not None
    assert noisy.interval == (-math.inf, math.inf)
    assert noisy.within_noise
    assert read_saved(without_decision(trained, tmp_path)).decision is None


@pytest.mark.parametrize(
    ("decision", "message"),
    [
        ({"offsets": OFFSETS[:2]}, "a finite offset for each of the 3 classes, got [-1.5, 0.25];"),
        ({"offsets": [0.0, math.nan, 0.0]}, "classes, got [0.0, nan, 0.0];"),
        ({"offsets": [0.0, 1.0, math.inf]}, "classes, got [0.0, 1.0, inf];"),
        ({"offsets": "none"}, "classes, got none;"),
        ({"statistics": CLEAR}, "classes, got None;"),
        ({"offsets": OFFSETS}, "5 statistics, got None;"),
        ({"offsets": OFFSETS, "statistics": CLEAR[1:]}, "5 statistics, got [0.5625, "),
        ("fitted", "classes, got fitted;"),
    ],
)
def test_one_that_does_not_fit_is_one_sentence(trained, tmp_path, decision, message):
    path = with_decision(trained, tmp_path, decision)
    with pytest.raises(UserError) as error:
        read_saved(path)
    assert str(error.value).startswith(f"{path}: expected its decision to have ")
    assert message in str(error.value)
    assert str(error.value).endswith("take another copy, or train again")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("command", ["predict", "export"])
def test_a_checkpoint_without_one_cannot_decide_by_it(trained, tmp_path, capsys, command):
    path = without_decision(trained, tmp_path / "earlier")
    out = tmp_path / "masks" if command == "predict" else tmp_path / "new" / "network.pt2"
    images = [str(trained.parent / "squares" / "test" / "images")] if command == "predict" else []
    assert run([command, path, *images, f"--out={out}", "--decision=fitted"]) == 2
    said, error = capsys.readouterr()
    assert error.startswith(f"lovasz: error: decision: expected fitted offsets in {path}, found")
    for reason in ("not finished", "an earlier version", "without a labelled pixel", "--resume"):
        assert reason in error
    assert error.count("\n") == 1
    assert said == ""
    assert not out.exists()


@pytest.mark.parametrize("command", ["predict", "export"])
def test_another_word_is_refused(trained, tmp_path, capsys, command):
    images = ["photos"] if command == "predict" else []
    with pytest.raises(SystemExit):
        run([command, str(trained), *images, f"--out={tmp_path / 'x'}", "--decision=best"])
    assert "argmax" in capsys.readouterr().err


def test_its_gain_in_words_and_in_json():
    decision = Decision(3)
    decision.offsets.copy_(torch.tensor(OFFSETS))
    for numbers, words, low in (
        (CLEAR, "+3.1 points of mIoU (95 % interval +1.6 to +4.7)", CLEAR[3]),
        ([0.5, 0.5, -0.02, -0.04, -0.0001], "−2.0 points of mIoU (95 % interval −4.0 to +0.0)", 0),
        (NOISE, "+0.0 points of mIoU (too few images for an interval)", None),
    ):
        decision.statistics.copy_(torch.tensor(numbers))
        assert gain_words(decision) == words
        about = json.loads(json.dumps(described(decision), allow_nan=False))
        assert about["offsets"] == OFFSETS
        assert about["within_noise"] is (numbers is not CLEAR)
        if low != 0:
            assert about["interval"][0] == low
            assert (about["score_of_argmax"], about["score"]) == (0.5, 0.5625)
