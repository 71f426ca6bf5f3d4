"""What is found before the first step, and what is told."""

from __future__ import annotations

import io
import json
import pickle
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from rich.console import Console

from lovasz import count_labels
from lovasz.train import compare
from lovasz.train.commands import run
from lovasz.train.data import IGNORE, IMAGENET, DataConfig, checked, load_data
from lovasz.train.data.colours import read_colours
from lovasz.train.data.images import Reading, read_image
from lovasz.train.data.looking import for_each
from lovasz.train.data.raster import read_header, turned
from lovasz.train.data.statistics import Moments, moments, statistics
from lovasz.train.errors import UserError
from lovasz.train.progress import counted
from tests.train.test_cli import arguments


def mask(root: Path, part: str, values: object, name: str = "0") -> None:
    Image.fromarray(np.array(values, dtype=np.uint8)).save(root / part / "masks" / f"{name}.png")


def load(root: Path, **options: object):
    return checked(load_data(DataConfig(data=str(root), **options)))


def test_the_counts_are_those_of_count_labels(squares):
    values = np.full((16, 16), IGNORE)
    values[2:5] = 1
    mask(squares, "train", values)
    data = load(squares)
    for part, counts in data.counts.items():
        expected = count_labels(data.parts[part], 3, ignore_index=IGNORE)
        assert all(map(torch.equal, counts, expected))
    assert data.label_counts is data.counts["train"]
    assert all("no label" not in note and "Class" not in note for note in data.notes)


@pytest.mark.parametrize("part", ["train", "val", "test"])
def test_a_wrong_label_in_any_part_ends_the_run_before_it_starts(options, squares, capsys, part):
    name = sorted(path.stem for path in (squares / part / "masks").iterdir())[-1]
    mask(squares, part, np.full((16, 16), 7), name)
    assert run(["train", *arguments(options)]) == 2
    said = capsys.readouterr().err
    assert (
        f"{part}/masks/{name}.png: expected labels from 0 to 2 or 255 for no label, got 7" in said
    )
    assert not Path(options["out"]).exists()


@pytest.mark.parametrize("command", ["train", "weights"])
def test_an_absent_class_and_void_masks_are_told(options, squares, capsys, command):
    (squares / "classes.txt").write_text("dark\nred\ngreen\nblue [sky]\n", encoding="utf-8")
    mask(squares, "train", np.full((16, 16), IGNORE), "3")
    words = arguments(options, epochs=1)
    if command == "weights":
        words = [str(squares), f"--out={options['out']}/weights.json"]
    assert run([command, *words]) == 0
    notes = [
        "1 of 7 masks of the training part has no label.",
        "Class without a pixel in the training part: blue [sky].",
    ]
    printed = capsys.readouterr().out
    assert all(note in printed for note in notes)
    out = Path(options["out"])
    if command == "weights":
        assert json.loads((out / "weights.json").read_text(encoding="utf-8"))["pixels"][3] == 0
    else:
        assert all(note in (out / "report.html").read_text(encoding="utf-8") for note in notes)


def test_other_processes_get_what_was_found(squares):
    data = load(squares, normalisation="train")
    copy = pickle.loads(pickle.dumps(data))
    assert copy.statistics == data.statistics
    assert torch.equal(copy.label_counts.present, data.label_counts.present)
    assert torch.equal(copy.parts["train"][2][0], data.parts["train"][2][0])


def test_masks_of_two_values_of_which_one_is_ignored_name_the_option(options, squares, capsys):
    (squares / "classes.txt").write_text("background\ntumour\n", encoding="utf-8")
    for path in squares.rglob("masks/*.png"):
        values = np.asarray(Image.open(path))
        Image.fromarray(np.where(values > 0, 255, 0).astype(np.uint8)).save(path)
    assert run(["train", *arguments(options)]) == 2
    assert "--mask_values '[0, 255]' makes 255 the class tumour" in capsys.readouterr().err
    assert run(["train", *arguments(options, epochs=1), "--mask-values", "[0, 255]"]) == 0
    found = (Path(options["out"]) / "confusion.csv").read_text(encoding="utf-8").splitlines()
    assert all(sum(map(int, row.split(",")[1:])) > 0 for row in found[1:])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mask_values": [0, 255]}, r"mask_values: expected 3 values, one for each class \(dark, "),
        ({"mask_values": [0, 0, 1]}, r"mask_values: expected different numbers from 0 to 65535"),
        (
            {"mask_values": [0, 1, 2], "ignore_index": [2]},
            r"ignore_index: expected values that are not in --mask_values, got \[2\]",
        ),
        ({"value_range": [3, 3]}, r"value_range: expected two numbers, the smaller one first"),
        ({"channels": 5}, r"images/0.png: expected an image with 5 channels, got 3"),
        (
            {"channels": 1, "normalisation": "imagenet"},
            r"normalisation: expected train for 1 channels, got imagenet",
        ),
        ({"palette": "none.txt"}, r"palette: expected a text file with lines of a name and a col"),
    ],
)
def test_options_that_do_not_fit_are_one_sentence(squares, options, message):
    with pytest.raises(UserError, match=message):
        load(squares, **options)


def test_mean_and_spread_are_those_of_the_training_part(squares):
    data = load(squares, normalisation="train")
    pixels = torch.cat([image.flatten(1) for image, _ in data.parts["train"]], 1).double()
    mean, spread = pixels.mean(1), pixels.std(1, correction=0)
    torch.testing.assert_close(torch.tensor(data.statistics.mean).double(), mean)
    torch.testing.assert_close(torch.tensor(data.statistics.spread).double(), spread)
    assert load(squares).statistics == IMAGENET
    assert load(squares, channels=1).statistics.channels == 1


def test_the_order_of_the_images_changes_no_bit_of_mean_and_spread():
    random = torch.Generator().manual_seed(0)
    parts = [moments(255 * torch.rand(2, 9, 7, generator=random)) for _ in range(20)]
    assert statistics(parts) == statistics(parts[::-1])


def test_a_constant_channel_is_not_blown_up():
    values = torch.full((1, 50, 50), 17 * 255 / 65535)
    assert statistics([moments(values), moments(values)]).spread == (1.0,)
    assert statistics([Moments(1, (0.0,), (0.0,))]).spread == (1.0,)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientations_are_those_of_pillow(tmp_path, orientation):
    pixels = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(tmp_path / "0.png", exif=exif)
    with Image.open(tmp_path / "0.png") as picture:
        expected = np.asarray(ImageOps.exif_transpose(picture))
    assert np.array_equal(turned(pixels, orientation), expected)
    image = read_image(tmp_path / "0.png", Reading())
    assert np.array_equal(image.movedim(0, -1).numpy(), expected)
    stored = read_image(tmp_path / "0.png", Reading(orientation="stored"))
    assert np.array_equal(stored.movedim(0, -1).numpy(), pixels)


def test_an_orientation_after_the_pixels_counts_too(tmp_path):
    """Programs that add it to a finished PNG file put it there."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (6, 4)).save(tmp_path / "0.png", exif=exif)
    content = (tmp_path / "0.png").read_bytes()
    start = content.index(b"eXIf") - 4
    size = 12 + int.from_bytes(content[start : start + 4], "big")
    chunk, rest = content[start : start + size], content[:start] + content[start + size :]
    end = rest.index(b"IEND") - 4
    (tmp_path / "0.png").write_bytes(rest[:end] + chunk + rest[end:])
    assert read_header(tmp_path / "0.png").orientation == 6


def test_images_of_hundreds_of_megapixels_are_read(tmp_path):
    """Pillow takes them for an attack; the head of one is enough to see that it does not here."""
    small = tmp_path / "small.bmp"
    Image.new("RGB", (1, 1)).save(small)
    head = bytearray(small.read_bytes())
    head[18:26] = np.array([16384, 16384], dtype="<i4").tobytes()
    (tmp_path / "large.bmp").write_bytes(head)
    assert read_header(tmp_path / "large.bmp")[:2] == (16384, 16384)


@pytest.mark.slow
def test_an_image_of_200_megapixels_trains(tmp_path):
    for part in ("train", "val"):
        for kind in ("images", "masks"):
            (tmp_path / part / kind).mkdir(parents=True)
        pixels = np.zeros((14000, 14300), dtype=np.uint8)
        pixels[:, 7000:] = 1
        Image.fromarray(pixels).save(tmp_path / part / "masks" / "0.png", compress_level=1)
        Image.fromarray(pixels * 200).save(tmp_path / part / "images" / "0.png", compress_level=1)
    (tmp_path / "classes.txt").write_text("dark\nlight\n", encoding="utf-8")
    data = load(tmp_path)
    assert data.label_counts.pixels.tolist() == [7000 * 14000, 7300 * 14000]
    assert data.statistics.channels == 1


def test_every_item_is_looked_at_and_the_first_error_counts():
    started = threading.Event()

    def work(number: int) -> int:
        if number == 3:
            started.wait(5)  # the later one fails first
            raise UserError("three")
        if number == 4:
            started.set()
            raise UserError("four")
        return number**2

    assert for_each(range(3), work) == [0, 1, 4]
    shown: list[tuple[str, int]] = []

    def show(items, title, total):
        shown.append((title, total))
        return items

    with pytest.raises(UserError, match="three"):
        for_each(range(9), work, show=show, title="numbers", threads=8)
    assert shown == [("numbers", 9)]


def test_a_bar_shows_how_far_it_is(squares):
    console = Console(file=io.StringIO(), force_terminal=True, width=80)
    data = load_data(DataConfig(data=str(squares)), counted(console))
    checked(data, counted(console))
    shown = console.file.getvalue()
    for title in ("looking at the files", "looking at the training files", "the test files"):
        assert title in shown
    assert "100%" in shown


TABLES = {
    "labelmap.txt of CVAT": "# label:color_rgb:parts:actions\nsky:0,0,0::\nroad:128,64,128::\n",
    "numbers first": "0 0 0\tsky\n128 64 128\troad\n",
    "with a heading": "name,r,g,b\nsky,0,0,0\nroad,128,64,128\n",
    "hexadecimal": "#000000 sky\nroad: #804080\n",
    "semicolons": "sky;0;0;0\nroad;128;64;128\n",
    "UTF-16": "sky 0 0 0\nroad 128 64 128\n",
}


@pytest.mark.parametrize("kind", TABLES)
def test_tables_of_colours_of_all_usual_forms(tmp_path, kind):
    path = tmp_path / "colours.txt"
    path.write_text(TABLES[kind], encoding="utf-16" if kind == "UTF-16" else "utf-8")
    assert [(colour.name, colour.rgb) for colour in read_colours(path)] == [
        ("sky", (0, 0, 0)),
        ("road", (128, 64, 128)),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sky 0 0 0\nroad 1 2\n", r"palette: expected a name and a colour in .*, got 'road 1 2'"),
        ("sky 0 0 300\n", r"palette: expected a name and a colour in .*, got 'sky 0 0 300'"),
        ("a 1 1 1\nb 1 1 1\n", r"expected one class for each colour in .*, got \(1, 1, 1\) for a"),
        ("# nothing\n", r"palette: expected a text file with lines of a name and a colour .*none"),
    ],
)
def test_wrong_tables_of_colours_are_one_sentence(tmp_path, text, message):
    path = tmp_path / "colours.txt"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=message):
        read_colours(path)


def test_several_colours_of_a_class_and_colours_of_none(squares):
    (squares / "colours.txt").write_text(
        "dark 0 0 0\nred 255 0 0\ngreen 0 255 0\nred 250 10 10\nvoid 9 9 9\n", encoding="utf-8"
    )
    colours = np.array([[0, 0, 0], [255, 0, 0], [0, 255, 0], [250, 10, 10], [9, 9, 9], [7, 7, 7]])
    values = np.arange(256).reshape(16, 16) % 5
    for path in squares.rglob("masks/*.png"):
        Image.fromarray(colours[values].astype(np.uint8)).save(path)
    palette = {"palette": str(squares / "colours.txt")}
    expected = np.array([0, 1, 2, 1, IGNORE])[values]
    for classes in ("classes.txt", None):  # the names of the table do without a list
        if classes is None:
            (squares / "classes.txt").unlink()
        data = load(squares, **palette)
        assert data.classes == ["dark", "red", "green"]
        assert data.colours == [(0, 0, 0), (255, 0, 0), (0, 255, 0)]
        assert np.array_equal(data.parts["train"][0][1].numpy(), expected)
    mask(squares, "train", colours[np.where(values == 4, 5, values)])
    with pytest.raises(UserError, match=r"0.png: expected one of the colours .*, got \(7, 7, 7\)"):
        load(squares, **palette)
    assert load(squares, **palette, ignore_index=7).counts["train"].pixels.sum() == 7 * 205
    with pytest.raises(UserError, match=r"mask_values: expected none beside --palette"):
        load(squares, **palette, mask_values=[0, 1, 2])


def test_a_labelmap_says_nothing_about_masks_of_labels(squares):
    (squares / "labelmap.txt").write_text("one:0,0,0::\ntwo:9,9,9::\n3:8,8,8::\n", encoding="utf-8")
    before = load(squares)
    assert before.classes == ["dark", "red", "green"]  # of classes.txt
    (squares / "classes.txt").unlink()
    data = load(squares)
    assert data.classes == ["one", "two", "3"]
    assert torch.equal(data.label_counts.present, before.label_counts.present)
    (squares / "labelmap.txt").write_text("one:0,0,0::\nvoid:9,9,9::\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"class_names: expected 2 to 255 names in .*labelmap.txt"):
        load(squares)


def test_a_run_on_16_bit_images_of_five_channels(options, squares):
    import tifffile

    for path in list(squares.rglob("images/*.png")):
        colour = np.asarray(Image.open(path)).astype(np.uint16)
        five = np.dstack([colour * 4, colour[..., :2] * 2])
        tifffile.imwrite(path.with_suffix(".tif"), five, photometric="minisblack")
        path.unlink()
    assert run(["train", *arguments(options, epochs=1)]) == 0
    with np.load(Path(options["out"]) / "pictures.npz") as pictures:
        assert pictures["image0"].shape == (16, 16, 3)
        assert pictures["image0"].dtype == np.uint8
        assert 60 < pictures["image0"].mean() < 190  # not black, as their range would have it


def test_a_process_of_a_comparison_measures_what_it_composes():
    """Data sets of files come with what was found; others are composed anew in each process."""
    data = compare._data(json.dumps({"data": "landcover", "normalisation": "train"}))
    assert data.statistics.known
    assert data.statistics != IMAGENET
