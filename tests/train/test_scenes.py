from __future__ import annotations

import itertools

import pytest
import torch

from lovasz.train.config import TrainConfig
from lovasz.train.data import load_data, training_batches
from lovasz.train.data.scenes import load_scenes
from lovasz.train.errors import UserError


@pytest.fixture(scope="module")
def scenes():
    return load_scenes()


def scenes_with(part, count):
    """In how many scenes each class is."""
    return [int((part.labels == k).flatten(1).any(1).sum()) for k in range(count)]


def test_shapes_and_classes(scenes):
    assert [len(part) for part in scenes.parts.values()] == [2000, 500, 1000]
    assert len(scenes.classes) == 11
    for part in scenes.parts.values():
        image, labels = part[3]
        assert image.shape == (3, 64, 64)
        assert labels.shape == (64, 64)
        assert image.dtype == labels.dtype == torch.uint8
        assert part.labels.max() == 10


def test_the_same_scenes_every_time_and_other_ones_for_another_seed(scenes):
    again = load_scenes.__wrapped__()
    other = load_scenes.__wrapped__(seed=1)
    for name, part in scenes.parts.items():
        assert torch.equal(part.images, again.parts[name].images)
        assert torch.equal(part.labels, again.parts[name].labels)
        assert not torch.equal(part.labels, other.parts[name].labels)


def test_no_digit_sample_is_in_two_parts(scenes):
    samples = [set(part.samples) for part in scenes.parts.values()]
    assert sum(len(part) for part in samples) == 1797
    for first, second in itertools.combinations(samples, 2):
        assert not first & second


def test_classes_have_a_long_tail_in_every_part(scenes):
    for part in scenes.parts.values():
        seen = scenes_with(part, 11)
        assert seen[0] == len(part)
        assert all(more > less for more, less in itertools.pairwise(seen))
        assert seen[1] > 0.5 * len(part)
        assert 5 <= seen[10] < 0.08 * len(part)


def test_without_a_tail_the_digits_are_equally_frequent():
    seen = scenes_with(load_data(TrainConfig(data="scenes", tail=1)).parts["test"], 11)[1:]
    assert max(seen) < 1.3 * min(seen)


def test_digits_stand_out_against_what_is_around_them(scenes):
    part = scenes.parts["train"]
    inks = [i[:, lab > 0].float().mean(1) for i, lab in zip(part.images, part.labels, strict=True)]
    around = part.images.float().mean((2, 3))
    assert (torch.stack(inks) - around).abs().mean() > 15


def test_training_leaves_the_digits_upright(scenes):
    config = TrainConfig(data="scenes", batch_size=500)
    assert config.crop == 64
    part = scenes.parts["val"]
    (images, labels), *rest = training_batches(part, config, 0, 0, upright=scenes.upright)
    assert not rest
    unchanged = {tuple(label.flatten().tolist()) for label in part.labels}
    assert {tuple(label.flatten().tolist()) for label in labels} == unchanged
    assert images.float().mean().item() == pytest.approx(part.images.float().mean().item())


@pytest.mark.parametrize("tail", [0, 1.1])
def test_a_tail_is_a_fraction(tail):
    with pytest.raises(UserError, match="tail: expected more than 0 and at most 1, got"):
        TrainConfig(data="scenes", tail=tail)
