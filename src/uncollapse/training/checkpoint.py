"""Checkpoints: safetensors and JSON, staged, hashed and renamed, so that the last good one always stands."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from uncollapse.atomic_write import atomic_write, refuse_links, remedy
from uncollapse.plain_files import LARGEST_JSON, Damaged, check_plain, read_json
from uncollapse.tensor_files import check_header, read_tensors

FORMAT = 1
TRIES = 20  # how often a checkpoint is read again that a training replaces all the time
T = TypeVar("T")


class CheckpointError(RuntimeError):
    """A checkpoint that cannot be read or written; says what is wrong and what to do."""


@contextmanager
def replacing(directory: Path) -> Iterator[Path]:
    """A staging folder that takes the place of `directory` when the block ends well; else nothing has happened.

    The old folder is renamed aside before the new one takes its place, and `settle` finishes that if a kill comes between.

    Raises:
        CheckpointError: If the disk is full or cannot be written to.
    """
    staging, old = directory.with_name(f".{directory.name}.new"), _aside(directory)
    before = standing(directory).exists()
    try:
        settle(directory)
        staging.mkdir(parents=True)
        yield staging
        for file in staging.iterdir():
            _flush(file)
        if directory.exists():
            directory.rename(old)
        staging.rename(directory)
        _flush(directory.parent)
        shutil.rmtree(old, ignore_errors=True)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        instead = remedy(error) if isinstance(error, OSError) else "make room or write elsewhere"
        raise CheckpointError(
            f"cannot write {directory}: {reason}; {_left(directory, before)}: {instead} with --out, then go on with --resume"
        ) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _left(directory: Path, before: bool) -> str:
    """What stands where a checkpoint could not be written, in words; whether there was one before."""
    if not standing(directory).exists():
        return "the checkpoint that was there is gone" if before else "there is none yet"
    try:
        verify(directory)
    except (OSError, CheckpointError):
        return "the one that was there is damaged"
    return "the last good checkpoint is untouched"


def settle(directory: Path) -> None:
    """Put back the folder that a killed `replacing` had renamed aside, and remove what else it left; for its one writer."""
    old = _aside(directory)
    if old.exists() and not directory.exists():
        old.rename(directory)
    for left in (old, directory.with_name(f".{directory.name}.new")):
        shutil.rmtree(left, ignore_errors=True)


def standing(directory: Path) -> Path:
    """Where a checkpoint can be read: its folder, or the one that `replacing` has renamed aside. Nothing is moved."""
    old = _aside(directory)
    return old if not directory.exists() and old.exists() else directory


def steadily(directory: Path, read: Callable[[Path], T]) -> T:
    """Read a checkpoint where it stands, its hashes checked; again if a training replaced it meanwhile.

    Raises:
        CheckpointError: If it is none, or damaged, or of another format.
    """
    for _ in range(TRIES):
        place = standing(directory)
        before = _identity(place)
        try:
            verify(place)
            found = read(place)
        except (OSError, CheckpointError, ValueError):
            if _identity(standing(directory)) == before:
                raise
            continue
        if _identity(standing(directory)) == before:
            return found
    raise CheckpointError(f"{directory} is replaced faster than it can be read; try again when its training has ended")


def _aside(directory: Path) -> Path:
    return directory.with_name(f".{directory.name}.old")


def _identity(directory: Path) -> tuple[int, int] | None:
    """What tells a folder from the one that takes its place; None where there is none."""
    try:
        found = directory.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns


def write(file: Path, content: str | bytes, root: Path | None = None) -> None:
    """Write a file of the run folder whole or not at all.

    Args:
        file: The file.
        content: Its content.
        root: The run folder, below which nothing may be a symbolic link; None: the file's own folder.

    Raises:
        CheckpointError: If the disk is full or cannot be written to, or a link would lead elsewhere.
    """
    root = file.parent if root is None else root
    try:
        refuse_links(root, file)
        file.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(file, root) as stream:
            stream.write(content.encode() if isinstance(content, str) else content)
    except OSError as error:
        reason = str(error) if error.strerror is None else f"cannot write {file}: {error.strerror}; {remedy(error)}"
        raise CheckpointError(f"{reason} with --out") from error


def _flush(path: Path) -> None:
    """Have the operating system write a file or folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_state(directory: Path, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
    """Write state.safetensors and state.json; the latter holds the hash of every file in the folder, and of its own values."""
    save_file({name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}, directory / "state.safetensors")
    hashes = {file.name: _sha256(file) for file in sorted(directory.iterdir()) if file.name != "state.json"}
    document = {"format": FORMAT, **values}
    hashes["state.json"] = hash_of(document)
    (directory / "state.json").write_text(json.dumps({**document, "sha256": hashes}, indent=2))


def read_state(directory: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What `write_state` wrote, every file's hash checked.

    Raises:
        CheckpointError: If the folder is none, or damaged, or of another format.
    """
    values = verify(directory)
    return read_tensors(standing(directory) / "state.safetensors"), values


def verify(directory: Path) -> dict[str, Any]:
    """Check format and hashes of a checkpoint; returns its state.json."""
    directory = standing(directory)
    file = directory / "state.json"
    if not file.exists():
        raise CheckpointError(
            f"{directory} is no checkpoint: it has no state.json; give a run folder that `uncollapse train` wrote"
        )
    try:
        values = read_json(file)
    except Damaged as error:
        raise CheckpointError(f"{error}; {_instead(directory)}") from error
    found, hashes = values.get("format"), values.get("sha256")
    if not isinstance(hashes, dict):
        raise CheckpointError(f"{file} is damaged: expected hashes of its files, got {hashes!r:.80}; {_instead(directory)}")
    hashes = dict(hashes)
    if found != FORMAT:
        raise CheckpointError(f"{file} is of format {found}, this version reads format {FORMAT}; use the version that wrote it")
    own = hashes.pop("state.json", None)  # checkpoints of version 0.1.0 have none
    if own is not None and own != hash_of({name: value for name, value in values.items() if name != "sha256"}):
        raise CheckpointError(f"{file} is damaged: its hash is not the one it was saved with; {_instead(directory)}")
    for name, expected in hashes.items():
        if _hash_in(directory, name) != expected:
            raise CheckpointError(
                f"{directory / name} is damaged: its hash is not the one it was saved with; {_instead(directory)}"
            )
    return values


def _hash_in(directory: Path, name: str) -> str | None:
    """The hash of a file of a checkpoint; None of what is none, or damaged as its size alone tells."""
    file = directory / name
    if Path(name).name != name or not file.is_file():
        return None
    try:
        check_header(file) if file.suffix == ".safetensors" else check_plain(file, LARGEST_JSON)
    except Damaged:
        return None
    return _sha256(file)


def values_of(directory: Path) -> dict[str, Any]:
    """The values of a checkpoint where it stands, no hash checked; none where they cannot be read."""
    file = standing(directory) / "state.json"
    try:
        return read_json(file) if file.is_file() else {}
    except ValueError:
        return {}


def _instead(directory: Path) -> str:
    other = directory.with_name("best" if "last" in directory.name else "last")
    return f"{other} may be whole, else train again" if other.exists() else "train again"


def hash_of(values: dict[str, Any]) -> str:
    """The hash of plain values, as JSON with sorted names."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
