"""The exceptions that the command line turns into a sentence instead of a traceback."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from pathlib import Path


class UserError(ValueError):
    """Something the user can mend: a wrong folder, mask, label, model or option."""

    status: ClassVar[int] = 2  # of the command that ends with it

    def __init__(self, sentence: str) -> None:
        # A process that loads data hands its error on with its traceback around the sentence.
        super().__init__(sentence.rpartition("UserError: ")[2].strip())


class DivergedError(UserError):
    """The loss or the network is no finite number any more."""

    status = 3


class WriteError(UserError):
    """A file of the run cannot be written."""

    @classmethod
    def of(cls, path: Path, error: OSError) -> WriteError:
        """The sentence for a file and what the system says of it."""
        kept = "; the file before it is kept" if path.exists() else ""
        return cls(f"out: cannot write {path}: {error.strerror or error}{kept}")


def expect(condition: bool, name: str, expected: str, value: object) -> None:
    """Raise a UserError about an option unless the condition holds."""
    if not condition:
        raise UserError(f"{name}: expected {expected}, got {value}")
