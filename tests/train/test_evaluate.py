from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lovasz.train.data import IGNORE, IMAGENET, DataSet, Statistics
from lovasz.train.evaluate import (
    Interrupted,
    Scores,
    evaluate,
    evaluate_each,
    pictures_each,
)
from lovasz.train.inference import predict_labels
from lovasz.train.loop import make_fabric
from tests import oracle


class Brightness(nn.Module):
    """Class 1 where the (normalised) image is bright: needs no surroundings."""

    def forward(self, images):
        return torch.cat([-images[:, :1], images[:, :1]], dim=1)


def example(shapes):
    random = torch.Generator().manual_seed(0)
    part = []
    for shape in shapes:
        labels = torch.randint(0, 2, shape, generator=random, dtype=torch.uint8)
        image = (labels * 255).expand(3, *shape).contiguous()
        wrong = torch.rand(shape, generator=random) < 0.2
        labels = torch.where(wrong, 1 - labels, labels)
        labels[0, 0] = IGNORE
        part.append((image, labels))
    return part


def plain_confusion(part):
    """Counted pixel by pixel; rows are the truth."""
    counts = [[0, 0], [0, 0]]
    for image, labels in part:
        for value, truth in zip(
            image[0].flatten().tolist(), labels.flatten().tolist(), strict=True
        ):
            if truth != IGNORE:
                counts[truth][value > 128] += 1
    return counts


# Equal, mixed, and smaller and larger than the window of 12 pixels.
@pytest.mark.parametrize(
    "shapes", [[(12, 12)] * 5, [(12, 12), (20, 9), (20, 9), (8, 31)], [(5, 5)], [(40, 30)]]
)
def test_confusion_matrix_over_images_of_any_size(train_config, shapes):
    config = train_config()
    part = example(shapes)
    data = DataSet("", ["dark", "bright"], {"val": part})
    fabric = make_fabric(config)
    scores = evaluate(fabric, Brightness(), data, part="val", config=config, stop=lambda: False)
    assert scores.confusion.tolist() == plain_confusion(part)


def test_means_over_images_of_any_size(train_config):
    config = train_config()
    part = example([(12, 12), (20, 9), (8, 31)])
    data = DataSet("", ["dark", "bright"], {"val": part})
    scores = evaluate(
        make_fabric(config), Brightness(), data, part="val", config=config, stop=lambda: False
    )
    rows = oracle.image_ious(
        [(image[0] > 128).int().flatten().tolist() for image, _ in part],
        [labels.flatten().tolist() for _, labels in part],
        2,
        ignore_index=IGNORE,
    )
    by_image = [sum(row.values()) / len(row) for row in rows]
    columns = [[row[label] for row in rows] for label in (0, 1)]
    assert scores.as_dict() == {
        **Scores(scores.confusion).as_dict(),
        "miou_i": pytest.approx(sum(by_image) / 3),
        "miou_c": pytest.approx(sum(sum(column) / 3 for column in columns) / 2),
        "miou_i_worst": pytest.approx(min(by_image)),
        "miou_c_worst": pytest.approx(sum(min(column) for column in columns) / 2),
    }


def test_no_labelled_pixel_gives_no_mean(train_config):
    config = train_config()
    image, labels = example([(12, 12)])[0]
    data = DataSet("", ["dark", "bright"], {"val": [(image, torch.full_like(labels, IGNORE))]})
    scores = evaluate(
        make_fabric(config), Brightness(), data, part="val", config=config, stop=lambda: False
    )
    assert set(scores.fine.values()) == {None}


def test_evaluation_can_be_interrupted(train_config):
    data = DataSet("", ["dark", "bright"], {"val": example([(12, 12)])})
    fabric = make_fabric(train_config())
    with pytest.raises(Interrupted):
        evaluate(fabric, Brightness(), data, part="val", config=train_config(), stop=lambda: True)


def test_the_sliding_window_covers_every_pixel():
    images = torch.randint(0, 256, (1, 3, 30, 50), dtype=torch.uint8)
    whole = predict_labels(Brightness(), images, 64, IMAGENET)
    assert torch.equal(whole, (IMAGENET.normalise(images)[:, 0] > 0).long())
    assert torch.equal(predict_labels(Brightness(), images, 16, IMAGENET), whole)


class Coarse(nn.Module):
    """Logits of so many rows and columns, whatever the size of the image."""

    def __init__(self, *size):
        super().__init__()
        self.size = size

    def forward(self, images):
        return torch.cat(
            [
                F.adaptive_avg_pool2d(images, self.size),
                images.new_zeros(1).expand(len(images), 1, *self.size),
            ],
            dim=1,
        )


class Enlarged(Coarse):
    def forward(self, images):
        return F.interpolate(super().forward(images), images.shape[2:], mode="bilinear")


WINDOW = 13
COARSE = [(1, 1), (4, 6), (7, 7), (13, 5), (13, 13)]


@pytest.mark.parametrize("size", COARSE, ids=str)
@pytest.mark.parametrize("shape", [(13, 13), (12, 7), (5, 13), (29, 9), (31, 24)], ids=str)
def test_logits_of_a_lower_resolution(size, shape):
    """The same labels as of a network that enlarges its logits itself."""
    images = torch.randint(0, 256, (2, 3, *shape), dtype=torch.uint8)
    labels = predict_labels(Coarse(*size), images, WINDOW, IMAGENET)
    assert labels.shape == (2, *shape)
    assert torch.equal(labels, predict_labels(Enlarged(*size), images, WINDOW, IMAGENET))


@pytest.mark.parametrize("size", COARSE, ids=str)
def test_labels_of_one_window_are_those_of_the_enlarged_logits(size):
    images = torch.randint(0, 256, (2, 3, WINDOW, WINDOW), dtype=torch.uint8)
    expected = Enlarged(*size)(IMAGENET.normalise(images)).argmax(1)
    assert torch.equal(predict_labels(Coarse(*size), images, WINDOW, IMAGENET), expected)
    # A smaller image is in the middle of zeros, which are the mean of the normalised colours.
    blank = IMAGENET.normalise(images[:, :, 2:10, 3:10])
    expected = Enlarged(*size)(F.pad(blank, (3, 3, 2, 3)))[:, :, 2:10, 3:10].argmax(1)
    assert torch.equal(
        predict_labels(Coarse(*size), images[:, :, 2:10, 3:10], WINDOW, IMAGENET), expected
    )


@pytest.mark.parametrize("shape", [(12, 12), (20, 9)], ids=str)
def test_evaluation_and_pictures_of_coarse_logits_and_of_a_network_that_diverged(
    train_config, shape
):
    config, part = train_config(), example([shape] * 3)
    data = DataSet("", ["0", "1", "2", "3"], {"val": part})
    fabric = make_fabric(config)
    scores, kept = [], []
    for network in (Coarse(5, 4), Enlarged(5, 4)):
        scores.append(
            evaluate(fabric, network, data, part="val", config=config, stop=lambda: False).as_dict()
        )
        kept += pictures_each(fabric, network, part, config.crop, IMAGENET, [None])
    assert scores[0] == scores[1]
    assert all((kept[0][name] == kept[1][name]).all() for name in kept[0])

    class Diverged(Coarse):
        def forward(self, images):
            return super().forward(images) * torch.nan

    scores = evaluate(fabric, Diverged(5, 4), data, part="val", config=config, stop=lambda: False)
    assert scores.confusion[:, 1:].sum() == 0
    assert scores.confusion.sum() == 3 * (shape[0] * shape[1] - 1)


def test_an_infinite_logit_stays_where_it_is():
    class Masked(nn.Module):
        """Never class 0 where the image is bright."""

        def forward(self, images):
            logits = torch.zeros_like(images[:, :2])
            return logits.index_fill(1, torch.tensor(1), -1).masked_fill(
                (images[:, :1] > 0) & (torch.arange(2).view(2, 1, 1) == 0), -torch.inf
            )

    images = torch.randint(0, 256, (1, 3, 16, 16), dtype=torch.uint8)
    assert torch.equal(
        predict_labels(Masked(), images, 16, IMAGENET),
        (IMAGENET.normalise(images)[:, 0] > 0).long(),
    )


def test_absent_classes_do_not_count():
    # Class 2 is predicted, but does not occur in the truth.
    scores = Scores(torch.tensor([[3, 0, 1], [0, 2, 2], [0, 0, 0]]))
    assert scores.iou == [3 / 4, 2 / 4, None]
    assert scores.miou == (3 / 4 + 2 / 4) / 2


def test_pictures_are_small_and_spread_over_the_part(train_config):
    part = example([(12, 12)] * 2 + [(600, 300)] + [(12, 12)] * 9)
    fabric = make_fabric(train_config())
    (kept,) = pictures_each(fabric, Brightness(), part, 64, IMAGENET, [None])
    assert len(kept) == 3 * 6
    assert (kept["prediction0"] == kept["image0"][..., 0] // 255).all()
    assert max(array.shape[0] for array in kept.values()) <= 256


class Spy(Brightness):
    """Remembers what it has seen at once."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, images):
        self.seen.append(images.shape[0])
        return super().forward(images)


# The window has 12 pixels a side, and a batch two of them.
@pytest.mark.parametrize(
    ("shapes", "seen"),
    [
        ([(12, 12)] * 5, [2, 2, 1]),
        ([(5, 5)] * 5, [2, 2, 1]),  # each stands in a window
        ([(24, 24)] * 2, [4, 4, 1] * 2),  # 3 x 3 windows each, not 18 of both
        ([(13, 12)] * 3, [2, 2, 2]),
        ([(60, 61)], [4] * 12 + [1]),
    ],
)
def test_no_more_than_the_pixels_of_a_batch_come_together(train_config, shapes, seen):
    config, part, spy = train_config(), example(shapes), Spy()
    data = DataSet("", ["dark", "bright"], {"val": part})
    fabric = make_fabric(config)
    scores = evaluate(fabric, spy, data, part="val", config=config, stop=lambda: False)
    assert spy.seen == seen
    assert scores.confusion.tolist() == plain_confusion(part)


def test_large_images_are_counted_piece_by_piece(train_config, monkeypatch):
    config = train_config()
    data = DataSet("", ["dark", "bright"], {"val": example([(30, 41), (9, 9), (9, 9), (50, 20)])})
    fabric = make_fabric(config)
    whole, pieces = (
        (
            monkeypatch.setattr("lovasz.train.evaluate._COUNTED", pixels),
            evaluate(fabric, Brightness(), data, part="val", config=config, stop=lambda: False),
        )[1]
        for pixels in (2**22, 90)
    )
    assert pieces.as_dict() == whole.as_dict()


def test_a_large_image_can_be_interrupted(train_config):
    data = DataSet("", ["dark", "bright"], {"val": example([(60, 60)])})
    spy, fabric = Spy(), make_fabric(train_config())
    with pytest.raises(Interrupted):
        evaluate(
            fabric, spy, data, part="val", config=train_config(), stop=lambda: len(spy.seen) == 2
        )
    assert len(spy.seen) == 2


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_pictures_of_images_of_other_channels_are_coloured(train_config, channels):
    image = torch.tensor([0.0, 254.6, 300, 128.4])[:channels, None, None].expand(-1, 12, 12)
    part = [(image.contiguous(), torch.zeros(12, 12, dtype=torch.uint8))]
    statistics = Statistics((128.0,) * channels, (50.0,) * channels)
    fabric = make_fabric(train_config())
    (kept,) = pictures_each(fabric, Brightness(), part, 12, statistics, [None])
    assert kept["image0"].dtype == "uint8"
    assert kept["image0"][3, 4].tolist() == ([0, 255, 255] if channels == 4 else [0, 0, 0])


class Levels(nn.Module):
    """Two classes whose logits meet at the mean of the pixels."""

    def forward(self, images):
        return torch.cat([-images[:, :1], images[:, :1]], dim=1) / 2


# Of classes 0 and 1 the second is chosen where the normalised image is above -1.
OFFSETS = torch.tensor([0.25, 1.25])


@pytest.mark.parametrize("shapes", [[(12, 12)] * 3, [(5, 9), (31, 20)]])
def test_several_decisions_are_evaluated_in_one_pass(train_config, shapes):
    config, fabric = train_config(), make_fabric(train_config())
    random = torch.Generator().manual_seed(0)
    part = [
        (
            torch.randint(0, 256, (1, *shape), generator=random, dtype=torch.uint8),
            torch.randint(0, 2, shape, generator=random, dtype=torch.uint8),
        )
        for shape in shapes
    ]
    data = DataSet("", ["0", "1"], {"val": part}, statistics=Statistics((128.0,), (50.0,)))
    how = {"part": "val", "config": config, "stop": lambda: False}
    both = evaluate_each(fabric, Levels(), data, [None, OFFSETS], **how)
    assert both[0].as_dict() == evaluate(fabric, Levels(), data, **how).as_dict()
    for scores, threshold in zip(both, (128, 78), strict=True):
        counts = [[0, 0], [0, 0]]
        decided = [(image[0] > threshold).int() for image, _ in part]
        truth = [labels for _, labels in part]
        for found, labels in zip(decided, truth, strict=True):
            for value, label in zip(
                found.flatten().tolist(), labels.flatten().tolist(), strict=True
            ):
                counts[label][value] += 1
        assert scores.confusion.tolist() == counts
        rows = oracle.image_ious(
            [found.flatten().tolist() for found in decided],
            [labels.flatten().tolist() for labels in truth],
            2,
        )
        expected = sum(sum(row.values()) / len(row) for row in rows) / len(rows)
        assert scores.fine["miou_i"] == pytest.approx(expected)
    shown = pictures_each(fabric, Levels(), part, config.crop, data.statistics, [None, OFFSETS])
    for arrays, threshold in zip(shown, (128, 78), strict=True):
        for k, (image, _) in enumerate(part):
            assert (arrays[f"prediction{k}"] == (image[0].numpy() > threshold)).all()
