"""Rows from any reader: held in memory while they fit, else converted once to a memory map beside their source."""

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pooch

from uncollapse.data.file_checks import files_below

Chunk = tuple[np.ndarray, np.ndarray | None]
"""Some rows and their labels; all chunks of a source have one type and one shape of row."""

MEMORY = 2 * 2**30
"""Bytes, as float32, up to which an array is held in memory, where the environment variable UNCOLLAPSE_MEMORY states none."""


def budget() -> int:
    """Bytes, as float32, up to which an array is held in memory.

    Raises:
        ValueError: If UNCOLLAPSE_MEMORY is not a number of bytes.
    """
    stated = os.environ.get("UNCOLLAPSE_MEMORY") or str(MEMORY)
    if not stated.isdecimal():
        raise ValueError(f"expected a number of bytes in UNCOLLAPSE_MEMORY, came {stated!r}: write {MEMORY} for 2 GiB")
    return int(stated)


def fits(shape: tuple[int, ...]) -> bool:
    """Whether an array of this shape is held in memory."""
    return 4 * prod(shape) <= budget()


def gathered(
    chunks: Callable[[], Iterator[Chunk]], source: Path | None = None, part: str = "data", size: int | None = None
) -> Chunk:
    """All rows of a reader: an array, or a memory map when they do not fit in memory.

    Args:
        chunks: Starts reading.
        source: The file or folder that is read. The memory map is made in ``<source>.uncollapse`` beside it (in the cache
            where that cannot be written), and is used again until the source changes. None: a temporary file.
        part: Which part of the source it is.
        size: Bytes of all rows, where they are known.

    Raises:
        ValueError: If a disk has no room for rows of that size.
    """
    part = _folder_name(part)
    if source is not None and (kept := _kept(source, part)) is not None:
        return kept
    held: list[Chunk] = []
    numbers, stream = 0, chunks()
    for chunk in stream:
        held.append(chunk)
        numbers += chunk[0].size
        if not fits((numbers,)):
            return _converted(chain(held, stream), source, part, size)
    return _joined(held)


def _joined(held: list[Chunk]) -> Chunk:
    if not held:
        return np.empty((0,)), None
    return np.concatenate([values for values, _ in held]), _joined_labels([labels for _, labels in held])


def _joined_labels(labels: list[np.ndarray | None]) -> np.ndarray | None:
    return None if any(some is None for some in labels) else np.concatenate([some for some in labels if some is not None])


def _folder_name(part: str) -> str:
    """A part's name, or the hash of one that names no plain folder: files name their arrays as they like."""
    plain = re.fullmatch(r"[A-Za-z0-9_-]{1,64}", part)
    return part if plain else "part-" + hashlib.sha256(part.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _converted(stream: Iterable[Chunk], source: Path | None, part: str, size: int | None) -> Chunk:
    """Write the rows to a folder that gets its name when it is whole."""
    if source is None:
        with tempfile.TemporaryDirectory(prefix="uncollapse.") as folder:
            _write(stream, Path(folder))
            return _opened(Path(folder))
    place = _place(source)
    if size is not None and size > (free := shutil.disk_usage(place).free):
        raise ValueError(
            f"expected room for {size / 2**30:,.1f} GiB of {source} in {place}, got {free / 2**30:,.1f} GiB: make room, or "
            "read fewer rows"
        )
    staging = Path(tempfile.mkdtemp(prefix=f"{part}.", dir=place))
    try:
        stamp = _stamp(source)
        _write(stream, staging)
        (staging / "stamp.json").write_text(json.dumps(stamp))
        return _opened(_published(staging, place / part, source))
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _published(staging: Path, folder: Path, source: Path) -> Path:
    """Give the folder its name; where another process was first, take what it made."""
    if folder.exists() and _kept_in(folder, source) is None:
        shutil.rmtree(folder, ignore_errors=True)
    try:
        staging.rename(folder)
    except OSError:
        if _kept_in(folder, source) is None:
            raise
    return folder


def _write(stream: Iterable[Chunk], folder: Path) -> None:
    """The rows as ``values.npy``, whose header is written again when their number is known, and ``labels.npy``."""
    rows, kinds, first = 0, list[np.ndarray | None](), None
    with open(folder / "values.npy", "wb") as file:
        for values, labels in stream:
            if first is None:
                first = values
                _header(file, first, 0)
            file.write(np.ascontiguousarray(values, first.dtype).data)
            rows += len(values)
            kinds.append(labels)
        if first is not None:
            file.seek(0)
            _header(file, first, rows)
    if (joined := _joined_labels(kinds)) is not None:
        np.save(folder / "labels.npy", joined.astype(str) if joined.dtype.kind == "O" else joined)


def _header(file: BinaryIO, like: np.ndarray, rows: int) -> None:
    """numpy pads it for a first dimension that grows, so that it is as long for any number of rows."""
    described = {"descr": np.lib.format.dtype_to_descr(like.dtype), "fortran_order": False, "shape": (rows, *like.shape[1:])}
    np.lib.format.write_array_header_1_0(file, described)


def _opened(folder: Path) -> Chunk:
    labels = folder / "labels.npy"
    return np.load(folder / "values.npy", mmap_mode="r", allow_pickle=False), (
        np.load(labels, allow_pickle=False) if labels.exists() else None
    )


def _places(source: Path) -> tuple[Path, Path]:
    whole = source.resolve()
    key = hashlib.sha256(os.fsencode(whole)).hexdigest()[:16]
    return whole.with_name(whole.name + ".uncollapse"), Path(pooch.os_cache("uncollapse")) / "converted" / key


def _place(source: Path) -> Path:
    beside, cache = _places(source)
    try:
        beside.mkdir(exist_ok=True)
        tempfile.TemporaryFile(dir=beside).close()
        return beside
    except OSError:
        cache.mkdir(parents=True, exist_ok=True)
        return cache


def _kept(source: Path, part: str) -> Chunk | None:
    folders = [place / part for place in _places(source) if (place / part).is_dir()]
    return next((kept for folder in folders if (kept := _kept_in(folder, source)) is not None), None)


def _kept_in(folder: Path, source: Path) -> Chunk | None:
    """What a folder holds, if it was made of the source as it is now and can be read."""
    try:
        return _opened(folder) if _stamped(folder) == _stamp(source) else None
    except (OSError, ValueError, EOFError, SyntaxError):
        return None


def _stamped(folder: Path) -> Any:
    try:
        return json.loads((folder / "stamp.json").read_text())
    except (OSError, ValueError):
        return None


def _stamp(source: Path) -> dict[str, Any]:
    """What changes when the source does: names, sizes and times."""
    files = sorted(path for path in files_below(source) if path.is_file()) if source.is_dir() else [source]
    digest = hashlib.sha256()
    for path in files:
        seen = path.stat()
        digest.update(f"{path.relative_to(source)} {seen.st_size} {seen.st_mtime_ns}\n".encode())
    return {"format": 2, "files": len(files), "digest": digest.hexdigest()}
