"""The equibatch sampler: every class in turn, the same on every process, resumed exactly."""

import itertools
import pickle
import sys
import types
import warnings

import pytest
import torch
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

from lovasz import EquibatchSampler, count_labels

# 100 images: class 0 in all, 1 in ten, 2 in one, 3 in none, 4 in two.
TABLE = torch.zeros(100, 5, dtype=torch.bool)
TABLE[:, 0] = True
TABLE[::10, 1] = True
TABLE[37, 2] = True
TABLE[[5, 6], 4] = True
KEPT = [0, 1, 2, 4]


def take(sampler, count):
    return list(itertools.islice(sampler, count))


def covers(images):
    """Whether each class can be given an image of its own."""
    return any(
        all(TABLE[image, k] for image, k in zip(order, KEPT, strict=True))
        for order in itertools.permutations(images)
    )


def test_every_round_has_an_image_for_each_class():
    drawn = list(EquibatchSampler(TABLE, num_samples=400))
    assert len(drawn) == 400
    rounds = [drawn[at : at + 4] for at in range(0, 400, 4)]
    assert all(covers(images) for images in rounds)


def test_each_class_has_its_share_of_the_draws():
    # disjoint classes: which class a draw was for shows in the image
    images = [[0]] * 90 + [[1]] * 9 + [[2]]
    drawn = torch.tensor(list(EquibatchSampler(images, num_samples=300)))
    assert int((drawn < 90).sum()) == int((drawn == 99).sum()) == 100
    # the images of a class come equally often: 100 draws from 90, and 100 from 9
    assert set(drawn[drawn < 90].bincount(minlength=90).tolist()) == {1, 2}
    assert set(drawn[(drawn >= 90) & (drawn < 99)].bincount()[90:].tolist()) == {11, 12}


def test_rounds_have_different_orders():
    drawn = list(EquibatchSampler([[0], [1], [2]], num_samples=120))
    assert len({tuple(drawn[at : at + 3]) for at in range(0, 120, 3)}) == 6


def test_same_seed_same_sequence_and_another_one_for_each_epoch_and_seed():
    one, same, other = (EquibatchSampler(TABLE, seed=seed) for seed in (3, 3, 4))
    first, second = list(one), list(one)
    assert first == list(same)
    assert second == list(same)
    assert first != second
    other.set_epoch(0)
    assert list(other) not in (first, second)
    one.set_epoch(0)
    assert list(one) == first


def test_a_pass_that_was_broken_off_starts_again():
    sampler = EquibatchSampler(TABLE)
    first = take(sampler, 7)
    assert list(sampler)[:7] == first


@pytest.mark.parametrize("at", [0, 1, 6, 99, 100])
def test_resumption_continues_with_the_very_next_index(at):
    straight = EquibatchSampler(TABLE, seed=1)
    straight.set_epoch(2)
    expected = [*straight, *straight]
    broken = EquibatchSampler(TABLE, seed=1)
    broken.set_epoch(2)
    before = take(broken, at)
    resumed = EquibatchSampler(TABLE, seed=1)
    resumed.load_state_dict(broken.state_dict())
    assert resumed.state_dict() == broken.state_dict()
    resumed.set_epoch(2 + at // 100)  # as a training loop does; keeps the place
    assert (before + list(resumed) + list(resumed))[:200] == expected[:200]


def test_a_state_written_by_hand_counts_the_draws_of_all():
    expected = list(EquibatchSampler(TABLE))
    resumed = EquibatchSampler(TABLE)
    resumed.load_state_dict({"seed": 0, "epoch": 0, "drawn": 40})
    assert list(resumed) == expected[40:]


@pytest.mark.parametrize("replicas", [2, 3, 4])
def test_ranks_share_one_sequence(replicas):
    whole = list(EquibatchSampler(TABLE, num_samples=replicas * -(-100 // replicas)))
    parts = [EquibatchSampler(TABLE, num_replicas=replicas, rank=r) for r in range(replicas)]
    assert {len(part) for part in parts} == {-(-100 // replicas)}
    drawn = [list(part) for part in parts]
    assert [index for step in zip(*drawn, strict=True) for index in step] == whole


def test_ranks_that_divide_the_classes_still_see_all_of_them():
    drawn = list(EquibatchSampler([[0], [1], [2], [3]], num_samples=80, num_replicas=2, rank=0))
    assert set(drawn) == {0, 1, 2, 3}


def test_a_process_of_torch_distributed_takes_its_part(monkeypatch):
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 3)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 2)
    expected = list(EquibatchSampler(TABLE, num_replicas=3, rank=2))
    assert list(EquibatchSampler(TABLE)) == expected
    assert len(expected) == 34


def test_processes_may_come_after_the_sampler(monkeypatch):
    sampler = EquibatchSampler(TABLE)
    assert (len(sampler), sampler.num_replicas, sampler.rank) == (100, 1, 0)
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 3)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 2)
    expected = list(EquibatchSampler(TABLE, num_replicas=3, rank=2))
    assert list(pickle.loads(pickle.dumps(sampler))) == list(sampler) == expected
    assert (sampler.num_replicas, sampler.rank) == (3, 2)


def test_frameworks_see_that_it_knows_of_processes():
    assert isinstance(EquibatchSampler(TABLE), DistributedSampler)


@pytest.fixture
def accelerate(monkeypatch):
    """Two processes, and an Accelerator in each."""
    module = types.ModuleType("accelerate.state")
    module.is_initialized = lambda: True
    monkeypatch.setitem(sys.modules, "accelerate.state", module)
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 0)


@pytest.mark.usefixtures("accelerate")
def test_what_accelerate_needs_is_said():
    with pytest.warns(UserWarning, match=r"num_replicas=1, rank=0 for a loader .* one in 2 of"):
        list(EquibatchSampler(TABLE))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(list(EquibatchSampler(TABLE, num_replicas=1, rank=0))) == 100
        assert len(list(EquibatchSampler(TABLE, num_replicas=2))) == 50


def test_an_epoch_before_the_one_that_was_loaded_is_said():
    sampler = EquibatchSampler(TABLE)
    state = {"seed": 0, "epoch": 2, "drawn": 40}
    sampler.load_state_dict(state)
    with pytest.warns(UserWarning, match=r"set_epoch\(2\) or a later one .* got set_epoch\(0\)"):
        sampler.set_epoch(0)
    sampler.set_epoch(2)
    list(sampler)
    sampler.load_state_dict(state)
    sampler.set_epoch(2)
    assert len(take(sampler, 100)) == 60
    sampler.set_epoch(0)  # later that is as good as any other


def test_resumption_with_another_number_of_processes():
    two = [EquibatchSampler(TABLE, num_replicas=2, rank=r) for r in range(2)]
    [take(part, 10) for part in two]
    four = [EquibatchSampler(TABLE, num_replicas=4, rank=r) for r in range(4)]
    for part in four:
        part.load_state_dict(two[0].state_dict())
    drawn = [index for step in zip(*four, strict=True) for index in step]
    assert drawn == list(EquibatchSampler(TABLE))[20:]


def test_chosen_classes_and_lists_of_classes():
    sampler = EquibatchSampler(TABLE, classes=[1, 3, 4], num_samples=20)
    assert sampler.classes == [1, 4]
    assert set(sampler) <= {*range(0, 100, 10), 5, 6}
    lists = [row.nonzero().flatten().tolist() for row in TABLE]
    assert list(EquibatchSampler(lists)) == list(EquibatchSampler(TABLE))
    assert list(EquibatchSampler(TABLE.numpy())) == list(EquibatchSampler(TABLE))
    counts = count_labels([torch.tensor(held) for held in lists], 5)
    assert list(EquibatchSampler(counts)) == list(EquibatchSampler(TABLE))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_loader_draws_with_it(workers):
    masks = torch.zeros(20, 2, 2, dtype=torch.long)
    masks[7, 0, 0] = 1
    data = TensorDataset(torch.arange(20), masks)
    sampler = EquibatchSampler(count_labels(data, 2).present)
    loader = DataLoader(data, batch_size=4, sampler=sampler, num_workers=workers)
    for _ in range(2):
        batches = [images.tolist() for images, _ in loader]
        assert len(batches) == 5
        assert all(batch.count(7) >= 2 for batch in batches)


@pytest.mark.parametrize(
    ("table", "options", "error", "sentence"),
    [
        (
            TABLE.tolist(),
            {},
            ValueError,
            "class indices .* got .*pass a table of bools as a tensor",
        ),
        (TABLE.long().numpy(), {}, TypeError, "table of dtype bool, got torch.int64"),
        (TABLE.long(), {}, TypeError, "table of dtype bool, got torch.int64"),
        (TABLE[0], {}, ValueError, r"table of shape \(images, C\) on the CPU, got \(5,\)"),
        (7, {}, TypeError, "table to be a tensor, or a sequence .* got int"),
        ([[0], [-1]], {}, ValueError, r"table to hold class indices of 0 or more, got \[-1\]"),
        ([0, 1], {}, ValueError, "table to hold class indices of 0 or more, got 0"),
        ([], {}, ValueError, "table with an image that holds one of the classes, got 0 images"),
        (TABLE, {"classes": [3]}, ValueError, "got 100 images without"),
        (TABLE, {"classes": [0.5]}, ValueError, r"classes to hold class indices .* got \[0.5\]"),
        (TABLE, {"num_samples": 0}, ValueError, "num_samples to be 1 or more, got 0"),
        (TABLE, {"seed": 0.5}, TypeError, "seed to be an integer, got 0.5"),
        (TABLE, {"num_replicas": 2, "rank": 2}, ValueError, "less than num_replicas=2, got 2"),
    ],
)
def test_arguments_that_do_not_fit(table, options, error, sentence):
    with pytest.raises(error, match="^EquibatchSampler: expected .*" + sentence):
        EquibatchSampler(table, **options)


@pytest.mark.parametrize(
    "state",
    [
        {"seed": 1, "epoch": 0, "drawn": 0},
        {"seed": 0, "epoch": 0, "drawn": 3},
        {"seed": 0, "epoch": 0, "drawn": 102},
    ],
)
def test_states_that_do_not_fit(state):
    sampler = EquibatchSampler(TABLE, num_replicas=2, rank=0)
    with pytest.raises(ValueError, match="expected a state with seed=0 and 0 to 100 draws"):
        sampler.load_state_dict(state)
