"""The density of what was observed: values that are missing are integrated out."""

from functools import partial

import pytest
import torch
from torch import Size
from torch.distributions import MultivariateNormal

from laws.numerics import assert_equal
from laws.parts import LIKELIHOODS, WITHOUT_MEAN, vae
from laws.ppca import PPCA
from uncollapse.data import Batch
from uncollapse.distributions import LatentVariableModel, Normal
from uncollapse.evaluation import log_likelihood
from uncollapse.vae import ELBO, IWAE

SHAPE = Size((1, 2, 3))
FACTORISED = sorted(set(LIKELIHOODS) - WITHOUT_MEAN)


@pytest.mark.parametrize("name", FACTORISED)
def test_a_masked_density_is_that_of_what_was_observed(name: str) -> None:
    """The densities of two halves add up to that of the whole, whatever stands in the place of a missing value."""
    model = LatentVariableModel(Normal(2), LIKELIHOODS[name](2, SHAPE)).eval()
    z, mask = torch.randn(4, 3, 2), torch.rand(3, *SHAPE) < 0.5
    x = model.observe(z[0], torch.zeros(3, *SHAPE)).sample()
    whole = model.log_likelihood(z, Batch(x))
    assert_equal(model.log_likelihood(z, Batch(x, mask=torch.ones_like(mask))), whole)
    observed, rest = (model.log_likelihood(z, Batch(x, mask=part)) for part in (mask, ~mask))
    assert_equal(observed + rest, whole)
    other = torch.where(mask, x, model.observe(z[1], x).sample())
    assert torch.equal(model.log_likelihood(z, Batch(other, mask=mask)), observed)


@pytest.mark.parametrize("name", sorted(WITHOUT_MEAN))
def test_a_likelihood_that_does_not_factorise_refuses_missing_values(name: str) -> None:
    shape = SHAPE if "Pixel" in name else Size((4,))
    model = LatentVariableModel(Normal(2), LIKELIHOODS[name](2, shape)).eval()
    x = torch.zeros(3, *shape)
    with pytest.raises(ValueError, match=r"expected whole observations, got some with missing values: .* is not known; use"):
        model.log_likelihood(torch.randn(3, 2), Batch(x, mask=x == 0))


def test_a_sigma_that_is_estimated_refuses_missing_values_while_it_is() -> None:
    model = LatentVariableModel(Normal(2), LIKELIHOODS["Gaussian-OptimalSigma"](2, SHAPE))
    x = torch.zeros(3, *SHAPE)
    with pytest.raises(ValueError, match="OptimalSigma is estimated from whole observations"):
        model.train().log_likelihood(torch.randn(3, 2), Batch(x, mask=x == 0))


class Holed:
    """PPCA whose observations miss the values 1 and 3, and the exact posterior of what is left as its encoder."""

    def __init__(self) -> None:
        self.ppca = PPCA()
        self.mask = torch.tensor([True, False, True, False])
        w, sigma = self.ppca.decoder.weight.detach()[self.mask], self.ppca.sigma
        b = self.ppca.decoder.bias.detach()[self.mask]
        self.marginal = MultivariateNormal(b, w @ w.T + sigma**2 * torch.eye(2))
        gain = w.T @ w + sigma**2 * torch.eye(2)
        mean, covariance = torch.linalg.solve(gain, w.T), torch.linalg.inv(gain) * sigma**2
        tril = torch.linalg.cholesky(covariance)
        with torch.no_grad():
            encoder, posterior = self.ppca.encoder, self.ppca.vae.posterior
            encoder.weight.zero_()
            encoder.weight[:2, self.mask] = mean
            rest = torch.cat((tril.diagonal().sub(1e-6).expm1().log(), tril[tuple(posterior.below)]))
            encoder.bias.copy_(torch.cat((-mean @ b, rest)))

    def batch(self, n: int) -> Batch:
        x, mask = self.ppca.sample(n), self.mask.expand(n, 4)
        return Batch(torch.where(mask, x, 0.0), mask=mask)


def test_the_evidence_of_a_linear_model_with_holes_is_exact() -> None:
    """At the exact posterior of what was observed each weight is its density, and ELBO, IWAE and importance sampling are it."""
    holed = Holed()
    batch = holed.batch(20)
    exact = holed.marginal.log_prob(batch.x[:, holed.mask])
    model, t = holed.ppca.vae, torch.zeros(())
    assert_equal(model.terms(batch, k=3).log_w, exact.expand(3, 20), 1e-7)
    assert_equal(IWAE(model, k=4)(batch, t)[0], exact, 1e-7)
    assert_equal(log_likelihood(model, batch, k=5).log_likelihoods, exact, 1e-7)
    n = 4000
    elbo = torch.stack([ELBO(model, k=200)(batch, t)[0] for _ in range(n // 200)])
    error = elbo.std(0) / len(elbo) ** 0.5
    assert ((elbo.mean(0) - exact).abs() < 6 * error + 1e-7).all()  # false-failure rate 20 · 1e-6 by Student's t of 19


@pytest.mark.parametrize("objective", [ELBO, partial(IWAE, k=3)])
def test_what_stands_in_a_hole_moves_nothing(objective) -> None:
    """Neither the bound nor a gradient, for the decoder; the encoder sees zero there, as the data give it."""
    model = vae(posterior="Gaussian", likelihood="Bernoulli")
    x, mask = torch.zeros(5, *model.likelihood.shape), torch.rand(5, *model.likelihood.shape) < 0.5
    found = []
    for inside in (0.0, 1.0):
        torch.manual_seed(0)
        z = torch.randn(3, 5, model.prior.features)
        bound = model.log_likelihood(z, Batch(torch.where(mask, x, inside), mask=mask))
        found.append(torch.autograd.grad(bound.sum(), list(model.likelihood.parameters())))
    for a, b in zip(*found, strict=True):
        assert torch.equal(a, b)
    assert objective(model)(Batch(x, mask=mask), torch.zeros(()))[0].shape == (5,)
