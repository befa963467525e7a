"""Hierarchical and semi-implicit posteriors: a bound takes the place of log q(z|x), and importance weights stay valid."""

import math
from functools import partial

import pytest
import torch
from torch import Size, Tensor

from laws.numerics import assert_equal, assert_mean
from laws.parts import affine, small, vae
from laws.ppca import PPCA
from uncollapse.diagnosis import diagnose
from uncollapse.distributions import Density, Hierarchical, SemiImplicit, draw
from uncollapse.distributions.densities import DiagonalNormal
from uncollapse.networks import Bias
from uncollapse.vae import ELBO, IWAE, VAE

t = torch.tensor(0)
FAMILIES = {
    "Hierarchical": partial(Hierarchical, network=affine, auxiliary=small, context=2, spread=0.5),
    "SemiImplicit": partial(SemiImplicit, network=affine, mixing=small, context=2, noise_features=2, j=3),
}


def model(name: str) -> tuple[PPCA, VAE]:
    """A linear-Gaussian model with a mixture for its posterior, near the exact mean and wide enough for finite variances."""
    ppca = PPCA(sigma=1.5)
    family = FAMILIES[name](2, Size((4,)))
    with torch.no_grad():
        family.network.layers[0].weight.zero_()
        family.network.layers[0].bias.mul_(0.2)
        inner = family.auxiliary if isinstance(family, Hierarchical) else family.mixing
        for p in inner.layers[-1].parameters():
            p.mul_(0.2)  # an r much wider than q(λ|x) would give weights an infinite variance
    return ppca, VAE(ppca.vae.prior, ppca.vae.likelihood, family)


@pytest.mark.parametrize("name", FAMILIES)
def test_importance_weights_average_to_the_evidence(name: str) -> None:
    """E[w] = p(x) with the bound in the place of log q(z|x): 20000 rows of one draw each, 6 standard errors, failure rate 4e-9;
    so the ELBO stays below log p(x) in expectation."""
    ppca, mixed = model(name)
    assert mixed.posterior.density is Density.BOUND
    x = 0.3 * ppca.sample(1).expand(20000, -1)
    log_w = (mixed.terms(x, k=1).log_w[0] - ppca.log_prob(x)).detach()
    assert_mean(log_w.exp(), 1.0)
    assert float(log_w.mean()) < 6 * float(log_w.std()) / 20000**0.5


@pytest.mark.parametrize("name", FAMILIES)
def test_importance_weighted_bound_rises_with_k(name: str) -> None:
    """E[IWAE_K] rises over K = 1, 10 and stays below log p(x), one-sided at 6 standard errors over 2000 rows."""
    ppca, mixed = model(name)
    x = 0.3 * ppca.sample(1).expand(2000, -1)
    gaps = [(ppca.log_prob(x) - IWAE(mixed, k)(x, t)[0]).detach() for k in (1, 10)]
    assert float(gaps[0].mean()) > float(gaps[1].mean()) > -6 * float(gaps[1].std()) / 2000**0.5


def test_a_certain_prior_over_parameters_is_the_gaussian() -> None:
    """λ deterministic and r blind: log q is the Gaussian's at every draw, to 1e-10."""
    family = Hierarchical(2, Size((3,)), affine, Bias, context=1, transforms=0, spread=1.0)
    mu, log_s = torch.randn(5, 2), 0.5 * torch.randn(5, 2)
    parameters = torch.cat((mu, log_s, torch.full((5, 4), -40.0), torch.zeros(5, 1)), -1)
    z, log_q = draw(family.at(parameters), Size((6,)))
    assert_equal(log_q, DiagonalNormal(mu, log_s).log_prob(z))


def test_a_certain_mixing_is_the_gaussian() -> None:
    """ψ deterministic: log q is the Gaussian's at every draw for every J, to 1e-10."""
    for j in (0, 1, 7):
        family = SemiImplicit(2, Size((3,)), affine, Bias, j=j, context=1)
        parameters = torch.randn(5, 5)
        z, log_q = draw(family.at(parameters), Size((6,)))
        assert_equal(log_q, DiagonalNormal(parameters[:, :2], parameters[:, 2:4]).log_prob(z))
        assert draw(family.at(parameters))[1].shape == (5,)


def linear_mixing(j: int) -> SemiImplicit:
    """ψ = μ + ε, so that q(z|x) = N(μ, σ² + 1) is known."""
    family = SemiImplicit(1, Size((3,)), affine, affine, j=j, context=1, noise_features=1)
    with torch.no_grad():
        family.mixing.layers[0].weight.copy_(torch.tensor([[0.0, 1.0]]))
        family.mixing.layers[0].bias.zero_()
    return family


def test_semi_implicit_bound_tightens_with_j() -> None:
    """Where q(z|x) is a known Gaussian, the mean of what takes log q's place is above it and falls to it over J = 0, 3, 30, 300
    (4000 rows each); the draws are that Gaussian's (2 numbers at 6 standard errors)."""
    parameters = torch.tensor([[0.5, -1.0, 0.0]]).expand(4000, -1)
    exact = DiagonalNormal(torch.tensor([0.5]), torch.tensor([0.5 * math.log(1 + math.exp(-2.0))]))
    gaps = []
    for j in (0, 3, 30, 300):
        z, log_q = draw(linear_mixing(j).at(parameters))
        gaps.append((log_q - exact.log_prob(z)).detach())
    means = [float(gap.mean()) for gap in gaps]
    assert means[0] > means[1] > means[2] > -6 * float(gaps[2].std()) / 4000**0.5
    assert abs(means[3]) < 0.02
    assert_mean(torch.cat((z, (z - 0.5).square()), -1).detach(), torch.tensor([0.5, 1 + math.exp(-2.0)]))


def test_hierarchical_bound_is_tight_at_the_exact_auxiliary() -> None:
    """z = u + s ε with u ~ N(0, 1): r(u|z) = N(z / (1 + s²), s² / (1 + s²)) makes what takes log q's place log q itself at
    every draw, to 1e-10; a blind r leaves a gap that is positive in the mean."""

    def family(weight: float, stretch: float) -> Hierarchical:
        part = Hierarchical(1, Size((3,)), affine, affine, transforms=0, context=0, spread=1.0)
        with torch.no_grad():
            part.auxiliary.layers[0].weight.zero_()[0, 0] = weight
            part.auxiliary.layers[0].bias.copy_(torch.tensor([0.0, 0.0, stretch, 0.0]))
        return part

    s = 0.6
    parameters = torch.tensor([[0.0, math.log(s), 0.0, -40.0]]).expand(2000, -1)  # log s is certain
    exact = DiagonalNormal(torch.zeros(1), torch.tensor([0.5 * math.log(1 + s**2)]))
    z, log_q = draw(family(1 / (1 + s**2), 0.5 * math.log(s**2 / (1 + s**2))).at(parameters))
    assert_equal(log_q, exact.log_prob(z))
    z, log_q = draw(family(0.0, 0.0).at(parameters))
    assert float((log_q - exact.log_prob(z)).mean().detach()) > 0.1


@pytest.mark.parametrize("name", FAMILIES)
def test_draws_of_others_have_no_density(name: str) -> None:
    """`log_prob` says what to write; the doubly reparameterised gradient is refused; gradients reach every weight."""
    mixed, x = vae(posterior=name), torch.bernoulli(torch.full((30, 3), 0.5))
    with pytest.raises(NotImplementedError, match="write z, log_q = draw"):
        mixed.posterior(x).log_prob(torch.zeros(2))
    with pytest.raises(ValueError, match="exact log q"):
        IWAE(mixed, doubly_reparameterized=True)
    ELBO(mixed, k=3)(x, t)[0].mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in mixed.posterior.parameters())
    assert diagnose(mixed, x).estimator.startswith("lower bound")


def _blind(x: Tensor, family: SemiImplicit) -> float:
    seen = diagnose(VAE(vae().prior, vae().likelihood, family), x)
    return max(float(seen.active_units), seen.mutual_information)


def test_a_constant_mixture_tells_nothing() -> None:
    """No active unit and no information where the posterior is the same for every x, though its moments come from draws."""
    family = SemiImplicit(2, Size((3,)), Bias, small)
    assert _blind(torch.bernoulli(torch.full((400, 3), 0.5)), family) < 0.05


def test_refusals() -> None:
    """Negative J, no noise, a spread of zero."""
    with pytest.raises(ValueError, match="j=-1"):
        SemiImplicit(2, Size((3,)), affine, j=-1)
    with pytest.raises(ValueError, match="noise_features=0"):
        SemiImplicit(2, Size((3,)), affine, noise_features=0)
    with pytest.raises(ValueError, match=r"spread=0\.0"):
        Hierarchical(2, Size((3,)), affine, spread=0.0)


def test_widening_a_hierarchical_posterior_widens_what_is_drawn_last() -> None:
    """Without maps, and with the same noise: z - m is `factor` times as large, m is where it was."""
    family, parameters = Hierarchical(2, Size((3,)), affine, transforms=0, context=0), 0.3 * torch.randn(5, 8)

    def parts(parameters: Tensor) -> tuple[Tensor, Tensor]:
        q = family.at(parameters)
        torch.manual_seed(1)
        m = q.start.rsample(Size((4,)))[..., :2]
        torch.manual_seed(1)
        return m, q.rsample(Size((4,)))

    (m, z), (same, wider) = parts(parameters), parts(family.widen(parameters, 3.0))
    assert_equal(same, m)
    assert_equal(wider - m, 3 * (z - m))
