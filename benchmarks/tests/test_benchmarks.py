"""The benchmarks run, on tiny inputs; no time is asserted."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from benchmarks import (
    clouds,
    compat,
    deep_supervision,
    gpu,
    inference,
    multilabel,
    ranks,
    regions,
    regions_table,
    scaling,
    soft,
    soft_accuracy,
    soft_readings,
    soft_theorem,
    speed,
    tables,
    upsampling,
    upsampling_table,
)


def test_inference_runs(capsys):
    inference.main(["--size", "90", "120", "--classes", "3", "--window", "16"])
    found = json.loads(capsys.readouterr().out)
    assert found["logits_bytes"] == 4 * 90 * 120 * 3
    assert found["seconds"] > 0


@pytest.mark.slow
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
    assert [row["bytes"] for row in rows] == [557072, 622608, 4915216]


def test_the_theorem_prints_its_table(capsys):
    soft_theorem.main(["--cases", "1000"])
    assert capsys.readouterr().out.count("\n") == 15


def test_soft_labels_print_their_tables(capsys):
    soft_accuracy.main(["--pixels", "100"])
    assert capsys.readouterr().out.count("\n") == 12
    soft_readings.main([])
    assert "| best p for q = 0.7 | 0.7 | 1 | 0.7 | 1 | 1 | 0.7 |" in capsys.readouterr().out


@pytest.mark.slow
def test_clouds_run_and_write_their_table(tmp_path, monkeypatch):
    monkeypatch.setattr(clouds, "METHODS", clouds.METHODS[:1])  # each in processes of its own
    output = tmp_path / "clouds.json"
    clouds.main(["--quick", "--threads", "1", "--output", str(output)])
    found = json.loads(output.read_text())
    assert clouds.table(found).count("\n") == 3  # one method, two kinds of memory


def test_multilabel_runs_and_writes_its_table(tmp_path):
    before = torch.get_num_threads()
    output = tmp_path / "multilabel.json"
    multilabel.main(["--quick", "--threads", "1", "--output", str(output)])
    torch.set_num_threads(before)
    rows = json.loads(output.read_text())["rows"]
    assert len(rows) == 8
    assert multilabel.table(rows).count("\n") == 9


def test_deep_supervision_runs_and_prints_its_table(capsys):
    before = torch.get_num_threads()
    deep_supervision.main(["--quick", "--threads", "1"])
    torch.set_num_threads(before)
    assert capsys.readouterr().out.count("\n") == 2 + len(deep_supervision.LOSSES)


def test_compat_runs_and_writes_its_table():
    # in this process: starting thirty takes longer than all the rest
    before = torch.get_num_threads()
    cases = {}
    for name, case in compat.CASES.items():
        shape = (*case.shape[:-2], 8, 8)
        runs = [{"threads": 1, "memory": "fresh", "values": compat.measure(name, shape, 1, 1)}]
        cases[name] = {"shape": shape, "runs": runs}
    torch.set_num_threads(before)
    rows = tables.compat_table({"cases": cases}).splitlines()[2:]
    assert len(rows) == sum(1 + len(case.others) for case in compat.CASES.values())


def test_upsampling_runs_and_writes_its_tables(tmp_path):
    # in this process: starting one for each way and kind of memory takes longer than all the rest
    before = torch.get_num_threads()
    about = {"machine": "none", "level": "v3", "torch": "2", "date": "today"}
    found = {"about": about, "workloads": {}}
    for name, workload in upsampling.QUICK.items():
        chosen = workload._replace(compiled=False)
        ways = upsampling.times(list(chosen), 1, 2)
        found["workloads"][name] = {
            **workload._asdict(),
            "scores": workload.scores,
            "rounds": 2,
            "runs": [{"threads": 1, "memory": "fresh", "ways": ways}],
            "peak_bytes": {way: upsampling.peak(chosen, way) for way in upsampling.ways(chosen)},
        }
    torch.set_num_threads(before)
    assert upsampling_table.times_table(found).count("\n") == 6
    assert upsampling_table.memory_table(found).count("\n") == 4
    upsampling_table.picture(found, tmp_path / "picture.svg")
    assert "cross-entropy, upsample=" in (tmp_path / "picture.svg").read_text()


@pytest.mark.parametrize("name", upsampling.QUICK)
def test_upsampling_compares_what_is_equal(name):
    workload = upsampling.QUICK[name]._replace(dtype="float32", compiled=False)
    logits, target = upsampling.draw(workload)
    ways = upsampling.ways(workload)
    for stored, fused in (("PAIR", "ALONE"), ("STORED", "BOTH")):
        values = [ways[getattr(upsampling_table, way)](logits, target) for way in (stored, fused)]
        torch.testing.assert_close(*values, rtol=1e-5, atol=0)
        gradients = [torch.autograd.grad(value, logits)[0] for value in values]
        torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-6)
    labels = [call(logits.detach()) for call in upsampling.argmaxes(workload).values()]
    assert labels[0].equal(labels[1])


@pytest.mark.slow
def test_upsampling_measures_the_memory_of_every_way():
    workload = upsampling.QUICK["volume"]
    peaks = upsampling.child("upsampling", {"measure": "memory", "workload": workload})
    assert peaks.keys() == {*upsampling.ways(workload), "interpolate, argmax", "upsampled argmax"}


def test_upsampling_keeps_what_was_measured_before(tmp_path, monkeypatch):
    output = tmp_path / "upsampling.json"
    output.write_text(json.dumps({"workloads": {"earlier": 1}}))
    monkeypatch.setattr(
        upsampling, "measure", lambda workload, options: {"scores": workload.scores}
    )
    monkeypatch.setattr(upsampling, "times_table", str)
    monkeypatch.setattr(upsampling, "memory_table", str)
    upsampling.main(["--only", "volume", "--output", str(output)])
    kept = json.loads(output.read_text())["workloads"]
    assert kept == {"earlier": 1, "volume": {"scores": 4 * 96**3}}


def test_soft_runs_and_writes_its_table(tmp_path):
    soft.main(["--quick", "--rounds", "1", "--output", str(tmp_path / "soft.json")])
    found = json.loads((tmp_path / "soft.json").read_text())
    assert soft.table(found).count("\n") == 5
    ways = soft.ways(torch.tensor([[0, 1], [1, 2]]), 3)
    assert ways.keys() == soft.TITLES.keys()


def test_regions_run_and_write_their_tables():
    # in this process: starting one for each kind of memory takes longer than all the rest
    before = torch.get_num_threads()
    about = {"machine": "none", "level": "v3", "torch": "2", "date": "today"}
    found = {"about": about, "workloads": {}}
    for name, workload in regions.QUICK.items():
        ways = regions.times(list(workload), 1, 2)
        found["workloads"][name] = {
            **workload._asdict(),
            "scores": 1000,
            "rounds": 2,
            "runs": [{"threads": 1, "memory": "fresh", "ways": ways}],
            "peak_bytes": {way: regions.peak(workload, way) for way in regions.ways(workload)},
        }
    torch.set_num_threads(before)
    assert regions_table.DICE in regions_table.shown_of(found)
    assert regions_table.times_table(found).count("\n") == 6
    assert regions_table.memory_table(found).count("\n") == 4


@pytest.mark.parametrize("name", regions.QUICK)
def test_regions_compare_what_is_equal(name):
    workload = regions.QUICK[name]
    inputs, ways = regions.draw(workload), regions.ways(workload)
    for ours, theirs in regions_table.COUNTERPARTS.items():
        if ours == regions_table.LOVASZ or theirs not in ways:
            continue
        (loss, labels), (other, other_labels) = ways[ours], ways[theirs]
        assert labels == other_labels
        target = getattr(inputs, labels)
        own = torch.autograd.grad(loss(inputs.logits, target), inputs.logits)
        peer = torch.autograd.grad(other(inputs.logits, target), inputs.logits)
        torch.testing.assert_close(own, peer, rtol=1e-4, atol=1e-7)


def test_regions_are_compared_with_a_cross_entropy_where_no_peer_is():
    shown = [regions_table.CROSS_ENTROPY, regions_table.DICE]
    assert regions_table.compared(regions_table.DICE, shown) == " (ratio to cross-entropy)"
    shown.append(regions_table.NNUNET)
    assert regions_table.compared(regions_table.DICE, shown) == " (ratio to nnU-Net)"


@pytest.mark.slow
def test_regions_measure_the_memory_of_every_way():
    workload = regions.QUICK["images"]
    peaks = regions.child("regions", {"measure": "memory", "workload": workload})
    assert peaks.keys() == regions.ways(workload).keys()


class StandIn:
    """In the place of a device: the clock of the host, and works that are their own graphs."""

    @staticmethod
    def clock(work):
        began = time.perf_counter()
        work()
        return 1e3 * (time.perf_counter() - began)

    @staticmethod
    def recorded(work):
        return work

    @staticmethod
    def launches(work):
        return work() and 1

    @staticmethod
    def peak(work):
        return sum(gradient.nbytes for gradient in work())


def test_gpu_measures_and_makes_its_table(monkeypatch):
    monkeypatch.setitem(gpu.WORKLOADS, "images", (1, 5, 16, 24))
    monkeypatch.setitem(gpu.MULTILABEL, "masks of two", (1, 2, 16, 24))
    about = {"device": "none", "torch": "2", "triton": "3", "date": "today", "copy_gb_per_s": 1.0}
    found = {"about": about, "workloads": {}}
    for workload, stage in (("images", "trained"), ("masks of two", "equal")):
        names = list(gpu.methods(workload, None))
        chosen = gpu.methods(workload, [name for name in names if "compiled" not in name])
        logits, target = gpu.inputs(workload, stage, torch.float32, "cpu")
        result = gpu.measure(logits, target, chosen, 2, 1e9, StandIn)
        assert result.keys() == chosen.keys()
        for kept in result.values():
            assert kept["eager_ms"] > 0
            assert kept["launches"] == 1
            assert kept["peak_bytes_beyond_gradient"] == 0
        found["workloads"][workload] = result
    assert tables.gpu_table(found).count("\n") == 5
    assert "nan" not in tables.gpu_table(found)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a device here")
def test_gpu_says_that_there_is_no_device():
    result = subprocess.run(
        [sys.executable, "-m", "benchmarks", "gpu", "--rounds", "1"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert "no CUDA or ROCm device" in result.stderr
