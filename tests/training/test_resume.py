"""A run that was killed or interrupted goes on to the same numbers, bit for bit."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from uncollapse.training import CheckpointError, Fitted, Training

KILLED = """
import os, signal, sys
from pathlib import Path
from tests.training.conftest import small_vae
from uncollapse.data import load
from uncollapse.training import Training, fit
from uncollapse.vae import ELBO, Amortized

class Deadly(Amortized):
    def step(self, x, t):
        if int(t) == int(sys.argv[2]):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().step(x, t)

training = Training(steps=60, batch_size=50, log_every=7, validate_every=20, ema=0.9)
fit(Deadly(ELBO(small_vae())), load("digits", binarize="dynamic"), training, out=Path(sys.argv[1]))
"""


def same_run(a: Path, b: Path) -> None:
    """Weights, optimiser state and log agree bit for bit; only the clock may differ."""
    for name in ("last/model", "last/state", "best/model"):
        one, other = (load_file(run / "checkpoints" / f"{name}.safetensors") for run in (a, b))
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one)
    lines = [[json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()] for run in (a, b)]
    assert [{**line, "seconds": 0} for line in lines[0]] == [{**line, "seconds": 0} for line in lines[1]]


@pytest.mark.parametrize("step", [20, 33, 59])
def test_a_killed_run_resumes_to_the_same_numbers(step: int, run: Callable[..., Fitted], tmp_path: Path) -> None:
    """kill -9 at a step; 20 is right after a checkpoint, 33 and 59 are in mid-epoch (28 batches each) and between lines."""
    run(tmp_path / "unbroken")
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path / "killed"), str(step)],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    run(tmp_path / "killed", resume=True)
    same_run(tmp_path / "unbroken", tmp_path / "killed")


def test_a_signal_saves_in_mid_interval_and_resumes_to_the_same_numbers(run: Callable[..., Fitted], tmp_path: Path) -> None:
    """SIGTERM at a log line that is no validation: the step is finished, all is saved, the rest is the same."""
    run(tmp_path / "unbroken")

    def interrupt(line: dict) -> None:
        if line["step"] == 35:
            os.kill(os.getpid(), signal.SIGTERM)

    stopped = run(tmp_path / "stopped", observers=[interrupt])
    assert stopped.signal == signal.SIGTERM
    assert stopped.step == 35
    assert run(tmp_path / "stopped", resume=True).signal is None
    same_run(tmp_path / "unbroken", tmp_path / "stopped")


def test_longer_training_goes_on_from_a_finished_one(run: Callable[..., Fitted], tmp_path: Path) -> None:
    run(tmp_path / "all")
    run(tmp_path / "half", steps=40)
    assert run(tmp_path / "half", steps=60, resume=True).step == 60
    a, b = (load_file(tmp_path / name / "checkpoints/last/model.safetensors") for name in ("all", "half"))
    assert all(torch.equal(a[key], b[key]) for key in a)


def test_a_run_is_never_overwritten(run: Callable[..., Fitted], tmp_path: Path) -> None:
    run(tmp_path / "run", steps=10)
    with pytest.raises(FileExistsError, match="--resume"):
        run(tmp_path / "run", steps=10)


def test_resuming_what_is_no_run_says_so(run: Callable[..., Fitted], tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is no checkpoint"):
        run(tmp_path / "nothing", resume=True)


def test_patience_stops_a_training_that_no_longer_improves(run: Callable[..., Fitted]) -> None:
    fitted = run(steps=2000, validate_every=5, patience=2, ema=0.0)
    bounds = [line["bound"] for line in fitted.lines if line["kind"] == "valid"]
    assert fitted.step < 2000
    assert max(bounds[-3:]) <= max(bounds[:-3])


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"batch_size": 0}, {"ema": 1.0}, {"log_every": -1}])
def test_settings_out_of_range_are_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match=f"expected training.{next(iter(wrong))}"):
        Training(**wrong)
