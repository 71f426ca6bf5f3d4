from __future__ import annotations

import pytest
import torch

from lovasz.train.data import IGNORE, training_batches
from lovasz.train.data.batches import Augmented
from lovasz.train.optimizer import learning_rate


def numbered(count, side=12):
    """Images whose every pixel holds their number, which is also their label."""
    return [
        (
            torch.full((3, side, side), k, dtype=torch.uint8),
            torch.full((side, side), k, dtype=torch.uint8),
        )
        for k in range(count)
    ]


def batches(config, part, epoch=0, start=0):
    return list(training_batches(part, config, epoch, start))


def test_an_epoch_has_no_image_twice_and_another_order_each_time(train_config):
    orders = []
    for epoch in range(2):
        found = batches(train_config(batch_size=3), numbered(10), epoch)
        orders.append([int(labels[0, 0]) for _, batch in found for labels in batch])
        assert len(orders[-1]) == len(set(orders[-1])) == 9  # the tenth does not fill a batch
    assert orders[0] != orders[1]


def test_a_later_start_gives_the_rest_of_the_same_epoch(train_config):
    random = torch.Generator().manual_seed(0)
    part = [
        (torch.randint(0, 256, (3, 20, 20), generator=random, dtype=torch.uint8), labels)
        for _, labels in numbered(8, 20)
    ]
    whole, rest = (batches(train_config(), part, epoch=1, start=start) for start in (0, 2))
    assert len(whole) == 4
    for (images, labels), (again, labels_again) in zip(whole[2:], rest, strict=True):
        assert torch.equal(images, again)
        assert torch.equal(labels, labels_again)


def test_image_and_labels_are_cut_and_turned_alike():
    labels = torch.arange(200, dtype=torch.uint8).view(10, 20)
    part = [(labels.expand(3, 10, 20).contiguous(), labels)]
    crops = set()
    for epoch in range(8):
        image, cut = Augmented(part, 6, seed=0)[epoch, 0, 0]
        assert torch.equal(image, cut.expand(3, 6, 6))
        crops.add(tuple(cut.flatten().tolist()))
    assert len(crops) == 8


def test_small_images_are_padded_with_ignored_pixels():
    image, labels = Augmented(numbered(2, 4), 6, seed=0)[0, 1, 0]
    assert image.shape == (3, 6, 6)
    assert (labels == IGNORE).sum() == 36 - 16
    assert (labels == 1).sum() == 16


def test_a_part_smaller_than_a_batch_makes_one_batch(train_config):
    assert [len(images) for images, _ in batches(train_config(batch_size=8), numbered(3))] == [3]


def test_equibatch_draws_every_class_in_turn_and_other_crops_each_time(train_config):
    random = torch.Generator().manual_seed(0)
    part = [
        (torch.randint(0, 256, (3, 20, 20), generator=random, dtype=torch.uint8), labels)
        for _, labels in numbered(9, 20)
    ]
    table = torch.zeros(9, 2, dtype=torch.bool)
    table[:8, 0] = True
    table[8, 1] = True
    config = train_config(sampler="equibatch", batch_size=2, crop=8)
    epochs = [list(training_batches(part, config, k, 0, table=table)) for k in (0, 1)]
    orders = [[labels[:, 0, 0].tolist() for _, labels in batches] for batches in epochs]
    assert orders[0] != orders[1]
    crops = set()
    for images, labels in (batch for batches in epochs for batch in batches):
        numbers = labels[:, 0, 0].tolist()
        assert numbers.count(8) == 1
        crops.add(images[numbers.index(8)].numpy().tobytes())
    assert len(epochs[0]) == 4
    assert len(crops) == 8  # the one image of the second class, twice four times
    rest = list(training_batches(part, config, 1, 3, table=table))
    assert torch.equal(rest[0][0], epochs[1][3][0])
    assert torch.equal(rest[0][1], epochs[1][3][1])


def test_equibatch_without_a_table_is_refused(train_config):
    with pytest.raises(ValueError, match="expected a table for the sampler equibatch, got None"):
        batches(train_config(sampler="equibatch"), numbered(3))


@pytest.mark.parametrize(
    ("schedule", "middle", "last"),
    [("poly", 0.5**0.9, 0.01**0.9), ("cosine", 0.5, 0.000247), ("constant", 1, 1)],
)
def test_learning_rate_rises_and_falls(train_config, schedule, middle, last):
    config = train_config(schedule=schedule, warmup=0.5)
    factors = [learning_rate(config, step, 200) / config.lr for step in range(200)]
    assert factors[0] == 0.01
    assert factors[49] == 0.5
    assert factors[100] == 1
    assert factors[150] == pytest.approx(middle)
    assert factors[199] == pytest.approx(last, rel=1e-2)
