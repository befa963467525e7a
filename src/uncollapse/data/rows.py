"""All rows of a file, a folder or an array in their order, without splits: what one sample is read as."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from uncollapse.data import admission, files, folders, tables
from uncollapse.data.batch import as_batch
from uncollapse.data.file_checks import user_path
from uncollapse.data.lazy import read, tensorable
from uncollapse.data.registry import NAMED, load

READ = ("a folder of images", ".npy", ".npz", ".csv", ".parquet")
_BLOCK = 2**22  # numbers that are read at a time


@dataclass(frozen=True)
class Rows:
    """One sample: rows of one shape, read by their numbers from 0.

    Attributes:
        values: [n, *shape], images channels first.
        where: What errors call it.
        columns: Names of the columns of a table, where it has them.
        names: Names of the files of a folder.
        is_table: Whether it was a table, of columns in units of their own.
        scale: What the stored numbers are multiplied by.
    """

    values: np.ndarray | folders.ImageFiles
    where: str
    columns: tuple[str, ...] | None = None
    names: tuple[str, ...] | None = None
    is_table: bool = False
    scale: float = 1.0

    def __len__(self) -> int:
        return int(self.values.shape[0])

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one row."""
        return tuple(self.values.shape[1:])

    def take(self, rows: Tensor) -> Tensor:
        """The rows of these numbers, [B, *shape]: float32, or float64 of float64 and of whole numbers other than bytes."""
        x = torch.from_numpy(np.array(tensorable(read(self.values, rows.cpu().numpy()))))
        x = x if x.is_floating_point() else x.to(torch.float32 if x.dtype == torch.uint8 else torch.float64)
        return x if self.scale == 1 else x * self.scale

    def blocks(self) -> Iterator[Tensor]:
        """All rows, some at a time."""
        for rows in torch.arange(len(self)).split(max(1, _BLOCK // max(1, prod(self.shape)))):
            yield self.take(rows)

    def finite(self) -> Tensor:
        """Which rows hold finite numbers alone: [n]."""
        if self.values.dtype.kind != "f":
            return torch.ones(len(self), dtype=torch.bool)
        return torch.cat([x.isfinite().flatten(1).all(1) for x in self.blocks()])

    def bounds(self) -> tuple[float, float]:
        """The smallest and the largest finite number that is stored; NaN where there is none."""
        if isinstance(self.values, folders.ImageFiles):
            return 0.0, 255.0
        low, high = math.inf, -math.inf
        for x in self.blocks():
            x = x[x.isfinite()]
            low, high = (min(low, float(x.min())), max(high, float(x.max()))) if len(x) else (low, high)
        return (low, high) if low <= high else (math.nan, math.nan)

    def called(self, row: int) -> str:
        """What a row is called.

        Example:
            >>> Rows(np.zeros((3, 2)), "mine").called(2)
            'row 2'
        """
        return f"row {row}" if self.names is None else f"row {row} ({self.names[row]})"


def rows_of(values: Any, where: str, finite: bool = True) -> Rows:
    """The rows of an array or a tensor [n, *shape], or of a table of pandas, whose column `label` is left out.

    Images [n, H, W] get a channel, and [n, H, W, 3] become [n, 3, H, W].

    Args:
        values: What the user gave.
        where: What to call it in errors.
        finite: Whether to refuse NaN and infinity.

    Raises:
        ValueError: If it is empty, holds no real numbers, or a number is not finite.

    Example:
        >>> rows_of(np.zeros((5, 8, 8)), "mine").shape
        (1, 8, 8)
    """
    if hasattr(values, "columns") and hasattr(values, "iloc"):
        table = values.drop(columns=tables.LABEL, errors="ignore")
        columns = tuple(map(str, table.columns))
        return Rows(admission.admitted(table.to_numpy(), where, finite=finite, double=True), where, columns, is_table=True)
    return Rows(admission.admitted(values, where, eight=True, finite=finite, double=True), where)


def read_rows(name: str | Path, finite: bool = True) -> Rows:
    """All rows of the user's own file or folder, or one split of a named data set.

    The images of a folder and its sub-folders come in the order of their paths. A column `label` of a table, and arrays of
    labels beside another one, are left out.

    Args:
        name: A folder of images, a .npy, .npz, .csv or .parquet file, FILE.npz:ARRAY of several arrays, or a named data set,
            NAME or NAME:SPLIT (its test split where none is named).
        finite: Whether to refuse NaN and infinity.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not what it should be.

    Example:
        >>> len(read_rows("digits")), read_rows("digits:valid").shape
        (179, (1, 8, 8))
    """
    whole = str(name)
    base, _, part = (whole, "", "") if user_path(whole).exists() else whole.rpartition(":")
    base, part = (base, part) if base else (whole, "")
    path = user_path(base)
    if not path.exists() and base in NAMED:
        return _named(base, part or "test")
    if path.is_dir() and not part:
        images = folders.ImageFiles(path)
        return Rows(images, whole, names=images.names)
    ending = path.suffix.lower()
    if not path.exists():
        raise FileNotFoundError(f"there is no file or folder {whole}: check the path")
    if ending == ".npz" or (ending == ".npy" and not part):
        return rows_of(files.array(path, part or None), whole, finite)
    if ending in (".csv", ".parquet") and not part:
        values, columns = tables.table(path, finite)
        return Rows(admission.admitted(values, whole, finite=finite, double=True), whole, columns, is_table=True)
    mended = f"write {base}: only .npz files hold arrays by name" if part else "convert it first"
    raise ValueError(f"expected {', '.join(READ[:-1])} or {READ[-1]}, got {whole}; {mended}")


def _named(name: str, split: str) -> Rows:
    data = load(name)
    if data.space.kind == "tokens":
        what = "sequences" if data.words is None else "sentences"
        raise ValueError(f"expected images or numbers, got the {what} {name}; embed them first, a vector each")
    return Rows(as_batch(data.split(split).all()).x.numpy(), f"{name}:{split}")
