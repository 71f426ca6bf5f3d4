"""The tasks of the study, by name. Each is loaded once in a process."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from benchmarks.study import images
from benchmarks.study.task import Task

TASKS: dict[str, Callable[[], Task]] = {
    "landcover": images.landcover,
    "families": images.families,
    "digits": images.digits,
}


@cache
def load(name: str) -> Task:
    """The task of this name."""
    return TASKS[name]()
