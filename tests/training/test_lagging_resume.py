"""A lagging training resumes to the same numbers, bit for bit, its switch and its further batches included."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests.training.conftest import small_vae

from uncollapse.data import Data
from uncollapse.diagnosis.monitors import PosteriorMonitor
from uncollapse.training import Fitted, Training, fit
from uncollapse.vae import ELBO, Lagging


def run(digits: Data, out: Path, steps: int, resume: bool = False) -> Fitted:
    procedure = Lagging(ELBO(small_vae()), window=2, limit=4)
    training = Training(steps=steps, batch_size=50, log_every=3, validate_every=5, ema=0.9)
    return fit(procedure, digits, training, out=out, resume=resume)


def test_a_lagging_training_resumes_to_the_same_numbers(digits: Data, tmp_path: Path) -> None:
    whole = run(digits, tmp_path / "whole", 15)
    run(digits, tmp_path / "parts", 5)
    run(digits, tmp_path / "parts", 15, resume=True)
    for name in ("model", "state"):
        a, b = (load_file(tmp_path / run / f"checkpoints/last/{name}.safetensors") for run in ("whole", "parts"))
        assert a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)
    assert whole.lines[0]["encoder_steps"] >= 4
    assert "procedure.aggressive" in a


def test_it_asks_for_looks_while_it_is_aggressive(digits: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each second step until the switch, and by the training's own rule from then on."""
    procedure = Lagging(ELBO(small_vae()), window=2, limit=4, look_every=2)
    informed = iter([1.0, 2.0, 1.5, 3.0, 4.0])
    look = PosteriorMonitor.look
    told = lambda self, x, earlier=(): look(self, x) | {"mutual_information": next(informed)}  # noqa: E731
    monkeypatch.setattr(PosteriorMonitor, "look", told)
    lines = fit(procedure, digits, Training(steps=20, batch_size=50, validate_every=10)).lines
    looks = [(line["step"], line["aggressive"]) for line in lines if line["kind"] == "valid"]
    assert looks == [(2, True), (4, True), (6, False), (10, False), (20, False)]
