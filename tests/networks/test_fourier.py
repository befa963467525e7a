"""Fourier features: what they are, that they are kept, and that they show what changes fast."""

import math
from functools import partial

import pytest
import torch
from torch import Size, nn

from uncollapse.networks import MLP, Fourier


def test_the_features_are_the_formula() -> None:
    network = Fourier(Size((2, 2)), Size((3,)), partial(MLP, hidden=[]), features=5, scale=0.3).double()
    x = torch.randn(7, 2, 2).double()
    angles = x.flatten(1) @ network.frequencies
    features = torch.cat((x.flatten(1), torch.cos(angles), torch.sin(angles)), 1)
    torch.testing.assert_close(network(x), network.network(features), rtol=0, atol=1e-12)


def test_frequencies_have_their_scale() -> None:
    """Their standard deviation is 2 π s: 20,000 draws, at 6 standard errors, failure rate 2e-9."""
    found = Fourier(Size((10,)), Size((1,)), features=2000, scale=0.7).frequencies
    assert abs(float(found.std()) / (2 * math.pi * 0.7) - 1) < 6 / math.sqrt(2 * 20_000)


def test_frequencies_are_saved_and_not_learned() -> None:
    network = Fourier(Size((2,)), Size((1,)))
    assert "frequencies" in network.state_dict() and all(p is not network.frequencies for p in network.parameters())


def test_what_changes_fast_is_learned_sooner() -> None:
    """cos 8 π x by 200 steps of Adam: with features a tenth of the squared error at most of a perceptron of x alone."""
    x = torch.linspace(-1, 1, 200)[:, None]
    y = torch.cos(8 * math.pi * x)
    errors = []
    for network in (
        MLP(Size((1,)), Size((1,)), [32]),
        Fourier(Size((1,)), Size((1,)), partial(MLP, hidden=[32]), 32, scale=3.0),
    ):
        optimizer = torch.optim.Adam(network.parameters(), 1e-2)
        for _ in range(200):
            loss = nn.functional.mse_loss(network(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        errors.append(float(loss.detach()))
    assert errors[1] < 0.1 * errors[0]


@pytest.mark.parametrize("wrong", [{"features": 0}, {"scale": 0.0}])
def test_refusals(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="expected at least 1 feature and a scale above 0, came"):
        Fourier(Size((2,)), Size((1,)), **wrong)  # type: ignore[arg-type]
