"""Gaussian noise on a generator: its density, and that the σ chosen is the one that made the data."""

import math
from functools import partial

import pytest
import torch
from torch import Size, Tensor
from torch.distributions import Independent, MultivariateNormal, Normal

from laws.numerics import assert_equal
from laws.parts import affine
from uncollapse import distributions
from uncollapse.distributions import Generator, LatentVariableModel
from uncollapse.evaluation import Annealing, Observed, ais, choose_noise, observed
from uncollapse.evaluation.observation import spread
from uncollapse.gan import ImplicitModel
from uncollapse.networks import Bias, dcgan

D, L = 20, 2
QUICK = Annealing(30, leapfrogs=2, step_size=0.25, adapt="never")


@pytest.fixture(autouse=True)
def _float64(float64: None) -> None:
    """The precision of every part built here."""


@pytest.fixture
def linear(float64: None) -> LatentVariableModel:
    """x = W z + b, without a density."""
    model = ImplicitModel(distributions.Normal(L), Generator(L, Size((D,)), affine))
    torch.nn.init.normal_(model.likelihood.network.layers[0].weight, std=0.5)
    return model


def marginal(model: LatentVariableModel, sigma: float) -> MultivariateNormal:
    """p(x) of x = W z + b + σ η."""
    layer = model.likelihood.network.layers[0]
    w = layer.weight.detach()
    return MultivariateNormal(layer.bias.detach(), w @ w.T + sigma**2 * torch.eye(D))


def test_the_density_is_the_gaussians(linear: LatentVariableModel) -> None:
    z, x = torch.randn(3, 5, L), torch.randn(5, D)
    p = Observed(linear.likelihood, 0.3)(z)
    assert_equal(p.log_prob(x), Independent(Normal(linear.likelihood(z).mean, 0.3), 1).log_prob(x))
    assert_equal(p.mean, linear.likelihood(z).mean)
    assert_equal(p.variance, torch.full_like(p.mean, 0.09))


def test_an_observed_model_shares_its_parts(linear: LatentVariableModel) -> None:
    seen = observed(linear, 0.3)
    assert seen.prior is linear.prior
    assert {id(p) for p in seen.parameters()} == {id(p) for p in linear.parameters()}
    x, z = torch.randn(5, D), torch.randn(3, 5, L)
    assert_equal(seen.log_joint(x, z), seen.likelihood(z).log_prob(x) + linear.prior().log_prob(z))


def test_ais_of_a_generator_finds_its_evidence(linear: LatentVariableModel) -> None:
    """Each of 10 images within 6 of its standard errors, failure rate 2e-8."""
    exact = marginal(linear, 0.7)
    x = exact.sample(Size((10,)))
    found = ais(observed(linear, 0.7), x, annealing=Annealing(200, leapfrogs=4, step_size=0.1, adapt="never"))
    weights = (found.log_weights - exact.log_prob(x)).exp()
    assert ((weights.mean(0) - 1).abs() <= 6 * weights.std(0) / 4).all()


@pytest.mark.parametrize("sigma", [0.5, 1.0])
def test_it_finds_the_noise_that_made_the_data(linear: LatentVariableModel, sigma: float) -> None:
    """σ of maximum likelihood on these images to the 4 % that golden section leaves, and the σ that made them to 6 standard
    errors of its estimate, 1 / sqrt(2 V (D - L)), beside these: failure rate 4e-9 in all."""
    x = marginal(linear, sigma).sample(Size((100,)))
    found = choose_noise(linear, x, annealing=QUICK)
    grid = [sigma * 1.01**i for i in range(-30, 31)]
    best = max(grid, key=lambda s: float(marginal(linear, s).log_prob(x).mean()))
    assert abs(math.log(found.sigma / best)) < 0.05
    assert abs(math.log(found.sigma / sigma)) < 0.04 + 6 / math.sqrt(2 * 100 * (D - L))
    assert found.sigma < spread(linear, x) and (found.n, found.chains, found.temperatures) == (100, 2, 30)


def test_what_is_chosen_is_the_best_that_was_tried(linear: LatentVariableModel) -> None:
    x = marginal(linear, 0.5).sample(Size((20,)))
    found = choose_noise(linear, x, annealing=QUICK, steps=4)
    assert len(found.tried) == len(found.log_likelihoods) == 6
    assert found.log_likelihoods[found.tried.index(found.sigma)] == max(found.log_likelihoods)
    again = ais(observed(linear, found.sigma), x, 2, QUICK).log_likelihood.mean()
    assert max(found.log_likelihoods) == pytest.approx(float(again), abs=1e-12)


def test_the_largest_noise_is_the_distance_of_draws_from_images() -> None:
    """Of a generator that ignores z exactly the root mean square error, and that is its best σ."""
    model = LatentVariableModel(distributions.Normal(L), Generator(L, Size((D,)), Bias))
    x = 0.3 + 0.2 * torch.randn(50, D)
    rms = float(x.square().mean().sqrt())
    assert spread(model, x) == pytest.approx(rms)
    assert choose_noise(model, x, annealing=Annealing(1)).sigma == pytest.approx(rms, rel=0.04)


def test_a_network_with_a_batch_norm_is_seen_in_eval() -> None:
    generator = Generator(4, Size((1, 32, 32)), partial(dcgan.DCGANGenerator, width=2))
    model = ImplicitModel(distributions.Normal(4), generator).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    x, state = torch.rand(3, 1, 32, 32), torch.get_rng_state()
    choose_noise(model, x, 1, Annealing(2, leapfrogs=1, adapt="never"), steps=1)
    assert model.training and torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("sigma", [0.0, -0.1, math.nan, math.inf])
def test_it_refuses_no_noise(linear: LatentVariableModel, sigma: float) -> None:
    with pytest.raises(ValueError, match=r"observation noise above 0, came .*; write --observation-noise 0.1"):
        observed(linear, sigma)


def test_it_refuses_what_has_no_best_noise(linear: LatentVariableModel) -> None:
    model = LatentVariableModel(distributions.Normal(L), Generator(L, Size((D,)), Bias))
    with pytest.raises(ValueError, match=r"differ from the validation images, came a distance of 0\.0"):
        choose_noise(model, torch.zeros(5, D))
    with pytest.raises(ValueError, match="steps of at least 1, came 0"):
        choose_noise(linear, torch.zeros(5, D), steps=0)


def test_a_likelihood_without_a_mean_is_refused() -> None:
    """`Observed` of what can only be drawn from says so, where chains start."""

    class Meanless(Generator):
        def forward(self, c: Tensor | None = None) -> torch.distributions.Distribution:
            return torch.distributions.Distribution(c.shape[:-1] if c is not None else Size(), self.shape, validate_args=False)

    model = observed(LatentVariableModel(distributions.Normal(L), Meanless(L, Size((D,)), Bias)), 1.0)
    with pytest.raises(ValueError, match="Observed gives none"):
        ais(model, torch.zeros(2, D), annealing=Annealing(1))


def test_the_largest_noise_counts_how_far_draws_differ(linear: LatentVariableModel) -> None:
    """Of images that are all b, where the mean of draws lies: σ₁² is the variance of a draw, the mean of diag(W Wᵀ); 256 draws
    of 2 latents at 6 of their standard errors."""
    layer = linear.likelihood.network.layers[0]
    own = layer.weight.detach().square().sum(1)
    covariance = layer.weight.detach() @ layer.weight.detach().T
    error = math.sqrt(2 * float(covariance.square().sum()) / 256) / D
    found = spread(linear, layer.bias.detach().expand(10, D)) ** 2
    assert abs(found - float(own.mean())) < 6 * error < float(own.mean())
