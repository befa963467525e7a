"""Two processes with half the batch each give what one gives; they stop together, and one that is left alone says so."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests.training.sharing import PROCEDURES, command, train_all

from uncollapse.cli import main
from uncollapse.launch import launch
from uncollapse.training import PartnerError
from uncollapse.training.checkpoint import read_state
from uncollapse.training.fit import vacant
from uncollapse.training.machine import Interruption
from uncollapse.training.meeting import meet, partners


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """What one process and what two leave, by their number; that there were two, each of them has made sure."""
    folder = tmp_path_factory.mktemp("processes")
    train_all(folder / "1")
    paths = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    script = [str(Path(__file__).with_name("sharing.py")), str(folder / "2")]
    done = subprocess.run([*launcher, *script], env=environment, capture_output=True, text=True, check=False, timeout=250)
    assert (folder / "2" / "killed.json").exists(), done.stdout[-1000:] + done.stderr[:3000]
    return {n: folder / str(n) for n in (1, 2)}


@pytest.mark.parametrize("procedure", PROCEDURES)
def test_two_processes_give_what_one_gives(procedure: str, folders: dict[int, Path]) -> None:
    """The same weights, running statistics, averages, optimiser's state and metrics to 1e-8 in float64: binarisation, noise and
    order of rows all follow from (seed, step, row), and statistics of the batch are of all its rows; of a game too, its critic
    and its number of steps. What is left is Adam's, of gradients that are zero but for rounding."""
    for part in ("last/model", "last/state", "best/model"):
        a, b = (load_file(folders[n] / procedure / f"checkpoints/{part}.safetensors") for n in (1, 2))
        assert a.keys() == b.keys()
        assert max(float(((a[key] - b[key]).abs() / (1 + a[key].abs())).max()) for key in a) < 1e-8
        assert part == "last/state" or a[next(iter(a))].dtype == torch.float64
    one, two = (_lines(folders[n] / procedure) for n in (1, 2))
    assert [line.keys() for line in one] == [line.keys() for line in two]
    for name in set().union(*one) - {"seconds"}:
        assert all(_near(a[name], b[name], 1e-6) for a, b in zip(one, two, strict=True) if name in a), name
    steps = [line["critic_steps"] for line in one if "critic_steps" in line]
    assert procedure != "game" or 2.0 < min(steps) < max(steps) < 8.0


def _near(a: Any, b: Any, tolerance: float) -> bool:
    """Whether two values of the log are the same, numbers but for rounding."""
    if isinstance(a, list):
        return len(a) == len(b) and all(_near(x, y, tolerance) for x, y in zip(a, b, strict=True))
    return a == pytest.approx(b, rel=tolerance, abs=1e-3 * tolerance) if isinstance(a, float) else bool(a == b)


def _lines(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_a_signal_to_one_of_two_processes_stops_both_and_one_saves(folders: dict[int, Path]) -> None:
    """Between two lines of the log; the one line that says so is the first process's."""
    found = json.loads((folders[2] / "stopped.json").read_text())
    assert found["status"] == 128 + 15 and "all saved" in found["said"]
    assert found["said"].count("stopped by signal 15 after step 26,") == 1


def test_a_process_whose_partner_is_killed_says_so_in_a_line(folders: dict[int, Path]) -> None:
    """And leaves the last checkpoint as it is: here that of step 40, after one that was resumed."""
    found, run = json.loads((folders[2] / "killed.json").read_text()), folders[2] / "cli"
    said = [line for line in found["said"].splitlines() if line.startswith("error")]
    assert found["status"] == 1 and said == [
        "error: process 0 of 2: another process of this training ended; "
        f"the checkpoint of step 40 in {run}/checkpoints is whole."
    ]
    assert read_state(run / "checkpoints" / "last")[1]["step"] == 40


def test_two_processes_that_were_stopped_and_resumed_log_what_one_does(folders: dict[int, Path], tmp_path: Path) -> None:
    """In float32; where they stop between two lines of the log, each has half of the values of the next."""
    assert main(command(tmp_path / "run")) == 0
    one, two = ([line for line in _lines(run) if line["kind"] == "train"] for run in (tmp_path / "run", folders[2] / "cli"))
    one = [line for line in one if line["step"] <= 40]
    assert [line["step"] for line in one] == [line["step"] for line in two] == [10, 20, 30, 40]
    for a, b in zip(one, two, strict=True):
        assert [
            (a["step"], name, a[name], b[name]) for name in a if name != "seconds" and not _near(a[name], b[name], 1e-4)
        ] == []


FULL = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29555"}


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"RANK": "1"}, "RANK=1 is set without WORLD_SIZE"),
        ({"RANK": "x"}, "expected RANK as a launcher of several processes sets it, a whole number, came 'x'"),
        ({"WORLD_SIZE": "2"}, "WORLD_SIZE=2 is set without RANK"),
        ({**FULL, "MASTER_PORT": ""}, "expected MASTER_PORT"),
        ({name: FULL[name] for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}, "without MASTER_ADDR, MASTER_PORT"),
        ({**FULL, "RANK": "2"}, "expected RANK below WORLD_SIZE=2, came 2"),
        ({"OMPI_COMM_WORLD_SIZE": "2"}, "MPI started 2 processes"),
        ({"ACCELERATE_USE_CPU": "True", "MASTER_ADDR": "127.0.0.1"}, "accelerate launch was asked for several processes and"),
    ],
)
def test_a_launcher_that_cannot_be_followed_is_refused_before_anything_is_written(
    environment: dict[str, str],
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    assert main(["train", "vae", "--steps", "2"]) == 2
    said = capsys.readouterr().err
    assert expected in said and said.count("\n") == 1 and not list(tmp_path.iterdir())


def test_one_process_is_what_it_is_without_a_launcher() -> None:
    alone = {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "host", "MASTER_PORT": "23456"}
    assert launch({}) == launch(alone) and launch({}).world == 1
    both = launch({**FULL, "LOCAL_WORLD_SIZE": "2"})
    assert (both.rank, both.world, both.local_rank, both.local_world, both.first) == (1, 2, 1, 2, False)


def test_partners_that_do_not_come_are_waited_for_no_longer_than_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**FULL, "RANK": "0", "LOCAL_RANK": "0", "MASTER_PORT": "0"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("uncollapse.training.meeting.WAIT", 1)
    with pytest.raises(PartnerError, match="process 0 of 2: the others did not come within 1 seconds"):
        meet(torch.device("cpu"))


def test_other_errors_are_not_laid_on_partners(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RuntimeError, match=r"^Connection closed by peer$") as alone, partners():
        raise RuntimeError("Connection closed by peer")
    assert not isinstance(alone.value, PartnerError)
    for name, value in FULL.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(RuntimeError, match=r"^sizes do not match$"), partners():
        raise RuntimeError("sizes do not match")


@pytest.mark.parametrize(
    ("device", "expected"),
    [
        ("mps", "several processes share a training on cpu, cuda, xpu, came mps"),
        ("cuda:1", "several processes share out the devices, came cuda:1; write cuda"),
        ("cuda", "expected a cuda device for each of 2 processes, there are 1; write --nproc-per-node 1, or --device cpu"),
    ],
)
def test_devices_that_processes_cannot_share_are_refused(device: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in FULL.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    with pytest.raises(ValueError, match=expected):
        meet(torch.device(device))


def test_the_first_process_alone_does_what_is_no_training(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in FULL.items():
        monkeypatch.setenv(name, value)
    assert main(["data"]) == 0 and main(["evaluate", "nothing"]) == 0 and main(["bench", "demo"]) == 2
    assert capsys.readouterr() == ("", "")
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert main(["data"]) == 0 and main(["bench", "demo"]) == 2
    said = capsys.readouterr()
    assert "digits" in said.out and said.err.startswith("error: bench trains its rows in one process, came 2; write")


def test_a_launcher_that_passes_on_a_ctrl_c_is_no_second_one() -> None:
    alone, shared = Interruption(), Interruption(several=True)
    for interruption in (alone, shared):
        interruption._note(2, None)
    shared._note(2, None)
    with pytest.raises(KeyboardInterrupt):
        alone._note(2, None)
    shared.since -= 10
    with pytest.raises(KeyboardInterrupt):
        shared._note(2, None)


def test_any_process_refuses_a_folder_that_holds_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that no process waits for one that has refused."""
    (tmp_path / "metrics.jsonl").write_text('{"kind": "train", "step": 1}\n')
    for name, value in FULL.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(FileExistsError, match="holds a run already"):
        vacant(tmp_path, resume=False)
