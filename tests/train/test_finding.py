"""Folders as people have them: which image has which mask in which part, and what is left out.

After a change of the cases `python -m tests.train.test_finding` writes the tables of the docs.
"""

from __future__ import annotations

import os
import sys
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from lovasz.train.config import TrainConfig
from lovasz.train.data import DataConfig, load_data
from lovasz.train.data.config import OF_FOLDERS
from lovasz.train.data.finding import Found, find_pairs
from lovasz.train.errors import UserError
from tests.train.folder_kinds import FORMS, ODD, form_rows, odd_rows, pairs, tree

PAGE = Path(__file__).parents[2] / "docs" / "training.md"


def find(root: Path, **options: Any) -> Found:
    return find_pairs(DataConfig(data=str(root), **options))


def names(found: Found) -> dict[str, list[str]]:
    """Of each part the pairs as `image mask`, from the data set's folder on."""
    return {
        part: [" ".join(str(path.relative_to(found.root)) for path in pair) for pair in pairs]
        for part, pairs in found.parts.items()
    }


@pytest.mark.parametrize("form", FORMS, ids=[form.masks for form in FORMS])
@pytest.mark.parametrize("validation", ["val", "Valid"])
def test_a_form_of_the_table_is_found(tmp_path, form, validation):
    divided = "{p}" in form.images
    count = 2 if divided else 6
    files = pairs(form.images, form.masks, f"train {validation} test" if divided else "all", count)
    found = find(tree(tmp_path, *files), **form.options)
    assert not found.left_out
    if divided:
        assert names(found) == {
            part: [" ".join(pairs(form.images, form.masks, name, 2)[k : k + 2]) for k in (0, 2)]
            for part, name in {"train": "train", "val": validation, "test": "test"}.items()
        }
    else:
        by_chance = sorted(pair for part in names(found).values() for pair in part)
        assert by_chance == [" ".join(files[k : k + 2]) for k in range(0, 12, 2)]


@pytest.mark.parametrize("case", ODD, ids=[case.what for case in ODD])
def test_what_becomes_of_what_else_is_there(tmp_path, case):
    tree(tmp_path, *pairs("{p}/images/{k}.jpg", "{p}/masks/{k}.png", "train val"))
    case.add(tmp_path / "train")
    if isinstance(case.left_out, str):
        with pytest.raises(UserError, match=case.left_out):
            find(tmp_path, **case.options)
        return
    found = find(tmp_path, **case.options)
    left_out = {os.path.relpath(path, tmp_path / "train"): why for path, why in found.left_out}
    assert {path: left_out.pop(path, None) for path in case.left_out} == case.left_out
    assert all(why == "files of other kinds" or "names" in why for why in left_out.values())
    images = 3 if "are used" in case.gives and "linked" in case.what else 2
    assert len(found.parts["train"]) == images
    assert all(why in found.notes[0] for why in case.left_out.values())


def test_the_page_has_the_tables():
    page = PAGE.read_text(encoding="utf-8")
    assert _with_tables(page) == page


def _with_tables(page: str) -> str:
    """The page with the tables between their marks."""
    for name, rows in (("forms", form_rows()), ("odd", odd_rows())):
        mark = f"<!-- folders: {name} -->\n"
        before, _, after = page.split(mark)
        lines = [" | ".join(("", *row, "")).strip() for row in rows]
        lines.insert(1, "|" + "---|" * len(rows[0]))
        page = f"{before}{mark}\n{chr(10).join(lines)}\n\n{mark}{after}"
    return page


def test_folders_with_names_of_their_own(tmp_path):
    tree(tmp_path, *pairs("{p}/images/{k}.jpg", "{p}/masks/{k}.png", "fold1 fold2 train"))
    found = find(tmp_path, parts={"train": "fold1", "val": "fold2"})
    assert names(found)["train"][0] == "fold1/images/0.jpg fold1/masks/0.png"
    assert {path.name: why for path, why in found.left_out} == {"train": "other folders"}
    with pytest.raises(UserError, match=r"^parts: expected a folder or list fold9 of the val part"):
        find(tmp_path, parts={"train": "fold1", "val": "fold9"})


def test_the_masks_may_be_elsewhere(tmp_path):
    files = pairs("photos/{p}/{k}.jpg", "drawn/{p}/{k}.png")
    tree(tmp_path, *files)
    found = find_pairs(
        DataConfig(
            data=str(tmp_path / "photos"),
            images=".",
            masks=str(tmp_path / "drawn"),
            class_names=str(tmp_path / "classes.txt"),
        )
    )
    assert found.parts["test"][1].mask == tmp_path / "drawn/test/1.png"


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    tree(tmp_path / "d", *pairs("images/{p}/{k}.jpg", "masks/{p}/{k}.png"))
    config = TrainConfig(out="~/run", data="~/d", class_names="~/d/classes.txt", masks="~/d/masks")
    assert len(find_pairs(config).parts) == 3
    assert config.out == str(tmp_path / "run")


def test_an_undivided_folder_is_divided_by_the_seed(tmp_path):
    tree(tmp_path, *pairs("images/{k}.jpg", "masks/{k}.png", "all", count=20))
    found = find(tmp_path)
    assert [len(pairs) for pairs in found.parts.values()] == [14, 3, 3]
    images = [pair.image for pairs in found.parts.values() for pair in pairs]
    assert len(set(images)) == 20
    assert names(find(tmp_path)) == names(found)
    other = find(tmp_path, split_seed=1)
    assert names(other) != names(found)
    assert (
        other.notes[1] == "The images were divided by chance, 0.7 : 0.15 : 0.15, with the seed 1."
    )
    halves = find(tmp_path, split=[0.5, 0.5])
    assert [len(pairs) for pairs in halves.parts.values()] == [10, 10]
    assert list(find(tmp_path, split=[0.5, 0.5, 0.0]).parts) == ["train", "val"]
    # However few there are, no part is empty.
    rest = find(tmp_path, split=[0.98, 0.01, 0.01])
    assert [len(pairs) for pairs in rest.parts.values()] == [18, 1, 1]


def test_the_split_does_not_depend_on_where_the_folder_is(tmp_path):
    files = pairs("images/{k}.jpg", "masks/{k}.png", "all", count=9)
    one, other = (find(tree(tmp_path / name, *files)) for name in "ab")
    assert names(one) == names(other)


def test_a_split_gives_the_parts_that_are_missing(tmp_path):
    tree(tmp_path, *pairs("{p}/images/{k}.jpg", "{p}/masks/{k}.png", "train test", count=8))
    found = find(tmp_path, split=[0.75, 0.25])
    assert {part: len(pairs) for part, pairs in found.parts.items()} == {
        "train": 6,
        "val": 2,
        "test": 8,
    }
    with pytest.raises(UserError, match=r"^split: expected none, .* the test part, which it has$"):
        find(tmp_path, split=[0.6, 0.2, 0.2])
    with pytest.raises(UserError, match=r"^data: .*val/images, found none; --split '\[0.85, 0.15"):
        find(tmp_path)


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


def test_what_is_left_out_is_told(tmp_path):
    tree(tmp_path, *pairs("{p}/images/{k}.jpg", "{p}/masks/{k}.png", "train val"), train="0")
    more = ["images/._0.jpg", "images/.ipynb_checkpoints/0.jpg", "images/0.bmp", "images/a.gif"]
    more += ["images/0.xml", "masks/7.png", "masks/8.png", "masks/9.png", "masks/6.png"]
    tree(tmp_path / "train", *more, "loose.jpg")
    tree(tmp_path, "extra/1.png", "test/images/5.jpg")
    (tmp_path / "train/images/gone.jpg").symlink_to(tmp_path / "nowhere")
    found = find(tmp_path)
    assert {part: len(pairs) for part, pairs in found.parts.items()} == {"train": 2, "val": 2}
    left_out = {str(path.relative_to(tmp_path)): why for path, why in found.left_out}
    assert left_out == {
        "train/images/._0.jpg": "hidden files",
        "train/images/.ipynb_checkpoints": "hidden files",
        "train/images/0.jpg": "images beside one of the same name",
        "train/images/a.gif": "files of other kinds",
        "train/images/0.xml": "files of other kinds",
        "train/images/gone.jpg": "links to nothing",
        "train/loose.jpg": "images outside of the folders",
        **{f"train/masks/{k}.png": "masks without an image" for k in (6, 7, 8, 9)},
        "extra": "other folders",
        "test/images/5.jpg": "images of a part without masks",
        "train.txt": "lists beside folders",
    }
    (line,) = found.notes
    assert line.startswith("Images: 2 train, 2 val. Left out: files of other kinds: 2 (train/ima")
    told = "masks without an image: 4 (train/masks/6.png, train/masks/7.png, train/masks/8.png, …)"
    assert told in line


def test_what_no_list_names_is_told(tmp_path):
    files = pairs("images/{k}.jpg", "masks/{k}.png", "all", count=4)
    found = find(tree(tmp_path, *files, train="0\n1\n1", val="2"))
    assert [(path.name, why) for path, why in found.left_out] == [
        ("3.jpg", "images in no list"),
        ("3.png", "masks in no list"),
    ]
    assert found.notes[1].startswith("Images that come more than once in the train part: 1")


def test_linked_folders_are_followed_once(tmp_path):
    tree(tmp_path / "disk", *pairs("images/{k}.jpg", "masks/{k}.png", "all"))
    tree(tmp_path / "d", *pairs("{p}/images/{k}.jpg", "{p}/masks/{k}.png", "val"))
    (tmp_path / "d/train/images").mkdir(parents=True)
    (tmp_path / "d/train/masks").symlink_to(tmp_path / "disk/masks")
    (tmp_path / "d/train/images/more").symlink_to(tmp_path / "disk/images")
    (tmp_path / "disk/masks/more").symlink_to(tmp_path / "disk/masks")
    (tmp_path / "disk/images/around").symlink_to(tmp_path / "d/train/images")
    (tmp_path / "disk/images/self").symlink_to("self")
    with pytest.raises(UserError, match=r"more/0.jpg: expected its mask at .*masks/more/0.png"):
        find(tmp_path / "d")
    (tmp_path / "disk/masks/more").unlink()
    tree(tmp_path / "d/train/masks/more", *["0.png", "1.png"])
    found = find(tmp_path / "d")
    assert len(found.parts["train"]) == 2
    whys = {path.name: why for path, why in found.left_out}
    assert whys["around"] == "links to a folder around them"
    assert whys["self"] == "links to nothing"
    assert whys["0.png"] == "masks without an image"


def test_class_names_of_a_table(tmp_path):
    tree(tmp_path, *pairs("{p}/{k}.jpg", "{p}/{k}_mask.png"))
    (tmp_path / "classes.txt").unlink()
    table = tmp_path / "train/_classes.csv"
    table.write_text("Pixel Value, Class\n0, none\n255, cat [big]\n")
    found = find(tmp_path, mask_ending="_mask")
    assert found.classes == (["none", "cat [big]"], (0, 255))
    assert not found.left_out


def test_a_known_layout_with_other_classes_is_the_users_own(tmp_path):
    files = pairs("{p}/{k}.png", "{p}annot/{k}.png")
    found = find(tree(tmp_path, *files))
    assert (found.layout.name, found.classes.names) == ("folders by part", ["sky", "road"])
    (tmp_path / "classes.txt").unlink()
    assert find(tmp_path).layout.name == "CamVid (SegNet)"


def test_voc_with_other_lists_and_masks(tmp_path):
    files = pairs("JPEGImages/{k}.jpg", "SegmentationClassAug/{k}.png", "all")
    tree(tmp_path, *files, "ImageSets/Segmentation/val.txt")
    (tmp_path / "classes.txt").unlink()
    sets = tmp_path / "ImageSets/Segmentation"
    (sets / "trainaug.txt").write_text("/JPEGImages/0.jpg /SegmentationClassAug/0.png\n")
    (sets / "val.txt").write_text("1\n")
    found = find(tmp_path, masks="SegmentationClassAug", parts={"train": "trainaug"})
    assert (found.layout.name, len(found.classes.names)) == ("Pascal VOC", 21)
    assert len(found.parts["train"]) == len(found.parts["val"]) == 1


BY_PART = pairs("{p}/images/{k}.jpg", "{p}/masks/{k}.png")
UNDIVIDED = pairs("images/{k}.jpg", "masks/{k}.png", "all")
REFUSED = {
    "masks with an ending": (
        pairs("{p}/images/{k}.jpg", "{p}/masks/{k}_seg.png"),
        {},
        r"train/images/0.jpg: expected its mask at .*masks/0.png, .*, nor for 1 more; pass"
        r" --mask_ending _seg$",
    ),
    "another ending": (
        pairs("{p}/images/{k}.jpg", "{p}/masks/{k}_seg.png"),
        {"mask_ending": "_mask"},
        r"expected its mask at .*masks/0_mask.png, found none.*pass --mask_ending _seg$",
    ),
    "other sub-folders": (
        pairs("{p}/images/x/{k}.jpg", "{p}/masks/{k}_m.png"),
        {"mask_ending": "_m"},
        r"masks/0_m.png is there, but the sub-folders have to be the same$",
    ),
    "both with an ending": (
        pairs("{p}/images/{k}_sat.jpg", "{p}/masks/{k}_mask.png"),
        {},
        r"pass --image_ending _sat --mask_ending _mask$",
    ),
    "a beginning": (
        pairs("images/{p}/im{k}.jpg", "masks/{p}/mask_{k}.png"),
        {},
        r"pass --image_ending 'im\*' --mask_ending 'mask_\*'$",
    ),
    "beside each other": (
        pairs("{p}/{k}.png", "{p}/{k}_mask.png"),
        {},
        r"it has images and masks beside each other: pass --mask_ending _mask$",
    ),
    "unknown names": (
        pairs("{p}/left/{k}.jpg", "{p}/right/{k}.png", "train"),
        {},
        r"it has images in train/left, train/right: --images and --masks say which are which$",
    ),
    "unknown masks": (
        pairs("images/{k}.jpg", "drawn [2]/{k}.png", "all"),
        {},
        r"the masks may be in drawn \[2\]: pass --masks 'drawn \[2\]'$",
    ),
    "no images of the masks": (
        pairs("masks/{k}.png", "annotated/{k}.txt", "all"),
        {},
        r"has annotated, masks: name the folder of the images by --images$",
    ),
    "one level deeper": (
        [f"inner/{name}" for name in BY_PART],
        {},
        r"inner does: pass --data .*inner$",
    ),
    "no such folder": (BY_PART, {"masks": "drawn"}, r"^masks: expected a folder drawn in .* train"),
    "two folders": (
        [*BY_PART, "train/labels/0.png"],
        {},
        r"^masks: .* found train/labels and train/masks; .* --masks labels$",
    ),
    "two spellings": (
        [*BY_PART, "train/Masks/0.png"],
        {},
        r"^masks: .* found train/Masks and train/masks; .* --masks '{part}/Masks'$",
    ),
    "polygons": (
        pairs("images/{p}/{k}.jpg", "labels/{p}/{k}.txt"),
        {},
        r"masks are read from images, and there are only .txt files$",
    ),
    "two masks": (
        [*BY_PART, "train/masks/0.tif"],
        {},
        r"expected one mask in .*, found 0.tif and 0.png; .* --mask_ending .tif$",
    ),
    "no image of this ending": (
        BY_PART,
        {"image_ending": "_sat"},
        r"^data: expected images in .*train/images, found none with the ending _sat$",
    ),
    "no masks of a part": (
        [*pairs("{p}/images/{k}.jpg", "{p}/masks/{k}.png", "train"), "val/images/0.jpg"],
        {},
        r"^data: expected masks of .*val/images, found no folder of them; --split",
    ),
    "a split of divided data": (BY_PART, {"split": [0.5, 0.5]}, r"^split: expected none, or parts"),
    "a seed for divided data": (
        BY_PART,
        {"split_seed": 1},
        r"^split_seed: expected 0, for .*got 1",
    ),
    "too few to split": (UNDIVIDED, {}, r"^split: expected 3 images or more, got 2$"),
    "names for undivided data": (UNDIVIDED, {"parts": {"val": "x"}}, r"^parts: expected a folder"),
    "no such list": (
        UNDIVIDED,
        {"lists": "l/{part}.txt"},
        r"^lists: .* at .*l/train.txt, found no",
    ),
}


@pytest.mark.parametrize(("files", "options", "message"), REFUSED.values(), ids=REFUSED)
def test_a_folder_that_does_not_fit_hears_what_would(tmp_path, files, options, message):
    with pytest.raises(UserError, match=message) as caught:
        find(tree(tmp_path, *files), **options)
    assert "\n" not in str(caught.value)


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


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": [1.0]}, r"^split: expected two or three fractions with a sum of 1"),
        ({"split": [0.5, 0.6]}, r"^split: .* got \[0.5, 0.6\]$"),
        ({"split": [0.0, 1.0]}, r"^split: "),
        ({"split_seed": -1}, r"^split_seed: expected 0 or more"),
        ({"parts": {"training": "a"}}, r"^parts: expected names for train, val, test"),
    ],
)
def test_options_out_of_range(options, message):
    with pytest.raises(UserError, match=message):
        DataConfig(**options)


@pytest.mark.parametrize("data", ["landcover", "scenes"])
def test_options_of_folders_do_not_go_with_data_that_are_none(data):
    given = {"parts": {"train": "a"}, "split": [0.5, 0.5], "split_seed": 1}
    given |= {"without_mask": "leave-out", "orientation": "stored", "channels": 1}
    given |= {"mask_values": [0, 9], "value_range": [0, 1]}
    for name in OF_FOLDERS:
        value = given.get(name, "a")
        with pytest.raises(UserError, match=f"^{name}: expected none, for {data} is no folder"):
            load_data(DataConfig(data=data, **{name: value}))


def test_other_folders_that_cannot_be_read_do_no_harm(tmp_path, monkeypatch):
    tree(tmp_path, *BY_PART, "locked/1.png", "train/images/locked/1.png")
    scandir = os.scandir
    locked = [tmp_path / "locked"]

    def scan(path):
        if path in locked:
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr("lovasz.train.data.walk.os.scandir", scan)
    with pytest.raises(UserError, match=r"images/locked/1.png: expected its mask at"):
        find(tmp_path)
    for needed in (tmp_path, tmp_path / "train/images/locked"):
        locked[:] = [needed]
        with pytest.raises(UserError, match=r"^data: expected a folder that can .* denied$"):
            find(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sky\nroad\nsky", r"^class_names: expected different names in .*, got sky twice$"),
        ("sky", r"^class_names: expected 2 to 255 names in .*classes.txt, got 1$"),
        (b"\x00\x01\x02", r"^class_names: expected a text file .*, got .*, which is no text$"),
    ],
)
def test_class_names_that_do_not_fit(tmp_path, text, message):
    with pytest.raises(UserError, match=message):
        find(tree(tmp_path, *BY_PART, classes=text))


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_names_that_are_no_text_can_be_used_and_printed(tmp_path):
    one, other = (os.fsdecode(byte) for byte in (b"\xfe", b"\xff"))
    more = [f"train/images/{one}.jpg", f"train/masks/{one}.png", f"train/masks/{other}.png"]
    found = find(tree(tmp_path, *BY_PART, *more))
    assert len(found.parts["train"]) == 3
    assert found.notes[0].encode().endswith(b"(train/masks/?.png).")


if __name__ == "__main__":
    PAGE.write_text(_with_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
