"""Lines of text files as people have them: any line end, any of the usual encodings."""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING

from lovasz.train.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

# UTF-32 first: its mark begins with that of UTF-16.
_MARKS = [
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
]


def read_lines(path: Path, name: str, expected: str) -> list[str]:
    """The lines of a text file that are not blank, without the white space around them.

    Args:
        path: The file: UTF-8, UTF-16 or UTF-32, with a byte order mark or (UTF-8, UTF-16)
            without; anything else is taken for Windows-1252, of which Latin-1 is a part.
        name: The option that a message begins with.
        expected: What the file should be, for the message.

    Raises:
        UserError: If the file cannot be read or is no text.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{name}: expected {expected}, cannot read {path}") from error
    try:
        text = decode(content)
    except UnicodeDecodeError as error:
        raise UserError(f"{name}: expected {expected}, got {path}, which is no text") from error
    # Not str.splitlines: that also splits at characters which may be part of a name.
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return [line.strip() for line in lines if line.strip()]


def decode(content: bytes) -> str:
    r"""The text that these bytes stand for.

    Raises:
        UnicodeDecodeError: If they are no text.

    >>> [decode("é".encode(coding)) for coding in ("utf-8", "utf-8-sig", "utf-16", "latin-1")]
    ['é', 'é', 'é', 'é']
    """
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            return content.decode(encoding)
    if b"\0" in content:  # in text only half a character of UTF-16 is
        odd = content[1::2].count(0) >= content[::2].count(0)
        text = content.decode("utf-16-le" if odd else "utf-16-be")
        if "\0" in text:
            raise UnicodeDecodeError("utf-16", content, 0, len(content), "it holds zeros")
        return text
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return content.decode("cp1252")
