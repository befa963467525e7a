"""The average of the weights: what it is after each step, by hand."""

import copy
from functools import partial

import torch

from uncollapse.data import from_arrays
from uncollapse.distributions import Location
from uncollapse.training import Training, fit
from uncollapse.vae import LogLikelihood, MaximumLikelihood


def test_the_window_grows_with_the_training() -> None:
    """a ← d a + (1 - d) w, d = min(0.8, (1 + t) / (10 + t)), to 1e-12 in float64; w by a training of each length."""
    data = from_arrays(torch.randn(40, 1, dtype=torch.float64))
    start = Location(1).double()

    def trained(steps: int, ema: float) -> float:
        procedure = MaximumLikelihood(LogLikelihood(copy.deepcopy(start)))
        optimizer = partial(torch.optim.SGD, lr=0.3)
        fitted = fit(procedure, data, Training(steps=steps, batch_size=40, ema=ema, validate_every=steps), optimizer)
        return float(next(fitted.model.parameters()).detach())

    average = float(next(start.parameters()).detach())
    for t in range(12):
        decay = min(0.8, (1 + t) / (10 + t))
        average = decay * average + (1 - decay) * trained(t + 1, 0.0)
    assert abs(trained(12, 0.8) - average) < 1e-12
