"""Files that are written whole or not at all: staged beside the file, flushed to the disk and renamed."""

import errno
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""Errors of a disk, quota or file system that has no room."""


STAGED = re.compile(r"\..+\.\d+\.\d+\.new")
"""Names of files that are being written: .NAME.PROCESS.THREAD.new."""


@contextmanager
def atomic_write(path: str | Path) -> Iterator[BinaryIO]:
    """A stream whose bytes become the file when the block ends well; else the file is what it was before.

    Args:
        path: The file; its folder must be there. A symbolic link is followed.

    Raises:
        OSError: If it cannot be written; of the same class and `errno` as the system's error.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "numbers.txt"
        >>> with atomic_write(file) as stream:
        ...     _ = stream.write(b"1 2 3")
        ...     file.exists()
        False
        >>> file.read_text(), [f.name for f in file.parent.iterdir()]
        ('1 2 3', ['numbers.txt'])
    """
    target = Path(os.path.realpath(path))
    staged = target.with_name(f".{target.name[:40]}.{os.getpid()}.{threading.get_ident()}.new")
    try:
        with staged.open("w+b") as stream:  # readable, so that numpy.save writes by Python, which keeps the reason
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        staged.replace(target)
    except OSError as error:
        if error.filename is not None and str(error.filename) != str(staged):
            raise
        explained = type(error)(f"cannot write {path}: {error.strerror or error}; {remedy(error)}")
        explained.errno = error.errno
        raise explained from error
    finally:
        with suppress(OSError):
            staged.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write a text as UTF-8, whole or not at all.

    Raises:
        OSError: If it cannot be written.
    """
    with atomic_write(path) as stream:
        stream.write(text.encode())


def remove_staged(folder: Path) -> None:
    """Remove what processes that were killed while they wrote left in a folder; for its one writer.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> (folder / ".numbers.txt.12.34.new").touch()
        >>> remove_staged(folder)
        >>> list(folder.iterdir())
        []
    """
    for file in folder.glob(".*.new"):
        if STAGED.fullmatch(file.name) and file.is_file():
            file.unlink(missing_ok=True)


def remedy(error: OSError) -> str:
    """What to do about a file that cannot be written.

    Example:
        >>> remedy(OSError(errno.ENOSPC, "No space left on device")), remedy(OSError(errno.EACCES, "Permission denied"))
        ('make room or write elsewhere', 'write elsewhere')
    """
    return "make room or write elsewhere" if error.errno in FULL else "write elsewhere"
