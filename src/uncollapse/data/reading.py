"""Word of a file that takes long to read, on the standard error."""

import sys
import time
from pathlib import Path


class Reading:
    """Says how many lines of a file are read, and nothing of one that is read at once.

    Args:
        path: The file.
        every: Seconds before the first word; before each further one, twice as many.
    """

    def __init__(self, path: Path, every: float = 2.0):
        self.path, self.every = path, every
        self.lines, self.last, self.said = 0, time.monotonic(), False

    def __call__(self, lines: int) -> None:
        """So many more lines are read."""
        self.lines += lines
        if time.monotonic() - self.last > self.every:
            print(f"reading {self.path}: {self.lines:,} lines", file=sys.stderr, flush=True)
            self.last, self.every, self.said = time.monotonic(), 2 * self.every, True

    def end(self) -> None:
        """The file is read."""
        if self.said:
            print(f"read {self.path}: {self.lines:,} lines", file=sys.stderr, flush=True)
