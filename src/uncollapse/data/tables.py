"""The user's own tables: CSV and Parquet, a row an observation, with an optional column of labels."""

import csv as lines
import io
import re
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from uncollapse.data import store
from uncollapse.data.arrays import from_arrays
from uncollapse.data.csv_bytes import CSVBytes
from uncollapse.data.dataset import Data
from uncollapse.data.file_checks import check_packed, check_regular, one_line, shown

_ROWS, _CHUNK = 2**14, 2**22  # rows, and numbers, that are read at a time
_COLUMNS = 2**17
LABEL = "label"
_LONGEST = 1000  # characters of a label
_INDEX = re.compile(r"__index_level_\d+__")  # what pandas calls an index without a name in a .parquet file
_Frame = tuple[Any, int]  # a piece of a table, and the number of its first row


def csv(path: Path, seed: int) -> Data:
    """Numbers from a .csv file, with or without a line of names; a column named `label` holds labels.

    The first line is names if a cell of it is no number, or if it counts the columns, 0,1,2,..., as pandas writes it.
    """
    return _table(path, seed)


def parquet(path: Path, seed: int) -> Data:
    """Numbers from a .parquet file; a column named `label` holds labels. An index of pandas that has a name is a column."""
    return _table(path, seed)


def table(path: Path, finite: bool = True) -> tuple[np.ndarray, tuple[str, ...] | None]:
    """All rows of a .csv or .parquet file in their order as float64 [n, columns], without labels, and the columns' names.

    Args:
        path: The file.
        finite: Whether to refuse holes, NaN and infinity; else they come as they are.

    Raises:
        ValueError: If the file is broken, holds text, or does not fit in memory.
    """
    found, names, numbers = list[np.ndarray](), None, 0
    for frame, start in _FRAMES[path.suffix.lower()](path):
        values, _ = _numbers(frame, path, start, np.float64, finite)
        found.append(values)
        numbers += values.size
        if not store.fits((numbers,)):
            raise ValueError(f"expected a table that fits in memory, got {path}: write it as .npy, which is read as needed")
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
    check_regular(path)
    named, columns = _first_line(path)
    told = partial(_unreadable, path)
    with io.BufferedReader(CSVBytes(path)) as file:
        with one_line(told):
            warnings.simplefilter("error", pandas.errors.ParserWarning)  # cells are left out
            options = {"header": 0 if named else None, "index_col": False, "chunksize": _rows(columns), "low_memory": False}
            reader = pandas.read_csv(file, **options)
        yield from _frames(reader, told, lambda frame: frame)


def _parquet_frames(path: Path) -> Iterator[_Frame]:
    _, pyarrow, parquet = (_imported(module, path) for module in ("pandas", "pyarrow", "pyarrow.parquet"))
    check_regular(path)
    told = partial(_unreadable, path)
    with one_line(told):
        stated = parquet.read_metadata(path)
        kinds = [LABEL] if LABEL in stated.schema.names else []  # each label once in memory, however many rows have it
        file = parquet.ParquetFile(path, page_checksum_verification=True, metadata=stated, read_dictionary=kinds)
    with file:
        with one_line(told):
            schema, rows = file.schema_arrow, file.metadata.num_rows
            batches = file.iter_batches(batch_size=_rows(len(schema)))
        _check_names(schema.names, path)
        for column in schema:
            _check_type(column, pyarrow.types, path)
        with one_line(told):
            check_packed(4 * rows * len(schema), path.stat().st_size)
            _check_label_bytes(file, path)
        for frame, start in _frames(batches, told, lambda batch: batch.to_pandas(ignore_metadata=True)):
            yield frame, start
            rows -= len(frame)
    if rows:
        raise _unreadable(path, f"its rows are {abs(rows):,} {'fewer' if rows > 0 else 'more'} than it states")


def _frames(pieces: Iterator[Any], told: Callable[[str], ValueError], frame_of: Callable[[Any], Any]) -> Iterator[_Frame]:
    """The pieces of a table that have rows, and the number of the first one of each."""
    start = 0
    while True:
        with one_line(told):
            piece = next(pieces, None)
            frame = None if piece is None else frame_of(piece)
        if frame is None:
            return
        if len(frame):
            yield frame, start
        start += len(frame)


def _rows(columns: int) -> int:
    """How many rows of so many columns are read at a time."""
    return max(1, min(_ROWS, _CHUNK // max(1, columns)))


_FRAMES: dict[str, Callable[[Path], Iterator[_Frame]]] = {".csv": _csv_frames, ".parquet": _parquet_frames}


def _first_line(path: Path) -> tuple[bool, int]:
    """Whether the first line holds names, not numbers, and its cells: one for each of the second line."""
    with (
        one_line(partial(_unreadable, path)),
        io.TextIOWrapper(io.BufferedReader(CSVBytes(path)), newline="", encoding="utf-8-sig") as file,
    ):
        first, second = (next(rows, None) for rows in [lines.reader(file)] * 2)
    if not first:
        raise ValueError(f"expected rows of numbers in {path}, came an empty file: write a row an observation")
    if second and len(second) != len(first):
        raise ValueError(
            f"expected as many cells in each line of {path}, came {len(first)}, then {len(second)}: mend its lines"
        )
    if len(first) > _COLUMNS:
        raise ValueError(
            f"expected at most {_COLUMNS:,} columns in {path}, came {len(first):,}: save so many numbers a row as .npy"
        )
    return not all(_is_number(cell) for cell in first) or _counts(first, second or [], path), len(first)


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
    text = np.array([dtype.kind not in "biuf" for dtype in frame.dtypes], bool)
    values = frame.loc[:, ~text].to_numpy(np.float64)
    most = float(np.finfo(kind).max)
    good = np.ones(frame.shape[1], bool)
    good[text] = False
    if finite:
        good[~text] = (np.abs(values) <= most).all(0)  # false of NaN
    if not good.all():
        raise _complaint(frame.iloc[:, int(np.argmin(good))], path, start, most)
    return values.astype(kind), labels


def _check_names(names: Any, path: Path) -> None:
    """Refuse a column without a name, which is most often the index that pandas writes, and a name that comes twice."""
    seen = set[str]()
    for number, name in enumerate(map(str, names), 1):
        if not name.strip() or name.startswith("Unnamed: ") or _INDEX.fullmatch(name):
            how = "to_parquet" if path.suffix.lower() == ".parquet" else "to_csv"
            raise ValueError(
                f"expected a name above each column of {path}, came none above column {number}: name it, or if it is an index "
                f"write the table without it, frame.{how}(path, index=False)"
            )
        if name in seen:
            raise ValueError(f"expected each name once above the columns of {path}, came {shown(repr(name))} twice: rename one")
        seen.add(name)


def _check_type(column: Any, types: Any, path: Path) -> None:
    """Refuse a column of a .parquet file that holds no numbers by its type, before it is read."""
    plain = types.is_integer(column.type) or types.is_floating(column.type) or types.is_boolean(column.type)
    if plain or (column.name == LABEL and not types.is_nested(column.type)):
        return
    raise ValueError(
        f"expected numbers in column {shown(repr(column.name))} of {path}, came {shown(column.type)}: convert it, drop it, or "
        f"name a column of labels {LABEL!r}"
    )


def _check_label_bytes(file: Any, path: Path) -> None:
    """Refuse labels that are long by what a .parquet file states of them, before they are read."""
    for i in range(file.metadata.num_row_groups):
        group = file.metadata.row_group(i)
        for j in range(group.num_columns):
            column = group.column(j)
            if column.path_in_schema == LABEL and column.total_uncompressed_size > 2**20 + 4 * _LONGEST * group.num_rows:
                raise ValueError(f"labels of {column.total_uncompressed_size:,} bytes for {group.num_rows:,} rows")


def _labels(column: Any, path: Path, start: int) -> np.ndarray:
    if (holes := column.isna()).any():
        row = start + int(np.argmax(holes.to_numpy())) + 1
        raise ValueError(
            f"expected a label in each row of {path}, came none in row {row}: fill it, or drop the column {LABEL!r}"
        )
    if column.dtype.kind == "O":
        kinds = column.cat.categories if hasattr(column, "cat") else column
        longest = max(map(len, map(str, kinds)), default=0)
        if longest > _LONGEST:
            raise ValueError(
                f"expected labels of at most {_LONGEST:,} characters in {path}, got one of {longest:,}: shorten it"
            )
    return column.to_numpy()


def _complaint(column: Any, path: Path, start: int, most: float) -> ValueError:
    """What is wrong with a column, with the first row that has it; rows count from 1 below the names."""
    numbers = _as_numbers(column)
    row = int(np.argmin(np.abs(numbers) <= most))
    where = f"column {shown(repr(column.name))} of {path}, came {_shown(column.iloc[row])} in row {start + row + 1}"
    if np.isfinite(numbers[row]) and column.dtype.kind in "biuf":
        return ValueError(f"expected numbers up to {most:.4g} in {where}: divide the column, or mend it")
    if np.isinf(numbers[row]):
        return ValueError(f"expected finite numbers in {where}, or a number beyond 1.8e+308: mend it, or drop the column")
    return ValueError(f"expected numbers in {where}: mend it, drop the column, or name a column of labels {LABEL!r}")


def _as_numbers(column: Any) -> np.ndarray:
    """Cells as float64; NaN where one is text that reads as no number."""
    import pandas

    try:
        return pandas.to_numeric(column, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    except (TypeError, ValueError):
        return np.full(len(column), np.nan)


def _shown(cell: Any) -> str:
    if cell is None or (isinstance(cell, float | np.floating) and cell != cell):
        return "NaN"
    return shown(repr(cell.item() if isinstance(cell, np.generic) else cell))


def _imported(module: str, path: Path) -> ModuleType:
    try:
        return __import__(module, fromlist=["_"])
    except ImportError as error:
        raise ValueError(f"reading {path} needs {module.split('.')[0]}: pip install 'uncollapse[tables]'") from error


def _unreadable(path: Path, reason: str) -> ValueError:
    return ValueError(f"{path} cannot be read as a table ({reason}): write it again with one number a column in each row")
