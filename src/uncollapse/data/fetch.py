"""Published files: found in the data directory or in the cache, else downloaded, and never used with a wrong hash."""

import gzip
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin

import pooch
import requests

from uncollapse.data.file_checks import check_regular, one_line

LARGEST = 2**28
"""Bytes that the content of a published file may have."""


@dataclass(frozen=True)
class Remote:
    """A file that was published.

    Attributes:
        folder: Sub-folder of the data directory and of the cache.
        name: File name; content behind a name that ends in .gz is decompressed.
        url: Address of the folder that it is published in.
        sha256: Hash of the content, decompressed.
    """

    folder: str
    name: str
    url: str
    sha256: str


def directories() -> list[Path]:
    """Where to look for files: the directory named by UNCOLLAPSE_DATA, if any, then the cache of downloads.

    Raises:
        FileNotFoundError: If UNCOLLAPSE_DATA does not name a directory.
    """
    stated = os.environ.get("UNCOLLAPSE_DATA")
    if stated and not Path(stated).is_dir():
        raise FileNotFoundError(f"expected a directory in UNCOLLAPSE_DATA, came {stated!r}: name one that exists, or unset it")
    return [*([Path(stated)] if stated else []), cache()]


def cache() -> Path:
    """Where downloads are kept."""
    return Path(pooch.os_cache("uncollapse"))


def found(folder: str, *names: str) -> Path | None:
    """The first of these files that is there, in the sub-folder of a directory or flat in it."""
    return next(_candidates(folder, *names), None)


def content(remote: Remote) -> bytes:
    """The decompressed content of a published file, its hash checked.

    Published sets share file names. So a file that lies flat in a directory is passed over as another set's if its hash does
    not fit; one in the sub-folder is refused.

    Raises:
        FileNotFoundError: If it is not there and cannot be downloaded.
        ValueError: If it is broken, or its hash is another.
    """
    other: list[Path] = []
    for path in _candidates(remote.folder, *_names(remote)):
        if path.parent.name == remote.folder or _fits(path, remote):
            break
        other.append(path)
    else:
        path = _downloaded(remote, lambda path: check(_decompressed(path), remote.sha256, path), other)
    data = _decompressed(path)
    check(data, remote.sha256, path)
    return data


def located(remote: Remote, check: Callable[[Path], object]) -> Path:
    """Where a published file lies, after a download if need be.

    Args:
        remote: The file.
        check: Called with what was downloaded, of which nothing is kept if it raises ValueError.
    """
    path = found(remote.folder, *_names(remote))
    return path if path is not None else _downloaded(remote, check)


def _names(remote: Remote) -> tuple[str, str]:
    return remote.name, remote.name.removesuffix(".gz")


def _candidates(folder: str, *names: str) -> Iterator[Path]:
    paths = (place / name for top in directories() for place in (top / folder, top) for name in names)
    return (path for path in paths if path.is_file())


def _fits(path: Path, remote: Remote) -> bool:
    try:
        return hashlib.sha256(_decompressed(path)).hexdigest() == remote.sha256
    except ValueError:
        return False


def _decompressed(path: Path) -> bytes:
    check_regular(path)
    told = lambda reason: ValueError(f"{path} is broken ({reason}): delete it to download it again")  # noqa: E731
    with one_line(told), gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
        if len(data := file.read(LARGEST + 1)) > LARGEST:
            raise ValueError(f"it holds more than {LARGEST:,} bytes, as none that was published does")
        return data


def check(data: bytes, sha256: str, path: Path) -> None:
    """Refuse content that is not what was published.

    Raises:
        ValueError: If the hash is another.
    """
    if (came := hashlib.sha256(data).hexdigest()) != sha256:
        raise ValueError(
            f"the content of {path} has another hash: expected sha256 {sha256[:12]}, came {came[:12]}: "
            "delete it to download it again"
        )


def https(response: requests.Response, *args: object, **more: object) -> None:
    """Refuse an answer that leads away from https, before it is followed.

    Raises:
        ValueError: If it does.
    """
    to = urljoin(response.url, response.headers.get("location", ""))
    if not to.startswith("https://"):
        raise ValueError(f"expected an address by https, got {to[:80]}")


def _downloaded(remote: Remote, check: Callable[[Path], object], other: Sequence[Path] = ()) -> Path:
    passed = f" ({', '.join(map(str, other))} is broken, or of another set)" if other else ""
    looked = ", ".join(str(directory) for directory in directories())
    try:
        fetcher = pooch.HTTPDownloader(timeout=20, hooks={"response": https})
        kept = pooch.retrieve(
            remote.url + remote.name, known_hash=None, fname=remote.name, path=cache() / remote.folder, downloader=fetcher
        )
    except (OSError, ValueError) as error:
        raise FileNotFoundError(
            f"{remote.folder}/{remote.name} is not in {looked}{passed}, and cannot be downloaded from {remote.url} "
            f"({type(error).__name__}: {error!s:.200}): UNCOLLAPSE_DATA can name a directory that holds it"
        ) from error
    try:
        check(Path(kept))
    except ValueError as error:
        Path(kept).unlink(missing_ok=True)
        raise ValueError(
            f"what came from {remote.url}{remote.name} is not what was published, and was removed: try again, or name a "
            "directory that holds it in UNCOLLAPSE_DATA"
        ) from error
    return Path(kept)
