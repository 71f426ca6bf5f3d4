"""The decision that a run fits: where it is kept, what it is of, and runs that have none."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from lovasz import Decision, DecisionFit
from lovasz.train import checkpoint, loop
from lovasz.train.commands import run
from lovasz.train.config import TrainConfig
from lovasz.train.data import IGNORE, IMAGENET, DataSet, load_data
from lovasz.train.evaluate import evaluate_each
from lovasz.train.fitting import make_fit
from lovasz.train.headline import headline, notes
from lovasz.train.inference import predict_probabilities
from lovasz.train.processes import make_fabric
from lovasz.train.runs import read_run
from lovasz.train.saved import read_saved
from lovasz.train.summary import summarise
from tests.train.test_cli import arguments

WINDOW = 12


class Levels(nn.Module):
    """Logits of a pixel from its own grey level: brighter than the mean is class 1."""

    def forward(self, images):
        return torch.cat([torch.zeros_like(images[:, :1]), images[:, :1]], dim=1)


def example(*shapes):
    """Images of some grey levels, in which class 1 is more frequent where it is brighter."""
    random = torch.Generator().manual_seed(0)
    part = []
    for shape in shapes:
        grey = torch.randint(0, 5, shape, generator=random) * 40
        labels = (torch.rand(shape, generator=random) < grey / 400).to(torch.uint8)
        labels[0, :2] = IGNORE
        part.append((grey.to(torch.uint8).expand(3, *shape).contiguous(), labels))
    return part


def logits_of(image):
    return Levels()(IMAGENET.normalise(image[None]))


def miou(found, truth):
    """In plain Python, of lists of labels."""
    pairs = [(a, b) for a, b in zip(found, truth, strict=True) if b != IGNORE]
    scores = []
    for c in {b for _, b in pairs}:
        hits = sum(a == c == b for a, b in pairs)
        scores.append(hits / sum(c in pair for pair in pairs))
    return sum(scores) / len(scores)


def evaluated(train_config, network, part, *, decision=None, fit=False):
    """Scores of argmax and of the decision, and what was fitted."""
    config = train_config()
    fabric = make_fabric(config)
    fitting = make_fit(2, fabric) if fit else None
    data = DataSet("", ["dark", "bright"], {"val": part})
    offsets = [None] if decision is None else [None, decision.offsets]
    scores = evaluate_each(
        fabric,
        network,
        data,
        offsets,
        part="val",
        config=config,
        stop=lambda: False,
        fit=fitting,
    )
    return (*scores, fitting.compute() if fitting else None)


# Together in a batch, of the window, smaller, larger and of both kinds.
SHAPES = [[(12, 12)] * 5, [(5, 5)] * 3, [(30, 41), (12, 12), (9, 20), (9, 20)]]


@pytest.mark.parametrize("shapes", SHAPES, ids=str)
def test_scores_of_both_decisions_and_the_fit_from_one_pass(train_config, shapes):
    part = example(*shapes)
    truth = [label for _, labels in part for label in labels.flatten().tolist()]

    def by(offset):
        return [
            label
            for image, _ in part
            for label in (logits_of(image)[:, 1] + offset > 0).int().flatten().tolist()
        ]

    given = Decision(2)
    given.offsets[1] = 0.75  # between two levels
    argmax, decided, found = evaluated(train_config, Levels(), part, decision=given, fit=True)
    assert argmax.miou == pytest.approx(miou(by(0), truth))
    assert decided.miou == pytest.approx(miou(by(0.75), truth))
    assert decided.fine.keys() == argmax.fine.keys()
    # What a fit to the logits of all images at once has.
    fit = DecisionFit(2, ignore_index=IGNORE)
    for image, labels in part:
        fit.update(logits_of(image), labels[None])
    wanted = fit.compute()
    torch.testing.assert_close(found.offsets, wanted.offsets, rtol=0, atol=1e-4)
    assert found.score_of_argmax == pytest.approx(argmax.miou, abs=1e-6)
    assert found.score == pytest.approx(wanted.score, abs=1e-6)
    assert found.score == pytest.approx(miou(by(float(found.offsets.diff())), truth), abs=1e-6)
    if shapes[0] == (12, 12):  # as the window: the same pixels in the same places, to the bit
        assert torch.equal(found.statistics, wanted.statistics)


def test_a_large_image_is_one_image(train_config):
    """Its blocks are in one half, so that there is no other one to measure a gain with."""
    _, found = evaluated(train_config, Levels(), example((60, 60)), fit=True)
    assert found.interval == (-math.inf, math.inf)
    assert found.gain == pytest.approx(0, abs=1e-6)  # the other half has no pixel to fit to
    _, found = evaluated(train_config, Levels(), example(*[(24, 20)] * 40), fit=True)
    assert math.isfinite(found.interval[0])


@pytest.mark.parametrize("shape", [(12, 12), (20, 9)], ids=str)
def test_logits_that_are_not_finite(train_config, shape):
    class Wild(Levels):
        def forward(self, images):
            logits = super().forward(images)
            logits[:, :, :3] = torch.nan
            logits[:, 0, 3:6] = -torch.inf
            return logits

    scores, found = evaluated(train_config, Wild(), example(*[shape] * 4), fit=True)
    assert found.offsets.isfinite().all()
    if shape == (12, 12):
        assert found.score_of_argmax == pytest.approx(scores.miou, abs=1e-6)


def test_pictures_of_the_decision(trained):
    """They are where the run keeps those of argmax, and are of the same size."""
    with np.load(trained / "pictures.npz") as kept:
        names = {name for name in kept if name.startswith("prediction")}
        assert names
        for name in names:
            decided = kept[name.replace("prediction", "decided")]
            assert decided.shape == kept[name].shape


def read(folder, name):
    return json.loads((folder / name).read_text(encoding="utf-8"))


def decided_by(folder, part, offsets):
    """Labels and truth of a part, from the probabilities of `predict`."""
    saved = read_saved(str(folder))
    data = load_data(TrainConfig(data=str(folder.parent / "squares")))
    found, truth = [], []
    for image, labels in data.parts[part]:
        probable = predict_probabilities(saved.network, image[None], WINDOW, saved.statistics)
        shifted = probable.log() + torch.tensor(offsets).view(1, -1, 1, 1)
        found += shifted.argmax(1).flatten().tolist()
        truth += labels.flatten().tolist()
    return found, truth


def test_where_a_run_keeps_its_decision(trained):
    val, result = read(trained, "val.json"), read(trained, "result.json")
    kept = checkpoint.read(trained / "checkpoint.pt")["decision"]
    assert kept.keys() == {"offsets", "statistics"}
    found = result["decision"]
    assert found == val["decision"]
    assert found["offsets"] == kept["offsets"]
    names = ("score_of_argmax", "score", "gain")
    assert [found[name] for name in names] == kept["statistics"][:3]
    assert (found["interval"], found["within_noise"]) == ([None, None], True)  # of three images
    assert found["score_of_argmax"] == pytest.approx(val["miou"], abs=1e-6)
    assert found["score"] == pytest.approx(
        miou(*decided_by(trained, "val", kept["offsets"])), abs=1e-6
    )
    decided = result["decided"]
    assert decided.keys() == result.keys() - {
        *("part", "images", "seconds", "device", "decision", "decided")
    }
    labels, truth = decided_by(trained, "test", kept["offsets"])
    assert decided["miou"] == pytest.approx(miou(labels, truth))
    pairs = list(zip(truth, labels, strict=True))
    assert decided["confusion"] == [[pairs.count((a, b)) for b in range(3)] for a in range(3)]


def copy_of(folder, place):
    """A run that can be changed, and its configuration."""
    shutil.copytree(folder, place)
    config = TrainConfig(
        data=str(folder.parent / "squares"),
        model_args={"channels": [4, 8]},
        crop=WINDOW,
        batch_size=2,
        epochs=1,
        accelerator="cpu",
        threads=1,
        out=str(place),
    )
    return config, load_data(config)


def test_a_complete_run_of_an_earlier_version_is_evaluated(trained, tmp_path):
    config, data = copy_of(trained, tmp_path / "old")
    content = checkpoint.read(tmp_path / "old/checkpoint.pt")
    del content["decision"]
    torch.save(content, tmp_path / "old/checkpoint.pt")
    before = read(tmp_path / "old", "result.json")
    (tmp_path / "old/result.json").unlink()
    loop.train(config, data, lambda *_: None, lambda: False)
    loop.test(config, data, lambda: False)
    result = read(tmp_path / "old", "result.json")
    assert result["decided"] is result["decision"] is None
    assert result["miou"] == before["miou"]


def test_no_labelled_pixel_in_the_validation_part(squares, train_config):
    for mask in (squares / "val/masks").iterdir():
        Image.new("L", (16, 16), IGNORE).save(mask)
    config = train_config(epochs=1)
    data = load_data(config)
    loop.train(config, data, lambda *_: None, lambda: False)
    loop.test(config, data, lambda: False)
    out = Path(config.out)
    assert "decision" not in checkpoint.read(out / "checkpoint.pt")
    assert read(out, "val.json")["decision"] is None
    summary = summarise(config, data, [read_run(config)])
    assert notes(summary) == [
        "Results are those of argmax: 1 of 1 run is without fitted offsets, as no pixel of the"
        " validation part has a label."
    ]
    assert "offsets" not in headline(summary)


def test_a_data_set_without_a_test_part(make_squares, options, tmp_path, capsys):
    data = make_squares(tmp_path / "two", {"train": 4, "val": 3})
    assert run(["train", *arguments({**options, "data": str(data), "epochs": 1})]) == 0
    out = Path(options["out"])
    result = read(out, "result.json")
    assert result["part"] == "val"
    assert result["decided"]["miou"] == pytest.approx(result["decision"]["score"], abs=1e-6)
    honest = f"{100 * (result['miou'] + result['decision']['gain']):.1f}"
    printed, page = capsys.readouterr().out, (out / "report.html").read_text(encoding="utf-8")
    for text in (printed, page):
        assert "all other numbers under them are in-sample, and too high." in text
        assert "Offsets were fitted to that part; on images of it that they were not" in text
    assert f'data-label="mIoU, %, fitted offsets">{honest}<' in page
    assert f"│ {honest} │" in printed.replace("  ", "")
    assert 'alt="prediction, Fitted offsets"' in page
