"""Train with several losses and seeds, as many runs at a time as there are cores."""

from __future__ import annotations

import json
import multiprocessing
import os
import queue
import signal
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from lovasz.train.config import CompareConfig, LossName
from lovasz.train.data import DataConfig, DataSet, load_data
from lovasz.train.errors import UserError
from lovasz.train.evaluate import Interrupted
from lovasz.train.loop import test, train
from lovasz.train.progress import add_bar, bars, throttled
from lovasz.train.runs import Task, open_tasks

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

    from lovasz.train.progress import Stop

# In the processes of the pool: where messages for the bars go, and whether to stop.
_messages: Any = None
_stop: Any = None


def compare(config: CompareConfig, stop: Stop, console: Console) -> bool:
    """Do what is left of a comparison; whether it is complete now.

    Each run has the same data order and the same initial weights for its seed whatever its loss,
    and the same number of threads.
    """
    jobs = config.jobs or (1 if _on_accelerator(config) else cores())
    config = replace(config, threads=config.threads or max(1, cores() // jobs))
    context = multiprocessing.get_context("spawn")  # forked children of torch can hang
    messages, halt = context.Queue(), context.Event()
    running: dict[Future[bool], Task] = {}
    with (
        bars(console) as progress,
        ProcessPoolExecutor(jobs, context, _start_worker, (messages, halt)) as pool,
    ):
        display = _Bars(progress, config)
        try:
            while True:
                if stop():
                    halt.set()
                elif len(running) < jobs:
                    waiting = [task for task in open_tasks(config) if task not in running.values()]
                    # No more than can run now: what is not submitted needs no cancelling.
                    for task in waiting[: jobs - len(running)]:
                        running[pool.submit(_work, task, config)] = task
                if not running:
                    break
                done, _ = wait(running, timeout=0.2, return_when=FIRST_COMPLETED)
                display.update(messages)
                for future in done:
                    display.finish(running.pop(future), complete=future.result())
        except BrokenProcessPool as error:
            raise UserError(
                "compare: a training process was ended from outside (out of memory?); "
                "--resume continues with the runs that are left"
            ) from error
        finally:
            halt.set()  # whatever went wrong in one run, the others keep a checkpoint
    return not open_tasks(config)


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _on_accelerator(config: CompareConfig) -> bool:
    available = torch.cuda.is_available() or torch.backends.mps.is_available()
    return config.accelerator in ("cuda", "mps") or (config.accelerator == "auto" and available)


def _start_worker(messages: Any, halt: Any) -> None:
    """Run once in each process of the pool."""
    global _messages, _stop
    _messages, _stop = messages, halt
    # Ctrl-C reaches all processes of the terminal; the first one decides for all.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _work(task: Task, config: CompareConfig) -> bool:
    """Do a task in a process of the pool; whether it is complete."""
    run = task.config(config)
    data = _data(json.dumps(asdict(config.reading)))
    watch = throttled(lambda done, total, text: _messages.put((task, done, total, text)))
    try:
        train(run, data, watch, _stop.is_set)
        if task.test:
            test(run, data, _stop.is_set)
    except Interrupted:
        return False
    return True


@cache
def _data(options: str) -> DataSet:
    """The data that these options in JSON name, read once in each process."""
    return load_data(DataConfig(**json.loads(options)))


class _Bars:
    """One bar for the comparison and one for each run that is going on."""

    def __init__(self, progress: Progress, config: CompareConfig) -> None:
        self.progress, self.config = progress, config
        searched = {(loss, lr, config.seeds[0]) for loss, lr in _grid(config)}
        self.total = len(searched) + len(config.losses) * (len(config.seeds) - 1)
        self.complete = {
            (loss, lr, seed)
            for loss, lr in _grid(config)
            for seed in config.seeds
            if (Path(config.run(loss, lr, seed).out) / "val.json").exists()
        }
        self.overall = progress.add_task("all runs", total=self.total, text="")
        self.bars: dict[Task, TaskID] = {}
        self._count()

    def update(self, messages: Any) -> None:
        """Show what the runs have sent."""
        while True:
            try:
                task, done, total, text = messages.get_nowait()
            except queue.Empty:
                return
            if task not in self.bars:
                name = f"{task.loss} lr {task.lr:g} seed {task.seed}"
                self.bars[task] = add_bar(self.progress, name)
            self.progress.update(self.bars[task], completed=done, total=total, text=text)

    def finish(self, task: Task, *, complete: bool) -> None:
        """Replace the bar of a run by a line."""
        bar = self.bars.pop(task, None)
        if bar is not None:
            self.progress.remove_task(bar)
        if complete:
            self.complete.add((task.loss, task.lr, task.seed))
            self._count()
            run = Path(task.config(self.config).out)
            name, part = ("result.json", "reported") if task.test else ("val.json", "validation")
            miou = json.loads((run / name).read_text(encoding="utf-8"))["miou"]
            self.progress.console.print(
                f"{task.loss} lr {task.lr:g} seed {task.seed}: {part} mIoU {100 * miou:.2f} %",
                highlight=False,
            )

    def _count(self) -> None:
        self.progress.update(self.overall, completed=len(self.complete))


def _grid(config: CompareConfig) -> list[tuple[LossName, float]]:
    return [(loss, lr) for loss in config.losses for lr in config.learning_rates]
