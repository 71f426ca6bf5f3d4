"""Processes that this one starts: they end with it, and leave it to answer the terminal."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# What a terminal sends to all processes in it. The first one decides for all of them.
TERMINAL = [getattr(signal, name) for name in ("SIGINT", "SIGHUP") if hasattr(signal, name)]


def start_loader(number: int) -> None:
    """Run once in each process that loads data."""
    del number
    _leave_terminal_to_parent()
    _when_parent_ends(lambda: os._exit(1))


class Duty:
    """Whether a process of the pool may end: at once without a run, else after saving it."""

    def __init__(self) -> None:
        self.busy = self.asked = False

    def begin(self) -> None:
        """Run once in each process of the pool."""
        _leave_terminal_to_parent()
        signal.signal(signal.SIGTERM, self._ask)
        if hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
        _when_parent_ends(self._ask)

    @contextmanager
    def run(self) -> Iterator[None]:
        """While a run is going on; `asked` tells whether it should be saved and end."""
        self.busy = True
        try:
            yield
        finally:
            self.busy = False
            if self.asked:
                os._exit(1)  # the pool is broken, or its process has ended: nobody hears of it

    def _ask(self, *_: object) -> None:
        # In this order, and the other one in `run`: a thread may call it at any moment.
        self.asked = True
        if not self.busy:
            os._exit(1)


@contextmanager
def signals_held() -> Iterator[None]:
    """Hold signals back while processes start, which inherit this until they are ready."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [*TERMINAL, signal.SIGTERM])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def child_signal_kept() -> Iterator[None]:
    """Keep what happens when a child ends, whatever is done about it meanwhile.

    torch raises an error when a loading process was killed: wherever the program stands, so also
    between the step of the optimizer and its number. Without that, the loader says it in its turn,
    within five seconds.
    """
    if not hasattr(signal, "SIGCHLD") or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGCHLD)
    try:
        yield
    finally:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL if before is None else before)


def _leave_terminal_to_parent() -> None:
    for number in TERMINAL:
        signal.signal(number, signal.SIG_IGN)


def _when_parent_ends(end: Callable[[], None]) -> None:
    """Call it once the process that started this one has ended, killed or not."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait() -> None:
        parent.join()
        end()

    threading.Thread(target=wait, daemon=True).start()
