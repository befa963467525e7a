"""What is not finite never reaches the weights, and stops the run at the next line of the log."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.training.conftest import small_vae
from torch import Tensor

from uncollapse.data import Data, from_arrays
from uncollapse.training import Training, TrainingError, fit
from uncollapse.training.checkpoint import verify
from uncollapse.vae import ELBO, Amortized


class Breaking(ELBO):
    """An ELBO that is broken at one step: its likelihood, its divergence, or its gradient alone."""

    at, term = 23, "log_likelihood"

    def forward(self, x: Tensor, t: Tensor, parameters: Tensor | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        bound, logged = super().forward(x, t, parameters)
        if int(t) != self.at:
            return bound, logged
        if self.term == "gradient":
            weight = next(self.parameters()).flatten()[0]
            return bound + torch.where(
                weight == weight.detach() - 1, weight / 0, (weight - weight.detach()).abs().sqrt()
            ), logged
        broken = logged[self.term] * (torch.inf if self.term == "kl" else torch.nan)
        return bound + broken, {**logged, self.term: broken}


@pytest.mark.parametrize("term", ["log_likelihood", "kl", "gradient"])
def test_a_broken_step_stops_the_run_and_names_the_term(term: str, digits: Data, tmp_path: Path) -> None:
    objective = Breaking(small_vae())
    objective.term = term
    training = Training(steps=60, batch_size=50, log_every=10, validate_every=20)
    said = f"{term}.* by step 30: 1 steps were skipped and moved no weight; the checkpoint of step 20 in .* is whole"
    with pytest.raises(TrainingError, match=said):
        fit(Amortized(objective), digits, training, out=tmp_path / "run")
    assert verify(tmp_path / "run/checkpoints/last")["step"] == 20
    assert all(p.isfinite().all() for p in objective.parameters())


def test_a_skipped_step_leaves_the_weights_as_they_were(digits: Data) -> None:
    """The run whose step 23 is broken stops at 24 with the weights that a run of 23 steps has."""

    def weights(steps: int, broken: bool) -> list[Tensor]:
        objective = Breaking(small_vae()) if broken else ELBO(small_vae())
        training = Training(steps=steps, batch_size=50, log_every=1, validate_every=1000)
        try:
            fit(Amortized(objective), digits, training)
        except TrainingError as error:
            assert "by step 24" in str(error)
        return [p.detach().clone() for p in objective.parameters()]

    assert all(torch.equal(a, b) for a, b in zip(weights(40, broken=True), weights(23, broken=False), strict=True))


def test_data_that_the_likelihood_cannot_score_are_refused_at_the_door(run: Callable, tmp_path: Path) -> None:
    from uncollapse.data import load

    with pytest.raises(
        ValueError, match=r"Bernoulli expects data of 2 levels, digits has data of 17 levels; write --data\.binarize"
    ):
        fit(Amortized(ELBO(small_vae())), load("digits"), Training(steps=1), out=tmp_path / "run")


@pytest.mark.parametrize("n", [2, 3])
def test_too_few_observations_are_refused_before_the_first_step(n: int, tmp_path: Path) -> None:
    """Of two rows none is left to validate on, of three one to learn from; four can be learned from."""
    objective = ELBO(small_vae())
    training = Training(steps=2, batch_size=2, log_every=1, validate_every=2)
    message = "at least 3 observations of few" if n == 2 else "at least 2 observations of few to learn from, got 1 beside 1"
    with pytest.raises(ValueError, match=message):
        fit(Amortized(objective), from_arrays(np.eye(64)[:n].reshape(n, 1, 8, 8), name="few"), training, out=tmp_path / "run")
    assert not (tmp_path / "run" / "metrics.jsonl").exists()
    fit(Amortized(objective), from_arrays(np.eye(64)[:4].reshape(4, 1, 8, 8), name="few"), training)
