"""Files that are written whole or not at all: staged beside the file, flushed to the disk and renamed."""

import errno
import os
import re
import stat
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
def atomic_write(path: str | Path, root: Path | None = None) -> Iterator[BinaryIO]:
    """A stream whose bytes become the file when the block ends well; else the file is what it was before.

    Args:
        path: The file; its folder must be there. A symbolic link is followed where no root is given.
        root: A folder that may come from someone else: what is written stays in it.

    Raises:
        OSError: If it cannot be written, of the same class and `errno` as the system's error; if a device or pipe is there;
            if a symbolic link would lead out of the root.

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
    if root is not None:
        refuse_links(root, Path(path))
    target = Path(os.path.realpath(path) if root is None else path)
    _check_replaceable(target)
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


def write_text(path: str | Path, text: str, root: Path | None = None) -> None:
    """Write a text as UTF-8, whole or not at all; what `atomic_write` takes and raises.

    Raises:
        OSError: If it cannot be written.
    """
    with atomic_write(path, root) as stream:
        stream.write(text.encode())


def refuse_links(root: Path, *places: Path) -> None:
    """Refuse symbolic links in the names of files below a folder: what is written there would go elsewhere.

    Args:
        root: The folder; it may be a link itself.
        places: Files or folders below it, there or not.

    Raises:
        OSError: If one is a link, or lies below one.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> (folder / "new").symlink_to("/etc")
        >>> refuse_links(folder, folder / "old" / "hosts")
        >>> refuse_links(folder, folder / "new" / "hosts")
        Traceback (most recent call last):
        OSError: expected a plain file or folder, got .../new, a symbolic link; put what it leads to in its place, or write ...
    """
    for place in places:
        inner = place.relative_to(root)
        for name in (inner, *inner.parents):
            if name.parts and (root / name).is_symlink():
                raise OSError(
                    f"expected a plain file or folder, got {root / name}, a symbolic link; put what it leads to in its place, "
                    "or write elsewhere"
                )


def _check_replaceable(target: Path) -> None:
    """Refuse to put a file in the place of a device or a pipe, of which a rename would make a plain file."""
    try:
        mode = target.stat().st_mode
    except OSError:
        return
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):  # of a folder the system says so
        raise OSError(f"expected a plain file or none, got {target}, which is a device or a pipe; write elsewhere")


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
