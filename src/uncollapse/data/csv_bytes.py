"""The bytes of a .csv file, looked at while they are read, so that none costs more memory than a line should."""

import io
from pathlib import Path
from typing import Any

LINE = 2**24
"""Bytes that a line may have."""


class CSVBytes(io.FileIO):
    """A .csv file as bytes, read in pieces.

    Args:
        path: The file.

    Raises:
        ValueError: Where it is read on to a line of more than `LINE` bytes, or to a NUL, of which text has none.
    """

    def __init__(self, path: Path):
        super().__init__(path, "rb")
        self.line = 0  # bytes of the line that is read, up to here

    def readinto(self, buffer: Any, /) -> int:
        """Fill the buffer, as any raw stream does."""
        beginning = not self.tell()
        n = super().readinto(buffer) or 0
        piece = bytes(memoryview(buffer)[:n])
        if beginning and piece[:2] in (b"\xff\xfe", b"\xfe\xff"):
            raise ValueError("it is UTF-16, not UTF-8")
        if b"\0" in piece:
            raise ValueError("it holds NUL characters")
        end = max(piece.rfind(b"\n"), piece.rfind(b"\r"))
        self.line = self.line + n if end < 0 else n - 1 - end
        if self.line > LINE:
            raise ValueError(f"it has a line of more than {LINE:,} bytes")
        return n
