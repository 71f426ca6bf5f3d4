"""The folder of a run: one process at a time writes into it."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from lovasz.train.config import check_folder, claim_folder
from lovasz.train.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lovasz.train.config import Config


def check_free(config: Config) -> None:
    """Refuse at once what `claimed` would refuse after the files have been looked at.

    Raises:
        UserError: As `claimed` does.
    """
    out = Path(config.out)
    if not out.is_dir():
        if config.resume:
            check_folder(config)  # which says that there is nothing to resume
        return
    with locked(out):
        check_folder(config)


@contextmanager
def claimed(config: Config) -> Iterator[Path]:
    """The folder `out`, locked and with the config.yaml of this run.

    Raises:
        UserError: If a run is going on there, it holds another run, or none to resume.
    """
    with locked(Path(config.out)):
        yield claim_folder(config)


@contextmanager
def locked(folder: Path, wait: float = 0.0) -> Iterator[None]:
    """Hold the lock of a folder, which the system releases too where the process is killed.

    Args:
        folder: Made if it is not there.
        wait: Seconds to wait for a run that is ending.

    Raises:
        UserError: If another process has it, or the folder cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(str(folder / ".lock"))
        lock.acquire(timeout=wait)
    except Timeout as error:
        raise UserError(
            f"out: another process is training in {folder}; wait for its end, or name another"
            " folder"
        ) from error
    except (OSError, NotImplementedError) as error:  # not every file system has locks
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"out: cannot write to {folder}: {reason}") from error
    try:
        yield
    finally:
        lock.release()
