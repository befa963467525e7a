"""The user's own tables: CSV and Parquet, a row an observation, with an optional column of labels."""

import csv as lines
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from uncollapse.data import store
from uncollapse.data.arrays import from_arrays
from uncollapse.data.dataset import Data

_ROWS = 2**14  # rows that are read at a time
LABEL = "label"
_Frame = tuple[Any, int]  # a piece of a table, and the number of its first row


def csv(path: Path, seed: int) -> Data:
    """Numbers from a .csv file, with or without a line of names; a column named `label` holds labels.

    The first line is names if a cell of it is no number, or if it counts the columns, 0,1,2,..., as pandas writes it.
    """
    return _table(path, seed)


def parquet(path: Path, seed: int) -> Data:
    """Numbers from a .parquet file; a column named `label` holds labels."""
    return _table(path, seed)


def table(path: Path, finite: bool = True) -> tuple[np.ndarray, tuple[str, ...] | None]:
    """All rows of a .csv or .parquet file in their order as float64 [n, columns], without labels, and the columns' names.

    Args:
        path: The file.
        finite: Whether to refuse holes, NaN and infinity; else they come as they are.

    Raises:
        ValueError: If the file is broken or holds text.
    """
    found, names = [], None
    for frame, start in _FRAMES[path.suffix.lower()](path):
        values, _ = _numbers(frame, path, start, np.float64, finite)
        found.append(values)
        names = None if frame.columns.dtype.kind == "i" else tuple(map(str, frame.columns))
    return np.concatenate(found) if found else np.empty((0, 0)), names


def _table(path: Path, seed: int) -> Data:
    values, labels = store.gathered(partial(_chunks, path), path)
    return from_arrays(values, labels=labels, name=path.stem, seed=seed)


def _chunks(path: Path) -> Iterator[store.Chunk]:
    for frame, start in _FRAMES[path.suffix.lower()](path):
        yield _numbers(frame, path, start)


def _csv_frames(path: Path) -> Iterator[_Frame]:
    pandas = _imported("pandas", path)
    start = 0
    try:
        header = 0 if _named(path) else None
        with pandas.read_csv(path, header=header, index_col=False, chunksize=_ROWS, low_memory=False) as reader:
            for frame in filter(len, reader):
                yield frame, start
                start += len(frame)
    except (pandas.errors.ParserError, pandas.errors.EmptyDataError, UnicodeDecodeError, lines.Error) as error:
        raise _unreadable(path, error) from error


def _parquet_frames(path: Path) -> Iterator[_Frame]:
    _, pyarrow, parquet = (_imported(module, path) for module in ("pandas", "pyarrow", "pyarrow.parquet"))
    start = 0
    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=_ROWS):
                yield batch.to_pandas(), start
                start += len(batch)
    except (pyarrow.ArrowInvalid, OSError) as error:
        raise _unreadable(path, error) from error


_FRAMES: dict[str, Callable[[Path], Iterator[_Frame]]] = {".csv": _csv_frames, ".parquet": _parquet_frames}


def _named(path: Path) -> bool:
    """Whether the first line holds names, not numbers; it must have a cell for each cell of the second line."""
    with open(path, newline="", encoding="utf-8-sig") as file:
        first, second = (next(rows, None) for rows in [lines.reader(file)] * 2)
    if not first:
        raise ValueError(f"expected rows of numbers in {path}, came an empty file: write a row an observation")
    if second and len(second) != len(first):
        raise ValueError(
            f"expected as many cells in each line of {path}, came {len(first)}, then {len(second)}: mend its lines"
        )
    return not all(_is_number(cell) for cell in first) or _counts(first, second or [], path)


def _counts(first: list[str], second: list[str], path: Path) -> bool:
    """Whether the first line is 0,1,2,...: of one or two columns of integers, that may be an observation as well.

    A table writes its integers one way, so names 0,1 above real numbers are told by the point or the exponent below.
    """
    if first != [str(i) for i in range(len(first))]:
        return False
    if len(first) < 3 and all(cell.strip().lstrip("+-").isdecimal() for cell in second):
        raise ValueError(
            f"expected names or numbers in the first line of {path}, came {','.join(first)}, which may be either: "
            f"write a line of names such as {','.join(f'x{i}' for i in range(len(first)))} above the numbers"
        )
    return True


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _numbers(frame: Any, path: Path, start: int, kind: type[np.floating[Any]] = np.float32, finite: bool = True) -> store.Chunk:
    """The columns of a piece of the table as numbers [n, columns], and its labels, which are taken out of it."""
    _check_names(frame.columns, path)
    labels = _labels(frame.pop(LABEL), path, start) if LABEL in frame.columns else None
    for column in frame.columns:
        _check_column(frame[column], path, start, finite)
    with np.errstate(over="ignore"):
        return frame.to_numpy(kind), labels


def _check_names(names: Any, path: Path) -> None:
    """Refuse a column without a name, which is most often the index that pandas writes."""
    for number, name in enumerate(map(str, names), 1):
        if not name.strip() or name.startswith("Unnamed: "):
            raise ValueError(
                f"expected a name above each column of {path}, came none above column {number}: name it, or if it is an index "
                "write the table without it, frame.to_csv(path, index=False)"
            )


def _labels(column: Any, path: Path, start: int) -> np.ndarray:
    if (holes := column.isna()).any():
        row = start + int(np.argmax(holes.to_numpy())) + 1
        raise ValueError(
            f"expected a label in each row of {path}, came none in row {row}: fill it, or drop the column {LABEL!r}"
        )
    return column.to_numpy()


def _check_column(column: Any, path: Path, start: int, finite: bool) -> None:
    """Refuse text, and where asked for holes, with the first row that has one; rows count from 1 below the names."""
    good = _finite(column)
    if column.dtype.kind in "biuf" and (good.all() or not finite):
        return
    row = int(np.argmin(good))
    raise ValueError(
        f"expected numbers in column {column.name!r} of {path}, came {_shown(column.iloc[row])} in row {start + row + 1}: "
        f"mend it, drop the column, or name a column of labels {LABEL!r}"
    )


def _finite(column: Any) -> np.ndarray:
    """Which cells are finite numbers, or text that reads as one."""
    if column.dtype.kind not in "OUSbiuf":
        return np.zeros(len(column), bool)
    import pandas

    try:
        return np.isfinite(pandas.to_numeric(column, errors="coerce").to_numpy(np.float64, na_value=np.nan))
    except TypeError:
        return np.zeros(len(column), bool)


def _shown(cell: Any) -> str:
    return "NaN" if cell is None or cell != cell else repr(cell.item() if isinstance(cell, np.generic) else cell)


def _imported(module: str, path: Path) -> ModuleType:
    try:
        return __import__(module, fromlist=["_"])
    except ImportError as error:
        raise ValueError(f"reading {path} needs {module.split('.')[0]}: pip install 'uncollapse[tables]'") from error


def _unreadable(path: Path, error: Exception) -> ValueError:
    reason = " ".join(str(error).split())
    return ValueError(f"{path} cannot be read as a table ({reason}): write it again, one number a column in each row")
