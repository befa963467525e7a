"""Every distribution of the list: it integrates to one, its draws follow its density, its shapes are the promised ones."""

import math

import pytest
import torch
from torch import Size, Tensor

from laws.numerics import assert_equal, assert_mean, every_event, midpoints, support_grid
from laws.parts import LIKELIHOODS, POSTERIORS, PRIORS, RICH, WITHOUT_MEAN, bounded, prior
from uncollapse.distributions import Likelihood, Posterior

PLAIN = [name for name in POSTERIORS if name not in RICH]  # flows and mixtures have files of their own
ASCENDING = {"Free", "Refined", "Refined-differenced"}  # they ask a model; their families are among the others
ENCODED = [name for name in PLAIN if name not in ASCENDING]


def statistics(z: Tensor, log_p: Tensor) -> Tensor:
    """First and second moments, a bounded function and the log density: [..., L] to [..., 3 L + 2]."""
    cross = z.prod(-1, keepdim=True)
    return torch.cat((z, z.square(), torch.cos(3 * z), cross, log_p.unsqueeze(-1).clamp(min=-50)), -1)


def posterior(name: str, features: int = 2) -> Posterior:
    """A posterior over this many latents of data of shape (3,)."""
    return POSTERIORS[name](features, Size((3,)))


def likelihood(name: str) -> tuple[Likelihood, Tensor, Tensor]:
    """A likelihood of small data in evaluation mode, all its events or quadrature points [E, *shape], and their weights [E]."""
    shape = Size((3,)) if "Gaussian" not in name else Size((2,))
    p = LIKELIHOODS[name](2, shape).eval()
    if p.levels is None:
        return p, *midpoints(-9.0, 9.0, 300, 2)
    x = every_event(p.levels, shape, p.space.kind == "tokens")
    return p, x, torch.ones(len(x))


@pytest.mark.parametrize("features", [1, 2])
@pytest.mark.parametrize("name", PRIORS)
def test_priors_integrate_to_one(name: str, features: int) -> None:
    """∫ p(z) dz = 1 by the midpoint rule, to 1e-9 (a spline's density has kinks, a coupling's tails reach beyond
    the grid: 1e-4, 1e-6)."""
    p = prior(name, features)
    z, weights = support_grid(p, p.features)
    assert_equal(
        weights @ p().log_prob(z).exp().detach(),
        torch.tensor(1.0),
        {"SplinePrior": 1e-4, "CouplingPrior": 1e-6}.get(name, 1e-9),
    )


@pytest.mark.parametrize("name", PRIORS)
def test_prior_draws_follow_the_density(name: str) -> None:
    """Moments, cosines and the entropy of 40000 draws against quadrature: 8 numbers at 6 standard errors, failure rate 6e-8 for
    all priors; every draw lies in the support."""
    part = prior(name)
    p, (grid, weights) = part(), support_grid(part, 2)
    log_p = p.log_prob(grid)
    expected = (statistics(grid, log_p) * (log_p.exp() * weights).unsqueeze(-1)).sum(0)
    z = p.sample(Size((40000,)))
    assert_mean(statistics(z, p.log_prob(z)), expected.detach(), slack=1e-4)
    assert part.support.check(z).all() and p.log_prob(z).isfinite().all()


@pytest.mark.parametrize("name", PRIORS)
def test_prior_shapes(name: str) -> None:
    """Batch shape [], event shape [L]; draws and densities keep the leading dimensions."""
    p = prior(name, 4)()
    assert (p.batch_shape, p.event_shape) == (Size(), Size((4,)))
    assert p.sample().shape == (4,) and p.sample(Size((3, 5))).shape == (3, 5, 4)
    assert p.log_prob(p.sample(Size((3, 5)))).shape == (3, 5)
    assert not p.sample().requires_grad


@pytest.mark.parametrize("name", ENCODED)
def test_posteriors_integrate_to_one(name: str) -> None:
    """∫ q(z|x) dz = 1 for each of three observations, by the midpoint rule, to 1e-8."""
    q = posterior(name)
    z, weights = support_grid(q, 2)
    mass = weights @ q(torch.randn(3, 3)).log_prob(z.unsqueeze(1)).exp()
    assert_equal(mass, torch.ones(3), 1e-8)


@pytest.mark.parametrize("name", ENCODED)
def test_posterior_draws_follow_the_density(name: str) -> None:
    """As for the priors, at two observations: 16 numbers at 6 standard errors, failure rate 1e-7 for all posteriors."""
    family = posterior(name)
    q, (grid, weights) = family(torch.randn(2, 3)), support_grid(family, 2)
    log_q = q.log_prob(grid.unsqueeze(1))
    expected = torch.einsum("n,nb,nbs->bs", weights, log_q.exp(), statistics(grid.unsqueeze(1).expand(-1, 2, -1), log_q))
    z = q.rsample(Size((40000,)))
    assert_mean(statistics(z, q.log_prob(z)).detach(), expected.detach(), slack=1e-4)


@pytest.mark.parametrize("name", PLAIN)
def test_posterior_shapes(name: str) -> None:
    """Parameters [B, P], batch shape [B], event shape [L], draws [K, B, L] with a gradient and densities [K, B]."""
    family = posterior(name)
    if name in ASCENDING:
        family.attach(lambda x, z: -z.square().sum(-1))
    parameters = family.encode(torch.randn(5, 3)).detach().requires_grad_()
    q = family.at(parameters)
    assert (q.batch_shape, q.event_shape, len(parameters)) == (Size((5,)), Size((2,)), 5)
    z = q.rsample(Size((7,)))
    assert z.shape == (7, 5, 2) and z.requires_grad and q.log_prob(z).shape == (7, 5)
    (gradient,) = torch.autograd.grad(q.log_prob(z.detach()).sum(), parameters)
    assert gradient.abs().sum() > 0


@pytest.mark.parametrize("name", [n for n in PLAIN if n != "ChainPosterior"])  # it has no one scale to widen
def test_widening_scales_the_standard_deviation(name: str) -> None:
    """widen(·, f) multiplies Σ^(1/2) by f and leaves the mean alone; widen(·, 1) is the identity; f then 1/f is too. Measured
    on the unconstrained draws of a common seed, which are linear in the scale."""
    family = posterior(name)
    parameters = 0.2 * torch.randn(6, 5 if name == "FullGaussian" else 4)

    def unconstrained(at: Tensor) -> Tensor:
        torch.manual_seed(1)
        z = family.at(at).rsample(Size((50,)))
        return torch.logit((z - family.low) / (family.high - family.low)) if bounded(family) else z

    base, wide = unconstrained(parameters), unconstrained(family.widen(parameters, 1.7))
    assert_equal(wide - parameters[:, :2], 1.7 * (base - parameters[:, :2]), 1e-8)
    assert_equal(family.widen(parameters, 1.0), parameters)
    assert_equal(family.widen(family.widen(parameters, 1.7), 1 / 1.7), parameters)


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_likelihoods_sum_to_one(name: str) -> None:
    """Σ_x p(x|z) = 1 over every event, or ∫ p(x|z) dx by the midpoint rule, at four latents; to 1e-10 (quadrature: 1e-8)."""
    p, x, weights = likelihood(name)
    mass = weights @ p(torch.randn(4, 2)).log_prob(x.unsqueeze(1)).exp()
    assert_equal(mass, torch.ones(4), 1e-10 if p.levels else 1e-8)


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_likelihood_draws_follow_the_density(name: str) -> None:
    """As for the priors, over all events: at most 11 numbers at 6 standard errors, failure rate 2e-7 for all likelihoods; draws
    are data that the likelihood itself accepts."""
    family, x, weights = likelihood(name)
    p = family(torch.randn(2))
    log_p = p.log_prob(x)
    expected = (statistics(x, log_p) * (log_p.exp() * weights).unsqueeze(-1)).sum(0)
    draws = p.sample(Size((40000,)))
    family.check(draws)
    assert_mean(statistics(draws, p.log_prob(draws)).detach(), expected.detach(), slack=1e-4)


@pytest.mark.parametrize("name", [n for n in LIKELIHOODS if n not in WITHOUT_MEAN])
def test_likelihood_means(name: str) -> None:
    """`mean` is Σ_x x p(x|z), to 1e-8."""
    family, x, weights = likelihood(name)
    p = family(torch.randn(2))
    assert_equal(p.mean, (x * (p.log_prob(x).exp() * weights).unsqueeze(-1)).sum(0), 1e-8)


@pytest.mark.parametrize("name", LIKELIHOODS)
@pytest.mark.parametrize("shape", [(3,), (1, 2, 2)])
def test_likelihood_shapes(name: str, shape: tuple[int, ...]) -> None:
    """z [K, B, L] gives batch shape [K, B], and the data's event shape; x [B, *shape] is scored as [K, B]."""
    family = LIKELIHOODS[name](2, Size(shape)).eval()
    z = torch.randn(6, 5, 2)
    p = family(z)
    assert (p.batch_shape, p.event_shape, family.shape) == (Size((6, 5)), Size(shape), Size(shape))
    x = p.sample()[0]
    assert x.shape == (5, *shape)
    if name in WITHOUT_MEAN:
        with pytest.raises(NotImplementedError):
            p.mean  # noqa: B018
    else:
        assert p.mean.shape == (6, 5, *shape)
    scores = p.log_prob(x)
    assert scores.shape == (6, 5)
    assert_equal(scores[4, 3], family(z[4, 3]).log_prob(x[3]))
    assert p.sample(Size((2,))).shape == (2, 6, 5, *shape)


@pytest.mark.parametrize("name", [n for n in LIKELIHOODS if "Gaussian" not in n])
def test_masses_never_exceed_one(name: str) -> None:
    """A discrete log mass is at most 0, at any latent however far out."""
    p, x, _ = likelihood(name)
    log_p = p(50 * torch.randn(20, 2)).log_prob(x.unsqueeze(1))
    assert (log_p <= 1e-12).all() and log_p.max() > -math.log(len(x)) - 1e-12
