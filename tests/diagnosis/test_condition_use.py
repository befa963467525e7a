"""Whether a condition is used is told of models that use it, and of those that were built to ignore it."""

from functools import partial

import pytest
import torch
from torch import Size

from laws.parts import affine
from uncollapse.data import Batch, Space
from uncollapse.diagnosis import diagnose
from uncollapse.diagnosis.condition_use import IGNORED, condition_effect, condition_gain
from uncollapse.distributions import FixedSigma, Generator, Normal, likelihoods, posteriors
from uncollapse.gan import ImplicitModel
from uncollapse.networks import OneHot
from uncollapse.vae import VAE

LABELS = Space(Size(()), "label", 3).as_dict()


def made(weight: float, generator: bool = False):
    """A linear model whose mean is moved by `weight` for each class."""
    torch.manual_seed(0)
    likelihood = partial(likelihoods.Gaussian, network=affine, sigma=partial(FixedSigma, value=1.0))
    if generator:
        model = ImplicitModel.of(2, [4], Normal, partial(Generator, network=affine), None, OneHot, LABELS)
    else:
        model = VAE.of(2, [4], Normal, likelihood, partial(posteriors.Gaussian, network=affine), OneHot, LABELS)
    with torch.no_grad():
        layer = model.likelihood.network.layers[0]
        layer.weight[:, :2] = torch.randn(4, 2)
        layer.weight[:, 2:] = weight * torch.eye(4, 3)
    return model.eval()


@pytest.mark.parametrize("weight", [0.0, 2.0])
def test_the_gain_of_a_linear_model_is_half_the_squared_distance(weight: float, float64: None) -> None:
    """With σ = 1, data of the model itself: E log p(x|z, c) - log p(x|z, c') = |m_c - m_c'|² / 2 = weight²."""
    model = made(weight)
    labels = torch.arange(3000) % 3
    z, batch = model.simulate(3000, labels)
    found = condition_gain(model, z, batch)
    assert abs(found.mean - weight**2) < 5 * found.standard_error + 1e-12
    told = diagnose(model, batch._replace(features=None))
    line = "the condition is ignored" if weight == 0 else "nats by the own condition over another's"
    assert line in str(told)
    assert (told.condition_gain <= IGNORED) == (weight == 0)


@pytest.mark.parametrize("weight", [0.0, 2.0])
def test_the_effect_on_a_generator_is_that_of_its_weights(weight: float, float64: None) -> None:
    """E|W (z - z')|² = 2 |W|², and two classes are 2 weight² apart."""
    model = made(weight, generator=True)
    found = condition_effect(model, torch.arange(30_000) % 3)
    expected = weight**2 / float(model.likelihood.network.layers[0].weight[:, :2].detach().square().sum())
    assert found == pytest.approx(expected, rel=0.05)
    assert condition_effect(model, torch.zeros(10, dtype=torch.int64)) is None


def test_without_a_condition_nothing_is_said_of_one() -> None:
    model = VAE(Normal(2), likelihoods.Gaussian(2, Size((4,)), affine), posteriors.Gaussian(2, Size((4,)), affine))
    told = diagnose(model, torch.randn(50, 4))
    assert "condition" not in str(told) and not any("condition" in name for name in told.as_dict())
    assert Batch(torch.zeros(2, 4)).n == 2
