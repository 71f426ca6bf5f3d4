"""Processes that are stopped and killed: what is left of them, and what they say."""

from __future__ import annotations

import contextlib
import fcntl
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest
import torch
from torch.utils.data._utils import signal_handling

from lovasz.train.checkpoint import read
from lovasz.train.commands import run
from lovasz.train.data import training_batches
from lovasz.train.folder import locked
from tests.train.test_cli import arguments

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc"),
]
COMPARE = ["compare", "--learning_rates=[0.01]", "--seeds=[0,1]"]
TWO = [*COMPARE, "--jobs=2"]


@contextlib.contextmanager
def started(options, words, **popen):
    """A command that is training: its process, and those that it has started."""
    options = options | {"epochs": 5000}
    process = subprocess.Popen(
        [sys.executable, "-m", "lovasz.train.cli", *words, *arguments(options)],
        env={**os.environ, "COLUMNS": "200", "OMP_NUM_THREADS": "1"},
        text=True,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **popen},
    )
    jobs = 2 if "--jobs=2" in words else 1
    begun, at = time.monotonic(), time.time()
    children = []
    try:
        while sum(path.stat().st_mtime > at for path in checkpoints(options)) < jobs:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < begun + 90
            time.sleep(0.05)
        children = descendants(process.pid)
        yield process, children
    finally:
        for number in {process.pid, *children, *descendants(process.pid)}:
            with contextlib.suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)
        process.communicate()


def checkpoints(options):
    return sorted(Path(options["out"]).rglob("checkpoint.pt"))


def parents():
    """Parent of each process that is no zombie."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, parent = path.read_text().rpartition(")")[2].split()[:2]
            if state != "Z":
                found[int(path.parent.name)] = int(parent)
    return found


def descendants(pid):
    table, found = parents(), [pid]
    for number in found:
        found += [child for child, parent in table.items() if parent == number]
    return found[1:]


def in_pool(number):
    """Whether a process trains, and is not the one that watches over semaphores."""
    return b"spawn_main" in Path(f"/proc/{number}/cmdline").read_bytes()


def all_end(numbers, within=15):
    """Whether these processes end in so many seconds."""
    deadline = time.monotonic() + within
    while any(number in parents() for number in numbers):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def steps(path):
    """How many steps a checkpoint has seen."""
    progress = read(path)["progress"]
    return progress["epoch"] * 3 + progress["step"]


def test_killed_comparison_leaves_checkpoints_and_no_process(options):
    with started(options, [*TWO, "--workers=1"]) as (process, children):
        # two runs, which have a loader most of the time, and what watches over semaphores
        while len(children) < 5:
            children[:] = descendants(process.pid)
        before = [path.stat().st_mtime_ns for path in checkpoints(options)]
        process.kill()
        assert all_end(children)
        after = checkpoints(options)
        assert [path.stat().st_mtime_ns for path in after] != before
        assert all(steps(path) for path in after)
        for path in after:
            with locked(path.parent):
                pass


def test_killed_worker_ends_the_comparison_with_a_sentence(options):
    with started(options, TWO) as (process, children):
        victim = next(filter(in_pool, children))
        os.kill(victim, signal.SIGKILL)
        _, errors = process.communicate(timeout=30)
        assert process.returncode == 2
        assert errors == (
            "lovasz: error: compare: a training process was ended from outside (out of memory?);"
            " --resume continues with the runs that are left\n"
        )
        assert all_end(children)
        assert len(checkpoints(options)) == 2


def test_second_signal_ends_all_processes_at_once(options):
    with started(options, [*COMPARE, "--jobs=1"]) as (process, children):
        for number in filter(in_pool, children):
            os.kill(number, signal.SIGSTOP)  # they do not answer
        process.send_signal(signal.SIGINT)
        time.sleep(1)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=15)
        assert (process.returncode, errors) == (130, "")
        assert all_end(children)


def test_signal_to_all_processes_saves_all_runs(options):
    """As schedulers of clusters send it."""
    with started(options, TWO, start_new_session=True) as (process, children):
        os.killpg(process.pid, signal.SIGTERM)
        printed, errors = process.communicate(timeout=30)
        assert (process.returncode, errors) == (130, "")
        assert "Interrupted. Continue with: lovasz compare" in printed
        assert all_end(children)


def test_closed_terminal_is_a_request_to_stop(options):
    here, there = os.openpty()

    def take_terminal():
        os.setsid()
        fcntl.ioctl(1, termios.TIOCSCTTY, 0)

    with started(options, ["train"], stdout=there, stderr=there, preexec_fn=take_terminal) as (
        process,
        _,
    ):
        os.close(there)
        os.close(here)
        assert process.wait(timeout=30) == 130
        out = Path(options["out"])
        assert "Interrupted." in (out / "report.html").read_text(encoding="utf-8")


def test_killed_run_frees_its_folder_and_goes_on(options, capsys):
    words = ["train", *arguments(options, epochs=5000), "--resume"]
    with started(options, ["train", "--workers=1", "--checkpoint_minutes=0.0001"]) as (
        process,
        children,
    ):
        assert run(words) == 2
        assert "another process is training in" in capsys.readouterr().err
        process.kill()
        assert all_end(children)
        seen = steps(checkpoints(options)[0])
    with started(options, ["train", "--resume"]) as (process, _):
        process.send_signal(signal.SIGINT)
        printed, _ = process.communicate(timeout=30)
        assert process.returncode == 130
        assert "--resume" in printed
        assert steps(checkpoints(options)[0]) > seen > 0


def test_killed_loader_is_one_sentence_and_leaves_a_checkpoint(options):
    with started(options, ["train", "--workers=1"]) as (process, _):
        for _ in range(200):  # they are new in each epoch
            for number in descendants(process.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(number, signal.SIGKILL)
            if process.poll() is not None:
                break
            time.sleep(0.02)
        _, errors = process.communicate(timeout=30)
        assert process.returncode == 2, errors
        assert errors.startswith("lovasz: error: workers: a process that loads data was ended")
        assert errors.count("\n") == 1


def test_a_killed_loader_interrupts_nothing_but_the_wait_for_its_batch(train_config, monkeypatch):
    """An error in the middle of a step would leave one that is done and not counted."""
    # As in a process in which torch has not set its handler yet: it does so once.
    monkeypatch.setattr(signal_handling, "_SIGCHLD_handler_set", False)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    part = [(torch.zeros(3, 12, 12, dtype=torch.uint8), torch.zeros(12, 12, dtype=torch.uint8))]
    batches = training_batches(part * 40, train_config(workers=2, batch_size=2), 0, 0)
    next(batches)
    for process in multiprocessing.active_children():
        process.kill()
        time.sleep(0.5)  # where torch's handler of the signal raises
    assert signal_handling._SIGCHLD_handler_set
    assert signal.getsignal(signal.SIGCHLD) == signal.SIG_DFL
    with pytest.raises(RuntimeError, match="DataLoader worker"):
        list(batches)


def test_a_comparison_goes_on_beside_a_run_that_diverges(options, capsys):
    words = [
        *["compare", *arguments(options, epochs=1), "--losses=[cross-entropy]", "--jobs=2"],
        *["--learning_rates=[0.01, 1.0e+30]", "--seeds=[0]"],
    ]
    assert run(words) == 0
    printed = capsys.readouterr().out
    assert "cross-entropy lr 1e+30 seed 0: diverged (lr: the loss is" in printed
    assert "cross-entropy diverged with the learning rate 1e+30, which cannot be chosen." in printed
    out = Path(options["out"])
    assert "diverged" in json.loads(next(out.rglob("diverged.json")).read_text())
    assert ">diverged</td>" in (out / "report.html").read_text(encoding="utf-8")
    assert len(list(out.rglob("result.json"))) == 1
    assert run([*words, "--resume"]) == 0
