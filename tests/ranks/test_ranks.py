"""The loss of the global batch: every rank against one process that has all the pixels."""

import time

import pytest
import torch
from torch import distributed

from lovasz import LovaszSoftmaxLoss, lovasz_hinge, lovasz_softmax
from tests.processes import start_processes
from tests.ranks import worker

SIZES = [1, 2, 3, 4]
POOLED = [name for name in worker.LOSSES if "images" not in name]
FUSED = {"combined", "binary combined", "weighted"}  # with a sum of floating numbers
FUSED |= {name for name in worker.LOSSES if "dice" in name or "smoothed" in name}
EXACT = [name for name in POOLED if name not in FUSED]
ROUNDED = [name for name in worker.LOSSES if name not in EXACT]


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """What the ranks of 1, 2, 3 and 4 processes found."""
    found = {}
    for size in SIZES:
        folder = tmp_path_factory.mktemp(f"ranks{size}")
        start_processes(worker.run, (size, str(folder)), size)
        found[size] = [torch.load(folder / f"{rank}.pt") for rank in range(size)]
    return found


def alone(name):
    function, options = worker.LOSSES[name]
    return worker.value_and_gradient(
        function, *worker.batch(channels="multilabel" in options), **options
    )


def gathered(parts, size):
    """Gradients of the ranks, put together, for a mean over them."""
    return torch.cat([gradient for _, gradient in parts]) / size


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", EXACT)
def test_any_split_gives_the_same_bits(ranks, size, name):
    want, gradient = alone(name)
    parts = [found["losses"][name] for found in ranks[size]]
    assert all(torch.equal(value, want) for value, _ in parts)
    torch.testing.assert_close(gathered(parts, size), gradient, rtol=1e-6, atol=2e-9)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", ROUNDED)
def test_any_split_gives_the_same_to_rounding(ranks, size, name):
    want, gradient = alone(name)
    parts = [found["losses"][name] for found in ranks[size]]
    assert all(torch.equal(value, parts[0][0]) for value, _ in parts)
    torch.testing.assert_close(parts[0][0], want, rtol=1e-6, atol=0)
    torch.testing.assert_close(gathered(parts, size), gradient, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("size", SIZES)
def test_points_with_weights(ranks, size):
    logits, target, weight = worker.cloud()
    want, gradient = worker.value_and_gradient(lovasz_softmax, logits, target, pixel_weight=weight)
    parts = [found["points"] for found in ranks[size]]
    assert all(torch.equal(value, want) for value, _ in parts)
    torch.testing.assert_close(gathered(parts, size), gradient, rtol=1e-6, atol=2e-9)


@pytest.mark.parametrize("size", SIZES)
def test_the_window_remembers_the_global_batch(ranks, size):
    want, state = worker.window(slice(None), None)
    for found in ranks[size]:
        losses, remembered = found["window"]
        assert [value.item() for value, _ in losses] == [value.item() for value, _ in want]
        assert all(torch.equal(remembered[name], value) for name, value in state.items())


@pytest.mark.parametrize("size", SIZES)
def test_a_number_that_is_none_is_seen_by_all(ranks, size):
    assert all(found["invalid"].isnan() for found in ranks[size])


@pytest.mark.parametrize("size", SIZES[1:])
def test_weights_on_one_rank_alone_give_no_silent_number(ranks, size):
    assert all(found["at odds"].isnan() for found in ranks[size])


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", ["data parallel", "sharded", "sum"])
def test_the_optimiser_gets_the_gradient_of_the_global_batch(ranks, size, kind):
    want = worker.step(worker.network(), slice(None), None)
    for found in ranks[size]:
        torch.testing.assert_close(found[kind], want, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("size", SIZES)
def test_traffic(ranks, size):
    counts = worker.CLASSES * 2 * 2048 * 8
    # the counts with two numbers that say whether they hold; two sums of the cross-entropy
    assert all(found["traffic"] == [counts + 16, counts + 16, 16] for found in ranks[size])


def test_compiled_without_a_break(ranks):
    for found in ranks[2]:
        for got, want in zip(found["compiled"], found["losses"]["combined"], strict=True):
            torch.testing.assert_close(got, want, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("size", SIZES)
def test_checkpointed(ranks, size):
    for found in ranks[size]:
        for got, want in zip(found["checkpointed"], found["losses"]["softmax"], strict=True):
            assert torch.equal(got, want)


def test_a_rank_that_fails_lets_the_others_know(tmp_path):
    started = time.perf_counter()
    start_processes(worker.run_and_fail, (3, str(tmp_path)), 3)
    first, second, third = (torch.load(tmp_path / f"{rank}.pt") for rank in range(3))
    assert "lovasz_softmax: expected every label to be in [0, 4]" in third
    assert "no error" not in (first, second)
    assert time.perf_counter() - started < 60


def test_world_without_a_group_is_this_process():
    assert not distributed.is_initialized()
    logits, target = worker.batch()
    got = lovasz_softmax(logits, target, ignore_index=255, process_group="world")
    assert torch.equal(got, lovasz_softmax(logits, target, ignore_index=255))


@pytest.mark.parametrize(
    ("options", "error", "sentence"),
    [
        (
            {"process_group": "everyone"},
            TypeError,
            "expected process_group to be a torch.distributed.ProcessGroup that this process"
            " belongs to, \"world\" or None, got 'everyone'",
        ),
        (
            {"process_group": "world", "method": "sort"},
            ValueError,
            "expected method='histogram' with process_group",
        ),
        (
            {"process_group": "world", "per_image": True, "reduction": "none"},
            ValueError,
            "expected reduction='mean' or 'sum' with per_image=True and process_group",
        ),
    ],
)
def test_wrong_groups(options, error, sentence):
    logits = torch.zeros(3)
    with pytest.raises(error) as caught:
        lovasz_hinge(logits, logits, **options)
    assert f"lovasz_hinge: {sentence}" in str(caught.value)
    with pytest.raises(error) as caught:
        LovaszSoftmaxLoss(**options)
    assert f"LovaszSoftmaxLoss: {sentence}" in str(caught.value)
