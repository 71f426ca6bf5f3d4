"""Progress bars, and Ctrl-C as a request instead of an exception."""

from __future__ import annotations

import signal
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import Console
    from rich.progress import Task, TaskID
    from torch import Tensor


class Stop:
    """Whether the user asked to stop; a plain flag, which a signal handler may set anywhere."""

    requested = False

    def __call__(self) -> bool:
        """Whether the user asked to stop."""
        return self.requested


@contextmanager
def stop_on_signal() -> Iterator[Stop]:
    """Turn the first Ctrl-C or SIGTERM into a request to stop; a second Ctrl-C ends at once."""
    stop = Stop()

    def ask(signum: int, frame: object) -> None:
        if stop.requested and signum == signal.SIGINT:
            raise KeyboardInterrupt
        stop.requested = True

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
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
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        Steps(),
        TextColumn("{task.fields[text]}"),
        TimeRemainingColumn(),
        console=console,
    )


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
