"""The posteriors against scipy, their entropies, limits and refusals."""

from functools import partial

import numpy as np
import pytest
import torch
from scipy import special, stats
from torch import Size

from laws.numerics import assert_equal, assert_mean
from laws.parts import POSTERIORS, affine
from uncollapse.distributions import Free, FullGaussian, LogitNormal, Uniform, draw, posteriors
from uncollapse.networks import Bias

SHAPE = Size((3,))


def test_gaussian_is_scipys() -> None:
    """log N(z; μ, diag σ²) of μ and log σ side by side, and the entropy."""
    family, parameters, z = posteriors.Gaussian(2, SHAPE, affine), torch.randn(5, 4), torch.randn(5, 2)
    mu, sigma = parameters[:, :2].numpy(), parameters[:, 2:].exp().numpy()
    q = family.at(parameters)
    assert_equal(q.log_prob(z), torch.as_tensor(stats.norm.logpdf(z.numpy(), mu, sigma).sum(-1)))
    assert_equal(q.entropy(), torch.as_tensor(stats.norm.entropy(mu, sigma).sum(-1)))
    assert_equal(q.mean, parameters[:, :2])


@pytest.mark.parametrize("features", [1, 2, 4])
def test_full_gaussian_is_scipys(features: int) -> None:
    """log N(z; μ, S Sᵀ) and its entropy; S is lower triangular with a positive diagonal whatever the network says."""
    family = FullGaussian(features, SHAPE, affine)
    q, z = family(3 * torch.randn(6, 3)), torch.randn(6, features)
    assert (q.scale_tril.diagonal(dim1=-2, dim2=-1) > 0).all() and q.scale_tril.triu(1).abs().max() == 0
    for i in range(6):
        theirs = stats.multivariate_normal(q.mean[i].detach().numpy(), q.covariance_matrix[i].detach().numpy())
        assert_equal(q.log_prob(z)[i].detach(), torch.tensor(theirs.logpdf(z[i].numpy())), 1e-8)
        assert_equal(q.entropy()[i].detach(), torch.tensor(theirs.entropy()), 1e-8)


def test_full_gaussian_draws_have_its_covariance() -> None:
    """E[(z - μ)(z - μ)ᵀ] = S Sᵀ: 9 numbers over 20000 draws at 6 standard errors, failure rate 2e-8."""
    q = FullGaussian(3, SHAPE, affine).at(torch.randn(1, 9))
    e = q.sample(Size((20000,))).squeeze(1) - q.mean
    assert_mean(e.unsqueeze(-1) * e.unsqueeze(-2), q.covariance_matrix[0])


def test_logit_normal_is_a_transformed_scipy() -> None:
    """p(z) = N(logit v; μ, σ²) / (v (1 - v) (b - a)), v = (z - a) / (b - a)."""
    family, parameters, v = LogitNormal(2, SHAPE, affine, low=-2.0, high=3.0), torch.randn(5, 4), torch.rand(5, 2).numpy()
    mu, sigma = parameters[:, :2].numpy(), parameters[:, 2:].exp().numpy()
    density = stats.norm.pdf(special.logit(v), mu, sigma) / (v * (1 - v) * 5.0)
    assert_equal(
        family.at(parameters).log_prob(torch.as_tensor(-2.0 + 5.0 * v)), torch.as_tensor(np.log(density).sum(-1)), 1e-8
    )


@pytest.mark.parametrize("name", ["Gaussian", "Gaussian-limits", "FullGaussian"])
def test_entropy_is_the_mean_of_minus_log_q(name: str) -> None:
    """H[q] = -E_q[log q]: 4 numbers over 20000 draws at 6 standard errors, failure rate 8e-9."""
    q = POSTERIORS[name](2, SHAPE)(torch.randn(4, 3))
    assert_mean(-q.log_prob(q.sample(Size((20000,)))).detach(), q.entropy().detach())


def test_limits_hold_the_scale() -> None:
    """The log standard deviation stays between the limits; inside of them nothing changes."""
    family = posteriors.Gaussian(1, SHAPE, affine, limits=(-3.0, 1.0))
    log_sigma = family.at(torch.tensor([[0.0, -9.0], [0.0, 0.5], [0.0, 9.0]])).stddev.log()
    assert_equal(log_sigma, torch.tensor([[-3.0], [0.5], [1.0]]))


@pytest.mark.parametrize("factor", [0.5, 1.0, 3.0])
def test_widening_a_nearly_certain_posterior(factor: float) -> None:
    """Scales near the smallest that the full Gaussian has, and large ones, widen to finite parameters."""
    family = FullGaussian(2, SHAPE, affine)
    for diagonal in (-40.0, -10.0, 0.0, 50.0):
        parameters = torch.tensor([[0.0, 0.0, diagonal, diagonal, 0.3]])
        wide = family.at(family.widen(parameters, factor)).scale_tril
        assert wide.isfinite().all()
        scale = (factor * family.at(parameters).scale_tril.diagonal(dim1=-2, dim2=-1)).clamp(min=1e-6)
        assert_equal(wide.diagonal(dim1=-2, dim2=-1), scale, 1e-8)


def test_widening_has_the_precision_of_the_parameters() -> None:
    """In float64 it is exact to 1e-12 whatever the default precision is."""
    torch.set_default_dtype(torch.float32)
    parameters = torch.zeros(1, 2, dtype=torch.float64)
    for family in (posteriors.Gaussian(1, SHAPE, affine), LogitNormal(1, SHAPE, affine)):
        assert float(family.widen(parameters, 1.2)[0, 1]) == pytest.approx(np.log(1.2), abs=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-1.0, 1.0), (-1.0, 2.0)])
def test_saturated_draws_keep_a_density(dtype: torch.dtype, low: float, high: float) -> None:
    """Draws of a logit-normal pressed against an end have the density under the uniform prior, and their own: log q - log p is
    E|u| less the entropy of u, 90 - log √(2πe), at either end; 2000 draws at 6 standard errors, failure rate 5e-8."""
    q = LogitNormal(1, SHAPE, affine, low=low, high=high).at(torch.tensor([[-90.0, 0.0], [90.0, 0.0]], dtype=dtype))
    z, log_q = draw(q, Size((2000,)))
    log_p = Uniform(1, low, high).to(dtype)().log_prob(z)
    assert q.log_prob(z).isfinite().all() and len(log_p.unique()) == 1
    assert_mean((log_q - log_p).double(), 90 - 0.5 * np.log(2 * np.pi * np.e), slack=1e-4)


def test_mean_of_a_squeezed_gaussian_is_exact() -> None:
    """E[z] of the logit-normal, against scipy's quadrature, to 1e-6, so that an encoder that ignores x has no active units."""
    family = LogitNormal(1, SHAPE, affine, low=-2.0, high=3.0)
    for mu, log_sigma in ((0.0, 0.0), (1.5, -1.0), (-3.0, 1.0)):
        expected = stats.norm(mu, np.exp(log_sigma)).expect(lambda u: -2.0 + 5.0 * special.expit(u))
        assert float(family.at(torch.tensor([[mu, log_sigma]])).mean) == pytest.approx(expected, abs=1e-6)


def test_free_refuses_a_limit_without_a_step() -> None:
    """Fewer steps than one window would be no ascent at all."""
    with pytest.raises(ValueError, match="limit"):
        Free(2, SHAPE, partial(posteriors.Gaussian, network=affine), window=20, limit=10)


def test_logit_normal_refuses_an_empty_interval() -> None:
    """low must lie below high."""
    with pytest.raises(ValueError, match="low < high"):
        LogitNormal(2, SHAPE, affine, low=1.0, high=0.0)


def test_widening_starts_from_the_limits() -> None:
    """A log scale far below the limit is widened from the limit, so that the factor is what it says."""
    family = posteriors.Gaussian(1, Size((1,)), Bias, limits=(-3.0, 1.0))
    parameters = torch.tensor([[0.0, -50.0]])
    narrow, wide = family.at(parameters), family.at(family.widen(parameters, 1.5))
    assert float(wide.stddev / narrow.stddev) == pytest.approx(1.5)
