"""Memory that notes who was there, and what no device forgives.

Two threads must not be at the same byte, one of them writing, unless a barrier of their program
lies between, or both add atomically. Programs never wait for each other.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

#: instead of a thread or a program, which are counted from 1
NOBODY, SEVERAL = 0, -1


class Visitors(NamedTuple):
    """Who is at a place: a thread, its program, and how many barriers that has passed."""

    threads: np.ndarray
    programs: np.ndarray
    barriers: np.ndarray

    def repeated(self, times: int) -> Visitors:
        return Visitors(*(field.repeat(times) for field in self))

    def at(self, chosen: np.ndarray) -> Visitors:
        return Visitors(*(field[chosen] for field in self))


class Book:
    """Who was last at each byte for one purpose; several, if they cannot be told apart."""

    def __init__(self, size: int):
        # Zeros take no memory before they are touched, and most places are touched by nobody.
        self.threads = np.zeros(size, np.int32)
        self.programs = np.zeros(size, np.int32)
        self.barriers = np.zeros(size, np.int32)

    def clashes(self, places: np.ndarray, visitors: Visitors) -> np.ndarray:
        """Where another thread was, and may still be."""
        threads = self.threads[places]
        passed = self.programs[places] == visitors.programs
        passed &= self.barriers[places] < visitors.barriers
        return (threads != NOBODY) & (threads != visitors.threads) & ~passed

    def note(self, places: np.ndarray, visitors: Visitors) -> None:
        others = self.clashes(places, visitors)
        of_programs = (self.programs[places] != visitors.programs) & others
        self.threads[places], self.programs[places], self.barriers[places] = visitors
        # Of several that come at once, the last one is noted.
        of_programs |= self.programs[places] != visitors.programs
        several = others | (self.threads[places] != visitors.threads)
        self.threads[places[several]] = SEVERAL
        self.programs[places[of_programs]] = SEVERAL


class Memory:
    """Bytes that threads read, write and add to."""

    def __init__(self, name: str, content: np.ndarray, *, known: bool):
        self.name, self.content = name, content
        self.known, self.written = known, np.zeros(content.size, np.bool_)
        self.books = {kind: Book(content.size) for kind in ("read", "written", "added to")}

    def read(self, offsets: np.ndarray, width: int, visitors: Visitors) -> np.ndarray:
        """Values of ``width`` bytes."""
        self._visit("read", offsets, width, visitors)
        return self._words(width)[offsets // width]

    def write(self, offsets: np.ndarray, values: np.ndarray, visitors: Visitors) -> None:
        """Values of any unsigned type; several threads may write the same at once."""
        width = values.dtype.itemsize
        places = self._visit("written", offsets, width, visitors)
        words = self._words(width)
        words[offsets // width] = values
        same = words[offsets // width] == values
        self._check(same, offsets, visitors, "is written at once, with something else, while")
        self.written[places] = True

    def add(self, offsets: np.ndarray, values: np.ndarray, visitors: Visitors) -> np.ndarray:
        """Atomically; what was there before, thread after thread."""
        width = values.dtype.itemsize
        self._visit("added to", offsets, width, visitors)
        words, cells = self._words(width), offsets // width
        order = np.argsort(cells, kind="stable")
        sums = np.cumsum(values[order], dtype=values.dtype) - values[order]
        first = np.diff(cells[order], prepend=-1) != 0
        start = np.maximum.accumulate(np.where(first, np.arange(len(order)), 0))
        before = np.empty_like(values)
        before[order] = words[cells[order]] + sums - sums[start]
        np.add.at(words, cells, values)
        return before

    def _visit(self, kind: str, offsets: np.ndarray, width: int, visitors: Visitors) -> np.ndarray:
        """Check and note a visit of one kind; the bytes that it concerns."""
        places, every = (offsets[:, None] + np.arange(width)).ravel(), visitors.repeated(width)
        if kind != "written" and not self.known:
            self._check(self.written[places], places, every, f"is {kind} before it is written")
        for done, book in self.books.items():
            # Readers do not disturb each other, nor do atomic additions.
            if done != kind or kind == "written":
                self._check(~book.clashes(places, every), places, every, f"is {kind} while")
        self.books[kind].note(places, every)
        return places

    def _words(self, width: int) -> np.ndarray:
        whole = self.content.size // width * width
        return self.content[:whole].view(np.dtype(f"u{width}"))

    def _check(self, good: np.ndarray, places: np.ndarray, visitors: Visitors, what: str) -> None:
        if good.all():
            return
        index = np.flatnonzero(~good)[0]
        other = ""
        if what.endswith("while"):
            at = [
                f"thread {book.threads[places[index]]} has {done}"
                for done, book in self.books.items()
                if book.threads[places[index]] != NOBODY
            ]
            other = " " + " and ".join(at)
        thread, program, _ = (int(field[index]) for field in visitors)
        raise AssertionError(
            f"byte {places[index]} of {self.name} {what}{other}: by thread {thread} of program"
            f" {program}"
        )
