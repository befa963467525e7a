"""Published files: found in the data directory or in the cache, else downloaded, and never used with a wrong hash."""

import gzip
import hashlib
import os
import zlib
from dataclasses import dataclass
from pathlib import Path

import pooch


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
    candidates = [place / name for top in directories() for place in (top / folder, top) for name in names]
    return next((path for path in candidates if path.is_file()), None)


def content(remote: Remote) -> bytes:
    """The decompressed content of a published file, its hash checked.

    Raises:
        FileNotFoundError: If it is not there and cannot be downloaded.
        ValueError: If it is broken, or its hash is another.
    """
    path = located(remote)
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{path} is broken ({error}): delete it to download it again") from error
    check(data, remote.sha256, path)
    return data


def located(remote: Remote) -> Path:
    """Where a published file lies, after a download if need be."""
    path = found(remote.folder, remote.name, remote.name.removesuffix(".gz"))
    return path if path is not None else _downloaded(remote)


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


def _downloaded(remote: Remote) -> Path:
    looked = ", ".join(str(directory) for directory in directories())
    try:
        fetcher = pooch.HTTPDownloader(timeout=20)
        kept = pooch.retrieve(
            remote.url + remote.name, known_hash=None, fname=remote.name, path=cache() / remote.folder, downloader=fetcher
        )
    except (OSError, ValueError) as error:
        raise FileNotFoundError(
            f"{remote.folder}/{remote.name} is not in {looked}, and cannot be downloaded from {remote.url} "
            f"({type(error).__name__}): UNCOLLAPSE_DATA can name a directory that holds it"
        ) from error
    return Path(kept)
