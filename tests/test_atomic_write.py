"""Files are written whole or not at all, whatever the disk does."""

import errno
import os
import re
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

import uncollapse
from uncollapse.atomic_write import atomic_write, remove_staged
from uncollapse.report import save_samples, write_model_card, write_report
from uncollapse.training.checkpoint import CheckpointError, write


@contextmanager
def full_disk(size: int = 1000) -> Iterator[None]:
    """Within it, no file grows beyond this size."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def samples(name: str, words: list[str] | None = None) -> Callable[[Path], None]:
    x = torch.rand(500, 1, 8, 8) if words is None else torch.zeros(500, 1, 8)
    return lambda folder: save_samples(folder / name, x, words=words)


WRITERS: dict[str, Callable[[Path], object]] = {
    "s.npy": samples("s.npy"),
    "s.npz": samples("s.npz"),
    "s.txt": samples("s.txt"),
    "s.png": samples("s.png"),
    "README.md": lambda folder: write_model_card(folder, {"verdict": "healthy", "reason": "x" * 2000}, {}),
    "report.html": lambda folder: write_report(folder, None, None, None),
    "summary.json": lambda folder: write(folder / "summary.json", "x" * 2000),
}


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("before", [None, b"{}"])
def test_a_full_disk_leaves_what_was_there(name: str, before: bytes | None, tmp_path: Path) -> None:
    if before is not None:
        (tmp_path / name).write_bytes(before)
    said = rf"^cannot write .*{name}: File too large; make room or write elsewhere( with --out)?$"
    with full_disk(), pytest.raises((OSError, CheckpointError), match=said):
        WRITERS[name](tmp_path)
    left = {} if before is None else {name: before}
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == left
    WRITERS[name](tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == [name] and (tmp_path / name).stat().st_size > 1000


def test_an_error_within_leaves_what_was_there(tmp_path: Path) -> None:
    for error in (KeyboardInterrupt, ValueError):
        with pytest.raises(error), atomic_write(tmp_path / "a") as stream:
            stream.write(b"half")
            raise error
    assert not list(tmp_path.iterdir())


def test_errors_keep_their_class_and_number(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"cannot write .*: No such file") as raised, atomic_write(tmp_path / "no/a"):
        pass
    assert raised.value.errno == errno.ENOENT
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match=r"cannot write .*folder"), atomic_write(tmp_path / "folder"):
        pass
    assert [file.name for file in tmp_path.iterdir()] == ["folder"]


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real.npy").touch()
    (tmp_path / "link.npy").symlink_to("real.npy")
    save_samples(tmp_path / "link.npy", torch.ones(2, 3))
    assert (tmp_path / "link.npy").is_symlink() and np.load(tmp_path / "real.npy").shape == (2, 3)


def test_files_left_by_a_kill_are_removed_and_no_others(tmp_path: Path) -> None:
    names = [".a.npy.12.345.new", ".own.new", "a.1.2.new"]
    for name in names:
        (tmp_path / name).touch()
    remove_staged(tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == names[1:]


def test_what_users_are_given_is_written_by_it() -> None:
    """No module that writes a page, a table or samples opens a file by other means."""
    ways = (r"\.write_(text|bytes)\(", r"open\([^)]*[\"']w", r"(np\.save\w*|\.savefig|\.save)\((?!stream|buffer)")
    other = re.compile("|".join(ways))
    source = Path(uncollapse.__file__).parent
    files = [*(source / "report").glob("*.py"), *(source / "cli").glob("*.py"), source / "distributions/saved.py"]
    found = [f"{file.name}: {line.strip()}" for file in files for line in file.read_text().splitlines() if other.search(line)]
    assert not found and len(files) > 20


@pytest.mark.parametrize("kind", ["pipe", "link to a pipe"])
def test_what_is_no_plain_file_is_never_replaced(kind: str, tmp_path: Path) -> None:
    place = tmp_path / "x"
    os.mkfifo(place)
    file = tmp_path / "link" if "link" in kind else place
    if "link" in kind:
        file.symlink_to(place)
    mode = place.stat().st_mode
    with pytest.raises(OSError, match=r"got .*x, which is a device or a pipe; write elsewhere"), atomic_write(file):
        pass
    assert place.stat().st_mode == mode and file.is_symlink() == ("link" in kind)


@pytest.mark.parametrize("name", ["README.md", "report.html", "summary.json"])
@pytest.mark.parametrize("there", [True, False])
def test_a_link_in_a_run_folder_is_not_followed(name: str, there: bool, tmp_path: Path) -> None:
    run, outside = tmp_path / "run", tmp_path / "outside"
    run.mkdir()
    if there:
        outside.write_text("precious")
    (run / name).symlink_to(outside)
    with pytest.raises((OSError, CheckpointError), match=f"got {run / name}, a symbolic link"):
        WRITERS[name](run)
    assert outside.exists() == there and (not there or outside.read_text() == "precious")
