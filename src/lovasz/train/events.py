"""What TensorBoard shows: the rows of the log as events.

Written at once and by the process itself: the writer of torch.utils.tensorboard has a thread, which
dies with a traceback where the disk is full, and holds rows back that a killed run then lacks.
"""

from __future__ import annotations

import itertools
import math
import os
import socket
import time
from typing import TYPE_CHECKING, Any

from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.summary.writer.record_writer import RecordWriter

from lovasz.train.errors import WriteError

if TYPE_CHECKING:
    from pathlib import Path

# Classes that protobuf makes when it is imported, and no type checker finds.
Event: Any = vars(event_pb2)["Event"]
SessionLog: Any = vars(event_pb2)["SessionLog"]
Summary: Any = vars(summary_pb2)["Summary"]
_numbers = itertools.count()


class Events:
    """A new file of events in the folder of a run.

    Args:
        folder: The folder.
        after: Rows of this step and earlier ones are in other files; later ones there are void.

    Raises:
        WriteError: If it cannot be written.
    """

    def __init__(self, folder: Path, after: int) -> None:
        host, number = socket.gethostname(), next(_numbers)
        # TensorBoard reads files in the order of their names.
        name = f"events.out.tfevents.{int(time.time()):010d}.{host}.{os.getpid()}.{number:06d}"
        self.path = folder / name
        self._write(Event(file_version="brain.Event:2"))
        if after:
            self._write(Event(session_log=SessionLog(status=SessionLog.START), step=after + 1))

    def add(self, step: int, row: dict[str, float | None]) -> None:
        """Write a row.

        Raises:
            WriteError: If it cannot be written.
        """
        values = [
            Summary.Value(tag=name, simple_value=math.nan if value is None else value)
            for name, value in row.items()
        ]
        self._write(Event(summary=Summary(value=values), step=step))

    def _write(self, event: Any) -> None:
        event.wall_time = time.time()
        try:
            with self.path.open("ab") as file:
                RecordWriter(file).write(event.SerializeToString())
        except OSError as error:
            raise WriteError.of(self.path, error) from error
