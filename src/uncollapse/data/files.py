"""The user's own arrays: .npy, read in place when large, and .npz."""

import os
import zipfile
from collections import Counter
from collections.abc import Iterator
from functools import partial
from io import BytesIO
from math import prod
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from uncollapse.data import store
from uncollapse.data.arrays import from_arrays
from uncollapse.data.dataset import SPLITS, Data
from uncollapse.data.file_checks import check_packed, check_regular, listed, one_line

_CHUNK = 2**22  # numbers that are read at a time
_BYTES = 2**24  # bytes that are read at a time
_HEADER = 10_000  # bytes of a header, as numpy has it
_PARSERS = {
    (1, 0): (2, np.lib.format.read_array_header_1_0),
    (2, 0): (4, np.lib.format.read_array_header_2_0),
    (3, 0): (4, np.lib.format.read_array_header_2_0),
}
"""By the version of the format: bytes that hold the header's length, and what reads it."""


def npy(path: Path, seed: int) -> Data:
    """An array [N, ...] from a .npy file; a file larger than memory allows is a memory map in place."""
    return from_arrays(_mapped(path), name=path.stem, seed=seed)


def npz(path: Path, seed: int) -> Data:
    """Arrays `train`, `valid`, `test` (`train` alone is split by the seed), with `train_labels` ..., or a single array."""
    keys = array_names(path)
    if not keys:
        raise ValueError(f"expected the arrays train, valid and test in {path}, or a single one, got nothing; np.savez them")
    named = {_argument(key, keys, path): key for key in keys}
    return from_arrays(**{name: _member(path, key) for name, key in named.items()}, name=path.stem, seed=seed)


def array(path: Path, name: str | None = None) -> np.ndarray:
    """The array of a .npy file, or one array of a .npz file, all rows in their order; one that is large is a memory map.

    Args:
        path: The file.
        name: Of a .npz file, which array. None: the only one, beside arrays of labels.

    Raises:
        ValueError: If the file is broken, or does not hold that array, or several and no name is given.
    """
    if path.suffix.lower() == ".npy":
        return _mapped(path)
    found = array_names(path)
    wanted = [key for key in found if not key.endswith("labels")] if name is None else [name]
    if len(wanted) != 1 or wanted[0] not in found:
        asked = "one array" if name is None else f"the array {name}"
        raise ValueError(
            f"expected {asked} in {path}, got {listed(found)}; write {path}:NAME with the name of one that it holds"
        )
    return _member(path, wanted[0])


def array_names(path: Path) -> list[str]:
    """The names of the arrays in a .npz file.

    Raises:
        ValueError: If the file is broken, is encrypted, or holds something else.
    """
    check_regular(path)
    with one_line(partial(_unreadable, path, "np.savez(path, array)")), zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if any(member.flag_bits & 1 for member in members):
            raise ValueError("it is encrypted")
    names = [member.filename for member in members]
    others = [name for name in names if not name.endswith(".npy")] + [name for name, n in Counter(names).items() if n > 1]
    if others:
        raise ValueError(f"expected arrays in {path}, each under its own name, got {listed(others)}; write it with np.savez")
    return [name.removesuffix(".npy") for name in names]


def _argument(key: str, keys: list[str], path: Path) -> str:
    """Which argument of `from_arrays` an array is."""
    values = [name for name in keys if name not in ("labels", "train_labels")]
    if "train" not in keys and values == [key]:
        return "train"
    known = {"train_labels": "labels", "labels": "labels"} | {name: name for name in (*SPLITS, "valid_labels", "test_labels")}
    if key not in known or ("train" not in keys and len(values) != 1) or {"labels", "train_labels"} <= set(keys):
        raise ValueError(
            f"expected the arrays train, valid and test (and train_labels ...) in {path}, or a single one, "
            f"came {listed(keys)}: name them so with np.savez"
        )
    return known[key]


class _Header(NamedTuple):
    """What an array file says of its array."""

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]

    @property
    def size(self) -> int:
        """Bytes of all numbers."""
        return prod(self.shape) * self.dtype.itemsize


def _mapped(path: Path) -> np.ndarray:
    """The array of a .npy file as a memory map; an empty one, as numpy maps none, in memory."""
    check_regular(path)
    with one_line(partial(_unreadable, path, "np.save(path, array)")):
        with open(path, "rb") as file:
            header = _header(file, os.fstat(file.fileno()).st_size)
            offset = file.tell()
        if not header.size:
            return np.empty(header.shape, header.dtype)
        return np.memmap(path, header.dtype, "r", offset, header.shape, "F" if header.fortran else "C")


def _member(path: Path, key: str) -> np.ndarray:
    """One array of the archive, in memory if it fits, else streamed out of it once."""
    with (
        one_line(partial(_unreadable, path, f"np.savez(path, {key}=array)")),
        zipfile.ZipFile(path) as archive,
        archive.open(f"{key}.npy") as file,
    ):
        member = archive.getinfo(f"{key}.npy")
        check_packed(member.file_size, member.compress_size)
        header = _header(file, member.file_size)
        if store.fits(header.shape):
            if header.size > 4 * store.budget():
                raise ValueError(f"its items are of {header.dtype.itemsize:,} bytes each")
            return _whole(file, header)
        if header.dtype.kind not in "buif":
            raise ValueError(f"too many items of {header.dtype}")
        if header.fortran:
            raise ValueError("a large array in Fortran order: save np.ascontiguousarray(array)")
    return store.gathered(partial(_rows, path, key), path, key, header.size)[0]


def _whole(file: IO[bytes], header: _Header) -> np.ndarray:
    """The numbers behind a header; the archive checks them when the last one is read."""
    values = np.empty(prod(header.shape), header.dtype)
    room = values.view(np.uint8).data if values.size and header.dtype.itemsize else memoryview(b"")
    for start in range(0, len(room), _BYTES):
        part = file.read(min(_BYTES, len(room) - start))
        if len(part) != min(_BYTES, len(room) - start):
            raise EOFError("it is cut short")
        room[start : start + len(part)] = part
    return values.reshape(header.shape, order="F" if header.fortran else "C")


def _rows(path: Path, key: str) -> Iterator[store.Chunk]:
    told = partial(_unreadable, path, f"np.savez(path, {key}=array)")
    with zipfile.ZipFile(path) as archive, archive.open(f"{key}.npy") as file:
        shape, _, dtype = _header(file, archive.getinfo(f"{key}.npy").file_size)
        one = prod(shape[1:])
        step = max(1, _CHUNK // max(1, one))
        for start in range(0, shape[0], step):
            n = min(step, shape[0] - start)
            with one_line(told):
                values = np.frombuffer(file.read(n * one * dtype.itemsize), dtype).reshape(n, *shape[1:])
            yield values, None


def _header(file: IO[bytes], size: int) -> _Header:
    """What the start of an array file says, which must agree with the bytes that follow; nothing else is read.

    Args:
        file: The file, from its start.
        size: Its bytes in all.
    """
    start = file.read(8)
    if start[:6] != b"\x93NUMPY" or tuple(start[6:]) not in _PARSERS:
        raise ValueError("it is not an array file, or holds Python objects, which are never unpickled")
    width, parse = _PARSERS[start[6], start[7]]
    stated = file.read(width)
    if (length := int.from_bytes(stated, "little")) > _HEADER:
        raise ValueError(f"its header is longer than {_HEADER:,} bytes")
    header = _Header(*parse(BytesIO(stated + file.read(length))))
    if header.dtype.hasobject:
        raise ValueError("it holds Python objects, which are never unpickled")
    follow = size - 8 - width - length
    if min(header.shape, default=0) < 0 or header.size != follow:
        raise ValueError(
            f"its header states {header.dtype} of shape {header.shape}, {header.size:,} bytes, but {follow:,} bytes follow"
        )
    return header


def _unreadable(path: Path, how: str, reason: str) -> ValueError:
    return ValueError(f"{path} cannot be read ({reason}): write numbers to it again with {how}")
