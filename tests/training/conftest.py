"""A small model on digits, and a training of it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from uncollapse.data import Data, load
from uncollapse.distributions import Bernoulli, Normal, posteriors
from uncollapse.networks import MLP
from uncollapse.training import Fitted, Training, fit
from uncollapse.vae import ELBO, VAE, Amortized


@pytest.fixture(scope="session")
def digits() -> Data:
    """Digits, binarised at each draw."""
    return load("digits", binarize="dynamic")


def small_vae() -> VAE:
    """A VAE with one small hidden layer, its weights always the same."""
    torch.manual_seed(0)

    def network(i: torch.Size, o: torch.Size) -> MLP:
        return MLP(i, o, hidden=[16])

    return VAE(Normal(3), Bernoulli(3, (1, 8, 8), network), posteriors.Gaussian(3, (1, 8, 8), network))


@pytest.fixture
def run(digits: Data) -> Callable[..., Fitted]:
    """Train the small model: run(out, steps=..., resume=..., **settings of Training)."""

    def trained(out: Path | None = None, resume: bool = False, observers: Any = (), **settings: Any) -> Fitted:
        chosen = {"steps": 60, "batch_size": 50, "log_every": 7, "validate_every": 20, "ema": 0.9, **settings}
        return fit(Amortized(ELBO(small_vae())), digits, Training(**chosen), out=out, resume=resume, observers=observers)

    return trained
