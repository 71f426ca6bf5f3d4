"""The benchmarks run, on tiny inputs; no time is asserted."""

import json

from benchmarks import speed, tables


def test_speed_runs_and_writes_its_table(tmp_path):
    output = tmp_path / "speed.json"
    speed.main(["--quick", "--threads", "1", "--output", str(output)])
    found = json.loads(output.read_text())
    entry = found["workloads"]["images"]
    assert {"lovasz", "cross_entropy+lovasz", "exact", "floor_ms"} <= set(entry["runs"][0])
    assert entry["slow"]["paper"]["both_ms"] > 0
    assert tables.speed_table(found).count("\n") == 5
    assert tables.others_table(found).count("\n") == 3
