"""A run that was killed or interrupted goes on to the same numbers, bit for bit."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests.training.conftest import small_vae

from uncollapse.data import Data, from_arrays, load
from uncollapse.distributions import Location
from uncollapse.training import CheckpointError, Fitted, Training, fit
from uncollapse.training.kept import keep
from uncollapse.training.log import Log
from uncollapse.training.update import fused
from uncollapse.vae import ELBO, Amortized, LogLikelihood, MaximumLikelihood

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
    assert [list(line) for line in lines[0]] == [list(line) for line in lines[1]]


@pytest.mark.parametrize("step", [3, 12, 20, 33, 59])
def test_a_killed_run_resumes_to_the_same_numbers(step: int, run: Callable[..., Fitted], tmp_path: Path) -> None:
    """kill -9 at a step; 3 is before any line, 12 before any checkpoint, 20 right after one, 33 and 59 between lines."""
    run(tmp_path / "unbroken")
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path / "killed"), str(step)],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())},
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
    assert max(bounds[-2:]) <= max(bounds[:-2])
    assert bounds[-3] == max(bounds)  # two looks without a better bound, not three


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": 0},
        {"steps": float("inf")},
        {"batch_size": 0},
        {"batch_size": 2.5},
        {"seed": -1},
        {"ema": 1.0},
        {"log_every": -1},
        {"clip": 0.0},
        {"clip": -1.0},
        {"patience": -1},
    ],
)
def test_settings_out_of_range_are_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match=f"expected training.{next(iter(wrong))}"):
        Training(**wrong)


def test_what_is_no_run_is_left_alone(run: Callable[..., Fitted], tmp_path: Path) -> None:
    with pytest.raises(CheckpointError):
        run(tmp_path / "nothing", resume=True)
    assert not (tmp_path / "nothing").exists()


def test_a_resume_that_finds_nothing_better_takes_the_best_with_its_mixture(
    run: Callable[..., Fitted], tmp_path: Path, digits: Data
) -> None:
    fitted = run(tmp_path / "run", steps=20)
    fitted.model.fit_aggregate(digits.train.batch(torch.arange(100)).x)
    best = tmp_path / "run" / "checkpoints" / "best"
    keep(fitted.model, best, {}, {"step": 20})
    again = run(tmp_path / "run", steps=20, resume=True)
    assert again.model.aggregate is not None


def test_a_kill_between_the_first_two_files_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def trained(resume: bool) -> torch.Tensor:
        procedure = MaximumLikelihood(LogLikelihood(Location(2)))
        data = from_arrays(torch.arange(400.0).reshape(200, 2))
        settings = Training(steps=4, batch_size=32)
        return fit(procedure, data, settings, out=tmp_path, resume=resume, documents={"config.yaml": "a: 1"}).model.theta

    def killed(self: Log) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Log, "begin", killed)
        trained(resume=False)
    (tmp_path / "checkpoints/documents.json").unlink()
    assert [file.name for file in tmp_path.iterdir() if file.is_file()] == ["config.yaml"]
    theta = trained(resume=True)
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) > 0
    shutil.rmtree(tmp_path)
    assert torch.equal(theta, trained(resume=False))


def test_a_model_that_is_no_vae_is_resumed(tmp_path: Path) -> None:
    data = from_arrays(torch.randn(300, 2) + 3.0)

    def trained(out: Path, steps: int, resume: bool = False) -> torch.Tensor:
        procedure = MaximumLikelihood(LogLikelihood(Location(2)))
        return fit(procedure, data, Training(steps=steps, batch_size=32), out=out, resume=resume).model.theta

    trained(tmp_path / "half", 20)
    assert torch.equal(trained(tmp_path / "half", 40, resume=True), trained(tmp_path / "all", 40))


def test_a_second_training_is_in_training_mode_from_its_first_step() -> None:
    seen: list[bool] = []

    class Watching(Amortized):
        def step(self, x: torch.Tensor, t: torch.Tensor) -> dict[str, torch.Tensor]:
            seen.append(self.objective.model.training)
            return super().step(x, t)

    model = small_vae().eval()
    fit(Watching(ELBO(model)), load("digits", binarize="dynamic"), Training(steps=2, batch_size=20))
    assert seen == [True, True]
    assert not model.training


def test_every_group_of_parameters_is_trained_with_its_own_settings() -> None:
    a, b = (torch.nn.Parameter(torch.zeros(2)) for _ in range(2))
    for kind in (torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD):
        optimizer = fused(kind([{"params": [a]}, {"params": [b], "lr": 0.5, "weight_decay": 0.25}], lr=0.1))
        assert [(g["params"], g["lr"]) for g in optimizer.param_groups] == [([a], 0.1), ([b], 0.5)]
        assert optimizer.param_groups[1]["weight_decay"] == 0.25
        assert all(group["fused"] for group in optimizer.param_groups)


def test_a_run_is_not_resumed_on_other_data(tmp_path: Path) -> None:
    """Neither with fewer rows nor with others; their own, in another type, are theirs."""
    x = torch.rand(200, 2) + 3.0

    def trained(data: Data, resume: bool) -> None:
        procedure = MaximumLikelihood(LogLikelihood(Location(2)))
        fit(procedure, data, Training(steps=8, batch_size=32), out=tmp_path, resume=resume)

    trained(from_arrays(x), resume=False)
    trained(from_arrays(x.double()), resume=True)
    for other, words in ((x[:150], "had 160 rows, now 120"), (x + 1.0, "had 160 rows of other values")):
        with pytest.raises(ValueError, match=f"was begun with other data than arrays is now: its train split {words}"):
            trained(from_arrays(other), resume=True)


def test_fewer_steps_than_are_done_are_refused(run: Callable[..., Fitted], tmp_path: Path) -> None:
    run(tmp_path, steps=20)
    before = (tmp_path / "checkpoints/last/state.json").read_bytes()
    with pytest.raises(ValueError, match="expected at least 20 steps, which are done, got 5"):
        run(tmp_path, steps=5, resume=True)
    assert (tmp_path / "checkpoints/last/state.json").read_bytes() == before


def test_a_run_that_ended_is_not_begun_anew_where_its_checkpoint_is_gone(run: Callable[..., Fitted], tmp_path: Path) -> None:
    run(tmp_path, steps=20)
    (tmp_path / "summary.json").write_text("{}")
    shutil.rmtree(tmp_path / "checkpoints/last")
    with pytest.raises(CheckpointError, match="last is gone; take a copy of it, or train anew"):
        run(tmp_path, steps=20, resume=True)
