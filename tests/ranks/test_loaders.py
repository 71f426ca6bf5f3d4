"""Every process draws its own part of one sequence, once, whoever runs the loop."""

import pytest
import torch

from tests.processes import start_processes
from tests.ranks import loader_worker as worker

pytest.importorskip("lightning_fabric")


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("loaders")
    start_processes(worker.run, (str(folder),), worker.PROCESSES)
    return [torch.load(folder / f"{rank}.pt") for rank in range(worker.PROCESSES)]


@pytest.mark.parametrize("loop", ["plain", "fabric"])
@pytest.mark.parametrize("epoch", [0, 1])
def test_processes_share_one_sequence(found, loop, epoch):
    parts = [rank[loop][epoch] for rank in found]
    together = [image for step in zip(*parts, strict=True) for image in step]
    assert together == worker.sequence(epoch)


def test_a_sampler_made_before_the_processes_counts_them(found):
    images = len(worker.TABLE)
    share = images // worker.PROCESSES
    assert {rank["lengths"] for rank in found} == {(images, share, share // worker.BATCH)}
