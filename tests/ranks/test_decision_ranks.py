"""A decision that two processes fit is that of one, to the bit."""

import pytest
import torch

from tests.processes import start_processes
from tests.ranks import decision_worker


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("decisions")
    start_processes(decision_worker.run, (str(folder),), 2)
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


@pytest.mark.parametrize("name", decision_worker.FITS)
def test_two_processes_are_one(ranks, name):
    options, _ = decision_worker.FITS[name]
    wanted = decision_worker.fit(options, slice(None))
    assert wanted["offsets"].any()
    for found in ranks:
        assert all(torch.equal(found[name][key], value) for key, value in wanted.items())
