from __future__ import annotations

import pytest
import torch

from lovasz.train.commands import run
from lovasz.train.data import landcover as module
from lovasz.train.data.landcover import IGBP17, Tiles, load_landcover


@pytest.fixture(scope="module")
def landcover():
    return load_landcover()


def test_493_tiles_of_96_pixels_in_17_classes(landcover):
    parts = landcover.parts.values()
    assert [len(part) for part in parts] == [295, 101, 97]
    assert landcover.classes == [name for name, _ in IGBP17]
    for part in parts:
        assert isinstance(part, Tiles)
        assert part.images.shape[1:] == (3, 96, 96)
        assert part.images.dtype == part.labels.dtype == torch.uint8
        assert part.labels.max() == 16


def test_parts_are_disjoint_blocks_of_two_by_two_tiles(landcover):
    blocks = [
        {(row // 2, column // 2) for row, column in zip(part.rows, part.columns, strict=True)}
        for part in landcover.parts.values()
    ]
    assert not blocks[0] & blocks[1]
    assert not blocks[0] & blocks[2]
    assert not blocks[1] & blocks[2]


def test_no_two_test_blocks_touch_at_a_side(landcover):
    part = landcover.parts["test"]
    blocks = {(row // 2, column // 2) for row, column in zip(part.rows, part.columns, strict=True)}
    assert not [(r, c) for r, c in blocks if (r + 1, c) in blocks or (r, c + 1) in blocks]


def test_tiles_are_not_mostly_water_or_ice(landcover):
    for part in landcover.parts.values():
        for label in (0, 15):
            assert (part.labels == label).float().mean(dim=(1, 2)).max() <= 0.8


def test_every_class_has_a_thousandth_of_every_part(landcover):
    for part in landcover.parts.values():
        assert part.labels.flatten().bincount(minlength=17).min() >= part.labels.numel() / 1000


def test_water_is_blue_and_ice_is_bright(landcover):
    part = landcover.parts["train"]
    pixels = part.images.movedim(1, -1)
    red, _, blue = pixels[part.labels == 0].float().mean(0)
    assert blue > red
    assert pixels[part.labels == 15].float().mean() > 2 * pixels.float().mean()


def test_families_merge_the_labels_by_name(landcover):
    families = load_landcover("families")
    assert len(families.classes) == len(families.colours) == 10
    fine, coarse = landcover.parts["val"].labels, families.parts["val"].labels
    for label, (name, _) in enumerate(IGBP17):
        expected = {"cropland/natural mosaic": "cropland", "woody savanna": "savanna"}.get(name)
        merged = families.classes[coarse[fine == label].unique().item()]
        assert merged == (expected or merged)
        assert merged.split()[-1] in name or expected


def test_without_the_images_a_sentence_says_where_they_are(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(module, "files", lambda _: tmp_path)
    assert run(["weights", "landcover", f"--out={tmp_path / 'weights.json'}"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("lovasz: error: data: expected the images of landcover, which come")
    assert "pip install lovasz-landcover" in error
    assert error.count("\n") == 1
