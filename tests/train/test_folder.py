"""One run at a time in a folder, and options of runs of earlier versions."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from lovasz.train import commands
from lovasz.train.commands import run
from lovasz.train.errors import UserError
from lovasz.train.folder import locked
from tests.train.test_cli import arguments


@pytest.mark.parametrize("command", ["train", "compare"])
@pytest.mark.parametrize("again", [[], ["--resume"]])
def test_a_second_run_into_a_folder_is_refused(options, capsys, monkeypatch, command, again):
    def look(*_):
        raise AssertionError("before it has looked at any file")

    monkeypatch.setattr(commands, "load_data", look)
    out = Path(options["out"])
    with locked(out):
        (out / "config.yaml").write_text("{}")
        assert run([command, *arguments(options), *again]) == 2
    assert capsys.readouterr().err == (
        f"lovasz: error: out: another process is training in {out}; wait for its end, or name"
        " another folder\n"
    )
    assert sorted(os.listdir(out)) == [".lock", "config.yaml"]


def test_the_lock_is_free_after_a_run_and_after_an_error(tmp_path):
    with locked(tmp_path):
        pass
    with pytest.raises(KeyError), locked(tmp_path):
        raise KeyError
    with locked(tmp_path), pytest.raises(UserError, match="another process"), locked(tmp_path):
        pass


def test_a_folder_that_cannot_be_made_is_one_sentence(options, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert run(["train", *arguments(options, out=str(tmp_path / "file" / "run"))]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"lovasz: error: out: cannot write to {tmp_path}/file/run: ")
    assert error.count("\n") == 1


def test_options_that_a_version_did_not_have_are_at_their_defaults(options, capsys):
    assert run(["train", *arguments(options, epochs=1)]) == 0
    path = Path(options["out"]) / "config.yaml"
    content = yaml.safe_load(path.read_text())
    for name in ("checkpoint_minutes", "schedule", "sampler"):
        del content[name]
    path.write_text(yaml.safe_dump(content))
    assert run(["train", *arguments(options, epochs=1), "--resume"]) == 0
    assert run(["train", *arguments(options, epochs=1, schedule="cosine"), "--resume"]) == 2
    assert "resume: expected schedule poly as in" in capsys.readouterr().err
    path.write_text("epochs")
    assert run(["train", *arguments(options, epochs=1), "--resume"]) == 2
    assert "resume: expected the options of a run in" in capsys.readouterr().err
