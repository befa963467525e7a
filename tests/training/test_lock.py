"""One writer a run folder: the second is refused, the first undisturbed, and a crash leaves no obstacle."""

import errno
import os
import platform
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from uncollapse.data import from_arrays
from uncollapse.distributions import Location
from uncollapse.training import Recipe, Training, fit, lock, train
from uncollapse.training.bench import Bench, Table, carry_out
from uncollapse.training.lock import LOCK, FolderInUse, sole_writer
from uncollapse.vae import LogLikelihood, MaximumLikelihood

HOLDER = """
import sys
from pathlib import Path
from uncollapse.training.lock import sole_writer

with sole_writer(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def trained(out: Path, resume: bool = False, steps: int = 4) -> torch.Tensor:
    data = from_arrays(torch.arange(400.0).reshape(200, 2))
    training = Training(steps=steps, batch_size=32, validate_every=2)
    return fit(MaximumLikelihood(LogLikelihood(Location(2))), data, training, out=out, resume=resume).model.theta


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


@contextmanager
def elsewhere(folder: Path) -> Iterator[None]:
    """Another training of this process, in a thread of its own, writes to the folder."""
    entered, done = threading.Event(), threading.Event()

    def hold() -> None:
        with sole_writer(folder):
            entered.set()
            done.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    entered.wait()
    try:
        yield
    finally:
        done.set()
        thread.join()


def test_another_process_is_refused_until_it_is_killed(tmp_path: Path) -> None:
    out = tmp_path / "run"
    trained(out)
    before = contents(out)
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(out)], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
        for resume in (False, True):
            said = rf"^{out} is being written to by process {holder.pid} on {platform.node()}; .*--out$"
            with pytest.raises(FolderInUse, match=said):
                trained(out, resume, steps=8)
        assert {name: text for name, text in contents(out).items() if not name.endswith(LOCK)} == before
        holder.send_signal(signal.SIGKILL)
    assert (out / LOCK).exists()
    trained(out, resume=True, steps=8)
    assert not (out / LOCK).exists()


def test_every_way_to_write_a_run_is_refused(tmp_path: Path) -> None:
    options = ["--steps", "2", "--latent", "2"]
    bench = Bench("small", {"a": Table("vae", {"x": []})})
    writers: list[Callable[[], object]] = [
        lambda: trained(tmp_path / "a/x"),
        lambda: train(Recipe.read("vae", options), tmp_path / "a/x"),
        lambda: list(carry_out(bench, tmp_path, options)),
    ]
    with elsewhere(tmp_path / "a/x"):
        for writer in writers:
            with pytest.raises(FolderInUse, match=f"process {os.getpid()} on"):
                writer()
        assert [file.name for file in (tmp_path / "a/x").iterdir()] == [LOCK]
    assert not list(tmp_path.iterdir())


def test_it_may_be_entered_again_within(tmp_path: Path) -> None:
    with sole_writer(tmp_path / "run"):
        trained(tmp_path / "run")
        assert (tmp_path / "run" / LOCK).exists()
    assert not (tmp_path / "run" / LOCK).exists() and (tmp_path / "run/metrics.jsonl").exists()


def test_the_processes_of_one_training_share_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with elsewhere(tmp_path):
        for name, value in {"WORLD_SIZE": "2", "LOCAL_RANK": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29555"}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("RANK", "1")
        with sole_writer(tmp_path):
            pass
        monkeypatch.setenv("RANK", "0")
        with pytest.raises(FolderInUse), sole_writer(tmp_path):
            pass


def test_a_training_that_is_refused_leaves_no_folder(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own/file").touch()
    for out in (tmp_path / "new/run", tmp_path / "own/run", tmp_path / "own"):
        with pytest.raises(ValueError), sole_writer(out):
            raise ValueError
    assert sorted(file.name for file in tmp_path.rglob("*")) == ["file", "own"]


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for out in (tmp_path / "file", tmp_path / "file/run"):
        with pytest.raises(lock.CheckpointError, match=f"cannot write to the run folder {out}"), sole_writer(out):
            pass


@pytest.mark.parametrize("link", [LOCK, "README.md", "checkpoints", "checkpoints/last"])
def test_a_link_in_a_run_folder_is_refused(link: str, tmp_path: Path) -> None:
    out, outside = tmp_path / "run", tmp_path / "outside"
    trained(out)
    outside.write_text("precious")
    if (out / link).exists():
        (out / link).rename(out.with_name("aside"))
    (out / link).symlink_to(outside)
    with pytest.raises(lock.CheckpointError, match=f"got {out / link}, a symbolic link; .* with --out"):
        trained(out, resume=True, steps=8)
    assert outside.read_text() == "precious"


def test_a_folder_of_runs_leads_none_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "bench").mkdir()
    (tmp_path / "bench/a").symlink_to(tmp_path / "outside")
    with pytest.raises(lock.CheckpointError, match="bench/a, a symbolic link"):
        list(carry_out(Bench("small", {"a": Table("vae", {"x": []})}), tmp_path / "bench", ["--steps", "2"]))
    with sole_writer(tmp_path / "bench/a"):  # the folder itself may be one
        pass
    assert not list((tmp_path / "outside").iterdir())


def test_a_lock_that_is_no_plain_file_is_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / LOCK)
    with (
        pytest.raises(lock.CheckpointError, match=r"its file .lock is a pipe or a device; write elsewhere"),
        sole_writer(tmp_path),
    ):
        pass
    (tmp_path / LOCK).unlink()
    (tmp_path / LOCK).symlink_to(tmp_path / "victim")
    with pytest.raises(OSError, match="symbolic link"):
        lock._opened(tmp_path / LOCK)


@pytest.mark.parametrize("name", ["README.md", "config.yaml", "report.html", "summary.json", "checkpoints/best"])
def test_files_that_no_training_wrote_are_never_replaced(name: str, tmp_path: Path) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("mine")
    with pytest.raises(FileExistsError, match=f"whose {name} no training recorded"):
        trained(tmp_path)
    assert (tmp_path / name).read_text() == "mine"


def test_a_file_that_the_writer_before_has_just_removed_is_no_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Opened before the other removed it, locked after: the lock is taken anew on the file that others will see."""
    system, calls = lock._system_lock(), []

    def late(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == 1:
            (tmp_path / LOCK).unlink()
        system(descriptor)

    monkeypatch.setattr(lock, "_system_lock", lambda: late)
    with sole_writer(tmp_path):
        monkeypatch.undo()
        with pytest.raises(FolderInUse):
            trained_in_thread(tmp_path)
    assert len(calls) == 2 and not list(tmp_path.iterdir())


def trained_in_thread(out: Path) -> None:
    """A training in a thread of its own, its error raised here."""
    raised: list[Exception] = []

    def work() -> None:
        try:
            trained(out)
        except FolderInUse as error:
            raised.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    if raised:
        raise raised[0]


@pytest.mark.parametrize("system", ["file system", "no locks at all"])
def test_where_nothing_can_be_locked_a_warning_says_so(system: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(descriptor: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    locks = lock._windows_lock if system == "no locks at all" else unsupported
    monkeypatch.setattr(lock, "_system_lock", lambda: locks)
    with (
        pytest.warns(UserWarning, match="cannot be locked .*: let no other training write there"),
        sole_writer(tmp_path / "run"),
    ):
        assert (tmp_path / "run").exists()
    assert not list(tmp_path.iterdir())
