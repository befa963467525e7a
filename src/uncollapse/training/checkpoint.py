"""Checkpoints: safetensors and JSON, staged, hashed and renamed, so that the last good one always stands."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

FORMAT = 1


class CheckpointError(RuntimeError):
    """A checkpoint that cannot be read or written; says what is wrong and what to do."""


@contextmanager
def replacing(directory: Path) -> Iterator[Path]:
    """A staging folder that takes the place of `directory` when the block ends well; else nothing has happened.

    The old folder is renamed aside before the new one takes its place, and `settle` finishes that if a kill comes between.

    Raises:
        CheckpointError: If the disk is full or cannot be written to.
    """
    staging, old = directory.with_name(f".{directory.name}.new"), directory.with_name(f".{directory.name}.old")
    try:
        settle(directory)
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(parents=True)
        yield staging
        for file in staging.iterdir():
            _flush(file)
        if directory.exists():
            directory.rename(old)
        staging.rename(directory)
        _flush(directory.parent)
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        shutil.rmtree(staging, ignore_errors=True)
        raise CheckpointError(
            f"cannot write {directory}: {error.strerror or error}; the last good checkpoint is untouched: make room or write "
            "elsewhere with --out, then go on with --resume"
        ) from error


def settle(directory: Path) -> None:
    """Put back the folder that a killed `replacing` had renamed aside."""
    old = directory.with_name(f".{directory.name}.old")
    if old.exists() and not directory.exists():
        old.rename(directory)
    shutil.rmtree(old, ignore_errors=True)


def _flush(path: Path) -> None:
    """Have the operating system write a file or folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_state(directory: Path, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
    """Write state.safetensors and state.json; the latter holds the hash of every other file in the folder."""
    save_file({name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}, directory / "state.safetensors")
    hashes = {file.name: _sha256(file) for file in sorted(directory.iterdir()) if file.name != "state.json"}
    (directory / "state.json").write_text(json.dumps({"format": FORMAT, **values, "sha256": hashes}, indent=2))


def read_state(directory: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What `write_state` wrote, every file's hash checked.

    Raises:
        CheckpointError: If the folder is none, or damaged, or of another format.
    """
    values = verify(directory)
    return load_file(directory / "state.safetensors"), values


def verify(directory: Path) -> dict[str, Any]:
    """Check format and hashes of a checkpoint; returns its state.json."""
    settle(directory)
    file = directory / "state.json"
    if not file.exists():
        raise CheckpointError(
            f"{directory} is no checkpoint: it has no state.json; give a run folder that `uncollapse train` wrote"
        )
    try:
        values = json.loads(file.read_text())
        found, hashes = values.get("format"), values["sha256"]
    except (ValueError, KeyError, AttributeError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{file} is damaged ({error}); {_instead(directory)}") from error
    if found != FORMAT:
        raise CheckpointError(f"{file} is of format {found}, this version reads format {FORMAT}; use the version that wrote it")
    for name, expected in hashes.items():
        if not (directory / name).exists() or _sha256(directory / name) != expected:
            raise CheckpointError(
                f"{directory / name} is damaged: its hash is not the one it was saved with; {_instead(directory)}"
            )
    return values


def _instead(directory: Path) -> str:
    other = directory.with_name("best" if directory.name == "last" else "last")
    return f"{other} may be whole, else train again" if other.exists() else "train again"


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
