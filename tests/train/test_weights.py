from __future__ import annotations

import json
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
import torch
from torch.nn import functional as F

from lovasz import class_weights
from lovasz.train.commands import run
from lovasz.train.config import Scheme
from lovasz.train.data import IGNORE, load_data
from lovasz.train.errors import UserError
from lovasz.train.losses import balance, build_loss
from tests.train.test_cli import arguments
from tests.train.test_loop import assert_same, outcome
from tests.train.test_loop import run as train_and_test


@pytest.fixture
def batch():
    random = torch.Generator().manual_seed(0)
    target = torch.randint(0, 3, (2, 4, 4), generator=random)
    target[0, :2] = IGNORE
    return torch.randn(2, 3, 4, 4, generator=random), target


def test_weights_prints_and_writes_what_the_files_hold(squares, tmp_path, capsys):
    out = tmp_path / "new" / "weights.json"
    assert run(["weights", str(squares), f"--out={out}"]) == 0
    assert "Labels of the train part, 7 images" in capsys.readouterr().out
    found = json.loads(out.read_text(encoding="utf-8"))
    labels = torch.stack([target for _, target in load_data_of(squares).parts["train"]])
    assert found["pixels"] == labels.flatten().bincount(minlength=3).tolist()
    assert found["images"] == [int((labels == k).flatten(1).any(1).sum()) for k in range(3)]
    assert found["classes"] == ["dark", "red", "green"]
    assert list(found["weights"]) == ["inverse", "sqrt", "median", "effective", "enet"]
    assert found["weights"]["sqrt"] == class_weights(found["pixels"], "sqrt").tolist()


def load_data_of(folder):
    from lovasz.train.config import Config

    return load_data(Config(data=str(folder)))


def test_weights_of_one_scheme_with_its_option(squares, tmp_path):
    out = tmp_path / "weights.json"
    words = ["--part=val", "--scheme=enet", '--scheme-args={"c": 1.5}', f"--out={out}"]
    assert run(["weights", str(squares), *words]) == 0
    found = json.loads(out.read_text(encoding="utf-8"))
    assert found["part"] == "val"
    assert found["weights"] == {"enet": class_weights(found["pixels"], "enet", c=1.5).tolist()}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (['--scheme_args={"beta": 0.9}'], "scheme: class_weights: expected beta with the scheme"),
        (["--out=/dev/null/weights.json"], "out: cannot write to /dev/null/weights.json: "),
        (
            ["--ignore_index=[0,70000]"],
            "ignore_index: expected different numbers from 0 to 65535, got [0, 70000]",
        ),
    ],
)
def test_errors_of_weights_are_one_line(squares, capsys, words, message):
    assert run(["weights", str(squares), *words]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"lovasz: error: {message}")
    assert error.count("\n") == 1


def test_the_schemes_are_those_of_class_weights():
    assert get_args(get_type_hints(class_weights)["scheme"]) == get_args(Scheme)


@pytest.mark.parametrize("weight", [None, torch.tensor([0.5, 2.0, 3.0])])
def test_cross_entropy_is_that_of_torch(train_config, batch, weight):
    criterion = build_loss(train_config(loss="cross-entropy"), 3, weight)
    logits, target = batch
    ours, theirs = (logits.clone().requires_grad_() for _ in range(2))
    value = criterion(ours, target)
    expected = F.cross_entropy(theirs, target, weight=weight, ignore_index=IGNORE)
    torch.testing.assert_close(value, expected)
    value.backward()
    expected.backward()
    torch.testing.assert_close(ours.grad, theirs.grad)
    assert criterion(logits, torch.full_like(target, IGNORE)) == 0


def test_the_weights_go_where_they_are_wanted(train_config, batch):
    weight = torch.tensor([0.5, 2.0, 3.0])

    def loss(weighted, given):
        config = train_config(loss="both", weighted=weighted)
        return build_loss(config, 3, given)(*batch)

    from lovasz import lovasz_softmax

    entropy = F.cross_entropy(*batch, ignore_index=IGNORE)
    entropy_weighted = F.cross_entropy(*batch, ignore_index=IGNORE, weight=weight)
    lovasz = lovasz_softmax(*batch, ignore_index=IGNORE)
    lovasz_weighted = lovasz_softmax(*batch, ignore_index=IGNORE, weight=weight)
    torch.testing.assert_close(loss("cross-entropy", weight), entropy_weighted + lovasz)
    torch.testing.assert_close(loss("lovasz-softmax", weight), entropy + lovasz_weighted)
    torch.testing.assert_close(loss("both", weight), entropy_weighted + lovasz_weighted)
    torch.testing.assert_close(loss("both", None), entropy + lovasz)


def test_the_weights_are_those_of_the_training_part(train_config):
    config = train_config(class_weights="effective", class_weights_args={"beta": 0.9})
    data = load_data(config)
    expected = class_weights(data.label_counts, "effective", beta=0.9)
    assert torch.equal(balance(config, data), expected)
    assert balance(train_config(), data) is None
    with pytest.raises(UserError, match=r"class_weights: .* expected c with the scheme 'enet'"):
        balance(train_config(class_weights="sqrt", class_weights_args={"c": 2}), data)


def test_counting_does_not_read_the_images(squares):
    data = load_data_of(squares)
    for image in (squares / "train" / "images").iterdir():
        image.write_text("no image")
    assert int(data.label_counts.pixels.sum()) == 7 * 16 * 16


def test_weighted_training_differs_and_repeats_itself(train_config, tmp_path):
    plain, one, other = (
        train_config(out=str(tmp_path / name), epochs=1, loss="both", weighted="both", **options)
        for name, options in (
            ("plain", {}),
            ("one", {"class_weights": "inverse"}),
            ("other", {"class_weights": "inverse"}),
        )
    )
    for config in (plain, one, other):
        train_and_test(config)
    assert_same(outcome(one), outcome(other))
    log = Path(one.out) / "log.jsonl"
    assert log.read_text() != (Path(plain.out) / "log.jsonl").read_text()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"loss": "lovasz-softmax"},
            "weighted: expected a loss that is trained with",
        ),
        (
            {"weighted": "both", "lovasz_args": {"weight": [1.0, 1.0, 1.0]}},
            "weighted: expected no weight in lovasz_args",
        ),
        ({"class_weights_args": {"gamma": 1}}, "class_weights: "),
    ],
)
def test_wrong_class_weights_are_one_line_and_status_2(options, capsys, changes, message):
    words = arguments(options, **{"class_weights": "inverse", **changes})
    assert run(["train", *words]) == 2
    assert capsys.readouterr().err.startswith(f"lovasz: error: {message}")
    assert not Path(options["out"]).exists()


def test_a_comparison_weighs_the_losses_that_have_the_part(options, capsys):
    words = arguments(
        {**options, "epochs": 1},
        class_weights="inverse",
        losses=["cross-entropy", "lovasz-softmax"],
        learning_rates=[0.01],
        seeds=[0],
        jobs=1,
    )
    assert run(["compare", *words]) == 0
    states = [
        torch.load(path, weights_only=True)["criterion"]
        for path in sorted(Path(options["out"]).rglob("checkpoint.pt"))
    ]
    assert [list(state) for state in states] == [["weight"], []]


@pytest.mark.parametrize("width", [120, 80, 60, 40])
def test_the_screen_has_whole_class_names_and_all_columns(squares, capsys, monkeypatch, width):
    names = ["water", "evergreen needleleaf forest", "cropland/natural mosaic"]
    (squares / "classes.txt").write_text("\n".join(names), encoding="utf-8")
    monkeypatch.setenv("COLUMNS", str(width))
    assert run(["weights", str(squares), f"--out={squares / 'weights.json'}"]) == 0
    printed = capsys.readouterr().out
    rows = [line for line in printed.splitlines() if line.startswith(("│", "┃"))]
    assert "…" not in printed
    assert max(map(len, rows)) <= width
    for column in ("pixels", "%", "images", *get_args(Scheme)):
        assert sum(f" {column} " in row for row in rows) == 1
    tables = sum("┃ class " in row for row in rows)
    assert (tables == 1) == (width >= 120)
    cells = [row.split("│")[1].strip() for row in rows if row.startswith("│")]
    for words in names if width > 40 else names[:2]:  # in several lines, between words
        for word in words.split():
            assert sum(word in cell.split() for cell in cells) == tables
