from __future__ import annotations

import json
import math
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lovasz import Decision
from lovasz.train import export as module
from lovasz.train import export_onnx
from lovasz.train.commands import run
from lovasz.train.data import Statistics
from lovasz.train.errors import UserError
from lovasz.train.export import ExportConfig, export
from lovasz.train.export_torch import ABOUT, FromPixels, Sizes, export_program
from lovasz.train.outputs import outputs
from lovasz.train.progress import screen
from lovasz.train.saved import read_saved
from tests.train.decided import OFFSETS, with_decision

TWO = Statistics((100.0, 50.0), (10.0, 20.0))


class Convolution(nn.Module):
    """Takes images of any size; its logits have half of their resolution."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(2, 3, 3, padding=1, stride=2)

    def forward(self, images):
        return {"out": self.layer(images), "aux": None}


class Positions(nn.Module):
    """Takes images of one size, as transformers with positions do."""

    def __init__(self, side):
        super().__init__()
        self.layer, self.place = nn.Conv2d(2, 3, 1), nn.Parameter(torch.randn(3, side, side))

    def forward(self, images):
        return self.layer(images) + self.place


class Undecided(nn.Module):
    """Does what no program can follow."""

    def forward(self, images):
        return images.repeat(1, 2, 1, 1) * float(np.asarray(images.sum()))


def images(*shape):
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(1)).float()


def test_the_file_computes_what_the_network_does(trained, tmp_path, monkeypatch, capsys):
    saved = replace(read_saved(str(trained)), network=Convolution(), statistics=TWO)
    monkeypatch.setattr(module, "read_saved", lambda run: saved)
    out = tmp_path / "new" / "network.pt2"
    assert export(ExportConfig(run="run", out=str(out)), screen()) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "images (N, 2, H, W) of any size, float32 from 0 to 255, to logits" in said
    about = check_program(out, saved, (1, 2, 12, 12), (3, 2, 27, 40))
    assert about["classes"] == ["dark", "red", "green"]
    assert (about["window"], about["multiple_of"], about["output"]) == (12, 1, "logits")
    assert (about["decision"], about["offsets"]) == ("argmax", None)
    assert "fitted" not in said
    assert sorted(path.name for path in out.parent.iterdir()) == ["network.pt2"]


def test_the_offsets_of_the_fitted_decision_are_in_the_file(trained, tmp_path, monkeypatch, capsys):
    saved = read_saved(with_decision(trained, tmp_path / "decided"))
    saved = replace(saved, network=Convolution(), statistics=TWO)
    monkeypatch.setattr(module, "read_saved", lambda run: saved)
    out = tmp_path / "new" / "network.pt2"
    assert export(ExportConfig(run="run", out=str(out), decision="fitted"), screen()) == 0
    said = capsys.readouterr().out
    assert "It was run, and differs from the network by at most" in said
    assert "The offsets of the fitted decision are added to the logits" in said
    about = check_program(out, saved, (1, 2, 12, 12), (3, 2, 27, 40), offsets=OFFSETS)
    assert (about["decision"], about["offsets"]) == ("fitted", OFFSETS)


@pytest.mark.parametrize("size", [(12, 12), (13, 10)])
@torch.no_grad()
def test_labels_of_the_program_are_those_of_the_decision(size):
    network, decision = Convolution(), Decision(3)
    decision.offsets.copy_(torch.tensor([0.5, -0.25, 0.125]))
    labels = FromPixels(network, TWO, "labels", decision.offsets)(images(2, 2, *size))
    logits = network(TWO.normalise(images(2, 2, *size)))["out"]
    expected = decision(F.interpolate(logits, size, mode="bilinear"), dtype=torch.uint8)
    assert (labels != expected).float().mean() < 0.01  # rounding
    assert (labels != decision(logits, size, torch.uint8)).float().mean() < 0.01
    assert (labels != FromPixels(network, TWO, "labels")(images(2, 2, *size))).float().mean() > 0.01


def check_program(path, saved, *shapes, offsets=(0, 0, 0)):
    """Compares a file with the network; gives what it says of itself."""
    extra = {ABOUT: ""}
    program = torch.export.load(path, extra_files=extra).module()
    for shape in shapes:
        pixels = images(*shape)
        with torch.no_grad():
            logits = outputs(saved.network(saved.statistics.normalise(pixels)))[0]
            expected = F.interpolate(logits, shape[2:], mode="bilinear")
            expected += torch.tensor(offsets).view(3, 1, 1)
            torch.testing.assert_close(program(pixels), expected, rtol=1e-4, atol=1e-5)
    return json.loads(extra[ABOUT])


@pytest.mark.slow
def test_the_unet_takes_multiples_of_its_steps(trained, tmp_path):
    out = tmp_path / "network.pt2"
    words = ["export", str(trained), f"--out={out}", "--output=logits", "--input=float32"]
    assert run(words) == 0
    about = check_program(out, read_saved(str(trained)), (1, 3, 12, 12), (3, 3, 26, 40))
    assert about["multiple_of"] == 2


@pytest.mark.parametrize("output", ["probabilities", "labels"])
def test_sizes_outputs_and_bytes(output):
    network = Convolution()
    module = FromPixels(network, TWO, output)
    program, sizes = export_program(module, 2, 10, torch.uint8)
    assert sizes.step == 1
    pixels = images(2, 2, 13, 10)
    with torch.no_grad():
        normal = (pixels - torch.tensor([100, 50]).view(2, 1, 1)) / torch.tensor([[[10]], [[20]]])
        logits = F.interpolate(network(normal)["out"], (13, 10), mode="bilinear")
        result = program.module()(pixels.byte())
    if output == "labels":
        assert result.dtype == torch.uint8
        assert (result == logits.argmax(1)).float().mean() > 0.99
    else:
        torch.testing.assert_close(result, logits.softmax(1))


def test_a_network_of_one_size_is_exported_for_it():
    program, sizes = export_program(FromPixels(Positions(6), TWO, "logits"), 2, 6, torch.float32)
    assert sizes == Sizes(6, None)
    assert [size for _, size in sizes.trials()] == [(6, 6)] * 3
    assert program.module()(images(4, 2, 6, 6)).shape == (4, 3, 6, 6)


def test_what_cannot_be_followed_is_one_sentence():
    with pytest.raises(UserError, match=r"export: torch\.export cannot follow this network: ") as e:
        export_program(FromPixels(Undecided(), TWO, "logits"), 2, 4, torch.float32)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("fault", ["number", "shape", "nan"])
def test_a_file_that_computes_something_else_is_not_kept(trained, tmp_path, monkeypatch, fault):
    def wrong(path, pixels):
        assert path.is_file()
        shape = (len(pixels), 3, 12, 6 if fault == "shape" else 12)
        return torch.full(shape, math.nan if fault == "nan" else 9.0)

    def write(program, path, about):
        path.touch()

    monkeypatch.setattr(module, "run_pt2", wrong)
    monkeypatch.setattr(module, "write_pt2", write)
    monkeypatch.setattr(module, "export_program", lambda *_: (None, Sizes(12, None)))
    with pytest.raises(UserError, match=r"to compute what the network does .* nothing was written"):
        export(ExportConfig(run=str(trained), out=str(tmp_path / "network.pt2")), screen())
    assert list(tmp_path.iterdir()) == []


def test_errors_of_the_user_are_one_sentence(trained, tmp_path, monkeypatch):
    with pytest.raises(UserError, match=r"expected a file that ends in .*, got x\.pth"):
        ExportConfig(run="run", out="x.pth")
    found = find_spec
    monkeypatch.setattr(
        export_onnx, "find_spec", lambda name: None if name == "onnx" else found(name)
    )
    with pytest.raises(UserError, match=r"ONNX needs onnx( and onnxscript)?: run pip install "):
        export(ExportConfig(run=str(trained), out=str(tmp_path / "x.onnx")), screen())
    (tmp_path / "file").touch()
    monkeypatch.setattr(module, "export_program", lambda *_: (None, Sizes(12, None)))
    with pytest.raises(UserError, match=r"out: cannot write .*x\.pt2"):
        export(ExportConfig(run=str(trained), out=str(tmp_path / "file" / "x.pt2")), screen())


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["onnxruntime", "onnx"])
@pytest.mark.parametrize(("output", "kind"), [("logits", "float32"), ("labels", "uint8")])
def test_onnx_computes_what_the_network_does(
    trained, tmp_path, monkeypatch, capsys, runtime, output, kind
):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    pytest.importorskip(runtime)
    if runtime == "onnx":
        monkeypatch.setattr(
            export_onnx, "find_spec", lambda name: name != "onnxruntime" and find_spec(name)
        )
    out = tmp_path / "network.onnx"
    config = ExportConfig(run=str(trained), out=str(out), output=output, input=kind)
    assert export(config, screen()) == 0
    assert "multiples of 2" in " ".join(capsys.readouterr().out.split())
    saved = read_saved(str(trained))
    expected = FromPixels(saved.network, saved.statistics, output)
    pixels = images(3, 3, 26, 40).to(getattr(torch, kind))
    with torch.no_grad():
        result = export_onnx.run_onnx(out, pixels)
        torch.testing.assert_close(result, expected(pixels), rtol=1e-4, atol=1e-4)
    graph = onnx.load(out)
    onnx.checker.check_model(graph)
    (given,), (got,) = graph.graph.input, graph.graph.output
    assert (given.name, got.name) == ("images", output)
    names = [dim.dim_param or dim.dim_value for dim in given.type.tensor_type.shape.dim]
    assert names == ["batch", 3, "height", "width"]
    about = {entry.key: entry.value for entry in graph.metadata_props}
    assert json.loads(about["classes"]) == ["dark", "red", "green"]
    assert [path.name for path in tmp_path.iterdir()] == ["network.onnx"]


@pytest.mark.slow
def test_onnx_of_a_network_of_one_size(trained, tmp_path):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    network = FromPixels(Positions(6), TWO, "logits")
    program, sizes = export_program(network, 2, 6, torch.float32)
    about = {"output": "logits", "multiple_of": sizes.step}
    export_onnx.write_onnx(program, Path(tmp_path / "x.onnx"), about)
    pixels = images(2, 2, 6, 6)
    with torch.no_grad():
        result = export_onnx.run_onnx(tmp_path / "x.onnx", pixels)
        torch.testing.assert_close(result, network(pixels), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("output", ["logits", "probabilities", "labels"])
def test_onnx_of_the_fitted_decision(trained, tmp_path, output):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    path = with_decision(trained, tmp_path / "decided")
    out = tmp_path / "network.onnx"
    config = ExportConfig(run=path, out=str(out), output=output, decision="fitted")
    assert export(config, screen()) == 0
    saved, pixels = read_saved(path), images(2, 3, 26, 40)
    with torch.no_grad():
        result = export_onnx.run_onnx(out, pixels)
        logits = outputs(saved.network(saved.statistics.normalise(pixels)))[0]
    shifted = F.interpolate(logits, (26, 40), mode="bilinear") + torch.tensor(OFFSETS).view(3, 1, 1)
    if output == "labels":
        assert (result == shifted.argmax(1)).float().mean() > 0.999
    else:
        expected = shifted if output == "logits" else shifted.softmax(1)
        torch.testing.assert_close(result, expected, rtol=1e-4, atol=1e-4)
    about = {entry.key: entry.value for entry in onnx.load(out).metadata_props}
    assert (about["decision"], json.loads(about["offsets"])) == ("fitted", OFFSETS)
