"""Two processes of Lightning and of Accelerate share one sequence of EquibatchSampler."""

from itertools import chain

import torch

from tests.processes import start_processes
from tests.stacks import sampler_ranks
from tests.stacks.examples import free_port, require

require("lightning", "accelerate")


def shares(name, tmp_path):
    arguments = (str(tmp_path), name, free_port())
    start_processes(sampler_ranks.run, arguments, sampler_ranks.PROCESSES)
    return [torch.load(tmp_path / f"{rank}.pt") for rank in range(sampler_ranks.PROCESSES)]


def test_lightning_leaves_the_sampler_alone(tmp_path):
    first, second = sampler_ranks.sequences()
    assert first != second
    found = shares("lightning", tmp_path)
    for epoch, want in enumerate(sampler_ranks.sequences()):
        parts = [chain(*rank[epoch]) for rank in found]
        assert [image for step in zip(*parts, strict=True) for image in step] == want


def test_accelerate_deals_out_the_batches(tmp_path):
    found = shares("accelerate", tmp_path)
    for epoch, want in enumerate(sampler_ranks.sequences()):
        batches = [
            batch for step in zip(*(rank[epoch] for rank in found), strict=True) for batch in step
        ]
        assert list(chain(*batches)) == want
