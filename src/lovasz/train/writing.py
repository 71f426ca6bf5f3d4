"""Write files so that whatever happens leaves the one before or the new one, whole."""

from __future__ import annotations

import json
import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, BinaryIO

from lovasz.train.errors import WriteError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def replacing(path: Path, *, durable: bool = True) -> Iterator[BinaryIO]:
    """A file that takes the place of `path` once it is whole, and on the disk if `durable`.

    Raises:
        WriteError: If it cannot be written; nothing of it is left then.
    """
    temporary = path.with_name(f"{path.name}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            if durable:
                os.fsync(file.fileno())
        os.replace(temporary, path)
        if durable:
            _sync_folder(path.parent)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        # torch.save puts an exception of its own in the place of the system's.
        cause = error.__context__ if isinstance(error, RuntimeError) else error
        if isinstance(cause, OSError):
            raise WriteError.of(path, cause) from error
        raise


def write_text(path: Path, text: str, *, durable: bool = True) -> None:
    """Write a text file in UTF-8.

    Raises:
        WriteError: If it cannot be written.
    """
    with replacing(path, durable=durable) as file:
        file.write(text.encode())


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON file.

    Raises:
        WriteError: If it cannot be written.
    """
    write_text(path, json.dumps(content, allow_nan=False))


def _sync_folder(folder: Path) -> None:
    """Let the new name of a file survive a loss of power; Windows has no such call."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
