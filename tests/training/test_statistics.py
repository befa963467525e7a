"""Averaged weights are validated and kept with running statistics of their own, which leave the training as it is."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from uncollapse.data import from_arrays
from uncollapse.distributions import Generator, Normal
from uncollapse.divergences import Critic
from uncollapse.gan import GAN, ImplicitModel
from uncollapse.learning import Alternating
from uncollapse.networks import BatchNormMLP
from uncollapse.training import Training, fit

BATCH, MOMENTUM = 250, 0.1
normed = partial(BatchNormMLP, hidden=[4], std=0.5, momentum=MOMENTUM)
Named = dict[str, Tensor]


class Watching(Alternating):
    """Writes down the buffers after each step, and weights and buffers as validation sees them."""

    def __init__(self, objective: GAN):
        super().__init__(objective)
        self.after: list[Named] = []
        self.validated: list[Named] = []

    def step(self, x: Tensor, t: Tensor) -> Named:
        logged = super().step(x, t)
        self.after.append({name: value.clone() for name, value in self.objective.state_dict().items()})
        return logged

    def validate(self, batches: Any, t: Tensor) -> dict[str, Any]:
        self.validated.append({name: value.clone() for name, value in self.objective.state_dict().items()})
        return super().validate(batches, t)


def run(out: Path, steps: int = 8, resume: bool = False, ema: float = 0.75, every: int = 4) -> Watching:
    """A game whose players both have batch normalisation."""
    torch.manual_seed(0)
    procedure = Watching(GAN(ImplicitModel(Normal(2), Generator(2, (3,), normed)), partial(Critic, network=normed)))
    data = from_arrays(torch.randn(500, 3, generator=torch.Generator().manual_seed(1)) + 2)
    training = Training(steps=steps, batch_size=BATCH, log_every=2, validate_every=every, ema=ema)
    fit(procedure, data, training, partial(torch.optim.Adam, lr=0.3), out=out, resume=resume)
    return procedure


def test_validation_sees_the_statistics_of_the_averaged_weights(tmp_path: Path, float64: None) -> None:
    """What the generator's first layer gives for z of N(0, I) has mean 0 and the variance of its weights' squares. A running
    average has m / (2 - m) of the variance of a batch's moments: 16 of them at 6 standard errors, failure rate 3e-8; those of
    the last step's weights are further off."""
    procedure, name = run(tmp_path), "model.likelihood.network.layers"
    share = (MOMENTUM / (2 - MOMENTUM) / BATCH) ** 0.5
    assert len(procedure.validated) == 2
    for seen, last in zip(procedure.validated, procedure.after[3::4], strict=True):
        exact = seen[f"{name}.0.weight"].square().sum(1)
        assert (seen[f"{name}.1.running_mean"].abs() <= 6 * share * exact.sqrt()).all()
        assert ((seen[f"{name}.1.running_variance"] / exact - 1).abs() <= 6 * 2**0.5 * share).all()
        assert ((last[f"{name}.1.running_variance"] / exact - 1).abs() > 6 * 2**0.5 * share).any()


def test_they_are_kept_with_the_best_weights_and_the_training_goes_on_with_its_own(tmp_path: Path) -> None:
    """`best` is what a validation saw, `last` what the last step left; a training that is looked at less often is the same."""
    procedure, other = run(tmp_path / "often"), run(tmp_path / "seldom", every=8)
    folder = tmp_path / "often/checkpoints"
    best, last = (load_file(folder / name / "model.safetensors") for name in ("best", "last"))
    validated = procedure.validated[json.loads((folder / "best/state.json").read_text())["step"] // 4 - 1]
    assert any("running" in name for name in best)
    for name in best:
        assert torch.equal(best[name], validated[f"model.{name}"])
        assert torch.equal(last[name], procedure.after[-1][f"model.{name}"])
    assert all(torch.equal(value, other.after[-1][name]) for name, value in procedure.after[-1].items())


def test_a_game_with_batch_normalisation_resumes_to_the_same_numbers(tmp_path: Path) -> None:
    """8 steps, then 6 more, leave models and states as 14 in one go, bit for bit."""
    run(tmp_path / "whole", 14)
    run(tmp_path / "parts", 8)
    run(tmp_path / "parts", 14, resume=True)
    for name in ("last/model", "last/state", "best/model"):
        a, b = (load_file(tmp_path / of / "checkpoints" / f"{name}.safetensors") for of in ("whole", "parts"))
        assert a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_without_an_average_the_statistics_are_the_training_s(tmp_path: Path) -> None:
    """Validation sees the weights and the buffers of the last step."""
    procedure = run(tmp_path, 4, ema=0.0)
    assert all(torch.equal(value, procedure.after[-1][name]) for name, value in procedure.validated[0].items())
