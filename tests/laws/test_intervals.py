"""Latents on an interval: however hard q presses against an end, its divergence is the exact one and no bound is passed."""

import math
from collections.abc import Callable
from unittest.mock import patch

import numpy as np
import pytest
import torch
from scipy import special, stats
from torch import Size, Tensor

from laws.numerics import assert_equal, assert_mean
from laws.parts import affine
from uncollapse import noise
from uncollapse.distributions import (
    Bernoulli,
    FixedSigma,
    LogitNormal,
    Uniform,
    VampPrior,
    draw,
    draw_scored,
    likelihoods,
)
from uncollapse.distributions.densities import SqueezedNormal
from uncollapse.distributions.mixtures import SqueezedMixture
from uncollapse.evaluation import FromPosterior, Widened, ais, log_likelihood
from uncollapse.networks import Bias
from uncollapse.vae import ELBO, IWAE, VAE, Bound, EntropyELBO, InfoVAE, JointELBO, ReweightedEM

t = torch.tensor(0)
SHAPE = Size((4,))
INTERVALS = [(0.0, 1.0), (-1.0, 1.0), (-1.0, 2.0), (-1.0, 0.0)]
LOCATIONS = [(0.0, 1.0), (10.0, 1.0), (18.0, 1.0), (-18.0, 1.0), (40.0, 1.0), (-40.0, 1.0), (0.0, 10.0)]


def exact_kl(mu: float, sigma: float) -> float:
    """KL to the uniform distribution on the interval, which its ends do not change: E[log N(u)] - E[log σ'(u)], by quadrature
    over u."""
    u = np.linspace(mu - 10 * sigma, mu + 10 * sigma, 400001)
    log_q = stats.norm(mu, sigma).logpdf(u)
    return float(np.trapezoid(np.exp(log_q) * (log_q - special.log_expit(u) - special.log_expit(-u)), u))


def squeezed(mu: float, sigma: float, low: float, high: float, dtype: torch.dtype) -> SqueezedNormal:
    """One unit of one observation."""
    loc, log_scale = (torch.tensor([[value]], dtype=dtype) for value in (mu, math.log(sigma)))
    return SqueezedNormal(loc, log_scale, low, high)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("low", "high"), INTERVALS)
@pytest.mark.parametrize(("mu", "sigma"), LOCATIONS)
def test_divergence_from_the_uniform_prior(dtype: torch.dtype, low: float, high: float, mu: float, sigma: float) -> None:
    """By 20000 draws, at 6 standard errors (56 means, failure rate 1e-7), though up to all of them round to an end; draws stay
    within the open interval."""
    z, log_q = draw(squeezed(mu, sigma, low, high, dtype), Size((20000,)))
    log_p = Uniform(1, low, high).to(dtype)().log_prob(z)
    assert (z > low).all() and (z < high).all()
    assert_mean((log_q - log_p).double(), exact_kl(mu, sigma), slack=1e-5 * abs(mu))


def test_the_ends_are_alike() -> None:
    """The mirror image of q, with the mirror image of its noise, has the mirror image of its draws and their densities."""
    for mu in (3.0, 17.0, 30.0):
        right, left = (squeezed(sign * mu, 1.5, -2.0, 2.0, torch.float32) for sign in (1, -1))
        u = right.base.sample(Size((1000,)))
        assert torch.equal(right.image(u), -left.image(-u))
        assert_equal(right.log_prob_of(u), left.log_prob_of(-u), 1e-5)


def test_a_density_at_z_is_that_of_its_noise() -> None:
    """Away from the ends, by `log_prob` of a z that was drawn elsewhere: to 1e-9 in float64."""
    q = squeezed(1.0, 2.0, -1.0, 3.0, torch.float64)
    z, log_q = draw(q, Size((1000,)))
    assert_equal(q.log_prob(z), log_q, 1e-9)


@pytest.mark.parametrize("mu", [18.0, -18.0, 40.0])
def test_a_prior_of_the_same_kind_sees_the_same_noise(mu: float) -> None:
    """KL of two logit-normals, and of a mixture of one of them, is that of their Gaussians: 20000 float32 draws at 6 standard
    errors. A narrow component at an end has no density without limit there."""
    q = squeezed(mu, 1.0, -1.0, 1.0, torch.float32)
    for sigma in (1.3, 0.05):
        p = squeezed(mu - 1.0, sigma, -1.0, 1.0, torch.float32)
        mixture = SqueezedMixture(torch.zeros(1), p.loc[0][None].float(), p.log_scale[0][None], -1.0, 1.0)
        expected = float(torch.distributions.kl_divergence(q.base, p.base).sum())
        for prior in (p, mixture):
            _, log_q, log_p = draw_scored(q, prior, Size((20000,)))
            assert_mean((log_q - log_p).double(), expected, slack=1e-4 * expected)


def pressed(mu: float, log_sigma: float) -> VAE:
    """A float32 VAE whose decoder ignores z, so that log p(x) is known, with every q(z|x) at these parameters."""
    likelihood = likelihoods.Gaussian(1, SHAPE, Bias, sigma=lambda shape: FixedSigma(shape, 1.0))
    model = VAE(Uniform(1), likelihood, LogitNormal(1, SHAPE, Bias)).float()
    with torch.no_grad():
        next(model.posterior.parameters()).copy_(torch.tensor([mu, log_sigma]))
    return model


OBJECTIVES: dict[str, Callable[[VAE], Bound]] = {
    "ELBO": ELBO,
    "EntropyELBO": EntropyELBO,
    "JointELBO": JointELBO,
    "IWAE": lambda model: IWAE(model, k=2),
    "IWAE-doubly-reparameterized": lambda model: IWAE(model, k=2, doubly_reparameterized=True),
    "ReweightedEM": lambda model: ReweightedEM(model, k=2),
    "InfoVAE": lambda model: InfoVAE(model, lam=1.0),
}


@pytest.mark.parametrize("mu", [18.0, -18.0])
@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_objective_charges_the_exact_divergence(name: str, mu: float) -> None:
    """ELBO less log p(x), over 4000 observations, is minus the KL at 6 standard errors (14 means, failure rate 3e-8)."""
    x = torch.zeros(4000, *SHAPE, dtype=torch.float32)
    logged = OBJECTIVES[name](pressed(mu, 0.0))(x, t)[1]
    assert_mean((logged["elbo"] + 2 * math.log(2 * math.pi)).detach().double(), -exact_kl(mu, 1.0), slack=1e-4)


@pytest.mark.parametrize("start", [(17.0, -1.0), (17.5, 0.0), (-17.0, -1.0)])
def test_ascent_from_an_end_stays_below_the_evidence(start: tuple[float, float]) -> None:
    """300 steps from where float32 draws round to an end: the ELBO rises, its mean never passes log p(x), and so does the
    importance-sampled log p(x) by no more than its error."""
    model, x, evidence = pressed(*start), torch.zeros(256, *SHAPE, dtype=torch.float32), -2 * math.log(2 * math.pi)
    for p in model.likelihood.parameters():
        p.requires_grad_(False)
    objective = ELBO(model)
    ascent = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.1, maximize=True)
    reached = []
    for step in range(300):
        bound = objective(x, torch.tensor(step))[0]
        ascent.zero_grad()
        bound.mean().backward()
        ascent.step()
        reached.append(float(bound.mean().detach() - 6 * bound.std().detach() / len(x) ** 0.5))
    assert max(reached) <= evidence and reached[-1] > reached[0] + 5
    found = log_likelihood(model, x[:8], k=500)
    assert found.nll >= -evidence - 6 * found.nll_sampling_error


@pytest.mark.parametrize("proposal", [FromPosterior(), Widened(1.2)])
def test_importance_weights_at_an_end(proposal: FromPosterior | Widened) -> None:
    """The KL that evaluation states of q(z|x) at an end is the exact one: 2000 observations of 1 draw each at 6 standard errors
    of a value of one nat's scale."""
    found = log_likelihood(pressed(18.0, 0.0), torch.zeros(2000, *SHAPE, dtype=torch.float32), k=20, proposal=proposal)
    assert abs(found.kl - exact_kl(18.0, 1.0)) < 6 * 1.5 / (2000 * 20) ** 0.5


def test_chains_are_not_started_where_their_density_cannot_be_told() -> None:
    with pytest.raises(ValueError, match=r"100% round to an end of the interval \(0, 1\).* write FromPrior"):
        ais(pressed(40.0, 0.0), torch.zeros(2, *SHAPE, dtype=torch.float32), start=FromPosterior())


def test_the_doubly_reparameterised_gradient_is_that_of_the_path_through_z() -> None:
    """Away from the ends, where z tells u: the gradient by a hook on z, to 1e-8."""
    model = VAE(Uniform(2), Bernoulli(2, SHAPE, affine), LogitNormal(2, SHAPE, affine))
    x, phi = torch.bernoulli(torch.full((6, *SHAPE), 0.5)), list(model.posterior.parameters())
    torch.manual_seed(1)
    found = torch.autograd.grad(IWAE(model, k=7, doubly_reparameterized=True)(x, t)[0].sum(), phi)
    torch.manual_seed(1)
    parameters = model.posterior.encode(x)
    z = model.posterior.at(parameters).rsample(Size((7,)))
    log_w = model.log_joint(x, z) - model.posterior.at(parameters.detach()).log_prob(z)
    weights = log_w.detach().softmax(0)
    z.register_hook(lambda gradient: weights.unsqueeze(-1) * gradient)
    for a, b in zip(found, torch.autograd.grad((weights * log_w).sum(), phi), strict=True):
        assert_equal(a, b, 1e-8)


def test_a_uniform_draw_is_never_an_end() -> None:
    """The largest number that a generator gives rounds up to 2 on (1, 2), where the density is zero; the smallest is the other
    end."""
    for dtype in (torch.float32, torch.float64):
        for u in (0.0, 1 - torch.finfo(dtype).eps / 2):
            p = Uniform(1, 1.0, 2.0).to(dtype)()
            with patch.object(noise, "uniform", lambda shape, like, batch=0, u=u: torch.full(shape, u, dtype=like.dtype)):
                z = p.sample(Size((3,)))
            assert (z > 1).all() and (z < 2).all() and p.log_prob(z).isfinite().all()


def test_means_of_wide_and_of_mixed_logit_normals() -> None:
    """E[z] against scipy's quadrature: to 1e-7 of the interval for scales up to 7; of a VampPrior its components'."""
    for mu, sigma in ((0.5, 7.0), (-4.0, 5.0), (2.0, 0.01)):
        expected = stats.norm(mu, sigma).expect(lambda u: -2.0 + 5.0 * special.expit(u), lb=mu - 12 * sigma, ub=mu + 12 * sigma)
        found = squeezed(mu, sigma, -2.0, 3.0, torch.float64).mean
        assert float(found) == pytest.approx(expected, abs=5e-7)
    model = VAE(VampPrior(2, 3, std=0.5), Bernoulli(2, SHAPE, affine), LogitNormal(2, SHAPE, affine))
    assert_equal(model.prior().mean, model.posterior(model.prior.pseudo_inputs).mean.mean(0))


def test_float32_draws_of_a_wide_posterior_keep_their_moments() -> None:
    """E[z] of 100000 draws, up to a quarter of them at an end, at 6 standard errors."""
    q = squeezed(3.0, 20.0, -1.0, 1.0, torch.float32)
    expected = stats.norm(3.0, 20.0).expect(lambda u: 2 * special.expit(u) - 1)
    z: Tensor = q.sample(Size((100000,))).double()
    assert_mean(z, expected)
