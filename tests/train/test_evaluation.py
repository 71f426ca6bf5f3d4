from __future__ import annotations

import csv
import json
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from lovasz.train import evaluation as module
from lovasz.train import predict
from lovasz.train.commands import run
from lovasz.train.errors import UserError
from lovasz.train.evaluation import evaluation
from lovasz.train.inference import blocks
from lovasz.train.progress import screen
from lovasz.train.saved import read_saved
from tests.train.conftest import write_pair, write_squares
from tests.train.decided import CLEAR, NOISE, OFFSETS, with_decision, without_decision


@pytest.fixture
def evaluate(trained, tmp_path, capsys):
    """Evaluates the trained run; gives the result, and what was said."""
    number = iter(range(9))

    def call(**given):
        out = tmp_path / f"results {next(number)}"
        given = {"run": str(trained), "out": str(out), "accelerator": "cpu", "threads": 1, **given}
        assert evaluation(given, screen()) == 0
        result = json.loads((out / "result.json").read_text(encoding="utf-8"))
        return result, capsys.readouterr().out

    return call


def test_the_result_is_that_of_the_run(trained, tmp_path, capsys):
    out = tmp_path / "new" / "results"
    path = without_decision(trained, tmp_path / "alone")
    words = ["evaluate", path, f"--out={out}", "--accelerator=cpu", "--batch-size=3"]
    assert run(words) == 0
    result = json.loads((out / "result.json").read_text(encoding="utf-8"))
    of_the_run = json.loads((trained / "result.json").read_text(encoding="utf-8"))
    assert result["confusion"] == of_the_run["confusion"]
    for name in set(of_the_run) - {"seconds", "confusion", "decided", "decision"}:
        assert result[name] == pytest.approx(of_the_run[name]), name
    assert (result["part"], result["images"], result["window"]) == ("test", 3, 12)
    assert (out / "confusion.csv").read_bytes() == (trained / "confusion.csv").read_bytes()
    said = capsys.readouterr().out
    assert "Test part, 3 images, in %" in said
    assert f"{100 * result['miou']:.1f}" in said
    report = (out / "report.html").read_text(encoding="utf-8")
    assert f"{100 * result['iou'][0]:.1f}" in report
    assert report.count('alt="prediction"') == 3
    assert str(trained) not in report
    assert "itted" not in said + report
    assert not {"decided", "decision"} & set(result)
    assert {path.name for path in out.iterdir()} == {"result.json", "confusion.csv", "report.html"}


def counted(path, folder, offsets):
    """The confusion matrix, and the IoU of each image, pixel by pixel."""
    saved = read_saved(path)
    matrix, of_images = np.zeros((3, 3), dtype=int), []
    for k in range(3):
        image = saved.read(folder / "images" / f"{k}.png")[None]
        decided = np.zeros(image.shape[2:], dtype=int)
        for _, rows, columns, logits in blocks(saved.network, image, 12, saved.statistics):
            shifted = logits.numpy() + np.array(offsets, dtype=np.float32)[:, None, None]
            decided[rows, columns] = shifted.argmax(0)
        truth = np.asarray(Image.open(folder / "masks" / f"{k}.png"))
        for pair in zip(truth.flat, decided.flat, strict=True):
            matrix[pair] += 1
        ious = [
            ((truth == c) & (decided == c)).sum() / ((truth == c) | (decided == c)).sum()
            for c in np.unique(truth)
        ]
        of_images.append(np.mean(ious))
    return matrix, of_images


def test_argmax_and_the_fitted_decision_stand_side_by_side(evaluate, trained, tmp_path):
    path = with_decision(trained, tmp_path / "decided")
    result, said = evaluate(run=path)
    folder = trained.parent / "squares" / "test"
    for scores, offsets in ((result, (0, 0, 0)), (result["decided"], OFFSETS)):
        matrix, of_images = counted(path, folder, offsets)
        assert scores["confusion"] == matrix.tolist()
        ious = [
            matrix[c, c] / (matrix[c].sum() + matrix[:, c].sum() - matrix[c, c]) for c in (0, 1, 2)
        ]
        assert scores["iou"] == pytest.approx(ious)
        assert scores["miou"] == pytest.approx(np.mean(ious))
        assert scores["accuracy"] == pytest.approx(np.trace(matrix) / matrix.sum())
        assert scores["miou_i"] == pytest.approx(np.mean(of_images))
        assert scores["miou_i_worst"] == pytest.approx(min(of_images))
    assert result["decided"]["confusion"] != result["confusion"]
    numbers = dict(zip(("score_of_argmax", "score", "gain"), CLEAR[:3], strict=True))
    told = {"offsets": OFFSETS, **numbers, "interval": CLEAR[3:], "within_noise": False}
    assert result["decision"] == told
    before, after = 100 * result["miou"], 100 * result["decided"]["miou"]
    assert "argmax → fitted decision" in said
    assert f"{before:.1f} │" in said
    assert f"{after:.1f} │ {after - before:+10.1f} │".replace("-", "−") in said
    assert f"{100 * result['iou'][0]:.1f} → {100 * result['decided']['iou'][0]:.1f}" in said
    assert "were fitted to" not in said
    out = tmp_path / "results 0"
    for name, scores in (("confusion", result), ("confusion_fitted", result["decided"])):
        rows = list(csv.reader((out / f"{name}.csv").read_text(encoding="utf-8").splitlines()))
        assert [[int(cell) for cell in row[1:]] for row in rows[1:]] == scores["confusion"]
    report = (out / "report.html").read_text(encoding="utf-8")
    assert f"{before:.1f} % by argmax, {after:.1f} % by the fitted decision." in report
    assert "from 50.0 % by argmax to 56.2 %" in report
    assert "+3.1 points of mIoU (95 % interval +1.6 to +4.7)" in report
    assert f'<td data-label="IoU fitted, %">{100 * result["decided"]["iou"][1]:.1f}</td>' in report
    assert '<td data-label="Offset">−1.50</td>' in report
    assert report.count('alt="fitted decision"') == report.count('alt="prediction"') == 3


def test_a_gain_without_an_interval_can_be_written(evaluate, trained, tmp_path):
    result, _ = evaluate(run=with_decision(trained, tmp_path, statistics=NOISE))
    assert result["decision"]["interval"] == [None, None]
    assert result["decision"]["within_noise"] is True


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"part": "val"}, "The offsets of the fitted decision were fitted to these images, where"),
        ({"part": "all"}, "fitted decision were fitted to some of these images, where they gain"),
        ({"part": "train"}, None),
        ({"part": "test"}, None),
        ({"part": "val", "data": "other"}, None),
    ],
)
def test_it_is_said_that_offsets_were_fitted_to_the_images(
    evaluate, trained, tmp_path, given, message
):
    if "data" in given:
        other = write_squares(tmp_path / "other", {"val": 2, "test": 2})
        given = {**given, "data": str(other)}
    _, said = evaluate(run=with_decision(trained, tmp_path / "decided"), **given)
    report = (tmp_path / "results 0" / "report.html").read_text(encoding="utf-8")
    if message is None:
        assert "fitted to" not in said
    else:
        assert message in said
        assert message in report
        assert "not fitted to the gain was +3.1 points of mIoU (95 % interval" in said


def test_images_that_are_divided_in_another_way_may_be_those_of_the_training(
    evaluate, trained, tmp_path
):
    for k in range(8):
        write_pair(tmp_path / "undivided", f"{k}", k)
    path = with_decision(trained, tmp_path / "decided")
    content = torch.load(path, weights_only=True)
    content["data"]["options"] |= {"data": str(tmp_path / "undivided"), "split": [0.5, 0.25, 0.25]}
    torch.save(content, path)
    assert "may have been" not in evaluate(run=path)[1]
    for given in ({"split_seed": 3}, {"split": [0.5, 0.5], "part": "val"}):
        said = evaluate(run=path, **given)[1]
        assert "the network may have been trained on some of these" in said
        assert "fitted decision may have been fitted to some of these images" in said


def test_parts(evaluate):
    result, said = evaluate(part="val")
    assert (result["part"], result["images"]) == ("val", 3)
    assert "Validation part" in said
    result, said = evaluate(part="all")
    assert result["images"] == 13
    assert "was trained on some of these images" in said
    result, said = evaluate(part="train", window=16, batch_size=1)
    assert (result["images"], result["window"]) == (7, 16)
    assert "was trained on some of these images" in said


@pytest.mark.parametrize("layout", ["test", "images", "named"])
def test_folders_without_a_training_part(evaluate, trained, tmp_path, layout):
    """A test part alone, or images that are in no part; with and without names of classes."""
    other = tmp_path / "other"
    for k in range(4):
        write_pair(other / "test" if layout == "test" else other, f"{k}", k)
    if layout == "named":
        (other / "classes.txt").write_text("dark\nred\ngreen\n")
    result, said = evaluate(data=str(other))
    assert (result["part"], result["images"]) == ("test", 4)
    assert "was trained on" not in said
    assert "divided by chance" not in said


def test_predicted_masks_are_read_as_those_of_the_training(evaluate, trained, tmp_path):
    """Against its own masks a network has an IoU of 100 %, whatever values they have."""
    other = write_squares(tmp_path / "other", {"train": 1, "val": 1, "test": 3})
    content = torch.load(trained / "checkpoint.pt", weights_only=True)
    content["data"]["mask_values"] = [7, 0, 255]
    content["data"]["options"]["mask_values"] = [7, 0, 255]
    torch.save(content, tmp_path / "checkpoint.pt")
    run_folder = str(tmp_path / "checkpoint.pt")
    shutil.rmtree(other / "test" / "masks")
    config = predict.PredictConfig(
        run=run_folder,
        images=[str(other / "test" / "images")],
        out=str(other / "test" / "masks"),
        accelerator="cpu",
    )
    assert predict.predict(config, screen()) == 0
    values = {int(v) for path in (other / "test" / "masks").glob("*.png") for v in values_of(path)}
    assert values <= {7, 0, 255}
    for part in ("train", "val"):
        shutil.rmtree(other / part)
    result, _ = evaluate(run=run_folder, data=str(other))
    assert result["miou"] == result["accuracy"] == 1.0


def values_of(path):
    with Image.open(path) as picture:
        return np.unique(np.asarray(picture))


def test_grey_images_are_read_as_colour_for_a_network_of_colour(evaluate, trained, tmp_path):
    other = tmp_path / "other"
    for k in range(2):
        write_pair(other, f"{k}", k)
        path = other / "images" / f"{k}.png"
        with Image.open(path) as picture:
            grey = picture.convert("L")
        grey.save(path)
    grey_result, _ = evaluate(data=str(other))
    for path in (other / "images").iterdir():
        with Image.open(path) as picture:
            colour = picture.convert("RGB")
        colour.save(path)
    assert evaluate(data=str(other))[0]["confusion"] == grey_result["confusion"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("names", r"classes of the network in their order, red for label 1, got green in"),
        ("fewer", r"green for label 2, got no class in"),
        ("channels", r"images with 3 channels, as those that the network was trained on, got 4"),
        ("part", r"part: expected one of train, val or all, got test"),
        ("out", r"out: expected a new folder, got .*, which is none"),
        ("option", r"batch_size: expected 1 or more, got 0"),
        ("nothing", r"data: expected a folder, got nowhere, which is none"),
    ],
)
def test_errors_of_the_user_are_one_sentence(trained, tmp_path, change, message):
    other = write_squares(tmp_path / "other", {"train": 1, "val": 1})
    given = {"run": str(trained), "data": str(other), "out": str(tmp_path / "results")}
    if change == "names":
        (other / "classes.txt").write_text("dark\ngreen\nred\n")
    elif change == "fewer":
        (other / "classes.txt").write_text("dark\nred\n")
    elif change == "channels":
        for path in other.rglob("images/*.png"):
            pixels = np.zeros((16, 16, 4), dtype=np.uint8)
            tifffile.imwrite(path.with_suffix(".tif"), pixels, photometric="minisblack")
            path.unlink()
    elif change == "part":
        given["part"] = "test"
    elif change == "out":
        given["out"] = str(other)
    elif change == "option":
        given["batch_size"] = 0
    else:
        given["data"] = "nowhere"
    with pytest.raises(UserError, match=message) as error:
        evaluation(given, screen())
    assert "\n" not in str(error.value)
    assert not (tmp_path / "results").exists()


def test_an_evaluation_that_is_interrupted_writes_nothing(trained, tmp_path, monkeypatch, capsys):
    image_bar = module.image_bar

    def interrupting(console, total):
        signal.raise_signal(signal.SIGINT)
        return image_bar(console, total)

    monkeypatch.setattr(module, "image_bar", interrupting)
    assert evaluation({"run": str(trained), "out": str(tmp_path / "x")}, screen()) == 130
    assert "Interrupted. Nothing was written." in capsys.readouterr().out
    assert not Path(tmp_path / "x").exists()


def test_the_confusion_matrix_has_the_truth_in_rows(trained, evaluate, tmp_path):
    result, _ = evaluate()
    with (tmp_path / "results 0" / "confusion.csv").open(encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert rows[0][1:] == result["classes"]
    assert [[int(cell) for cell in row[1:]] for row in rows[1:]] == result["confusion"]
