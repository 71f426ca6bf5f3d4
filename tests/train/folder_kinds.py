"""Folders as people have them and what becomes of them: cases of a test, rows of the docs."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lovasz.train.data import DataConfig
from lovasz.train.data.finding import Found, find_pairs

if TYPE_CHECKING:
    from collections.abc import Callable


def tree(root: Path, *names: str, **texts: str | bytes) -> Path:
    """A folder with class names, empty files, and lists (train="1.jpg" for train.txt)."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    for name, text in {"classes": "sky\nroad\n", **texts}.items():
        content = text.encode() if isinstance(text, str) else text
        (root / f"{name}.txt").write_bytes(content)
    return root


def pairs(images: str, masks: str, parts: str = "train val test", count: int = 2) -> list[str]:
    """Names of images and masks, `{p}` for the part and `{k}` for a number."""
    return [
        name.replace("{p}", part).replace("{k}", str(k))
        for part in parts.split()
        for k in range(count)
        for name in (images, masks)
    ]


BY_PART = pairs("{p}/images/{k}.jpg", "{p}/masks/{k}.png")
UNDIVIDED = pairs("images/{k}.jpg", "masks/{k}.png", "all")


def find(root: Path, **options: Any) -> Found:
    return find_pairs(DataConfig(data=str(root), **options))


def names(found: Found) -> dict[str, list[str]]:
    """Of each part the pairs as `image mask`, from the data set's folder on."""
    return {
        part: [" ".join(str(path.relative_to(found.root)) for path in pair) for pair in pairs]
        for part, pairs in found.parts.items()
    }


@dataclass(frozen=True)
class Form:
    """Where an image and its mask are, as `pairs` has it, and the options that say so."""

    images: str
    masks: str
    options: dict[str, Any] = field(default_factory=dict)


FORMS = [
    Form("{p}/images/{k}.jpg", "{p}/masks/{k}.png"),
    Form("images/{p}/{k}.jpg", "masks/{p}/{k}.png"),
    Form("img_dir/{p}/{k}.JPG", "ann_dir/{p}/{k}.PNG"),
    Form("{p}/Images/{k}.jpg", "{p}/Labels/{k}.png"),
    Form("{p}_images/{k}.webp", "{p}_masks/{k}.bmp"),
    Form("images-{p}/{k}.tif", "ground-truth-{p}/{k}.tiff"),
    Form("{p}/{k}.jpg", "{p}_labels/{k}_L.png", {"mask_ending": "_L"}),
    Form("{p}/{k}.jpg", "{p}/masks/{k}.png"),
    Form("{p}/images/{k}.jpg", "{p}/masks/{k}.jpg.png"),
    Form("{p}/{k}.jpg", "{p}/{k}.png"),
    Form("{p}/{k}.tif", "{p}/{k}.png", {"image_ending": ".tif", "mask_ending": ".png"}),
    Form("{p}/{k}.png", "{p}/{k}_mask.png", {"mask_ending": "_mask"}),
    Form("{p}/{k}_sat.jpg", "{p}/{k}_mask.png", {"image_ending": "_sat", "mask_ending": "_mask"}),
    Form(
        "images/{p}/image_{k}.png",
        "masks/{p}/mask_{k}.png",
        {"image_ending": "image_*", "mask_ending": "mask_*"},
    ),
    Form("{p}/left/{k}.jpg", "{p}/truth/{k}.png", {"images": "left", "masks": "truth"}),
    Form(
        "x/{p}/rgb/{k}.jpg",
        "y/gt_{p}/{k}.png",
        {"images": "x/{part}/rgb", "masks": "y/gt_{part}"},
    ),
    Form("images/{k}.jpg", "masks/{k}.png"),
    Form("{k}.jpg", "{k}.png"),
    Form("kind/{k}.png", "kind/{k}_mask.png", {"mask_ending": "_mask"}),
]


def form_rows() -> list[tuple[str, ...]]:
    """The rows of the table of forms."""
    rows: list[tuple[str, ...]] = [("image", "mask", "parts", "options")]
    for form in FORMS:
        places = [
            f"`{place.replace('{p}', 'train').replace('{k}', '1')}`"
            for place in (form.images, form.masks)
        ]
        says = "by folder" if "{p}" in form.images else "[lists](#lists) or chance"
        rows.append((*places, says, shown(form.options)))
    return rows


def shown(options: dict[str, Any]) -> str:
    """Options as they are passed."""
    words = [
        f"--{name.replace('_', '-')} {shlex.quote(v if isinstance(v, str) else json.dumps(v))}"
        for name, v in options.items()
    ]
    return f"`{' '.join(words)}`" if words else ""


@dataclass(frozen=True)
class Odd:
    """What a folder may hold beside pairs of images and masks.

    Attributes:
        what: For the table.
        gives: For the table.
        add: Adds it to the training part, a folder with two pairs in images and masks.
        left_out: The reason of each path that is left out, from the training part on; for errors
            the pattern of the sentence.
        options: Of the data.
        used: How many images the training part then has.
    """

    what: str
    gives: str
    add: Callable[[Path], object]
    left_out: dict[str, str] | str
    options: dict[str, Any] = field(default_factory=dict)
    used: int = 2


def _files(*names: str) -> Callable[[Path], object]:
    return lambda train: [(train / name).touch() for name in names]


def _inner(train: Path, *names: str) -> None:
    for name in names:
        (train / name).parent.mkdir(parents=True)
        (train / name).touch()


def _linked(train: Path) -> None:
    for kind, name in (("images", "3.jpg"), ("masks", "3.png")):
        _inner(train.parent, f"disk/{kind}/{name}")
        (train / kind / "more").symlink_to(train.parent / "disk" / kind)


def _circle(train: Path) -> None:
    (train / "images" / "more").symlink_to(train / "images")


def _nowhere(train: Path) -> None:
    (train / "images" / "3.jpg").symlink_to(train / "nowhere.jpg")


def _list(train: Path) -> None:
    (train.parent / "train.txt").write_text("0\n", encoding="utf-8")


ODD = [
    Odd(
        "a linked sub-folder", "its images are used", _linked, {"../disk": "other folders"}, used=3
    ),
    Odd(
        "a link to a folder that it is in",
        "left out",
        _circle,
        {"images/more": "links to a folder around them"},
    ),
    Odd("a link to nothing", "left out", _nowhere, {"images/3.jpg": "links to nothing"}),
    Odd(
        "files that are no images",
        "left out",
        _files("images/1.gif", "images/1.xml", "masks/Thumbs.db"),
        dict.fromkeys(("images/1.gif", "images/1.xml", "masks/Thumbs.db"), "files of other kinds"),
    ),
    Odd(
        "hidden files and folders, as `._1.jpg` and `.ipynb_checkpoints`",
        "left out",
        lambda train: _inner(train, "images/.ipynb_checkpoints/1.jpg", "masks/__MACOSX/._1.png"),
        {"images/.ipynb_checkpoints": "hidden files", "masks/__MACOSX": "hidden files"},
    ),
    Odd(
        "a mask without an image",
        "left out",
        _files("masks/9.png"),
        {"masks/9.png": "masks without an image"},
    ),
    Odd(
        "an image without a mask",
        "an error before the run",
        _files("images/9.jpg"),
        r"images/9.jpg: expected its mask at .*masks/9.png, found none; --without_mask leave-out",
    ),
    Odd(
        "an image without a mask, `--without-mask leave-out`",
        "left out",
        _files("images/9.jpg"),
        {"images/9.jpg": "images without a mask"},
        {"without_mask": "leave-out"},
    ),
    Odd(
        "two images for a mask, `1.png` beside `1.jpg`",
        "one is used, a lossless one before JPEG",
        _files("images/1.png"),
        {"images/1.jpg": "images beside one of the same name"},
    ),
    Odd(
        "the same, `--image-ending .jpg`",
        "that one is used",
        _files("images/1.png"),
        {"images/1.png": "names without .jpg"},
        {"image_ending": ".jpg"},
    ),
    Odd(
        "two masks for an image, `1.png` beside `1.tif`",
        "an error before the run",
        _files("masks/1.tif"),
        r"images/1.jpg: expected one mask in .*masks, found 1.tif and 1.png; .* --mask_ending .tif",
    ),
    Odd(
        "a mask beside a JPEG file of its name",
        "the JPEG file is left out",
        _files("masks/1.jpg"),
        {"masks/1.jpg": "masks beside one of the same name"},
    ),
    Odd(
        "masks in two folders, `masks` and `labels`",
        "an error before the run",
        lambda train: _inner(train, "labels/0.png"),
        r"masks: expected one folder of masks of the train part .*; say which one, .* --masks lab",
    ),
    Odd(
        "the same, `--masks masks`",
        "the other one is left out",
        lambda train: _inner(train, "labels/0.png"),
        {"labels": "other folders"},
        {"masks": "masks"},
    ),
    Odd(
        "images beside the folders of a part",
        "left out",
        _files("7.jpg"),
        {"7.jpg": "images outside of the folders"},
    ),
    Odd(
        "images of a part without masks",
        "left out, for `train` and `val` an error",
        lambda train: _inner(train.parent, "test/images/0.jpg"),
        {"../test/images/0.jpg": "images of a part without masks"},
    ),
    Odd(
        "lists beside folders that say the part",
        "left out",
        _list,
        {"../train.txt": "lists beside folders"},
    ),
    Odd(
        "folders of other names with images",
        "left out",
        lambda train: _inner(train.parent, "backup/0.jpg"),
        {"../backup": "other folders"},
    ),
]


def odd_rows() -> list[tuple[str, ...]]:
    """The rows of the table of what else a folder may hold."""
    return [("in the folder", "becomes of it"), *((case.what, case.gives) for case in ODD)]
