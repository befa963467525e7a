"""The user's own arrays: .npy, read in place when large, and .npz."""

import zipfile
import zlib
from collections.abc import Iterator
from functools import partial
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from uncollapse.data import store
from uncollapse.data.arrays import from_arrays
from uncollapse.data.dataset import SPLITS, Data

_CHUNK = 2**22  # numbers that are read at a time
_BROKEN = (ValueError, EOFError, OSError, KeyError, zipfile.BadZipFile, zlib.error)


def npy(path: Path, seed: int) -> Data:
    """An array [N, ...] from a .npy file; a file larger than memory allows is a memory map in place."""
    try:
        values = np.load(path, mmap_mode="r", allow_pickle=False)
    except _BROKEN as error:
        raise _unreadable(path, error, "np.save(path, array)") from error
    return from_arrays(values, name=path.stem, seed=seed)


def npz(path: Path, seed: int) -> Data:
    """Arrays `train`, `valid`, `test` (`train` alone is split by the seed), with `train_labels` ..., or a single array."""
    try:
        with zipfile.ZipFile(path) as archive:
            keys = [name.removesuffix(".npy") for name in archive.namelist()]
        arrays = {_argument(key, keys, path): _member(path, key) for key in keys}
    except zipfile.BadZipFile as error:
        raise _unreadable(path, error, "np.savez(path, train=array)") from error
    return from_arrays(**arrays, name=path.stem, seed=seed)


def array(path: Path, name: str | None = None) -> np.ndarray:
    """The array of a .npy file, or one array of a .npz file, all rows in their order; one that is large is a memory map.

    Args:
        path: The file.
        name: Of a .npz file, which array. None: the only one, beside arrays of labels.

    Raises:
        ValueError: If the file is broken, or does not hold that array, or several and no name is given.
    """
    if path.suffix.lower() == ".npy":
        try:
            return np.load(path, mmap_mode="r", allow_pickle=False)
        except _BROKEN as error:
            raise _unreadable(path, error, "np.save(path, array)") from error
    found = array_names(path)
    wanted = [key for key in found if not key.endswith("labels")] if name is None else [name]
    if len(wanted) != 1 or wanted[0] not in found:
        holds = ", ".join(found) or "nothing"
        asked = "one array" if name is None else f"the array {name}"
        raise ValueError(f"expected {asked} in {path}, got {holds}; write {path}:NAME with the name of one that it holds")
    return _member(path, wanted[0])


def array_names(path: Path) -> list[str]:
    """The names of the arrays in a .npz file.

    Raises:
        ValueError: If the file is broken.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return [name.removesuffix(".npy") for name in archive.namelist()]
    except zipfile.BadZipFile as error:
        raise _unreadable(path, error, "np.savez(path, array)") from error


def _argument(key: str, keys: list[str], path: Path) -> str:
    """Which argument of `from_arrays` an array is."""
    values = [name for name in keys if name not in ("labels", "train_labels")]
    if "train" not in keys and values == [key]:
        return "train"
    known = {"train_labels": "labels", "labels": "labels"} | {name: name for name in (*SPLITS, "valid_labels", "test_labels")}
    if key not in known or ("train" not in keys and len(values) != 1):
        raise ValueError(
            f"expected the arrays train, valid and test (and train_labels ...) in {path}, or a single one, "
            f"came {', '.join(keys)}: name them so with np.savez"
        )
    return known[key]


def _member(path: Path, key: str) -> np.ndarray:
    """One array of the archive, in memory if it fits, else streamed out of it once."""
    try:
        with zipfile.ZipFile(path) as archive, archive.open(f"{key}.npy") as file:
            shape, fortran, dtype = _header(file)  # type: ignore[arg-type]
        if store.fits(shape) or dtype.hasobject:
            with np.load(path, allow_pickle=False) as arrays:
                return arrays[key]
        if fortran:
            raise ValueError("a large array in Fortran order: save np.ascontiguousarray(array)")
        return store.gathered(partial(_rows, path, key), path, key)[0]
    except _BROKEN as error:
        raise _unreadable(path, error, f"np.savez(path, {key}=array)") from error


def _rows(path: Path, key: str) -> Iterator[store.Chunk]:
    with zipfile.ZipFile(path) as archive, archive.open(f"{key}.npy") as file:
        shape, _, dtype = _header(file)  # type: ignore[arg-type]
        one = prod(shape[1:])
        step = max(1, _CHUNK // max(1, one))
        for start in range(0, shape[0], step):
            n = min(step, shape[0] - start)
            yield np.frombuffer(file.read(n * one * dtype.itemsize), dtype).reshape(n, *shape[1:]), None


def _header(file: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return read(file)


def _unreadable(path: Path, error: Exception, how: str) -> ValueError:
    reason = " ".join(str(error).split())
    if "pickle" in reason or "object" in reason.lower():
        reason = "it is not an array file, or holds Python objects, which are never unpickled"
    return ValueError(f"{path} cannot be read ({reason or type(error).__name__}): write numbers to it again with {how}")
