from __future__ import annotations

from pathlib import Path

import pytest

from lovasz.train.data import DataSet
from lovasz.train.runs import Run
from lovasz.train.summary import summarise


def run(loss, seed, miou, iou=(0.5, None)):
    result = {
        "miou": miou,
        "accuracy": 0.9,
        "iou": list(iou),
        "seconds": 30,
        "confusion": [[3, 1], [0, 0]],
    }
    return Run(loss, 0.01, seed, Path(), result, [])


@pytest.fixture
def summary(train_config):
    runs = [
        run("cross-entropy", 0, 0.20),
        run("cross-entropy", 1, 0.30),
        run("both", 1, 0.34),
        run("both", 0, 0.22),
        run("both", 2, 0.90),
    ]
    return summarise(train_config(), DataSet("", ["sky", "sea"], {}), runs)


def test_differences_are_paired_by_seed(summary):
    (pair,) = summary.differences
    assert pair.by_seed == {1: pytest.approx(0.04), 0: pytest.approx(0.02)}
    assert f"{pair.spread:+}" == "+3.0 ± 1.4"
    assert pair.higher == 2


def test_mean_and_deviation_over_the_seeds(summary):
    first, second = summary.losses
    assert (str(first.argmax.miou), first.difference) == ("25.0 ± 7.1", "")
    assert (len(second.runs), second.difference) == (3, "+3.0 ± 1.4")
    assert first.minutes == 0.5


def test_other_means_are_shown_where_all_runs_have_them(summary):
    first, second = summary.losses
    assert first.argmax.fine == [None] * 4
    for run in second.runs:
        run.result["miou_c"] = 0.25
    assert [str(spread) for spread in second.argmax.fine] == ["None", "25.0 ± 0.0", "None", "None"]


def test_absent_classes_have_no_iou(summary):
    assert str(summary.losses[0].argmax.iou(0)) == "50.0 ± 0.0"
    assert summary.losses[0].argmax.iou(1) is None
    assert summary.shares() == [1, 0]
