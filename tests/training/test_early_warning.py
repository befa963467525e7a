"""A collapse is told early: looks at the posterior before the first validation, and one warning when it lasts."""

from pathlib import Path
from typing import Any

import pytest
import torch

from training.conftest import small_vae
from uncollapse.data import Data
from uncollapse.report.page import read_metrics
from uncollapse.schedules import Linear
from uncollapse.training import Fitted, Training, fit
from uncollapse.training.loop import Loop
from uncollapse.vae import ELBO, Amortized

CONFIG = {"config.yaml": "recipe: small"}


def trained(data: Data, out: Path | None = None, beta: Any = 50.0, resume: bool = False, **settings: Any) -> Fitted:
    """A small VAE under a weight of the KL that no code can pay for."""
    chosen = Training(**{"steps": 250, "batch_size": 50, "log_every": 50, "validate_every": 200, **settings})
    return fit(Amortized(ELBO(small_vae(), beta=beta)), data, chosen, out=out, resume=resume, documents=CONFIG)


def steps(fitted: Fitted, kind: str) -> list[int]:
    return [line["step"] for line in fitted.lines if line["kind"] == kind]


def test_a_collapse_that_lasts_is_told_before_the_first_validation_with_its_remedies(digits: Data, tmp_path: Path) -> None:
    fitted = trained(digits, tmp_path / "run")
    assert (steps(fitted, "look"), steps(fitted, "valid")) == ([50, 100, 150], [200, 250])
    (warning,) = [line for line in fitted.lines if line["kind"] == "warning"]
    assert warning["step"] < 200 and warning["since"] == warning["step"] - 50 and warning["verdict"] == "collapsed"
    command = f"uncollapse train {tmp_path / 'run' / 'config.yaml'} --objective ELBO --objective.beta Linear "
    assert any(remedy.startswith(command) for remedy in warning["remedies"])
    assert fitted.lines[-1]["reason"] and [line["kind"] for line in read_metrics(tmp_path / "run/metrics.jsonl")].count(
        "warning"
    )


def test_it_is_told_once_over_a_resumption_too(digits: Data, tmp_path: Path) -> None:
    trained(digits, tmp_path)
    trained(digits, tmp_path, resume=True, steps=300)
    lines = read_metrics(tmp_path / "metrics.jsonl")
    assert [line["kind"] for line in lines].count("warning") == 1 and lines[-1]["step"] == 300


def test_nothing_is_told_while_the_weight_of_the_kl_still_moves(digits: Data) -> None:
    assert steps(trained(digits, beta=Linear(10.0, 50.0)), "warning") == []
    assert steps(trained(digits, beta=Linear(10.0, 50.0, steps=60)), "warning") == [150]


def test_a_code_that_is_used_is_not_warned_of(digits: Data) -> None:
    fitted = trained(digits, beta=0.01)
    assert fitted.lines[-1]["verdict"] != "collapsed" and steps(fitted, "warning") == []


def test_looks_change_no_number_of_the_training(digits: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    looked = trained(digits, validate_every=250)
    monkeypatch.setattr(Loop, "_look", lambda loop: None)
    not_looked = trained(digits, validate_every=250)
    assert steps(looked, "look") and not steps(not_looked, "look")
    for one, other in zip(looked.model.parameters(), not_looked.model.parameters(), strict=True):
        assert torch.equal(one, other)
