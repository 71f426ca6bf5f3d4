"""What the training studies share: a line in a file for every training, and several at a time.

A training that is in the file is not repeated, so that a study can be ended and continued.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

S = TypeVar("S")  # a frozen dataclass: what a training is known by


def setting_of(kind: type[S], row: dict) -> S:
    """What a row is known by; fields that it lacks have their defaults."""
    names = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    return kind(**{name: row[name] for name in names if name in row})


def read_lines(kind: type[S], path: Path) -> dict[S, dict]:
    """The rows in a file of lines; one that was cut off is left out."""
    lines = path.read_text().splitlines() if path.exists() else []
    rows = [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]
    return {setting_of(kind, row): row for row in rows}


def append(path: Path, row: dict) -> None:
    """Add a line, after the end of one that was cut off."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cut_off = path.exists() and path.stat().st_size and not path.read_bytes().endswith(b"\n")
    with path.open("a") as file:
        file.write("\n" * bool(cut_off) + json.dumps(row) + "\n")


@contextmanager
def workers(jobs: int, run: Callable[[S], dict]) -> Iterator[Callable[[Iterable[S]], Any]]:
    """A function that gives the rows of settings as they come, from so many processes."""
    if jobs == 1:
        yield partial(map, run)
        return
    with get_context("spawn").Pool(jobs) as pool:
        yield partial(pool.imap_unordered, run)
