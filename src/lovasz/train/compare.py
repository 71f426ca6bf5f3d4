"""Train with several losses and seeds, as many runs at a time as there are cores."""

from __future__ import annotations

import json
import multiprocessing
import os
import queue
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lovasz.train.children import Duty, signals_held
from lovasz.train.config import CompareConfig
from lovasz.train.data import DataConfig, DataSet, Files, checked, load_data
from lovasz.train.errors import DivergedError, UserError
from lovasz.train.evaluate import Interrupted
from lovasz.train.folder import locked
from lovasz.train.loop import test, train
from lovasz.train.processes import device_type
from lovasz.train.progress import add_bar, bars, throttled
from lovasz.train.runs import Task, divergence, open_tasks, record_divergence, tally

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console
    from rich.progress import Progress, TaskID

    from lovasz.train.progress import Stop

    Outcome = Literal["complete", "interrupted", "diverged"]

# Seconds in which a process whose comparison was killed saves its run, so that it can go on.
_LEAVING = 60.0

# In the processes of the pool: the data if they are files, where messages for the bars go, and
# whether to stop, without a lock that a killed process could hold for ever.
_given: DataSet | None = None
_messages: Any = None
_halt: Any = None
_duty = Duty()


def compare(config: CompareConfig, stop: Stop, console: Console, data: DataSet) -> bool:
    """Do what is left of a comparison; whether it is complete now.

    Each run has the same data order and the same initial weights for its seed whatever its loss,
    and the same number of threads. The processes of the pool get the data set if its parts are
    files, which are not looked at again; others are composed in each process.
    """
    jobs = config.jobs or (1 if device_type(config) != "cpu" else cores())
    config = replace(config, threads=config.threads or max(1, cores() // jobs))
    context = multiprocessing.get_context("spawn")  # forked children of torch can hang
    messages, halt = context.Queue(), context.RawValue("b", 0)
    given = data if all(isinstance(part, Files) for part in data.parts.values()) else None
    try:
        with (
            _killing_at_once(),  # while it waits for the pool to end too
            bars(console) as progress,
            ProcessPoolExecutor(jobs, context, _start_worker, (messages, halt, given)) as pool,
            _killing_at_once(),
        ):
            try:
                _run_all(config, jobs, pool, _Bars(progress, config, messages), stop, halt)
            finally:
                halt.value = 1  # whatever went wrong in one run, the others keep a checkpoint
    except BrokenProcessPool as error:
        if not stop():
            raise UserError(
                "compare: a training process was ended from outside (out of memory?); "
                "--resume continues with the runs that are left"
            ) from error
    return not open_tasks(config)


@contextmanager
def _killing_at_once() -> Iterator[None]:
    """Kill all processes of the pool where a second Ctrl-C comes."""
    try:
        yield
    except KeyboardInterrupt:
        for child in multiprocessing.active_children():
            child.kill()
        raise


def _run_all(
    config: CompareConfig, jobs: int, pool: ProcessPoolExecutor, shown: _Bars, stop: Stop, halt: Any
) -> None:
    """Keep the pool at work until nothing is left to do, or the user asks to stop."""
    running: dict[Future[Outcome], Task] = {}
    while True:
        if stop():
            halt.value = 1
        elif len(running) < jobs:
            waiting = [task for task in open_tasks(config) if task not in running.values()]
            # No more than can run now: what is not submitted needs no cancelling.
            for task in waiting[: jobs - len(running)]:
                with signals_held():
                    running[pool.submit(_work, task, config)] = task
        if not running:
            return
        done, _ = wait(running, timeout=0.2, return_when=FIRST_COMPLETED)
        shown.update()
        for future in done:
            shown.finish(running.pop(future), future.result())


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _start_worker(messages: Any, halt: Any, given: DataSet | None) -> None:
    """Run once in each process of the pool."""
    global _given, _messages, _halt
    _given, _messages, _halt = given, messages, halt
    messages.cancel_join_thread()  # nothing waits for the bars
    # Processes that load data start as those of one run do, and not as this one did, in seconds.
    multiprocessing.set_start_method(multiprocessing.get_all_start_methods()[0], force=True)
    _duty.begin()


def _work(task: Task, config: CompareConfig) -> Outcome:
    """Do a task in a process of the pool."""
    run = task.config(config)
    folder = Path(run.out)
    watch = throttled(lambda done, total, text: _messages.put((task, done, total, text)))
    with _duty.run(), locked(folder, _LEAVING):
        data = _given or _data(json.dumps(asdict(config.reading)))
        try:
            train(run, data, watch, _stop)
            if task.test:
                test(run, data, _stop)
        except Interrupted:
            return "interrupted"
        except DivergedError as error:
            record_divergence(folder, str(error))
            return "diverged"
    return "complete"


def _stop() -> bool:
    """Whether all runs should stop, or this process."""
    return bool(_halt.value) or _duty.asked


@cache
def _data(options: str) -> DataSet:
    """The data that these options in JSON name, read once in each process."""
    return checked(load_data(DataConfig(**json.loads(options))))


class _Bars:
    """One bar for the comparison and one for each run that is going on."""

    def __init__(self, progress: Progress, config: CompareConfig, messages: Any) -> None:
        self.progress, self.config, self.messages = progress, config, messages
        self.overall = progress.add_task("all runs", text="")
        self.bars: dict[Task, TaskID] = {}
        self._count()

    def update(self) -> None:
        """Show what the runs have sent."""
        while True:
            try:
                task, done, total, text = self.messages.get_nowait()
            except queue.Empty:
                return
            if task not in self.bars:
                self.bars[task] = add_bar(self.progress, _name(task))
            self.progress.update(self.bars[task], completed=done, total=total, text=text)

    def finish(self, task: Task, outcome: Outcome) -> None:
        """Replace the bar of a run by a line."""
        bar = self.bars.pop(task, None)
        if bar is not None:
            self.progress.remove_task(bar)
        if outcome == "interrupted":
            return
        self._count()
        run = Path(task.config(self.config).out)
        if outcome == "diverged":
            said = f"diverged ({divergence(run)})"
        else:
            name, part = ("result.json", "reported") if task.test else ("val.json", "validation")
            miou = json.loads((run / name).read_text(encoding="utf-8"))["miou"]
            said = f"{part} mIoU {100 * miou:.2f} %"
        self.progress.console.print(f"{_name(task)}: {said}", highlight=False, soft_wrap=True)

    def _count(self) -> None:
        completed, total = tally(self.config)
        self.progress.update(self.overall, completed=completed, total=total)


def _name(task: Task) -> str:
    return f"{task.loss} lr {task.lr:g} seed {task.seed}"
