"""What must hold of a user's file before it is read, and one line for whatever is wrong with its content."""

import os
import stat
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

HIDDEN = ("__MACOSX", "@eaDir")
"""Folders that programs keep for themselves, beside those whose names begin with a point."""

_KINDS = {stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket", stat.S_IFDIR: "a folder"}
PACKED, RATIO = 2**24, 500
"""Bytes, and how many times those in the file, from which on packed numbers are refused; of binary pictures a 100th."""

_SHOWN = 100  # characters of what a file holds that a message shows


def check_regular(path: Path) -> None:
    """Refuse what is no regular file: to open a named pipe waits for ever, and a device has no end.

    Raises:
        ValueError: If it is a folder, a named pipe, a socket or a device.
        OSError: If there is nothing, or nothing that may be looked at.
    """
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode):
        kind = _KINDS.get(stat.S_IFMT(mode), "a device")
        raise ValueError(f"expected a regular file, got {kind}, {path}; write its content to a file, or remove it")


def check_packed(size: int, packed: int) -> None:
    """Refuse numbers that are packed more densely than those of data, which would fill memory and disk out of a small file.

    Args:
        size: Their bytes.
        packed: Those in the file.

    Raises:
        ValueError: If they are.

    Example:
        >>> check_packed(2**30, 2**20)
        Traceback (most recent call last):
        ValueError: it is packed to less than a 500th of its size; write such numbers as .npy
    """
    if size > PACKED and size > RATIO * packed:
        raise ValueError(f"it is packed to less than a {RATIO}th of its size; write such numbers as .npy")


def user_path(name: str | Path) -> Path:
    """A path with the home folder for ~, as far as there is one.

    Raises:
        ValueError: If it is empty: that would be the current folder.
    """
    if not str(name).strip():
        raise ValueError("expected the name of a data set, a file or a folder, got none; write . for the current folder")
    try:
        return Path(name).expanduser()
    except RuntimeError:  # ~ of no user
        return Path(name)


@contextmanager
def one_line(complaint: Callable[[str], ValueError]) -> Iterator[None]:
    """Turn any error of a parser into a complaint in one line, and keep its warnings to itself.

    A parser that meets damaged bytes may raise anything. What the system says of a path, that there is no such file or no
    permission, stays as it is.

    Args:
        complaint: Makes the error from the reason.

    Example:
        >>> with one_line(lambda reason: ValueError(f"mine cannot be read ({reason})")):
        ...     {}["there"]
        Traceback (most recent call last):
        ValueError: mine cannot be read (KeyError: 'there')
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (FileNotFoundError, PermissionError, IsADirectoryError):
        raise
    except Exception as error:
        name = "" if isinstance(error, ValueError | OSError) and str(error) else f"{type(error).__name__}: "
        raise complaint(shown(f"{name}{error}", 2 * _SHOWN).removesuffix(": ")) from error


def shown(text: object, most: int = _SHOWN) -> str:
    r"""Text from a file as a message shows it: one line, printable, not too long.

    Example:
        >>> shown("a\x1b[31m\n b"), shown("ab" * 100, 4)
        ('a\\x1b[31m b', 'abab...')
    """
    text = str(text)
    line = " ".join(text[: 2 * most].split()).removesuffix(":")
    line = "".join(c if c.isprintable() else repr(c)[1:-1] for c in line)
    return line if len(line) <= most and len(text) <= 2 * most else f"{line[:most]}..."


def listed(names: Iterable[object], most: int = 8) -> str:
    """Some names from a file, and how many more there are.

    Example:
        >>> listed(["a", "b", "c"], 2), listed([])
        ('a, b and 1 more', 'nothing')
    """
    found = list(names)
    more = f" and {len(found) - most} more" if len(found) > most else ""
    return ", ".join(shown(name) for name in found[:most]) + more if found else "nothing"


def files_below(root: Path) -> Iterator[Path]:
    """All that is no folder below a folder, hidden files and folders left out, in no order; links are followed.

    Raises:
        ValueError: If links lead to a folder twice.
        OSError: If a folder cannot be read.
    """
    seen: dict[tuple[int, int], Path] = {}
    waiting = [root]
    while waiting:
        folder = waiting.pop()
        held = folder.stat()
        first = seen.setdefault((held.st_dev, held.st_ino), folder)
        if first is not folder:
            raise ValueError(f"expected each folder once in {root}, got {folder}, which is {first} again; remove the link")
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith(".") or entry.name in HIDDEN:
                    continue
                if entry.is_dir():
                    waiting.append(folder / entry.name)
                else:
                    yield folder / entry.name
