"""One writer a run folder: a lock that the operating system releases when its process ends, however it ends."""

import errno
import os
import platform
import stat
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path

from uncollapse.atomic_write import refuse_links
from uncollapse.launch import launch
from uncollapse.training.checkpoint import CheckpointError

LOCK = ".lock"
"""The file in a run folder that is locked while something writes there; it names the writer."""

BUSY = {errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES, errno.EDEADLK}
UNSUPPORTED = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL}

_held: ContextVar[frozenset[Path]] = ContextVar("_held", default=frozenset())


class FolderInUse(CheckpointError):
    """A run folder that another process, or another training of this one, is writing to; says which."""


@contextmanager
def sole_writer(folder: Path, root: Path | None = None) -> Iterator[None]:
    """Within it, nothing else writes to this run folder; it is made where it is not there.

    Of several processes of one training the first one holds the lock for all. Within the block it may be entered again.
    Readers take no notice of it. A folder that was made for it and is left empty is removed.

    Args:
        folder: The run folder.
        root: A folder of several runs that it lies below; None: the run folder itself.

    Raises:
        FolderInUse: If something else writes there.
        CheckpointError: If the folder cannot be made or written to, or holds a symbolic link, or is one below the root: what is
            written would go elsewhere.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp()) / "run"
        >>> with sole_writer(folder):
        ...     folder.exists()
        True
        >>> folder.exists()
        False
    """
    place = Path(os.path.realpath(folder))
    if place in _held.get() or not launch().first:
        yield
        return
    _check_links(folder, root or folder)
    made = _made(folder, place)
    try:
        descriptor = _acquired(folder, place / LOCK)
        token = _held.set(_held.get() | {place})
        try:
            yield
        finally:
            _held.reset(token)
            _release(descriptor, place / LOCK)
    finally:
        for new in made:
            with suppress(OSError):
                new.rmdir()


def _check_links(folder: Path, root: Path) -> None:
    """Refuse links in a run folder, as far down as a training writes.

    Raises:
        CheckpointError: If there is one.
    """
    held = [place for pattern in ("*", "checkpoints/*", "checkpoints/*/*") for place in folder.glob(pattern)]
    try:
        refuse_links(root, folder, *held)
    except OSError as error:
        raise CheckpointError(f"{error} with --out") from error


def _made(folder: Path, place: Path) -> list[Path]:
    """The folders that had to be made for this one, the innermost first."""
    missing = [path for path in (place, *place.parents) if not path.exists()]
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unusable(folder, error) from error
    return missing


def _acquired(folder: Path, file: Path) -> int:
    """The descriptor of the locked file."""
    lock = _system_lock()
    while True:
        try:
            descriptor = _opened(file)
        except OSError as error:
            raise _unusable(folder, error) from error
        try:
            lock(descriptor)
        except OSError as error:
            os.close(descriptor)
            if error.errno in BUSY:
                raise FolderInUse(
                    f"{folder} is being written to by {_holder(file)}; wait for its end, stop it, or write elsewhere with --out"
                ) from error
            if error.errno not in UNSUPPORTED:
                raise _unusable(folder, error) from error
            warnings.warn(f"{folder} cannot be locked ({error.strerror}): let no other training write there", stacklevel=4)
            descriptor = _opened(file)
        if _is_at(descriptor, file):
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"process {os.getpid()} on {platform.node()}\n".encode())
            return descriptor
        os.close(descriptor)  # the writer before removed the file between the two calls


def _opened(file: Path) -> int:
    """The descriptor of the file to lock, which is made where it is not there.

    Raises:
        OSError: If it cannot be opened, or is a link, a pipe or a device, which is not to be written to.
    """
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise OSError(errno.EINVAL, f"its file {file.name} is a pipe or a device", str(file))


def _release(descriptor: int, file: Path) -> None:
    """Remove the file while it is locked, so that nobody locks one that is gone; Windows removes no open file."""
    try:
        if os.name != "nt" and _is_at(descriptor, file):
            file.unlink()
    except OSError:
        pass
    finally:
        os.close(descriptor)
    if os.name == "nt":
        with suppress(OSError):
            file.unlink()


def _is_at(descriptor: int, file: Path) -> bool:
    """Whether the open file is the one that has this name."""
    try:
        return os.path.samestat(os.fstat(descriptor), file.stat())
    except FileNotFoundError:
        return False


def _holder(file: Path) -> str:
    """Who holds a lock, in words; it writes its name right after it took it."""
    for _ in range(20):
        with suppress(OSError):
            name = file.read_text(encoding="utf-8", errors="replace")[:200].strip()
            if name:
                return name
        time.sleep(0.01)
    return "another process"


def _system_lock() -> Callable[[int], None]:
    """What locks an open file for this process until it is closed, or fails at once where another has it."""
    try:
        import fcntl
    except ImportError:
        return _windows_lock

    def flock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    return flock


def _windows_lock(descriptor: int) -> None:
    """Lock one byte far behind the name, which others may read so."""
    try:
        import msvcrt
    except ImportError:
        raise OSError(errno.ENOSYS, "this system has no file locks") from None
    os.lseek(descriptor, 2**30, os.SEEK_SET)
    try:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
    finally:
        os.lseek(descriptor, 0, os.SEEK_SET)


def _unusable(folder: Path, error: OSError) -> CheckpointError:
    return CheckpointError(f"cannot write to the run folder {folder}: {error.strerror}; write elsewhere with --out")
