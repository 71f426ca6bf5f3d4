from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lovasz.train import predict as module
from lovasz.train.commands import run
from lovasz.train.errors import UserError
from lovasz.train.inference import blocks, predict_labels
from lovasz.train.predict import PredictConfig
from lovasz.train.prediction_files import mask_values, write_mask, write_overlay
from lovasz.train.progress import screen
from lovasz.train.saved import read_saved
from lovasz.train.sources import find_images
from tests.train.decided import NOISE, OFFSETS, with_decision, without_decision


def photograph(path, height=20, width=30, seed=0, **options):
    """A picture with a dark left part and a coloured right one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 60, (height, width, 3), dtype=np.uint8)
    pixels[:, width // 2 :, seed % 3] += 150
    Image.fromarray(pixels).save(path, **options)
    return pixels


@pytest.fixture
def photos(tmp_path):
    """Three images of different kinds and sizes, one of them in a sub-folder."""
    photograph(tmp_path / "photos" / "a.png", 9, 7)
    photograph(tmp_path / "photos" / "b.JPG", 12, 40, seed=1)
    photograph(tmp_path / "photos" / "day 2" / "ü.webp", 33, 21, seed=2)
    return tmp_path / "photos"


@pytest.fixture
def predict(trained, tmp_path, monkeypatch, capsys):
    """Predicts with the trained run; gives the status, what was said, and the errors."""
    monkeypatch.chdir(tmp_path)

    def call(*images, run_folder=trained, **options):
        try:
            config = PredictConfig(
                run=str(run_folder), images=list(images), accelerator="cpu", threads=1, **options
            )
            status = module.predict(config, screen())
        except UserError as error:
            return 2, "", str(error)
        said = capsys.readouterr()
        return status, said.out, said.err

    return call


def pixels(path):
    with Image.open(path) as picture:
        return np.asarray(picture)


def test_masks_overlays_and_probabilities_of_a_folder(trained, photos, monkeypatch, capsys):
    words = ["--out=masks", "--overlays=shown", "--probabilities=tables", "--accelerator=cpu"]
    monkeypatch.chdir(photos.parent)
    status = run(["predict", str(trained), "photos", *words])
    said, errors = capsys.readouterr()
    assert (status, errors) == (0, "")
    assert "3 images in photos" in said
    assert "3 masks in masks" in said
    saved = read_saved(str(trained))
    for image in ("a.png", "b.JPG", "day 2/ü.webp"):
        name = Path(image).with_suffix("")
        expected = predict_labels(
            saved.network, saved.read(photos / image)[None], saved.window, saved.statistics
        )[0]
        mask = Image.open(f"masks/{name}.png")
        assert (mask.mode, mask.format) == ("P", "PNG")
        assert np.array_equal(np.asarray(mask), expected)
        assert mask.getpalette()[:9] == [c for colour in saved.colours for c in colour]
        with np.load(f"tables/{name}.npz") as file:
            assert file["classes"].tolist() == saved.classes
            table = file["probabilities"]
        assert (table.dtype, table.shape) == (np.float16, (3, *expected.shape))
        assert np.abs(table.sum(0, dtype=np.float64) - 1).max() < 2e-3
        chosen = np.take_along_axis(table, expected.numpy()[None].astype(int), 0)[0]
        assert (chosen == table.max(0)).all()
        blended = pixels(f"shown/{name}.jpg").astype(float)
        colours = np.array(saved.colours)[expected.numpy()]
        half = (pixels(photos / image) + colours) / 2
        assert np.abs(blended - half).mean() < 12  # JPEG


def test_masks_of_the_fitted_decision(predict, trained, photos, tmp_path):
    path = with_decision(trained, tmp_path / "decided")
    same = {"run_folder": path, "probabilities": "tables"}
    status, said, _ = predict("photos", out="masks", overlays="shown", **same, decision="fitted")
    assert status == 0
    assert "Gain of the fitted decision over argmax on images of the validation part" in said
    assert predict("photos", out="plain", **{**same, "probabilities": "tables 2"})[0] == 0
    assert json.loads(Path("masks/predict.json").read_text())["decision"] == "fitted"
    saved = read_saved(path)
    for image in ("a.png", "b.JPG", "day 2/ü.webp"):
        name = Path(image).with_suffix("")
        given = saved.read(photos / image)[None]
        expected = np.zeros(given.shape[2:], dtype=int)
        for _, rows, columns, logits in blocks(saved.network, given, 12, saved.statistics):
            shifted = logits.numpy() + np.array(OFFSETS, dtype=np.float32)[:, None, None]
            expected[rows, columns] = shifted.argmax(0)
        assert np.array_equal(pixels(f"masks/{name}.png"), expected)
        assert not np.array_equal(pixels(f"plain/{name}.png"), expected)
        half = (pixels(photos / image) + np.array(saved.colours)[expected]) / 2
        assert np.abs(pixels(f"shown/{name}.jpg") - half).mean() < 12  # JPEG
        with np.load(f"tables/{name}.npz") as one, np.load(f"tables 2/{name}.npz") as two:
            assert np.array_equal(one["probabilities"], two["probabilities"])
    # From the logits alone, without probabilities.
    assert predict("photos", run_folder=path, out="again", decision="fitted")[0] == 0
    for mask in Path("masks").rglob("*.png"):
        assert mask.read_bytes() == ("again" / mask.relative_to("masks")).read_bytes()


def test_a_folder_has_masks_of_one_decision(predict, trained, photos, tmp_path):
    same = {"run_folder": with_decision(trained, tmp_path / "decided"), "out": "masks"}
    predict("photos", **same)
    status, _, error = predict("photos", **same, decision="fitted")
    assert status == 2
    assert "made with decision argmax, now fitted" in error
    # Of a version that had no other.
    note = json.loads(Path("masks/predict.json").read_text())
    del note["decision"]
    Path("masks/predict.json").write_text(json.dumps(note))
    assert "3 of them from before" in predict("photos", **same)[1]
    assert (
        "made with decision argmax, now fitted" in predict("photos", **same, decision="fitted")[2]
    )


def test_a_line_says_what_the_fitted_decision_has_gained(predict, trained, photos, tmp_path):
    words = "Gain of --decision fitted over argmax on images of the validation part that it was not"
    words += " fitted to: +3.1 points of mIoU (95 % interval +1.6 to +4.7)."
    clear = with_decision(trained, tmp_path / "clear")
    noisy = with_decision(trained, tmp_path / "noisy", statistics=NOISE)
    without = without_decision(trained, tmp_path / "without")
    for k, (path, said) in enumerate(((clear, True), (noisy, False), (without, False))):
        output = predict("photos/a.png", run_folder=path, out=f"masks {k}")[1]
        assert (words in output.splitlines()) == said
        assert ("fitted" in output) == said


def test_finished_images_are_not_predicted_again(predict, photos):
    predict("photos", out="masks")
    kept = {path: path.stat().st_mtime_ns for path in Path("masks").rglob("*.png")}
    Path("masks/b.png").unlink()
    os.utime(photos / "day 2" / "ü.webp", (2e9, 2e9))  # a new picture of the same name
    status, said, _ = predict("photos", out="masks")
    assert status == 0
    assert "3 masks in masks, 1 of them from before" in said
    now = {path: path.stat().st_mtime_ns for path in Path("masks").rglob("*.png")}
    assert [path.stem for path in kept if kept[path] == now[path]] == ["a"]
    _, said, _ = predict("photos", out="masks", overlays="shown")  # what is asked for later
    assert "from before" not in said
    assert len(list(Path("shown").rglob("*.jpg"))) == 3


def test_a_prediction_that_is_interrupted_goes_on(predict, photos, monkeypatch):
    write = module.write_mask

    def write_and_interrupt(*args):
        write(*args)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(module, "write_mask", write_and_interrupt)
    status, said, _ = predict("photos", out="masks")
    assert status == 130
    assert "1 mask in masks" in said
    assert "Interrupted. The same command goes on." in said
    monkeypatch.setattr(module, "write_mask", write)
    status, said, _ = predict("photos", out="masks")
    assert status == 0
    assert "3 masks in masks, 1 of them from before" in said


def test_a_large_image_can_be_interrupted_between_its_windows(predict, tmp_path, monkeypatch):
    photograph(tmp_path / "large.png", 60, 60)

    def one_window(*args, progress, **options):
        signal.raise_signal(signal.SIGTERM)
        return predict_labels(*args, progress=progress, **options)

    monkeypatch.setattr(module, "predict_labels", one_window)
    status, said, _ = predict("large.png", out="masks")
    assert status == 130
    assert "0 masks in masks" in said


@pytest.mark.parametrize("change", ["checkpoint", "window", "images", "foreign", "broken"])
def test_a_folder_of_something_else_is_refused(predict, trained, photos, tmp_path, change):
    other = shutil.copytree(trained, tmp_path / "other")
    predict("photos", out="masks")
    before = {path: path.read_bytes() for path in Path("masks").rglob("*") if path.is_file()}
    images, options = ["photos"], {"out": "masks"}
    if change == "checkpoint":
        content = torch.load(other / "checkpoint.pt", weights_only=True)
        content["progress"]["epoch"] = 7
        torch.save(content, other / "checkpoint.pt")
        expected = "made with sha256"
    elif change == "window":
        options["window"] = 16
        expected = "made with window 12, now 16"
    elif change == "images":
        images.append(str(trained.parent / "squares" / "test" / "images" / "0.png"))
        expected = "made with images"
    elif change == "foreign":
        options["out"] = str(other)
        expected = "holds something else than predictions"
    else:
        Path("masks/predict.json").write_text("{")
        before[Path("masks/predict.json")] = b"{"
        expected = "cannot read it"
    status, _, error = predict(*images, run_folder=other, **options)
    assert status == 2
    assert expected in error
    after = {path: path.read_bytes() for path in Path("masks").rglob("*") if path.is_file()}
    assert after == before


def test_what_cannot_be_predicted_is_told_and_the_rest_is_predicted(predict, photos):
    (photos / "broken.jpg").write_bytes(b"no image")
    photograph(photos / "a.jpg")  # whose mask would be that of a.png
    (photos / "notes.txt").touch()
    status, said, errors = predict("photos", out="masks")
    assert status == 2
    assert "notes.txt" in said
    assert "3 masks in masks" in said
    lines = errors.splitlines()
    assert len(lines) == 2
    assert "its mask would take the place of that of photos/a.jpg, masks/a.png" in lines[0]
    assert lines[1].startswith("lovasz: error: photos/broken.jpg: expected an image")


def test_of_many_sentences_the_file_has_all(predict, photos):
    for k in range(25):
        (photos / f"broken {k}.png").touch()
    status, said, errors = predict("photos", out="masks")
    assert status == 2
    assert "3 masks in masks" in said
    assert "5 more images without a mask: masks/not_predicted.txt" in errors.splitlines()[-1]
    assert len(Path("masks/not_predicted.txt").read_text().splitlines()) == 25
    for k in range(25):
        (photos / f"broken {k}.png").unlink()
    assert predict("photos", out="masks")[0] == 0
    assert not Path("masks/not_predicted.txt").exists()


def test_results_within_the_folder_of_the_images_are_no_images(predict, photos):
    for _ in range(2):
        status, said, _ = predict("photos", out="photos/masks", overlays="photos/shown")
        assert status == 0
        assert "3 images in photos" in said
    assert {path.name for path in Path("photos/masks").rglob("*.png")} == {
        "a.png",
        "b.png",
        "ü.png",
    }
    before = pixels(photos / "a.png")
    assert "another folder than that of the images" in predict("photos", out="photos")[2]
    assert np.array_equal(pixels(photos / "a.png"), before)


def test_words_for_images(photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    photograph(tmp_path / "photos" / "[x].png")
    (photos / "clip.mp4").touch()
    (photos / "._a.png").touch()
    for words, root, expected in (
        (["photos"], "photos", ["[x].png", "a.png", "b.JPG", "day 2/ü.webp"]),
        (["photos/[x].png"], "photos", ["[x].png"]),
        (["photos/**/*"], "photos", ["[x].png", "a.png", "b.JPG", "day 2/ü.webp"]),
        (["photos/*/*.webp"], "photos", ["day 2/ü.webp"]),
        ([str(photos / "a.png"), "photos/day 2"], tmp_path / "photos", ["a.png", "day 2/ü.webp"]),
    ):
        found = find_images(words, [])
        assert found.root == Path(root)
        assert [os.path.relpath(image, root) for image in found.images] == expected
    note = find_images(["photos"], []).note
    assert "clip.mp4" in note
    assert "ffmpeg -i clip.mp4" in note
    with pytest.raises(UserError, match=r"clip.mp4: expected an image, got a video"):
        find_images(["photos/clip.mp4"], [])
    with pytest.raises(
        UserError, match="images: expected files, a folder or a pattern, found no x"
    ):
        find_images(["x"], [])
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"files of the kinds .* in empty, found none"):
        find_images(["empty"], [])


def test_photos_are_turned_upright(predict, photos):
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying on its side
    photograph(photos / "phone.jpg", 20, 31, exif=exif)
    assert predict("photos/phone.jpg", out="masks", overlays="shown")[0] == 0
    assert pixels("masks/phone.png").shape == (31, 20)
    assert pixels("shown/phone.jpg").shape == (31, 20, 3)


def test_masks_have_the_values_of_the_training_masks(tmp_path):
    labels = torch.tensor([[0, 1], [1, 0]], dtype=torch.uint8)
    colours = [(1, 2, 3), (4, 5, 6)]
    for values, expected in (([0, 255], [0, 255]), ([7, 3], [7, 3]), ([0, 1000], [0, 1])):
        write_mask(tmp_path / "new" / "mask.png", labels, mask_values(values), colours)
        found = pixels(tmp_path / "new" / "mask.png")
        assert found.tolist() == [[expected[label] for label in row] for row in labels.tolist()]
        with Image.open(tmp_path / "new" / "mask.png") as picture:
            shown = np.asarray(picture.convert("RGB"))
        assert np.array_equal(shown, np.array(colours)[labels.numpy()])
    assert list((tmp_path / "new").iterdir()) == [tmp_path / "new" / "mask.png"]


def test_a_file_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").touch()
    labels = torch.zeros(2, 2, dtype=torch.uint8)
    with pytest.raises(UserError, match=r"out: cannot write .*mask.png: File exists"):
        write_mask(tmp_path / "file" / "mask.png", labels, [0, 1], [(0, 0, 0), (1, 1, 1)])
    with pytest.raises(UserError, match="out: cannot write"):
        write_overlay(tmp_path / "file" / "o.jpg", torch.zeros(3, 2, 2).byte(), labels, [(0, 0, 0)])


@pytest.mark.parametrize(
    ("image", "options", "message"),
    [
        ("photos", {"window": -1}, "window: expected 0 or more, got -1"),
        ("photos", {"out": "mask.png"}, "out: expected a folder, got mask.png"),
        ("photos", {"out": "m", "overlays": "./m"}, "expected different folders, got m, m"),
        ("nowhere", {}, "images: expected files, a folder or a pattern, found no nowhere"),
    ],
)
def test_errors_of_the_user_are_one_sentence(predict, photos, image, options, message):
    status, _, error = predict(image, **options)
    assert status == 2
    assert message in error
    assert not Path("m").exists()
