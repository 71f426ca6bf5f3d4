"""Go through many files once: in threads, shared by all processes that train together."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from torch import distributed

from lovasz.train.errors import UserError

Item = TypeVar("Item")
Result = TypeVar("Result")
# Takes an iterable, what is done and how many items there are; gives the same iterable.
Show = Callable[[Iterable[Any], str, int], Iterable[Any]]

_THREADS = 8


def silent(items: Iterable[Item], title: str, total: int) -> Iterable[Item]:
    """Show nothing."""
    del title, total
    return items


def for_each(
    items: Sequence[Item],
    work: Callable[[Item], Result],
    *,
    show: Show = silent,
    title: str = "",
    threads: int = _THREADS,
) -> list[Result]:
    """What `work` gives for each item, in their order.

    Of several processes that train together each does its share, and all get the whole list; all
    of them have to call this.

    Args:
        items: The same in all processes.
        work: Called from several threads.
        show: Shows the progress.
        title: What is done, in a word or two.
        threads: At most so many, and at most one for each core.

    Raises:
        UserError: The first one of `work`, in the order of the items, in all processes.
    """
    together = distributed.is_available() and distributed.is_initialized()
    rank, size = (distributed.get_rank(), distributed.get_world_size()) if together else (0, 1)
    mine = range(rank, len(items), size)
    results: dict[int, Result] = {}
    failed: tuple[int, str] | None = None
    pool = ThreadPoolExecutor(min(threads, os.cpu_count() or 1))
    try:
        done = pool.map(work, [items[index] for index in mine])
        for index in show(mine, title, len(mine)):
            results[index] = next(done)
    except UserError as error:
        failed = len(results) * size + rank, str(error)
    finally:
        pool.shutdown(cancel_futures=True)
    everyone = _gathered((results, failed)) if together else [(results, failed)]
    failures = [failure for _, failure in everyone if failure is not None]
    if failures:
        raise UserError(min(failures)[1])
    merged = {index: result for share, _ in everyone for index, result in share.items()}
    return [merged[index] for index in range(len(items))]


def _gathered(value: Any) -> list[Any]:
    """What each process has, in the order of the ranks."""
    # Through the memory of the processors, also where the training talks through devices.
    group = distributed.new_group(backend="gloo")
    values: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(values, value, group=group)
    return values
