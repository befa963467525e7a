"""Devices and trackers are what was asked for, or refused."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tests.training.conftest import small_vae

from uncollapse.data import Batch, Data
from uncollapse.training import CheckpointError, Fitted, Machine, Training, fit
from uncollapse.training.machine import accelerator, place
from uncollapse.vae import ELBO, Amortized


@pytest.mark.parametrize("name", ["gpu", "cudo", "cuda:x", "meta", ""])
def test_a_device_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="expected a device auto, cpu, cuda"):
        accelerator(Machine(device=name), None)


def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a device that is there, came 'cuda:99'"):
        place("cuda:99")


def test_a_tracker_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("uncollapse.training.machine.find_spec", lambda name: None)
    with pytest.raises(ValueError, match="tracker mlflow is not installed"):
        accelerator(Machine(tracker="mlflow"), None)


def test_another_error_is_not_laid_on_the_tracker(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**settings: object) -> None:
        raise ValueError("bf16 mixed precision requires another device")

    monkeypatch.setattr("uncollapse.training.machine.Accelerator", refuse)
    with pytest.raises(ValueError, match="cannot train with precision bf16 on cpu: bf16"):
        accelerator(Machine(device="cpu", precision="bf16"), None)


@pytest.mark.filterwarnings("ignore")
def test_tensorboard_gets_numbers_of_either_kind(digits: Data, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    machine = Machine(device="cpu", tracker="tensorboard")
    fit(Amortized(ELBO(small_vae())), digits, Training(steps=4, batch_size=50, log_every=2), machine=machine, out=tmp_path)
    events = EventAccumulator(str(next(tmp_path.rglob("events.out*")).parent))
    events.Reload()
    tags = events.Tags()["scalars"]
    assert {"train/kl", "valid/bound", "valid/active_units"} <= set(tags)
    assert "valid/kl_units" not in tags and "valid/step" not in tags


def test_a_log_that_cannot_be_written_says_where(run: Callable[..., Fitted], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CheckpointError, match=r"cannot write to the run folder .*file/run: Not a directory"):
        run(tmp_path / "file" / "run")


def test_networks_hand_over_float32_in_bf16(digits: Data) -> None:
    """What bf16 rounds is inside the networks: the parameters of q and the logits of p are float32."""
    seen: list[torch.dtype] = []

    class Looking(ELBO):
        def infer(self, batch: Batch, parameters: torch.Tensor | None) -> torch.distributions.Distribution:
            q = super().infer(batch, parameters)
            seen.append(q.loc.dtype)
            return q

    fitted = fit(Amortized(Looking(small_vae())), digits, Training(steps=3), machine=Machine(device="cpu", precision="bf16"))
    assert set(seen) == {torch.float32} and all(p.dtype == torch.float32 for p in fitted.model.parameters())
