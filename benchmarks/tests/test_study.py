"""The study of losses and decisions: what it trains, what it keeps, what it compares."""

import json
from dataclasses import replace
from functools import partial
from itertools import islice

import pytest
import torch
from torch import nn

from benchmarks import gradients
from benchmarks.runs import append, read_lines
from benchmarks.study import command, tasks, training
from benchmarks.study.cells import cells_of
from benchmarks.study.choice import chosen, search, wanted
from benchmarks.study.images import image_task
from benchmarks.study.losses import TITLES, compared
from benchmarks.study.rows import Results, read_committed, write
from benchmarks.study.scores import Calibration, scores_of
from benchmarks.study.tables import RENDERED
from benchmarks.study.task import IGNORE, Task
from benchmarks.study.training import Setting, run
from benchmarks.study.variants import TITLES as VARIANTS
from benchmarks.study.variants import Changing, variants
from benchmarks.window_table import paired
from lovasz.train.data import DataSet


def batches(seed):
    """Classes that can be told from the inputs, and some labels that are ignored."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        labels = torch.randint(3, (4, 8, 8), generator=generator)
        inputs = nn.functional.one_hot(labels, 3).movedim(-1, 1) + 0.3 * torch.randn(
            4, 3, 8, 8, generator=generator
        )
        labels[:, 0, 0] = IGNORE
        yield inputs, labels


@pytest.fixture
def task(monkeypatch):
    """A tiny one, under the name tiny."""
    found = Task(
        title="tiny",
        about="",
        classes=["a", "b", "c"],
        steps=3,
        batch_size=4,
        network=lambda: nn.Conv2d(3, 3, 1),
        batches=batches,
        part=lambda part: islice(batches(len(part)), 2),
        upsample="bilinear",
    )
    monkeypatch.setattr(training, "load", lambda _: found)
    monkeypatch.setattr(command, "load", lambda _: found)
    return found


def row(loss="both", lr=0.001, seed=0, *, val=0.5, fitted=0.5, test=0.4, task="landcover"):
    """As a training gives it."""
    scores = {"accuracy": 0.9, "image_miou": 0.3, "miou": test, "iou": [0.5, None]}
    ways = ("argmax", "fitted", "unlabelled", "image")
    found = {"task": task, "loss": loss, "lr": lr, "seed": seed, "steps": 3}
    if val is None:
        return {**found, "val": None}
    return {
        **found,
        "val": {"argmax": val, "fitted": fitted},
        "test": {way: {**scores, "miou": test + 0.01 * k} for k, way in enumerate(ways)},
        "calibration_error": 0.1,
    }


@pytest.mark.parametrize("loss", [*TITLES, *VARIANTS])
def test_every_loss_trains_and_is_scored_under_every_decision(task, loss):
    found = run(Setting("tiny", loss, 0.05, 0, 3))
    assert set(found["test"]) == {"argmax", "fitted", "unlabelled", "image"}
    for scores in found["test"].values():
        assert 0 <= scores["miou"] <= 1
        assert len(scores["iou"]) == 3
    assert json.loads(json.dumps(found)) == found  # no NaN
    assert found["test"] == run(Setting("tiny", loss, 0.05, 0, 3))["test"]


def test_argmax_and_accuracy_are_those_of_a_count_by_hand(task):
    network = nn.Conv2d(3, 3, 1)
    scores = scores_of(network, task)["test"]["argmax"]
    hits, decided, true = (torch.zeros(3) for _ in range(3))
    for inputs, labels in task.part("test"):
        kept = labels != IGNORE
        found = network(inputs).argmax(1)[kept]
        for c in range(3):
            hits[c] += ((found == c) & (labels[kept] == c)).sum()
            decided[c] += (found == c).sum()
            true[c] += (labels[kept] == c).sum()
    iou = hits / (decided + true - hits)
    assert scores["miou"] == pytest.approx(iou.mean().item(), abs=1e-5)
    assert scores["accuracy"] == pytest.approx((hits.sum() / true.sum()).item(), abs=1e-5)
    assert scores["iou"] == pytest.approx(iou.tolist(), abs=1e-5)


def test_a_training_that_diverges_has_no_scores(task, monkeypatch):
    monkeypatch.setattr(
        training, "compared", lambda _: {"both": lambda logits, _: logits.sum() * torch.nan}
    )
    assert run(Setting("tiny", "both", 0.1, 0, 3))["val"] is None


def test_calibration_error_of_bins_by_hand():
    calibration = Calibration()
    probabilities = torch.tensor([[[0.9, 0.9, 0.6, 0.2]], [[0.1, 0.1, 0.4, 0.8]]]).movedim(0, 1)
    calibration.update(probabilities, torch.tensor([[0, 1, 0, IGNORE]]))
    # Two pixels of confidence 0.9, one of them right, and one of confidence 0.6 that is right.
    assert calibration.error() == pytest.approx((0.8 + 0.4) / 3)


def test_the_grid_comes_first_and_each_decision_chooses_its_rate():
    ask = partial(wanted, {"landcover": 3}, ["both"], [0.001, 0.003], [0, 1])
    grid = search("landcover", "both", 3, [0.001, 0.003], 0)
    assert ask({}) == grid
    rows = {grid[0]: row(val=0.6, fitted=0.6), grid[1]: row(lr=0.003, val=0.5, fitted=0.7)}
    assert ask({grid[0]: rows[grid[0]]}) == grid[1:]
    assert chosen(grid, rows, "argmax") == 0.001
    assert chosen(grid, rows, "fitted") == 0.003
    others = ask(rows)
    assert [(s.lr, s.seed) for s in others] == [(0.001, 1), (0.003, 1)]
    assert ask({**rows, **dict.fromkeys(others, row())}) == []


def test_a_rate_that_diverged_is_never_chosen():
    grid = search("landcover", "both", 3, [0.001, 0.003], 0)
    assert chosen(grid, {grid[0]: row(val=None), grid[1]: row(lr=0.003)}, "argmax") == 0.003
    assert chosen(grid, dict.fromkeys(grid, row(val=None)), "argmax") is None


def test_what_is_there_is_not_trained_again(task, tmp_path, monkeypatch, capsys):
    asked = []

    def fake(setting):
        asked.append(setting)
        return row(setting.loss, setting.lr, setting.seed) | {"task": setting.task, "seconds": 1.0}

    monkeypatch.setattr(command, "run", fake)
    files = ["--runs", str(tmp_path / "runs.jsonl"), "--output", str(tmp_path / "study.json")]
    few = ["--tasks", "digits", "--losses", "both", "jml", "--seeds", "0", "1"]
    command.main([*files, *few])
    assert len(asked) == 2 * (3 + 1)  # the first of equal rates is chosen
    lines = (tmp_path / "runs.jsonl").read_text()
    (tmp_path / "runs.jsonl").write_text(lines[:-20])  # ended while it wrote
    command.main([*files, *few])
    assert len(asked) == 8  # the file of results has it
    (tmp_path / "study.json").unlink()
    command.main([*files, *few])
    assert len(asked) == 9
    command.main([*files, *few, "--anew", "--runs", str(tmp_path / "others.jsonl"), "--write"])
    assert read_committed(tmp_path / "study.json") == Results({}, {})


def test_rows_are_written_in_an_order_of_their_own(tmp_path):
    rows = [row("jml", seed=1), row("both", seed=1), row("both", seed=0)]
    for each in rows:
        append(tmp_path / "runs.jsonl", each)
    kept = read_lines(Setting, tmp_path / "runs.jsonl")
    tasks = {"landcover": {"title": "a", "about": "b", "classes": ["c"]}, "points": {}}
    write(tmp_path / "a.json", Results(kept, tasks))
    write(tmp_path / "b.json", Results(dict(reversed(kept.items())), tasks))
    assert (tmp_path / "a.json").read_text() == (tmp_path / "b.json").read_text()
    found = read_committed(tmp_path / "a.json")
    assert found == Results(kept, {"landcover": tasks["landcover"]})


def test_tables_compare_each_loss_at_its_own_rate():
    rows = [
        row(loss, lr, seed, val=0.5 + (lr == best) / 10, test=test + seed / 100)
        for loss, best, test in (("cross-entropy", 0.001, 0.3), ("both", 0.003, 0.4))
        for lr, seed in ((0.001, 0), (0.003, 0), (best, 1), (best, 2))
    ]
    cells = cells_of(rows)
    assert cells["landcover", "both", "argmax"].lr == 0.003
    first, second = (cells["landcover", loss, "argmax"] for loss in ("cross-entropy", "both"))
    assert paired(first.values("miou"), second.values("miou")) == pytest.approx([0.1] * 3)
    about = {"title": "satellite", "about": "images", "classes": ["water", "mosaic"]}
    found = {"rows": rows, "tasks": {"landcover": about}}
    rendered = {name: render(found) for name, render in RENDERED.items()}
    assert "| cross-entropy + Lovász-Softmax | 41.0 ± 2.5 (0.003) | " in rendered["study"]
    assert "+10.0 ± 0.0" in rendered["study differences"]


def test_a_momentum_that_changes_goes_from_one_end_to_the_other(task):
    momenta = []

    def loss(logits, labels, *, window):
        momenta.append(window.momentum)
        return logits.sum()

    changing = Changing(loss, 0.0, 0.9, 9)
    for _ in range(10):
        changing(torch.zeros(1), None)
    assert momenta == pytest.approx([0.1 * k for k in range(10)])


def test_windows_of_the_batch_leave_out_other_classes(task):
    """The gradient of a class that is not in the batch is that of cross-entropy alone."""
    logits = torch.randn(2, 3, 4, 4, requires_grad=True)
    labels = torch.zeros(2, 4, 4, dtype=torch.int64)
    labels[:, 0] = 1
    task = replace(task, upsample=None)
    of_batch, entropy = variants(task)["both-of-batch"], compared(task)["cross-entropy"]
    of_batch(logits, (labels + 1) % 3)  # remembers class 2
    sums = [torch.autograd.grad(loss(logits, labels), logits)[0] for loss in (of_batch, entropy)]
    difference = sums[0] - sums[1]
    assert difference.abs().sum() > 0
    with_all = torch.autograd.grad(variants(task)["both-all"](logits, labels), logits)[0]
    assert not torch.allclose(with_all, sums[0])


def test_raw_logits_are_what_the_published_function_is_fed(task):
    logits = 5 * torch.randn(2, 3, 4, 4)
    labels = torch.randint(3, (2, 4, 4))
    raw, fed = (variants(task)[name] for name in ("raw-logits", "probabilities"))
    assert torch.equal(raw(logits.softmax(1), labels), fed(logits, labels))
    assert raw(logits, labels) > 1 > fed(logits, labels)


def test_crops_are_those_of_the_image_and_its_labels():
    grid = torch.arange(64, dtype=torch.uint8).view(8, 8)
    part = [(grid.expand(3, 8, 8), grid)] * 4
    for upright in (True, False):
        data = DataSet("grid", ["a"] * 64, {"train": part}, upright=upright)
        task = image_task(data, title="", about="", crop=4, steps=1, batch_size=2)
        few = list(islice(task.batches(0), 20))
        again = next(task.batches(0))
        assert torch.equal(few[0][0], again[0])
        mean, spread = data.statistics.mean[0], data.statistics.spread[0]
        for inputs, labels in few:
            pixels = inputs[:, 0] * spread + mean
            assert torch.allclose(pixels, labels.float(), atol=1e-3)
        corners = {tuple(labels[0].flatten().tolist()) for _, labels in few}
        assert len(corners) > 5


def test_gradients_of_both_parts_are_described_for_each_third(task):
    found = gradients.measured(task, 0.01, 0, 1)
    assert len(found) == 3
    for third in found:
        assert third["norm batch"] > 0
        assert -1 <= third["cosine cross-entropy, window"] <= 1


def test_known_tasks_are_those_that_can_be_asked_for():
    assert set(tasks.COMPARED) < set(tasks.TASKS)
