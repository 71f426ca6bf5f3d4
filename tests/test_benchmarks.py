"""The benchmarks run, on tiny inputs; no time is asserted."""

import json

import torch
from benchmarks import speed, tables


def test_speed_runs_and_writes_its_table(tmp_path):
    before = torch.get_num_threads()
    output = tmp_path / "speed.json"
    speed.main(["--quick", "--threads", "1", "--output", str(output)])
    torch.set_num_threads(before)
    found = json.loads(output.read_text())
    result = found["workloads"]["images"]["threads"]["1"]
    assert {"lovasz", "cross_entropy+lovasz", "exact", "paper", "floor_ms"} <= set(result)
    assert tables.speed_table(found).count("\n") == 3
