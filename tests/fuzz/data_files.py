"""Data files with a place changed: read as they are, or refused."""

from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from fuzz.contained import contained
from fuzz.world import copied, damaged, wrong

FILES = ["rows.npy", "pictures.npy", "rows.npz", "rows.csv", "rows.parquet", "lines.txt", "lines.txt.gz", "images"]
CHECKED = ["rows.npz", "lines.txt.gz", "images"]
"""What holds a checksum of its content: read wrongly, it would be silently different."""


def read(file: str) -> int:
    """Load a file as the command line does, and write its rows where they can be compared."""
    from uncollapse.cli import _complain
    from uncollapse.data import load

    try:
        data = load(file)
        split = data.split("all")
        rows = split.all().double().numpy()
    except (ValueError, OSError) as error:
        return _complain(error, 2)
    if not np.isfinite(rows).all():
        print("numbers that are not finite were admitted")
        return 70
    np.save("read.npy", rows.reshape(len(rows), -1))
    return 0


def cases(world: Path, folder: Path, n: int, seed: int) -> Iterator[tuple[str, dict[str, Any] | None, bool]]:
    """Each case in words, what is wrong with its end, and whether it was carried out."""
    import gzip

    packed = world / "lines.txt.gz"
    if not packed.exists():
        packed.write_bytes(gzip.compress((world / "lines.txt").read_bytes(), mtime=0))
    whole = {
        name: _rows(contained(lambda name=name: read(name), copied(world, folder / "case", [name])), folder) for name in FILES
    }
    for i in range(n):
        chance = Random(f"data {seed} {i}")
        name = chance.choice(FILES)
        case = copied(world, folder / "case", [name])
        file = chance.choice(sorted((case / name).iterdir())) if (case / name).is_dir() else case / name
        content, how = damaged(file.read_bytes(), chance)
        file.write_bytes(content)
        ending = contained(lambda name=name: read(name), case)
        rows = _rows(ending, folder)
        same = rows is None or (
            whole[name] is not None and rows.shape == whole[name].shape and bool((rows == whole[name]).all())
        )
        also = None if same or name not in CHECKED else f"{name} was read, and read differently"
        yield f"{file.relative_to(case)}: {how}", wrong(ending, also), ending.status == 0


def _rows(ending: Any, folder: Path) -> np.ndarray[Any, Any] | None:
    """What a case read; None where it was refused."""
    file = folder / "case" / "read.npy"
    return np.load(file) if ending.status == 0 and file.exists() else None
