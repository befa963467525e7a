"""Importance sampling around a mode: exact on the linear-Gaussian model, right on one mode, half the mass on one of two."""

import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Size, Tensor, nn

from laws.numerics import assert_equal, support_grid
from laws.ppca import PPCA
from uncollapse.distributions import (
    Bernoulli,
    FixedSigma,
    Generator,
    LatentVariableModel,
    Mixture,
    Normal,
    Prior,
    Uniform,
    likelihoods,
)
from uncollapse.evaluation import Annealing, Laplace, located_likelihood, observed
from uncollapse.gan import ImplicitModel
from uncollapse.networks import MLP, Bias

SHORT = Annealing(15, leapfrogs=2, step_size=0.3, adapt="never")


@pytest.fixture(autouse=True)
def _float64(float64: None) -> None:
    """The precision of every part built here."""


@pytest.fixture
def known(float64: None) -> PPCA:
    """Ten dimensions, three latents, the noise small."""
    return PPCA(data=10, latent=3, sigma=0.3)


@pytest.fixture
def bare(known: PPCA) -> LatentVariableModel:
    """Its generator alone, without an encoder."""
    return ImplicitModel(known.vae.prior, known.vae.likelihood)


def test_of_a_linear_gaussian_model_it_is_the_posterior(known: PPCA, bare: LatentVariableModel) -> None:
    x = known.sample(8)
    q, exact = Laplace(bare, annealing=SHORT)(x), known.posterior(x)
    assert_equal(q.mean, exact.mean, 1e-8)
    assert_equal(q.covariance_matrix, exact.covariance_matrix.expand(8, 3, 3), 1e-8)
    assert known.vae.likelihood.training and all(p.requires_grad for p in bare.parameters())


def test_from_the_posterior_every_sample_is_exact(known: PPCA, bare: LatentVariableModel) -> None:
    x = known.sample(8)
    found = located_likelihood(bare, x, k=3, factor=1.0, annealing=SHORT)
    assert_equal(found.log_likelihoods, known.log_prob(x).detach(), 1e-8)
    assert found.effective_sample_size == pytest.approx(3)
    assert -found.elbo == pytest.approx(found.nll)


@pytest.mark.parametrize("factor", [1.2, 2.0])
def test_a_widened_proposal_finds_the_evidence(known: PPCA, bare: LatentVariableModel, factor: float) -> None:
    """At 6 of its own sampling errors, failure rate 2e-9; in batches, one after another, as in one."""
    x = known.sample(30)
    found = located_likelihood(bare, iter(x.split(7)), 2000, factor, annealing=SHORT, dequantized=256)
    exact = -float(known.log_prob(x).detach().mean())
    assert abs(found.nll - exact) <= 6 * found.nll_sampling_error
    assert found.nll_sampling_error < 0.02
    assert found.bits_per_dim == pytest.approx(found.nll / (10 * math.log(2)) + 8)


def test_a_generator_is_sampled_through_its_observation_noise(known: PPCA) -> None:
    model = ImplicitModel(Normal(3), Generator(3, Size((10,)), lambda i, o: known.vae.likelihood.network))
    x = known.sample(5)
    found = located_likelihood(observed(model, known.sigma), x, k=2, factor=1.0, annealing=SHORT)
    assert_equal(found.log_likelihoods, known.log_prob(x).detach(), 1e-8)


@pytest.mark.parametrize("prior", [Normal, partial(Uniform, low=-1.0, high=2.0)], ids=["normal", "uniform"])
@pytest.mark.parametrize("kind", ["gaussian", "bernoulli"])
def test_a_network_against_quadrature(prior: Callable[[int], Prior], kind: str) -> None:
    """log p(x) of 6 images by the midpoint rule, the mean at 6 sampling errors (failure rate 1e-8 in all)."""
    shape, decoder = Size((6,)), partial(MLP, hidden=[8], activation=nn.Tanh)
    gaussian = partial(likelihoods.Gaussian, sigma=partial(FixedSigma, value=0.5))
    model = LatentVariableModel(prior(1), (gaussian if kind == "gaussian" else Bernoulli)(1, shape, decoder))
    x, (grid, area) = model.sample(6), support_grid(model.prior, 1)
    with torch.no_grad():
        joint = model.log_joint(x, grid.unsqueeze(1).expand(-1, len(x), -1))
    exact = float((joint + area.log().unsqueeze(1)).logsumexp(0).mean())
    found = located_likelihood(model, x, 3000, annealing=SHORT)
    assert abs(-found.nll - exact) <= 6 * found.nll_sampling_error + 1e-6
    assert found.nll_sampling_error < 0.02


class Square(nn.Module):
    """z² in every dimension."""

    def forward(self, z: Tensor) -> Tensor:
        return z.square().expand(*z.shape[:-1], 4)


def test_of_two_modes_it_sees_one() -> None:
    """log 2 nats are missing, and the effective sample size is none the wiser: what the docstring warns of."""
    model = LatentVariableModel(
        Normal(1), likelihoods.Gaussian(1, Size((4,)), lambda i, o: Square(), partial(FixedSigma, value=0.2))
    )
    x, (grid, area) = torch.full((1, 4), 2.25), support_grid(model.prior, 1)
    with torch.no_grad():
        joint = model.log_joint(x, grid.unsqueeze(1))[:, 0]
    found = located_likelihood(model, x, 2000, annealing=SHORT)
    assert float((joint + area.log()).logsumexp(0)) + found.nll == pytest.approx(math.log(2), abs=0.02)
    assert found.effective_sample_size > 1000


def test_the_decoder_never_gives_more_than_the_budget(known: PPCA, bare: LatentVariableModel) -> None:
    rows: list[int] = []
    known.vae.likelihood.network.register_forward_hook(lambda module, given, output: rows.append(output.numel() // 10))
    located_likelihood(bare, known.sample(9), 40, annealing=Annealing(2, leapfrogs=1, adapt="never"), steps=1, budget=10 * 16)
    assert max(rows) <= 16


def test_refusals(known: PPCA, bare: LatentVariableModel) -> None:
    with pytest.raises(ValueError, match=r"has an encoder; write log_likelihood\(model, x\)"):
        located_likelihood(known.vae, known.sample(2))
    with pytest.raises(ValueError, match="give it a Gaussian observation model"):
        located_likelihood(ImplicitModel(Normal(2), Generator(2, Size((4,)), MLP)), torch.zeros(2, 4))
    with pytest.raises(ValueError, match="chains of at least 1 and steps of at least 0, came chains=0"):
        Laplace(bare, chains=0)
    with pytest.raises(ValueError, match="factor above 0"):
        located_likelihood(bare, known.sample(2), factor=0.0)


def test_it_is_no_wider_than_a_standard_normal() -> None:
    """Beside a likelihood that z does not move, a prior of standard deviation 10 or 0.1: 1 of the former, as is stated, and
    the prior's own of the latter."""
    for scale, expected in ((10.0, 1.0), (0.1, 0.1)):
        prior = Mixture(2, 1, spread=0.0, scale=scale)
        model = LatentVariableModel(prior, likelihoods.Gaussian(2, Size((3,)), Bias))
        assert_equal(Laplace(model, annealing=SHORT)(torch.zeros(2, 3)).stddev, torch.full((2, 2), expected), 1e-6)
