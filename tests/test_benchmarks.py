"""The benchmarks run, on tiny inputs; no time is asserted."""

import json

import torch
from benchmarks import channels, ranks, scaling, speed, tables


def test_speed_runs_and_writes_its_table(tmp_path):
    output = tmp_path / "speed.json"
    speed.main(["--quick", "--threads", "1", "--output", str(output)])
    found = json.loads(output.read_text())
    entry = found["workloads"]["images"]
    assert {"lovasz", "cross_entropy+lovasz", "exact", "floor_ms"} <= set(entry["runs"][0])
    assert entry["slow"]["paper"]["both_ms"] > 0
    assert tables.speed_table(found).count("\n") == 5
    assert tables.others_table(found).count("\n") == 3


def test_scaling_runs_and_writes_its_table(tmp_path):
    before = torch.get_num_threads()
    output = tmp_path / "scaling.json"
    scaling.main(["--quick", "--output", str(output)])
    torch.set_num_threads(before)
    assert tables.scaling_table(json.loads(output.read_text())).count("\n") == 5


def test_ranks_runs_and_writes_its_table(tmp_path):
    output = tmp_path / "ranks.json"
    ranks.main(["--quick", "--processes", "2", "--output", str(output)])
    rows = json.loads(output.read_text())["rows"]
    assert [row["bytes"] for row in rows] == [278544, 311312, 2457616]


def test_channels_runs_and_writes_its_table(tmp_path):
    before = torch.get_num_threads()
    output = tmp_path / "channels.json"
    channels.main(["--quick", "--threads", "1", "--output", str(output)])
    torch.set_num_threads(before)
    rows = json.loads(output.read_text())["rows"]
    assert len(rows) == 8
    assert channels.table(rows).count("\n") == 9
