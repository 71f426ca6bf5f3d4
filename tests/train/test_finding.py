"""Folders as people have them: which image has which mask in which part, and what is left out."""

from __future__ import annotations

import os
import sys

import pytest

from lovasz.train.config import TrainConfig
from lovasz.train.data import DataConfig, load_data
from lovasz.train.data.config import OF_FOLDERS
from lovasz.train.data.finding import find_pairs
from lovasz.train.errors import UserError
from tests.train.folder_kinds import BY_PART, UNDIVIDED, find, names, pairs, tree


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
    "beside each other by their kind": (
        pairs("{p}/{k}.tif", "{p}/{k}.png"),
        {},
        r"beside each other: pass --image_ending .tif --mask_ending .png$",
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


def test_options_of_built_in_data_do_not_go_with_folders():
    for config, message in (
        (DataConfig(data="folder", grouping="families"), "grouping: .* the data are not landcover"),
        (DataConfig(data="folder", tail=0.5), "tail: expected 0.75, for the data are not scenes"),
    ):
        with pytest.raises(UserError, match=message):
            load_data(config)


def test_ade_with_class_names_of_the_users_own(tmp_path):
    files = [name.replace("val", "validation") for name in pairs("i/{k}.jpg", "a/{k}.png", "x")]
    places = {"i": "images", "a": "annotations"}
    for part in ("training", "validation"):
        tree(tmp_path, *(f"{places[name[0]]}/{part}/{name[2:]}" for name in files))
    (tmp_path / "classes.txt").write_text("\n".join(f"thing {k}" for k in range(150)))
    assert find(tmp_path).layout.name == "ADE20K"
    (tmp_path / "classes.txt").write_text("sky\nroad")
    assert find(tmp_path).layout.name == "folders by kind"


def test_masks_of_labelme_are_in_the_folder_with_images(tmp_path):
    folders = ("SegmentationClass/{k}.npy", "SegmentationClassVisualization/{k}.jpg")
    files = pairs("JPEGImages/{k}.jpg", "SegmentationClassPNG/{k}.png", "all", 3)
    found = find(tree(tmp_path, *files, *pairs(*folders, "all", 3)))
    assert found.parts["train"][0].mask.parent.name == "SegmentationClassPNG"
    assert [path.name for path, _ in found.left_out] == ["SegmentationClassVisualization"]


def test_voc_without_a_list_of_the_validation_part(tmp_path):
    tree(tmp_path, *pairs("JPEGImages/{k}.jpg", "SegmentationClass/{k}.png", "all", 4))
    (tmp_path / "classes.txt").unlink()
    (tmp_path / "ImageSets/Segmentation").mkdir(parents=True)
    (tmp_path / "ImageSets/Segmentation/train.txt").write_text("0\n1\n2\n3")
    with pytest.raises(UserError, match=r"^data: expected images in .*val.txt, found none; --spl"):
        find(tmp_path)
    assert len(find(tmp_path, split=[0.75, 0.25]).parts["val"]) == 1


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
