"""What is remembered of the tests of kernels, and where."""

import json
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from lovasz.kernels import verdicts

WHO = "Some Device (sm_1), driver 2, torch 3, Triton 4"


@pytest.fixture(autouse=True)
def _folder(monkeypatch, tmp_path):
    monkeypatch.setenv("LOVASZ_CACHE", str(tmp_path))


def test_the_folder(monkeypatch, tmp_path):
    assert verdicts.folder() == tmp_path
    monkeypatch.setenv("LOVASZ_CACHE", "")
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert verdicts.folder() == Path("/caches/lovasz")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", lambda: Path("/home/me"))
    assert verdicts.folder() == Path("/home/me/.cache/lovasz")


def test_without_a_home_nothing_is_kept(monkeypatch):
    def home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("LOVASZ_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", home)
    assert verdicts.folder() is None
    verdicts.keep(WHO, "case")
    assert not verdicts.passed(WHO, "case")


def test_what_passed_is_known_of_that_device_and_case(monkeypatch):
    verdicts.keep(WHO, "case")
    assert verdicts.passed(WHO, "case")
    assert not verdicts.passed(WHO, "another")
    assert not verdicts.passed(WHO.replace("2", "5"), "case")
    monkeypatch.setattr(verdicts, "_sources", lambda: "changed")
    assert not verdicts.passed(WHO, "case")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b'{"device": "another"}'])
def test_what_cannot_be_read_is_not_there(content, tmp_path):
    verdicts.keep(WHO, "case")
    (file,) = tmp_path.rglob("*.json")
    file.write_bytes(content)
    assert not verdicts.passed(WHO, "case")
    verdicts.keep(WHO, "case")
    assert verdicts.passed(WHO, "case")


def test_a_folder_that_cannot_be_written(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LOVASZ_CACHE", str(tmp_path / "file"))
    verdicts.keep(WHO, "case")
    assert not verdicts.passed(WHO, "case")


def test_several_write_at_once(tmp_path):
    barrier, broken = threading.Barrier(4), []

    def write():
        barrier.wait()
        for i in range(50):
            verdicts.keep(WHO, f"case {i % 3}")
            if not verdicts.passed(WHO, f"case {i % 3}"):
                broken.append(i)

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert broken == []
    files = list((tmp_path / "kernels").iterdir())
    assert len(files) == 3  # and nothing half written
    assert all(json.loads(file.read_text())["device"] == WHO for file in files)


def test_identities(monkeypatch, tmp_path):
    assert verdicts.identity(torch.device("cpu")) is None
    assert verdicts.identity(torch.device("meta")) is None
    properties = SimpleNamespace(name="Some Device", major=8, minor=9, gcnArchName="gfx942")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: properties)
    monkeypatch.setattr(verdicts, "driver", lambda: "580.1 for CUDA 13.0")
    triton = SimpleNamespace(__version__="3.9")
    monkeypatch.setattr(verdicts.importlib, "import_module", lambda _: triton)
    identity = verdicts.identity.__wrapped__
    versions = f"driver 580.1 for CUDA 13.0, torch {torch.__version__}, Triton 3.9"
    assert identity(torch.device("cuda")) == f"Some Device (sm_89), {versions}"
    monkeypatch.setattr(torch.version, "hip", "6.4")
    assert identity(torch.device("cuda")) == f"Some Device (gfx942), {versions}"
    monkeypatch.undo()


def test_drivers(monkeypatch, tmp_path):
    file = tmp_path / "version"
    line = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build"
    file.write_text(f"{line}\nGCC version:  gcc version 12.2.0\n")
    monkeypatch.setattr(torch._C, "_cuda_getDriverVersion", lambda: 13010, raising=False)
    assert verdicts.driver(str(file)) == "580.65.06 for CUDA 13.1"
    assert verdicts.driver(str(tmp_path / "none")) == "for CUDA 13.1"
    monkeypatch.delattr(torch._C, "_cuda_getDriverVersion")
    assert verdicts.driver(str(file)) == "580.65.06"
    assert verdicts.driver(str(tmp_path / "none")) == "unknown"
    monkeypatch.setattr(torch.version, "hip", "6.4")
    assert verdicts.driver(str(file)) == "ROCm 6.4"
