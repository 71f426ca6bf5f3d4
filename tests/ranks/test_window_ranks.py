"""What several processes remember: each its own, or all the same, and never another's unasked."""

import pytest
import torch

from lovasz.losses.window import PIXEL
from tests.processes import start_processes
from tests.ranks import window_worker as worker


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("windows")
    start_processes(worker.run, (str(folder),), worker.PROCESSES)
    return [torch.load(folder / f"{rank}.pt") for rank in range(worker.PROCESSES)]


def test_each_rank_keeps_its_own_where_there_is_no_group(found):
    (first, first_batches), (second, second_batches) = (rank["data parallel"] for rank in found)
    assert (first_batches, second_batches) == (1.75 * PIXEL, 1.5 * PIXEL)
    assert not torch.equal(first, second)


def test_ranks_that_remember_different_batches_are_told(found):
    for rank in found:
        assert rank["loaded by one alone"].startswith(
            "Window: expected all ranks of process_group to remember the same batches, got others"
        )


@pytest.mark.parametrize("kind", ["checkpoint", "sharded"])
def test_checkpoints_of_several_processes_hold_the_window(found, kind):
    for rank in found:
        (counts, batches), (restored, restored_batches) = rank[kind]
        assert torch.equal(counts, restored)
        assert batches == restored_batches > 0
        assert torch.equal(counts, found[0][kind][0][0])
