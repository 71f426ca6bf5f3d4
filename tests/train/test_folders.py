from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lovasz.train.data import IGNORE, DataConfig, load_data
from lovasz.train.data.layouts import CITYSCAPES
from lovasz.train.errors import UserError


def load(root, **options):
    return load_data(DataConfig(data=str(root), **options))


def save(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)


def grey(value: int, shape: tuple[int, ...] = (4, 6)) -> np.ndarray:
    return np.full(shape, value, dtype=np.uint8)


def test_reads_image_and_labels_of_each_part(squares):
    data = load(squares)
    assert {name: len(part) for name, part in data.parts.items()} == {
        "train": 7,
        "val": 3,
        "test": 3,
    }
    assert data.classes == ["dark", "red", "green"]
    image, labels = data.parts["train"][1]
    assert image.shape == (3, 16, 16)
    assert labels.shape == (16, 16)
    assert image[0, labels == 2].max() < 100  # green has little red
    assert data.evaluated == "test"


def test_without_test_part_the_validation_part_is_evaluated(squares):
    shutil.rmtree(squares / "test")
    assert load(squares).evaluated == "val"


def test_palette_mask_and_ignored_value(squares):
    mask = Image.fromarray(grey(1, (16, 16)))
    mask.putpixel((0, 0), 9)
    mask.putpalette(list(range(30)))
    mask.save(squares / "train/masks/0.png")
    _, labels = load(squares, ignore_index=9).parts["train"][0]
    assert labels[0, 0] == IGNORE
    assert (labels.flatten()[1:] == 1).all()


def test_lists_name_the_images_of_a_part(squares, tmp_path):
    root = tmp_path / "lists"
    shutil.copytree(squares / "train", root)
    shutil.copy(squares / "classes.txt", root)
    (root / "train.txt").write_text("0\n3.png\n", encoding="utf-8")
    (root / "val.txt").write_text("1\n", encoding="utf-8")
    parts = load(root).parts
    assert [pair[0].name for pair in parts["train"].pairs] == ["0.png", "3.png"]
    assert len(parts["val"]) == 1


def voc(root: Path) -> None:
    for name in ("train", "val"):
        save(root / f"JPEGImages/{name}.jpg", grey(0, (4, 6, 3)))
        save(root / f"SegmentationClass/{name}.png", grey(20))
        (root / "ImageSets/Segmentation").mkdir(parents=True, exist_ok=True)
        (root / f"ImageSets/Segmentation/{name}.txt").write_text(name, encoding="utf-8")


def camvid(root: Path) -> None:
    for name in ("train", "val", "test"):
        save(root / name / "0.png", grey(0, (4, 6, 3)))
        save(root / f"{name}annot" / "0.png", grey(11))


def ade(root: Path) -> None:
    rows = [f"{k}\t0\t0\t0\t{'s'}\tthing {k}, other name" for k in range(1, 151)]
    root.mkdir()
    (root / "objectInfo150.txt").write_text("\n".join(["Idx\tName", *rows]), encoding="utf-8")
    for name in ("training", "validation"):
        save(root / "images" / name / "0.jpg", grey(0, (4, 6, 3)))
        save(root / "annotations" / name / "0.png", grey(150))


def cityscapes(root: Path) -> None:
    for name in ("train", "val"):
        save(root / f"leftImg8bit/{name}/ulm/ulm_0_leftImg8bit.png", grey(0, (4, 6, 3)))
        save(root / f"gtFine/{name}/ulm/ulm_0_gtFine_labelIds.png", grey(33))
        save(root / f"gtFine/{name}/ulm/ulm_0_gtFine_color.png", grey(0))


@pytest.mark.parametrize(
    ("make", "classes", "parts", "label"),
    [
        (voc, 21, ["train", "val"], 20),
        (camvid, 11, ["train", "val", "test"], IGNORE),
        (ade, 150, ["train", "val"], 149),
        (cityscapes, 19, ["train", "val"], 18),
    ],
)
def test_known_layouts(tmp_path, make, classes, parts, label):
    make(tmp_path / "data")
    data = load(tmp_path / "data")
    assert len(data.classes) == classes
    assert list(data.parts) == parts
    assert (data.parts["train"][0][1] == label).all()


def test_cityscapes_values_without_class_are_ignored(tmp_path):
    cityscapes(tmp_path)
    save(tmp_path / "gtFine/train/ulm/ulm_0_gtFine_labelIds.png", grey(4))
    assert 4 not in CITYSCAPES
    assert (load(tmp_path).parts["train"][0][1] == IGNORE).all()


def test_ade_names_are_the_first_of_the_last_column(tmp_path):
    ade(tmp_path / "data")
    assert load(tmp_path / "data").classes[0] == "thing 1"


RED = np.array([200, 0, 0], dtype=np.uint8)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:60])


ERRORS = {
    "no folder": (
        shutil.rmtree,
        r"data: expected a folder, got .*squares, which is none",
    ),
    "unknown layout": (
        lambda root: shutil.rmtree(root / "train"),
        r"data: expected .*squares to hold train/images and train/masks, ",
    ),
    "no validation part": (
        lambda root: shutil.rmtree(root / "val"),
        r"data: expected images in .*val/images, found none",
    ),
    "no class names": (
        lambda root: (root / "classes.txt").unlink(),
        r"class_names: expected a text file with one class .*, cannot read .*classes.txt",
    ),
    "one class": (
        lambda root: (root / "classes.txt").write_text("sky\n", encoding="utf-8"),
        r"class_names: expected 2 to 255 names in .*classes.txt, got 1",
    ),
    "missing mask": (
        lambda root: (root / "train/masks/0.png").unlink(),
        r"train/images/0.png: expected its mask at .*train/masks/0.png, found none",
    ),
    "other size": (
        lambda root: save(root / "train/masks/0.png", grey(0)),
        r"masks/0.png: expected a mask of 16 x 16 pixels like .*images/0.png, got 6 x 4",
    ),
    "label out of range": (
        lambda root: save(root / "train/masks/0.png", grey(3, (16, 16))),
        r"masks/0.png: expected labels from 0 to 2 or 255 for no label, got 3",
    ),
    "colour mask": (
        lambda root: save(root / "train/masks/0.png", np.eye(16, dtype=np.uint8)[..., None] * RED),
        r"masks/0.png: expected one label per pixel .*, got several channels, for example \(200, 0",
    ),
    "16 bits": (
        lambda root: save(root / "train/masks/0.png", np.full((16, 16), 300, dtype=np.uint16)),
        r"masks/0.png: expected labels from 0 to 2 or 255 for no label, got 300; --mask_values",
    ),
    "unreadable image": (
        lambda root: truncate(root / "train/images/0.png"),
        r"images/0.png: expected an image, cannot read it",
    ),
    "not an image": (
        lambda root: (root / "train/images/0.png").write_text("hello", encoding="utf-8"),
        r"images/0.png: expected an image, cannot read it",
    ),
}


@pytest.mark.parametrize(("harm", "message"), ERRORS.values(), ids=ERRORS)
def test_errors_name_file_expectation_and_value(squares, harm, message):
    harm(squares)
    with pytest.raises(UserError, match=message) as caught:
        load(squares).parts["train"][0]
    assert "\n" not in str(caught.value)


def test_list_with_unknown_image(squares):
    shutil.copytree(squares / "train", squares, dirs_exist_ok=True)
    shutil.rmtree(squares / "train")
    (squares / "train.txt").write_text("0\nnine\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"train.txt: expected an image nine in .*images, found no"):
        load(squares)
