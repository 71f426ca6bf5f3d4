"""The tasks of the study, by name. Each is loaded once in a process."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

from benchmarks.study import garments, images, points, volumes
from benchmarks.study.task import Task

TASKS: dict[str, Callable[[], Task]] = {
    "landcover": images.landcover,
    "families": images.families,
    "digits": images.digits,
    "garments": garments.garments,
    "points": points.points,
    "volumes": volumes.volumes,
    # The cell of docs/window.md in which a window costs a point.
    "digits16": partial(images.digits, steps=900, batch_size=16),
}
#: Those that losses are compared on.
COMPARED = [name for name in TASKS if name != "digits16"]


@cache
def load(name: str) -> Task:
    """The task of this name."""
    return TASKS[name]()
