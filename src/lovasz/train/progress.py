"""The screen: words and progress bars, and Ctrl-C as a request instead of an exception."""

from __future__ import annotations

import os
import signal
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    track,
)
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from rich.progress import Task, TaskID
    from torch import Tensor

    from lovasz.train.data.looking import Show


INTERRUPTED = 130  # the exit status that shells expect after Ctrl-C
# Seconds in which signals are one request: torchrun and schedulers send theirs to every process,
# beside what the terminal sends to all of them.
_ONE_REQUEST = 0.5


def screen(*, quiet: bool = False) -> Console:
    """The console of a command: names of classes, files and folders are no markup, nor emoji."""
    return Console(markup=False, emoji=False, quiet=quiet)


class Stop:
    """Whether the user asked to stop; plain values, which a signal handler may set anywhere."""

    requested = False
    since = 0.0

    def __call__(self) -> bool:
        """Whether the user asked to stop."""
        return self.requested

    def ask(self, number: int, frame: object) -> None:
        """Note a first signal, and end at once with a second one that is no closed terminal."""
        del frame
        now = time.monotonic()
        again = self.requested and now - self.since > _ONE_REQUEST
        if again and number in (signal.SIGINT, signal.SIGTERM):
            raise KeyboardInterrupt
        if not self.requested:
            self.requested, self.since = True, now


@contextmanager
def stop_on_signal() -> Iterator[Stop]:
    """Turn Ctrl-C, SIGTERM or a closed terminal into a request to stop; a second ends at once."""
    stop = Stop()
    terminals = [number for number in (1, 2) if os.isatty(number)]

    def hang_up(number: int, frame: object) -> None:
        # To write to a terminal that is closed is an error, in the middle of saving too.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for terminal in terminals:
            os.dup2(nowhere, terminal)
        os.close(nowhere)
        stop.ask(number, frame)

    handlers = {signal.SIGINT: stop.ask, signal.SIGTERM: stop.ask}
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # nohup
        handlers[signal.SIGHUP] = hang_up
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Steps(MofNCompleteColumn):
    """Steps done and all steps; nothing before a run has said how many there are."""

    def render(self, task: Task) -> Text:
        """The text of a bar."""
        return Text() if task.total is None else super().render(task)


def add_bar(progress: Progress, name: str) -> TaskID:
    """A bar of a run that has not yet said how many steps it has; rich would show 0/100."""
    return progress.add_task(name, total=None, text="")


def bars(console: Console) -> Progress:
    """Bars with the loss and the mIoU of each run."""
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        Steps(),
        TextColumn("{task.fields[text]}", markup=False),
        TimeRemainingColumn(),
        console=console,
    )


def counted(console: Console) -> Show:
    """Bars for what goes through many files; they leave nothing on the screen."""

    def show(items: Iterable[Any], title: str, total: int) -> Iterable[Any]:
        if not console.is_terminal:
            return items
        return track(items, title, total=total, console=console, transient=True)

    return show


def throttled(
    send: Callable[[int, int, str], None],
) -> Callable[[int, int, Tensor, float | None], None]:
    """A watcher of the training loop that passes on at most ten messages a second.

    Only then is the loss fetched from the device.
    """
    last = 0.0

    def watch(done: int, total: int, loss: Tensor, miou: float | None) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last > 0.1 or done == total:
            last = now
            score = "" if miou is None else f"  mIoU {100 * miou:.1f}"
            send(done, total, f"loss {loss.item():.3f}{score}")

    return watch


@contextmanager
def image_bar(console: Console, total: int) -> Iterator[Callable[[float], None]]:
    """A bar over so many images; called with how many of them are done."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("images", total=total)
        yield lambda done: progress.update(bar, completed=done)
