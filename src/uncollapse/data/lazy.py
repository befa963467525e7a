"""Arrays that are read by index, so that data larger than memory cost a batch's worth of it."""

import mmap
from collections.abc import Callable
from math import prod
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from uncollapse.data import counter


class Readable(Protocol):
    """Anything with a shape [N, ...] whose rows can be read by index: a memory map, or one of the classes below."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __getitem__(self, rows: Any, /) -> np.ndarray: ...


class Picked:
    """Some rows of a memory map, in an order of their own.

    Args:
        values: The memory map [M, ...].
        rows: Which of its rows are meant, [N] integers.
    """

    def __init__(self, values: Readable, rows: np.ndarray):
        self.values, self.rows = values, rows
        self.shape = (len(rows), *values.shape[1:])

    def __getitem__(self, rows: np.ndarray, /) -> np.ndarray:
        return read(self.values, self.rows[rows])


class Frozen:
    """Rows with noise that was drawn once: a function of (seed, row), so that it needs no room.

    Args:
        values: The rows as they are stored, [N, ...].
        scale: What they are multiplied by first.
        combine: From x [B, ...] and uniform noise of that shape, in float64, to x with noise.
        seed: Of the noise.
    """

    def __init__(self, values: Readable, scale: float, combine: Callable[[Tensor, Tensor], Tensor], seed: int):
        self.values, self.scale, self.combine, self.seed = values, scale, combine, seed
        self.shape = values.shape

    def __getitem__(self, rows: np.ndarray, /) -> np.ndarray:
        x = torch.from_numpy(read(self.values, rows).astype(np.float64)) * self.scale
        u = torch.from_numpy(counter.uniform(rows, prod(self.shape[1:]), self.seed)).reshape(x.shape)
        return self.combine(x, u).numpy()


def read(values: Readable, rows: np.ndarray) -> np.ndarray:
    """These rows, read in the order in which they lie in the file, and returned in the order asked for."""
    if not isinstance(values, np.memmap):
        return values[rows]
    order = np.argsort(rows)
    found = np.empty((len(rows), *values.shape[1:]), values.dtype)
    found[order] = values[rows[order]]
    release(values)
    return found


def release(values: np.ndarray) -> None:
    """Give back the memory behind the pages of a read-only memory map that were touched so far."""
    if isinstance(values, np.memmap) and values.mode == "r" and hasattr(mmap, "MADV_DONTNEED"):
        values._mmap.madvise(mmap.MADV_DONTNEED)  # type: ignore[attr-defined]


def tensorable(values: np.ndarray) -> np.ndarray:
    """The values in a type, a byte order and a layout that torch takes."""
    kind, size = values.dtype.kind, values.dtype.itemsize
    if kind == "f":
        dtype = np.dtype(f"f{min(size, 8)}")
    elif size == 1 and kind in "bu":
        dtype = np.dtype(np.uint8)
    else:
        dtype = np.dtype(np.int32 if np.can_cast(values.dtype, np.int32) else np.int64)
    return np.require(values, dtype, ["C", "W", "E"])
