"""Lists as people have them: one name or a pair on a line, in any encoding."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from lovasz.train.errors import UserError
from tests.train.folder_kinds import FORMS, UNDIVIDED, find, names, pairs, tree

LISTS = {
    "names": ("0\n1.jpg\n", "2"),
    "paths": ("images/0.jpg\n./images/1.jpg", "images\\2.jpg"),
    "pairs": ("images/0.jpg masks/0.png\nimages/1.jpg\tmasks/1.png", "0.jpg,0.png"),
    "pairs from the root": ("/images/0.jpg /masks/0.png\n/images/1.jpg /masks/1.png", "2 2"),
    "a comment": ("# mine\r\n0\r\n\r\n1", "2"),
    "a way round": ("masks/../images/0.jpg\nimages/1.jpg", "2"),
    "a heading": ("image_path;mask_path\nimages/0.jpg;masks/0.png\n1.jpg;1.png", "Id\n2"),
}


@pytest.mark.parametrize(("train", "val"), LISTS.values(), ids=LISTS)
def test_lists(tmp_path, train, val):
    files = pairs("images/{k}.jpg", "masks/{k}.png", "all", count=3)
    found = find(tree(tmp_path, *files, train=train, valid=val))
    assert names(found)["train"] == [f"images/{k}.jpg masks/{k}.png" for k in range(2)]
    assert len(found.parts["val"]) == 1


@pytest.mark.parametrize("form", [form for form in FORMS if "{p}" not in form.images])
def test_lists_of_undivided_folders(tmp_path, form):
    folder = form.images.replace("{k}.jpg", "").replace("{k}.png", "").replace("images/", "")
    files = pairs(form.images, form.masks, "all", count=3)
    found = find(tree(tmp_path, *files, train=f"{folder}0", val=f"{folder}1"), **form.options)
    assert [part[0] for part in names(found).values()] == [
        " ".join(files[k : k + 2]) for k in (0, 2)
    ]
    assert {path.name for path, _ in found.left_out} == {Path(file).name for file in files[4:]}


@pytest.mark.parametrize(
    ("place", "options"),
    [
        ("ImageSets/Segmentation/{}.txt", {}),
        ("splits/{}.csv", {}),
        ("cv/{}.lst", {"lists": "cv/{part}.lst"}),
    ],
)
def test_places_of_lists(tmp_path, place, options):
    tree(tmp_path, *pairs("JPEGImages/{k}.jpg", "SegmentationClass/{k}.png", "all"))
    for name, text in (("train", "0"), ("val", "1")):
        path = tmp_path / place.format(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert [len(part) for part in find(tmp_path, **options).parts.values()] == [1, 1]


def test_a_list_without_parts_is_divided(tmp_path):
    files = pairs("a/{k}.jpg", "b/{k}.png", "all", count=6)
    lines = "\n".join(f"a/{k}.jpg b/{k}.png" for k in range(5))
    found = find(tree(tmp_path, *files, all=lines), lists="all.txt", split=[0.6, 0.4])
    assert [len(part) for part in found.parts.values()] == [3, 2]


def test_a_table_may_say_the_part(tmp_path):
    files = pairs("a/{k}.jpg", "b/{k}.png", "all", count=4)
    rows = [
        f"a/{k}.jpg,{part},b/{k}.png" for k, part in enumerate(["train", "Valid", "train", "test"])
    ]
    tree(tmp_path, *files)
    (tmp_path / "all.csv").write_text("\n".join(["image,Split,mask_path", *rows]))
    assert names(find(tmp_path, lists="all.csv")) == {
        "train": ["a/0.jpg b/0.png", "a/2.jpg b/2.png"],
        "val": ["a/1.jpg b/1.png"],
        "test": ["a/3.jpg b/3.png"],
    }
    (tmp_path / "all.csv").write_text("\n".join(["image,split,mask", "a/0.jpg,7,b/0.png"]))
    with pytest.raises(UserError, match=r"all.csv: expected train, val, test as parts, got 7$"):
        find(tmp_path, lists="all.csv")


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252"]
)
def test_lists_and_class_names_in_any_encoding(tmp_path, encoding):
    text = "café (1)\r\nb [x] c\n".encode(encoding)
    files = [name for stem in ("café (1)", "b [x] c") for name in pairs(stem, stem, "all", 1)]
    images = [f"images/{name}.jpg" for name in files[::2]]
    masks = [f"masks/{unicodedata.normalize('NFD', name)}.png" for name in files[::2]]
    tree(tmp_path, *images, *masks, train=text, val=text, classes=text)
    found = find(tmp_path)
    assert [pair.image.name for pair in found.parts["train"]] == ["café (1).jpg", "b [x] c.jpg"]
    assert found.classes.names == ["café (1)", "b [x] c"]
    assert "Images that are both in the train and in the val part: 2" in found.notes[1]
    assert not found.left_out


def test_what_no_list_names_is_told(tmp_path):
    files = pairs("images/{k}.jpg", "masks/{k}.png", "all", count=4)
    found = find(tree(tmp_path, *files, train="0\n1\n1", val="2"))
    assert [(path.name, why) for path, why in found.left_out] == [
        ("3.jpg", "images in no list"),
        ("3.png", "masks in no list"),
    ]
    assert found.notes[1].startswith("Images that come more than once in the train part: 1")


BAD_LISTS = {
    "unknown": ("0\nnine and ten", {}, r"train.txt: .* nine and ten in .*images, found none$"),
    "a path of another machine": (
        "/data/me/images/0.jpg",
        {},
        r"found none; images/0.jpg is there: list paths from there on$",
    ),
    "empty": ("\n", {}, r"^data: expected images in .*train.txt, found none$"),
    "no text": (b"\xff\xd8\x81\x00", {}, r"^lists: expected a text file .*train.txt, which is no"),
    "endings of pairs": (
        "0.jpg 0.png",
        {"mask_ending": "_mask"},
        r"^mask_ending: expected none, for the lists name the masks, got _mask$",
    ),
}


@pytest.mark.parametrize(("train", "options", "message"), BAD_LISTS.values(), ids=BAD_LISTS)
def test_a_list_that_does_not_fit(tmp_path, train, options, message):
    with pytest.raises(UserError, match=message):
        find(tree(tmp_path, *UNDIVIDED, train=train, val="1.jpg 1.png"), **options)
